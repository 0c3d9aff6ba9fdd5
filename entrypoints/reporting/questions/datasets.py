"""What differs over datasets: rank tests in which each dataset is a block, and the levels of a hyperparameter compete.

Datasets are independent of each other, as folds of one are not: what is significant here is so beyond these datasets,
as far as they were drawn from those that a reader has in mind (Demsar, JMLR 7, 2006).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from entrypoints.frame import Frame, configurations, level, without_rounding
from entrypoints.limits.costs import COSTS
from entrypoints.limits.noise import SMALL, SMALL_MB, is_memory
from entrypoints.reporting import drawing
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions.decision import decide
from entrypoints.reporting.questions.effects import MAIN_COSTS, change_in_words
from entrypoints.reporting.statistics import LEVEL, by_chance, holm
from entrypoints.reporting.words import listed

MIN_LEVELS = 3  # of two levels, four datasets that agree would have p = 0.125
MAX_PANELS = 6
AT = "the level of the factor"  # a column that no hyperparameter is called
SCORE = "score"  # the metric that ranks trials, where studies call it differently


@dataclass(frozen=True, eq=False)
class Factor:
    """A hyperparameter that varies in all studies: the levels that all tried, in order, and that of each trial."""

    name: str
    levels: list[Any]
    of_trials: pd.Series[Any]


def answer(frame: Frame) -> Answer:
    """Which hyperparameters change the score and the costs on all of these datasets, and which levels are as good."""
    tests, medians = _tests(frame)
    as_good = _as_good(frame)
    if tests.empty and as_good.empty:
        why = f"the studies share no hyperparameter with {MIN_LEVELS} levels, nor a score"
        without = [study for study in frame.studies.index if frame.of([study]).complete.empty]
        if without:
            names = listed([str(name) for name in frame.studies.loc[without, "dataset"]])
            why = f"no trial on {names} ran to its end without diverging"
        return Answer("datasets", open_question=f"What differs over datasets: {why}.")
    told = tests[tests["told"]] if len(tests) else tests
    sentences = list(_in_words(told))
    if told.empty and len(tests):
        names = listed([f"`{name}`" for name in dict.fromkeys(tests["hyperparameter"])])
        sentences.append(f"No effect of {names} is shown over {len(frame.studies)} datasets.")
    sentences += _as_good_in_words(as_good)
    draw = None if told.empty else partial(_draw, frame, told, medians, sentences[0])
    table: pd.DataFrame = pd.concat([tests, as_good], ignore_index=True)
    return Answer("datasets", tuple(sentences), table, draw)


def factors(frame: Frame) -> list[Factor]:
    """The hyperparameters that vary in all studies.

    Where studies share fewer than three batch sizes, their levels are shares of the rows that a fold trains on, to the
    nearest power of two.
    """
    found = []
    for name in frame.hyperparameters:
        values = frame.trials[name]
        factor = _factor(frame, name, values)
        rows = frame.trials["study"].map(frame.studies["rows"]).astype(float)
        if name == "batch_size" and len(factor.levels) < MIN_LEVELS and rows.notna().all():
            shares = np.log2(rows / values.astype(float)).round()
            factor = _factor(frame, name, (2.0**shares).map("1/{:g} of the rows".format), -shares)
        found.append(factor)
    return [factor for factor in found if len(factor.levels) >= MIN_LEVELS]


def _factor(frame: Frame, name: str, values: pd.Series[Any], order: pd.Series[Any] | None = None) -> Factor:
    by_study = [set(own.dropna()) for _, own in values.groupby(frame.trials["study"])]
    common = set.intersection(*by_study)
    ranked = (values if order is None else order).groupby(values).min().sort_values()
    return Factor(name, [each for each in ranked.index if each in common], values)


def _tests(frame: Frame) -> tuple[pd.DataFrame, dict[tuple[str, str], pd.DataFrame]]:
    """A row per metric and hyperparameter, and the medians (study, level) that each is of.

    The columns: metric, hyperparameter, datasets; p_value of Friedman's test by permutation, and p_holm over the
    hyperparameters of one metric; first_at, second_at: the levels with the best and the worst mean rank, in their own
    order; change, low, high: of a cost how many times as much it is at second_at as at first_at, of memory how many MB
    more, in the middle dataset and the range over all; unit; told.
    """
    rows, medians = list[dict[str, Any]](), dict[tuple[str, str], pd.DataFrame]()
    scores = frame.studies["score"]
    score = SCORE if scores.nunique() > 1 else scores.iloc[0]
    costs = [cost for cost in MAIN_COSTS if cost in frame.trials and cost in COSTS]
    for metric in [*([score] if scores.notna().all() else []), *costs]:
        of_metric = []
        for factor in factors(frame):
            table = _medians(frame, factor, metric, score)
            if table.isna().any(axis=None) or (table.nunique(axis=1) == 1).all():
                continue
            medians[metric, factor.name] = table
            of_metric.append(_row(factor, metric, table, is_score=metric == score))
        for row, p_holm in zip(of_metric, holm([row["p_value"] for row in of_metric]), strict=True):
            rows.append(row | {"p_holm": float(p_holm), "told": bool(p_holm < LEVEL and row["matters"])})
    return pd.DataFrame(rows).drop(columns="matters", errors="ignore"), medians


def _medians(frame: Frame, factor: Factor, metric: str, score: str) -> pd.DataFrame:
    """The median of a metric at each level (columns) in each study (rows); of a score less is made better.

    Only configurations count that ran to their end at each level: else a rate at which all but the cheapest trials
    diverge would look cheap. Where there are none, as in a random search, all trials that did so.
    """
    rows = {}
    leveled = replace(frame, trials=frame.trials.assign(**{AT: factor.of_trials}))
    for study in frame.studies.index:
        own = leveled.of([study])
        name = str(own.score) if metric == score else metric
        sign = -1.0 if metric == score and own.higher_is_better else 1.0
        trials = own.complete.assign(value=sign * without_rounding(own.complete[name].astype(float)))
        trials = trials[trials[AT].isin(factor.levels)].dropna(subset=["value"])
        alike = configurations(trials, [each for each in frame.hyperparameters if each != factor.name])
        whole = alike.map(trials.groupby(alike)[AT].nunique()) == len(factor.levels)
        kept = trials[whole] if whole.any() else trials
        rows[study] = kept.groupby(AT)["value"].median().reindex(factor.levels)
    table: pd.DataFrame = pd.DataFrame(rows).T
    return table


def _as_good(frame: Frame) -> pd.DataFrame:
    """The levels of each hyperparameter with which each dataset has a model that is, within noise, as good as its best.

    A row per hyperparameter of which trials of several levels finished in all studies: hyperparameter, datasets,
    as_good_at, not_at. No row where a study's noise is not known.
    """
    decisions = [decide(frame.of([study])) for study in frame.studies.index]
    finished = frame.trials[frame.trials["status"] == "FINISHED"]
    rows = []
    for name in frame.hyperparameters if all(each.margin for each in decisions) else ():
        tried = _factor(frame, name, finished[name]).levels
        good = [each for each in tried if all((decision.equal[name] == each).any() for decision in decisions)]
        if len(tried) > 1:
            worse = [each for each in tried if each not in good]
            levels = {"as_good_at": " or ".join(map(level, good)), "not_at": " or ".join(map(level, worse))}
            rows.append({"hyperparameter": name, "datasets": len(decisions)} | levels)
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _as_good_in_words(as_good: pd.DataFrame) -> Iterator[str]:
    parts = [
        f"`{row['hyperparameter']}` {row['as_good_at']}" + (f" (not {row['not_at']})" if row["not_at"] else "")
        for row in rows_of(as_good)
        if row["as_good_at"]
    ]
    if parts:
        of = f"Each of {as_good['datasets'].iloc[0]} datasets"
        yield f"{of} has a model as good as its best, within noise, with {'; '.join(parts)}."


def _row(factor: Factor, metric: str, table: pd.DataFrame, *, is_score: bool) -> dict[str, Any]:
    ranks = table.rank(axis=1).mean()
    ends = sorted((ranks.idxmin(), ranks.idxmax()), key=factor.levels.index)
    first, second = (table[end].astype(float) for end in ends)
    changes = second - first if is_memory(metric) or is_score else second / first
    middle = float(changes.median())
    size = abs(middle) > SMALL_MB if is_memory(metric) else max(middle, 1 / middle) > 1 + SMALL if middle > 0 else False
    return {
        "metric": metric,
        "hyperparameter": factor.name,
        "first_at": ends[0],
        "second_at": ends[1],
        "best_at": ranks.idxmin(),
        "datasets": len(table),
        "change": middle,
        "low": float(changes.min()),
        "high": float(changes.max()),
        "unit": "MB" if is_memory(metric) else "" if is_score else "times",
        "is_score": is_score,
        "p_value": by_chance(table),
        "matters": is_score or size,
    }


def _in_words(told: pd.DataFrame) -> Iterator[str]:
    """A sentence for each two levels: what the score, and what all costs do between them."""
    for row in rows_of(told[told["is_score"]]):
        worst = row["second_at"] if row["best_at"] == row["first_at"] else row["first_at"]
        name, metric = f"`{row['hyperparameter']}`", f"`{row['metric']}`"
        yield f"{metric} is best at {name} {level(row['best_at'])} and worst at {level(worst)}, over all datasets."
    costs = told[~told["is_score"]]
    for (name, first, second), own in costs.groupby(["hyperparameter", "first_at", "second_at"], sort=False):
        rows = rows_of(own)
        changes = listed([f"`{row['metric']}` {change_in_words(row)}" for row in rows])
        of = f"the middle one of {rows[0]['datasets']} datasets, and their range"
        yield f"`{name}` {level(first)} -> {level(second)}: {changes}; {of}."


@drawing.styled
def _draw(frame: Frame, told: pd.DataFrame, medians: dict[tuple[str, str], pd.DataFrame], title: str) -> Figure:
    """Each finding: its metric by level, beside its median over the levels, a line for each dataset."""
    rows = rows_of(told)[:MAX_PANELS]
    note = "Each line is a dataset: the median at a level, less (score, memory) or over (others) that of its levels."
    figure, panels = drawing.sheet(len(rows), title, note)
    for row, axes in zip(rows, panels, strict=True):
        table = medians[row["metric"], row["hyperparameter"]].astype(float)
        middle = table.median(axis=1)
        shown = table.sub(middle, axis=0) if row["is_score"] or is_memory(row["metric"]) else table.div(middle, axis=0)
        for number, (study, values) in enumerate(shown.iterrows()):
            look: dict[str, Any] = {"color": drawing.PALETTE[number % 7], "marker": drawing.MARKERS[number % 7]}
            axes.plot(range(len(values)), values, label=str(frame.studies.loc[study, "dataset"])[-20:], **look)
        axes.set_xticks(range(len(shown.columns)), [level(each) for each in shown.columns])
        axes.set_xlabel(row["hyperparameter"])
        axes.set_ylabel(row["metric"] + (" (less is better)" if row["is_score"] else ""))
        drawing.scale_axis(axes, "y", shown.to_numpy().ravel())
    panels[0].legend(fontsize=8)
    return figure
