"""Which algorithm is better: the best model of each, on the folds."""

from __future__ import annotations

from typing import Any

import pandas as pd

from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.questions.effects import fold_scores
from entrypoints.reporting.words import digits, joined, value
from entrypoints.statistics import LEVEL, over_folds
from entrypoints.trials.frame import Frame


def best_of_each(frame: Frame) -> pd.DataFrame:
    """The best complete trial of each algorithm of the first study, the best first.

    Each is compared with the first by the t-test over the folds of these two: models of one algorithm err on the same
    folds, so the noise between them says little of that between algorithms. Its level allows for the choice among all
    models (Bonferroni).

    Returns:
        A row per algorithm: algorithm, the score, behind (by how much it is worse than the first one),
        least_significant_difference (what it takes to say so; NaN where that is not known), of_trials (among how many
        they were chosen) and run_id. Empty where fewer than two algorithms have a complete trial.
    """
    complete = frame.complete
    if "algorithm" not in frame.hyperparameters or complete["algorithm"].nunique() < 2:
        nothing: pd.DataFrame = pd.DataFrame()
        return nothing
    best = complete.drop_duplicates("algorithm")
    first = best.iloc[0]
    scores = fold_scores(frame)
    error_rate = LEVEL / max(1, len(scores.drop_duplicates()) - 1)
    least = {}
    for trial in best["trial_id"]:
        if {trial, first["trial_id"]} <= set(scores.index):
            difference = over_folds((scores.loc[trial] - scores.loc[first["trial_id"]]).to_numpy(), error_rate)
            least[trial] = difference.high - difference.value
    table: pd.DataFrame = best[["algorithm", frame.score, "run_id"]].assign(
        behind=frame.sign * (best[frame.score] - first[frame.score]),
        least_significant_difference=best["trial_id"].map(least).astype(float),
        of_trials=len(complete),
    )
    return table


def answer(frame: Frame) -> Answer:
    """The best score of each algorithm, and which of them are worse than the first."""
    table = best_of_each(frame)
    if table.empty:
        return Answer("algorithms")
    rows, score = rows_of(table), frame.score
    each = joined(f"{row['algorithm']} {value(score, row[score])}" for row in rows)
    sentence = f"Best `{score}` of each algorithm: {each}{_differences(rows)}."
    if frame.is_raced:
        sentence = (
            f"Best `{score}` of each algorithm among the {len(frame.complete)} trials that racing left: {each}; it may "
            "have ended better ones of an algorithm that could not win."
        )
    return Answer("algorithms", (sentence,), table)


def _differences(rows: list[dict[str, Any]]) -> str:
    """Which algorithms are worse than the first one, and which may not be."""
    best, *others = rows
    worse = [row["algorithm"] for row in others if row["behind"] > row["least_significant_difference"]]
    alike = [row for row in others if row["behind"] <= row["least_significant_difference"]]
    said = ""
    if worse:
        are = "is" if len(worse) == 1 else "are"
        said += f"; {joined(worse)} {are} worse than {best['algorithm']} beyond noise"
    if alike:
        names = joined(row["algorithm"] for row in alike)
        noise = joined(digits(row["least_significant_difference"]) for row in alike)
        do = "does" if len(alike) == 1 else "do"
        said += f"; {names} {do} not differ from {best['algorithm']} beyond noise ({noise})"
    return said
