"""What differs over datasets: rank tests in which each dataset is a block, and the levels of a hyperparameter compete.

Datasets are independent of each other, as folds of one are not: what is significant here is so beyond these datasets,
as far as they were drawn from those that a reader has in mind (Demsar, JMLR 7, 2006).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entrypoints.limits.costs import COSTS
from entrypoints.limits.noise import SMALL, SMALL_MB, is_memory
from entrypoints.reporting import expectation
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions.effects import MAIN_COSTS
from entrypoints.reporting.words import digits, joined, quoted
from entrypoints.statistics import LEVEL, holm, range_by_chance
from entrypoints.trials.frame import Frame, configurations, level, to_ten_digits

MIN_LEVELS = 3  # of two levels, four datasets that agree would have p = 0.125
SCORE = "score"  # the metric that ranks trials, where studies call it differently


def answer(frame: Frame) -> Answer:
    """Which hyperparameters change the score and the costs on all of these datasets."""
    table = tests(frame)
    known = frame.studies.dropna(subset=["test"])
    known = known.assign(of=known["dataset"].map(_file))
    numbers = known[["of", "score", *expectation.NUMBERS]].reset_index(drop=True)
    each = "; ".join(f"{row['of']}: {expectation.in_words(row)}" for _, row in known.iterrows())
    expected = [f"Of each study's own model: {each}."] if each else []
    if table.empty:
        why = f"What differs over datasets: {_why_nothing(frame)}."
        return Answer("datasets", tuple(expected), numbers, open_question=why)
    found = [_in_words(row) for row in rows_of(table[table["reported"]])]
    count = len(frame.studies)
    if found:
        sentence = f"Over {count} datasets {'; '.join(found)}."
    else:
        sentence = f"No effect of {quoted(table['hyperparameter'].unique())} is shown over {count} datasets."
    return Answer("datasets", (sentence, *expected), pd.concat([table, numbers], ignore_index=True))


def _file(dataset: object) -> str:
    """The name of a dataset, of a file without its folders."""
    return Path(str(dataset)).name


def _why_nothing(frame: Frame) -> str:
    without = [study for study in frame.studies.index if frame.of([study]).complete.empty]
    if without:
        return (
            f"no trial on {joined(map(_file, frame.studies.loc[without, 'dataset']))} ran to its end without diverging"
        )
    return f"the studies share no hyperparameter with {MIN_LEVELS} levels, nor a score"


def tests(frame: Frame) -> pd.DataFrame:
    """A row per metric and hyperparameter with three levels that all studies tried.

    The columns: metric, hyperparameter; best_at, worst_at: the levels with the best and the worst mean rank; datasets;
    times: how many times as much a cost is at the worst as at the best, in the middle dataset; p_value of the range of
    rank sums, by permutation, and p_holm over the hyperparameters of one metric; reported: p_holm below 0.05, of a cost
    more than 5 %, of memory 0.1 MB, in most datasets.
    """
    scores = frame.studies["score"]
    score = SCORE if scores.nunique() > 1 else scores.iloc[0]
    metrics = [score] if scores.notna().all() else []
    metrics += [cost for cost in MAIN_COSTS if cost in frame.trials and cost in COSTS]
    rows = []
    for metric in metrics:
        rows += _of_metric(frame, metric, is_score=metric == score)
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _of_metric(frame: Frame, metric: str, *, is_score: bool) -> list[dict[str, Any]]:
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
    for row, p_holm in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = float(p_holm)
        row["reported"] = row.pop("matters") and bool(p_holm < LEVEL)
    return rows


def _shared_levels(frame: Frame, name: str) -> list[Any]:
    """The levels of a hyperparameter that all studies tried, in order."""
    by_study = [set(own.dropna()) for _, own in frame.trials.groupby("study")[name]]
    return sorted(set.intersection(*by_study))


def _medians(frame: Frame, name: str, levels: list[Any], cost: str | None) -> pd.DataFrame:
    """The median of a cost, or else of the score, at each level (columns) in each study (rows); less is better.

    Only configurations count that ran to their end at each level: else a rate at which all but the cheapest trials
    diverge would look cheap. Where there are none, as where a search draws its values, all trials that did so.
    """
    others = [other for other in frame.hyperparameters if other != name]
    rows = {}
    for study in frame.studies.index:
        own = frame.of([study])
        trials = own.complete[own.complete[name].isin(levels)]
        values = to_ten_digits(trials[cost or own.score].astype(float)).dropna()
        trials = trials.loc[values.index]
        sign = own.sign if cost is None else 1.0
        alike = configurations(trials, others)
        is_whole = alike.map(trials.groupby(alike)[name].nunique()) == len(levels)
        kept = is_whole if is_whole.any() else ~is_whole
        rows[study] = (sign * values[kept]).groupby(trials.loc[kept, name]).median().reindex(levels)
    table: pd.DataFrame = pd.DataFrame(rows).T
    return table


def _compared(metric: str, medians: pd.DataFrame, *, is_score: bool) -> dict[str, Any]:
    """The level that is best, that which is worst, and how they differ."""
    ranks = medians.rank(axis=1).mean()
    best, worst = medians[ranks.idxmin()], medians[ranks.idxmax()]
    small = np.maximum(SMALL * best, SMALL_MB if is_memory(metric) else 0.0)
    is_ratio = not is_score and (best > 0).all()
    return {
        "best_at": best.name,
        "worst_at": worst.name,
        "datasets": len(medians),
        "times": float((worst / best).median()) if is_ratio else math.nan,
        "p_value": range_by_chance(medians),
        "matters": is_score or bool((worst - best > small).mean() > 0.5),
    }


def _in_words(row: dict[str, Any]) -> str:
    """A part of the sentence for an effect."""
    name, best, worst = row["hyperparameter"], level(row["best_at"]), level(row["worst_at"])
    times = f" ({digits(row['times'])} times, in the middle dataset)" if row["times"] == row["times"] else ""
    return f"`{row['metric']}` is best at `{name}` {best} and worst at {worst}{times}"
