"""Which algorithm is better: the best model of each, on the folds."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from scipy import stats

from entrypoints.frame import Frame
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions.effects import noise_of_score
from entrypoints.reporting.words import digits, joined, value
from entrypoints.statistics import LEVEL


def best_of_each(frame: Frame) -> pd.DataFrame:
    """The best complete trial of each algorithm of the first study, the best first.

    Returns:
        A row per algorithm: algorithm, the score, behind (by how much it is worse than the first one),
        least_significant_difference (what it takes to say so, which allows for the choice among all trials that began:
        Bonferroni), and run_id. Empty where fewer than two algorithms have a complete trial.
    """
    complete = frame.complete
    if "algorithm" not in frame.hyperparameters or complete["algorithm"].nunique() < 2:
        nothing: pd.DataFrame = pd.DataFrame()
        return nothing
    best = complete.drop_duplicates("algorithm")
    behind = frame.sign * (best[frame.score] - best[frame.score].iloc[0])
    noise = noise_of_score(frame)
    trials = int((frame.trials["study"] == frame.first).sum())
    t = float(stats.t.isf(LEVEL / 2 / max(1, trials - 1), noise.degrees)) if noise.degrees else math.nan
    found = best[["algorithm", frame.score, "run_id"]]
    table: pd.DataFrame = found.assign(behind=behind, least_significant_difference=t * noise.error)
    return table


def answer(frame: Frame) -> Answer:
    """The best score of each algorithm, and which of them are worse than the first."""
    table = best_of_each(frame)
    if table.empty:
        return Answer("algorithms")
    rows = rows_of(table)
    each = joined(f"{value(frame.score, row[frame.score])} ({row['algorithm']})" for row in rows)
    sentences = [f"Best `{frame.score}` of each algorithm: {each}.", *_differences(rows)]
    return Answer("algorithms", tuple(sentences), table)


def _differences(rows: list[dict[str, Any]]) -> list[str]:
    best, *others = rows
    least = best["least_significant_difference"]
    if math.isnan(least):
        return []
    worse = [row["algorithm"] for row in others if row["behind"] > least]
    if not worse:
        return [f"No algorithm is shown to be better: it would take a difference of {digits(least)}."]
    is_worse = "is" if len(worse) == 1 else "are"
    return [f"{joined(worse)} {is_worse} worse than {best['algorithm']}, by more than noise ({digits(least)})."]
