"""What differs over datasets: rank tests in which each dataset is a block, and the levels of a hyperparameter compete.

Datasets are independent of each other, as folds of one are not: what is significant here is so beyond these datasets,
as far as they were drawn from those that a reader has in mind (Demsar, JMLR 7, 2006).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from entrypoints.frame import Frame, configurations, level, without_rounding
from entrypoints.limits.costs import COSTS
from entrypoints.limits.noise import SMALL, SMALL_MB, is_memory
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.effect_words import change_in_words
from entrypoints.reporting.questions.effects import MAIN_COSTS
from entrypoints.reporting.statistics import LEVEL, by_chance, holm
from entrypoints.reporting.words import listed

MIN_LEVELS = 3  # of two levels, four datasets that agree would have p = 0.125
SCORE = "score"  # the metric that ranks trials, where studies call it differently


def answer(frame: Frame) -> Answer:
    """Which hyperparameters change the score and the costs on all of these datasets."""
    table = tests(frame)
    if table.empty:
        why = f"the studies share no hyperparameter with {MIN_LEVELS} levels, nor a score"
        without = [study for study in frame.studies.index if frame.of([study]).complete.empty]
        if without:
            names = listed([str(name) for name in frame.studies.loc[without, "dataset"]])
            why = f"no trial on {names} ran to its end without diverging"
        return Answer("datasets", open_question=f"What differs over datasets: {why}.")
    found = list(_in_words(table[table["reported"]]))
    if found:
        sentence = f"Over {len(frame.studies)} datasets (medians, with ranges): {'; '.join(found)}."
    else:
        names = listed([f"`{name}`" for name in dict.fromkeys(table["hyperparameter"])])
        sentence = f"No effect of {names} is shown over {len(frame.studies)} datasets."
    return Answer("datasets", (sentence,), table)


def tests(frame: Frame) -> pd.DataFrame:
    """A row per metric and hyperparameter with three levels that all studies tried.

    The columns: metric, hyperparameter; first_at, second_at: the levels with the best and the worst mean rank, in their
    own order; best_at; datasets; change, low, high: from first_at to second_at, of a cost a factor, of memory in MB, of
    the score a difference of which less is better, in the middle dataset and the range over all; unit; p_value of
    Friedman's test by permutation, and p_holm over the hyperparameters of one metric; reported: p_holm below 0.05, and
    of a cost more than 5 %, of memory 0.1 MB, in the middle dataset.
    """
    scores = frame.studies["score"]
    score = SCORE if scores.nunique() > 1 else scores.iloc[0]
    metrics = [score] if scores.notna().all() else []
    metrics += [cost for cost in MAIN_COSTS if cost in frame.trials and cost in COSTS]
    tables = [_of_metric(frame, metric, is_score=metric == score) for metric in metrics]
    found: pd.DataFrame = pd.concat([each for each in tables if len(each)] or [pd.DataFrame()], ignore_index=True)
    return found


def _of_metric(frame: Frame, metric: str, *, is_score: bool) -> pd.DataFrame:
    """The rows of one metric."""
    rows = []
    for name in frame.hyperparameters:
        levels = _shared_levels(frame, name)
        if len(levels) < MIN_LEVELS:
            continue
        medians = _medians(frame, name, levels, None if is_score else metric)
        differs = medians.nunique(axis=1).gt(1).any()
        if differs and not medians.isna().any(axis=None):
            rows.append({"metric": metric, "hyperparameter": name, **_compared(metric, medians, is_score=is_score)})
    table: pd.DataFrame = pd.DataFrame(rows)
    if rows:
        table["p_holm"] = holm(table["p_value"])
        matters = [is_score or _matters(row) for row in rows]
        table["reported"] = table["p_holm"].lt(LEVEL) & pd.Series(matters)
    return table


def _shared_levels(frame: Frame, name: str) -> list[Any]:
    """The levels of a hyperparameter that all studies tried, in order."""
    by_study = [set(own.dropna()) for _, own in frame.trials.groupby("study")[name]]
    return sorted(set.intersection(*by_study))


def _medians(frame: Frame, name: str, levels: list[Any], cost: str | None) -> pd.DataFrame:
    """The median of a cost, or else of the score, at each level (columns) in each study (rows); less is better.

    Only configurations count that ran to their end at each level: else a rate at which all but the cheapest trials
    diverge would look cheap. Where there are none, as in a random search, all trials that did so.
    """
    others = [other for other in frame.hyperparameters if other != name]
    rows = {}
    for study in frame.studies.index:
        own = frame.of([study])
        trials = own.complete[own.complete[name].isin(levels)]
        values = without_rounding(trials[cost or str(own.score)].astype(float)).dropna()
        trials = trials.loc[values.index]
        sign = -1.0 if cost is None and own.higher_is_better else 1.0
        alike = configurations(trials, others)
        is_whole = alike.map(trials.groupby(alike)[name].nunique()) == len(levels)
        kept = is_whole if is_whole.any() else ~is_whole
        rows[study] = (sign * values[kept]).groupby(trials.loc[kept, name]).median().reindex(levels)
    table: pd.DataFrame = pd.DataFrame(rows).T
    return table


def _compared(metric: str, medians: pd.DataFrame, *, is_score: bool) -> dict[str, Any]:
    """The level that is best, that which is worst, and how they differ."""
    ranks = medians.rank(axis=1).mean()
    best, worst = ranks.idxmin(), ranks.idxmax()
    first, second = sorted((best, worst), key=list(medians).index)
    in_mb = is_memory(metric)
    changes = medians[second] / medians[first]
    if in_mb or is_score:
        changes = medians[second] - medians[first]
    return {
        "first_at": first,
        "second_at": second,
        "best_at": best,
        "datasets": len(medians),
        "change": float(changes.median()),
        "low": float(changes.min()),
        "high": float(changes.max()),
        "unit": "" if is_score else "MB" if in_mb else "times",
        "p_value": by_chance(medians),
    }


def _matters(row: dict[str, Any]) -> bool:
    change = row["change"]
    if row["unit"] == "MB":
        return bool(abs(change) > SMALL_MB)
    return bool(change > 0 and max(change, 1 / change) > 1 + SMALL)


def _in_words(reported: pd.DataFrame) -> Iterator[str]:
    """A part of the sentence for each effect."""
    for row in rows_of(reported):
        metric, name = f"`{row['metric']}`", f"`{row['hyperparameter']}`"
        first, second = level(row["first_at"]), level(row["second_at"])
        if row["unit"]:
            yield f"{name} {first} -> {second}: {metric} {change_in_words(row)}"
        else:
            best, worst = (first, second) if row["best_at"] == row["first_at"] else (second, first)
            yield f"{metric} is best at {name} {best} and worst at {worst}"
