"""What each hyperparameter does to what trials cost and score (RQ2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from entrypoints.limits.judging import WORTH_MB
from entrypoints.limits.noise import MIN_DEGREES, SMALL, Noise, is_memory, noise_of
from entrypoints.reporting import effect_words
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.paired import Pairs, matched
from entrypoints.reporting.words import quoted
from entrypoints.statistics import LEVEL, REPORTED, Estimate, FoldNoise, by_t, holm, is_learned, over_folds
from entrypoints.trials.frame import Frame, to_ten_digits

SMALL_SHARE = 0.02  # of memory, of which a process alone has more than a hundred megabytes
MIN_PAIRS = 2
# Of costs that say the same, one: a trial's elapsed time follows its training time.
MAIN_COSTS = (
    "training_time_s",
    "model_memory_mb",
    "peak_memory_mb",
    "inference_latency_ms",
    "model_size_kb",
    "peak_gpu_memory_mb",
)
MAX_LOGARITHM = 700.0  # beyond it a factor has no number
_ENDS = ("change", "low", "high")
Row = dict[str, Any]  # of a table


def of_costs(frame: Frame) -> pd.DataFrame:
    """The effect of each hyperparameter on each cost, over the first study's trials that ran to their end.

    Two levels are compared over configurations that have both, and differ in nothing else: the mean of the logarithms
    of their ratios, of memory of their differences, and its t-test. So a rate at which only cheap trials are left does
    not look cheap. Trials run in random order, so what depends on the order is noise of the pairs. Where pairs are few,
    they may agree by chance: then the study's noise counts beside theirs, by degrees of freedom.

    Returns:
        A row per cost and hyperparameter of which some configurations differ in it alone:

        - metric, hyperparameter
        - from, to: of the pairs of levels that differ the one with the largest change, else the one with the smallest
          p-value
        - change: the factor from one to the other; of memory the difference in MB, which ``unit`` says
        - low, high: its 95 % interval, which allows for the choice among all pairs (Bonferroni)
        - p_value, p_holm: allowing for that choice, and adjusted over the hyperparameters of this cost
        - trials: how many are compared
        - noise, least_significant_difference: of ``noise_of``, as shares
        - reported: whether it is worth a sentence: p_holm below 0.01; more than 5 %, of memory than 2 % and 1 MB, and
          by the interval more than half of that
    """
    rows: list[Row] = []
    for cost in MAIN_COSTS:
        if cost in frame.metrics and frame.ended[cost].nunique() > 1:
            rows += _on_cost(frame, cost)
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def of_score(frame: Frame) -> pd.DataFrame:
    """The effect of each hyperparameter on the score, with the folds as replication: all trials share them.

    Two levels are compared over configurations that have both, and differ in nothing else: per fold the mean of their
    differences, then the corrected resampled t-test. Configurations with equal scores in each fold count once.

    Returns:
        A row per hyperparameter: metric, hyperparameter, from, to (levels), change (of the score, from one to the
        other), low, high, reach (its 95 % interval, and half of that), trials (compared), of_trials and models (of the
        study, and the different ones of these), same (whether no pair of levels makes another model), p_value, p_holm
        (over hyperparameters), reported (p_holm below 0.05). The levels are chosen as in ``of_costs``.
    """
    scores = fold_scores(frame)
    rows: list[Row] = []
    if scores.shape[1] > 1:
        trials = frame.complete.set_index("trial_id").loc[scores.index]
        rows = _strongest(frame, trials, frame.score, scores, _score_change)
    models = len(scores.drop_duplicates())
    for row in rows:
        row["unit"] = ""
        row["reach"] = row["high"] - row["change"]
        row["of_trials"] = len(scores)
        row["models"] = models
        row["reported"] = row["p_holm"] < LEVEL
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def noise_table(frame: Frame) -> pd.DataFrame:
    """How much the score and each cost differ where nothing differs.

    Returns:
        A row per metric: metric; noise (of the score the standard error of the difference of two models, of a cost a
        share of it); degrees_of_freedom; least_significant_difference: two trials that differ by no more may be equal.
    """
    of_score = noise_of_score(frame)
    rows = [(frame.score, of_score.error(), of_score.degrees, of_score.least_difference)]
    for cost in (name for name in frame.metrics if name != frame.score and not is_learned(name)):
        of_cost = noise_of(frame, cost)
        if of_cost.is_measured:
            rows.append((cost, of_cost.share, int(of_cost.degrees), of_cost.least_difference()))
    columns = ["metric", "noise", "degrees_of_freedom", "least_significant_difference"]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return table


def noise_of_score(frame: Frame) -> FoldNoise:
    """The noise of the score in the first study."""
    return FoldNoise.of(fold_scores(frame).to_numpy())


def fold_scores(frame: Frame, trials: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row per trial, by default those that ran to their end, the best first, and a column per fold.

    Trials that lack a fold are left out.
    """
    trials = frame.complete if trials is None else trials
    of = frame.folds[frame.folds["study"] == frame.first]
    if frame.score not in of:
        nothing: pd.DataFrame = pd.DataFrame()
        return nothing
    wide = of.pivot(index="trial_id", columns="fold", values=frame.score).astype(float)
    kept: pd.DataFrame = wide.reindex(trials["trial_id"]).replace([np.inf, -np.inf], np.nan).dropna()
    return to_ten_digits(kept)


def answer(frame: Frame) -> Answer:
    """What changes the score, what changes the costs, and how sure that is."""
    is_raced = frame.is_raced
    score = [] if is_raced else rows_of(of_score(frame))
    costs = rows_of(of_costs(frame))
    why = _not_compared(frame, {row["hyperparameter"] for row in (*score, *costs)})
    if is_raced:
        why = (
            f"What hyperparameters do to `{frame.score}`: racing ended trials by their score, so the others do not "
            "tell; `race=off` runs every trial to its end."
        )
    rows = sorted([*score, *costs], key=lambda row: not row["reported"])
    return Answer("effects", effect_words.sentences(score, costs), pd.DataFrame(rows), open_question=why)


def _not_compared(frame: Frame, compared: set[str]) -> str:
    """Of which hyperparameters no effect can be told, and what to do; empty where there is none.

    Algorithms have different hyperparameters, so ``algorithms`` compares them in another way.
    """
    varied = {name for name in frame.hyperparameters if frame.ended[name].nunique() > 1} - {"algorithm"}
    unknown = sorted(varied - compared)
    if not unknown and compared:
        return ""
    names = quoted(unknown) if unknown else "hyperparameters"
    do = "list the values to compare in space"
    if frame.studies["search"].iloc[0] != "grid":
        do = "`search=grid` compares listed values"
    return f"What changes with {names}: no trials differ in one of them alone; {do}."


def _strongest(
    frame: Frame,
    trials: pd.DataFrame,
    metric: str,
    values: pd.DataFrame,
    change_of: Callable[[Pairs], Estimate | None],
) -> list[Row]:
    """A row per hyperparameter, for the two levels that are worth most of a word."""
    rows = []
    for name in frame.hyperparameters:
        found: list[Row] = []
        for pairs in matched(trials, frame.hyperparameters, name, values):
            change = change_of(pairs)
            if change is None:
                continue
            row = {
                "metric": metric,
                "hyperparameter": name,
                "from": pairs.first,
                "to": pairs.second,
                "change": change.value,
                "low": change.low,
                "high": change.high,
                "p_value": float(np.minimum(1.0, change.p_value * pairs.compared)),
                "trials": 2 * len(pairs.one),
                "same": pairs.one.equals(pairs.other),
            }
            found.append(row)
        differ = [row for row in found if row["p_value"] < LEVEL]
        if differ:
            rows.append(max(differ, key=lambda row: abs(row["change"])))
        elif found:
            rows.append(min(found, key=lambda row: (row["same"], row["p_value"])))
    for row, p_holm in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = float(p_holm)
    return rows


def _score_change(pairs: Pairs) -> Estimate:
    """From one level to the other, with the folds as replication; equal models count once."""
    both = np.unique(np.hstack([pairs.one, pairs.other]), axis=0)
    first, second = np.hsplit(both, 2)
    return over_folds((second - first).mean(axis=0), LEVEL / pairs.compared)


def _on_cost(frame: Frame, cost: str) -> list[Row]:
    """The rows of one cost: memory adds up, and other costs are multiplied."""
    trials = frame.ended
    known = trials[np.isfinite(trials[cost].astype(float))]
    noise, is_factor = noise_of(frame, cost), not is_memory(cost)
    if is_factor:
        known = known[known[cost] > 0]
    values = known[[cost]].astype(float)
    mean_cost = float(values[cost].mean())
    if is_factor:
        values, sd, least = np.log(values), noise.share, SMALL
    else:
        sd, least = noise.share * mean_cost, max(SMALL_SHARE * mean_cost, WORTH_MB)
    rows = _strongest(frame, known, cost, values, lambda pairs: _cost_change(pairs, noise, sd))
    for row in rows:
        row["unit"] = "times" if is_factor else "MB"
        changes = np.array([row[name] for name in _ENDS])
        sizes = np.abs(changes)
        if is_factor:
            changes = changes.clip(-MAX_LOGARITHM, MAX_LOGARITHM)
            sizes = np.expm1(np.abs(changes))  # as much for half as for twice
            row |= dict(zip(_ENDS, np.exp(changes).tolist(), strict=True))
        matters = sizes[0] > least and min(sizes[1:]) > least / 2
        row["reported"] = row["p_holm"] < REPORTED and bool(matters)
        if noise.is_measured:
            row["noise"] = noise.share
            row["least_significant_difference"] = noise.least_difference()
    return rows


def _cost_change(pairs: Pairs, noise: Noise, sd: float) -> Estimate | None:
    """From one level to the other, of values of which equal trials have this standard deviation by noise."""
    differences = (pairs.other - pairs.one).to_numpy()[:, 0]
    count = len(differences)
    if count < MIN_PAIRS:
        return None
    error, degrees = float(stats.sem(differences)), float(count - 1)
    if degrees < MIN_DEGREES and noise.is_measured:
        squares = degrees * error**2 + noise.degrees * sd**2 * 2 / count
        error = math.sqrt(squares / (degrees + noise.degrees))
        degrees = max(degrees, noise.degrees)
    return by_t(float(differences.mean()), error, degrees, LEVEL / pairs.compared)
