"""What losses, score and costs do while models train on batches (RQ1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from entrypoints.limits.noise import REPEATABILITY, SMALL, SMALL_MB, is_memory
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.words import digits, joined, quoted, with_interval
from entrypoints.runs.tags import FOLD
from entrypoints.statistics import REPORTED, Array, holm, is_learned, mean_of
from entrypoints.trials.frame import Frame

Row = Mapping[Any, Any]  # of a table
RISES, FALLS, STEADY, UNCLEAR = "rises", "falls", "steady", "unclear"
MIN_POINTS = 4  # of a curve of costs: its first is the warm-up, and it has to have a beginning and an end
MIN_TRIALS = 3
MAX_DIGITS = 6
MOST = 0.9  # of the trials have to agree on the way of a loss
LEVEL_WITHIN = 0.1  # of the whole change: from where a curve stays as near to its end it is level
AT_THE_END = 0.9  # of the training, from where on a curve that becomes level is not called so


class Curve(NamedTuple):
    """The points of one trial."""

    at: Array
    value: Array


def learning_curves(frame: Frame) -> pd.DataFrame:
    """What each metric does from the beginning of a trial to its end, over the first study's trials that ran to theirs.

    Trials whose axis is the fold have no curves: a step of theirs is another model.

    Losses of different algorithms are different functions, so a study of several algorithms has no row of a loss.

    Returns:
        A row per metric: metric, trials, and

        - start, end: medians over trials: of what is learned the first and the last value, step 0 included; of a cost
          the ends of the Theil-Sen line through the curve without its first point, in which caches are cold
        - change: from start to end, as a share of the start, of a cost of its median, and of memory in MB: of what is
          learned the median, of a cost the mean over trials, with low and high, its 95 % interval
        - level_share: the median share of the training from which on the curve stays as near to its end as a tenth of
          its whole change, and twice its noise from point to point; NaN of costs
        - p_holm: of costs, of the t-test over trials that they do not change, adjusted over all of them
        - verdict: rises or falls: of what is learned nine of ten trials do, in the median by more than two points of a
          curve differ by noise; of a cost p_holm is below 0.01 and the change over 5 %, of memory 0.1 MB. steady: the
          interval of a cost lies within that. Else unclear
    """
    rows: list[dict[str, Any]] = []
    for metric, points in _points(frame).groupby("metric", sort=False):
        learned = metric == frame.score or is_learned(str(metric))
        curves = _curves(points, 2 if learned else MIN_POINTS)
        if len(curves) >= MIN_TRIALS:
            found = _of_learned(curves) if learned else _of_cost(str(metric), curves)
            rows.append({"metric": metric, "trials": len(curves), **found})
    for row, p_holm in zip(rows, holm([row.pop("p_value") for row in rows]), strict=True):
        row["p_holm"] = float(p_holm)
        row.setdefault("verdict", _verdict_on_cost(row))
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def answer(frame: Frame) -> Answer:
    """What is learned, when that is over, and which costs change."""
    table = learning_curves(frame)
    if table.empty:
        why = f"fewer than {MIN_TRIALS} trials have curves of {MIN_POINTS} points"
        if len(frame.complete) and (frame.complete["axis"] == FOLD).all():
            why = "models without `partial_fit` have no curve of training"
        return Answer("training", open_question=f"What changes during training: {why}.")
    is_cost = table["level_share"].isna()
    found = [_learned(rows_of(table[~is_cost])), _costs(rows_of(table[is_cost]))]
    sentences = ["; ".join(parts) for parts in found if parts]
    if sentences and frame.by_fold:
        sentences[0] += f"; models without `partial_fit` ({joined(frame.by_fold)}) have no curve of training"
    return Answer("training", tuple(f"{sentence}." for sentence in sentences), table)


def _points(frame: Frame) -> pd.DataFrame:
    """The points of trials that can be compared."""
    trials = frame.complete
    points = frame.curves[frame.curves["trial_id"].isin(trials["trial_id"])]
    names = points["metric"].astype(str)
    is_left_out = names.str.endswith("_sd")
    if "algorithm" in trials and trials["algorithm"].nunique() > 1:
        is_left_out |= names.str.contains("loss")
    points = points[np.isfinite(points["value"].astype(float)) & ~is_left_out]
    table: pd.DataFrame = points.sort_values("at", kind="stable")
    return table


def _curves(points: pd.DataFrame, least: int) -> list[Curve]:
    """Those of as many points or more."""
    curves = []
    for _, trial in points.groupby("trial_id", sort=False):
        if len(trial) >= least:
            curves.append(Curve(trial["at"].to_numpy(float), trial["value"].to_numpy(float)))
    return curves


def _of_learned(curves: Sequence[Curve]) -> dict[str, Any]:
    """The columns of a loss or score."""
    starts = np.array([curve.value[0] for curve in curves])
    ends = np.array([curve.value[-1] for curve in curves])
    noises = [_noise(curve.value) for curve in curves]
    shares = [_level_from(curve, noise) for curve, noise in zip(curves, noises, strict=True)]
    level_share = float(np.median(shares))
    sizes = np.where(starts == 0, np.inf, np.abs(starts))
    change = float(np.median((ends - starts) / sizes))
    agree = float(np.mean(np.sign(ends - starts) == np.sign(change)))
    is_noise = np.median(np.abs(ends - starts)) <= REPEATABILITY * np.median(noises)
    verdict = RISES if change > 0 else FALLS
    if agree < MOST or is_noise or level_share == 0:
        verdict = UNCLEAR
    return {
        "start": float(np.median(starts)),
        "end": float(np.median(ends)),
        "change": change,
        "level_share": level_share,
        "p_value": math.nan,
        "verdict": verdict,
    }


def _noise(values: Array) -> float:
    """The standard deviation of a curve from point to point, by its second differences."""
    if len(values) <= MIN_POINTS:
        return 0.0
    return 1.48 * float(np.median(np.abs(np.diff(values, 2)))) / math.sqrt(6)


def _level_from(curve: Curve, noise: float) -> float:
    """The share of the training from which on a curve is level."""
    start, end = curve.value[0], curve.value[-1]
    away = np.flatnonzero(np.abs(curve.value - end) > LEVEL_WITHIN * abs(end - start) + 2 * noise)
    first = away[-1] + 1 if len(away) else 0
    return float(curve.at[first] / curve.at[-1])


def _of_cost(metric: str, curves: Sequence[Curve]) -> dict[str, Any]:
    """The columns of a cost but for its verdict."""
    sizes = np.array([np.median(curve.value[1:]) for curve in curves])
    slopes = np.array([stats.theilslopes(curve.value[1:], curve.at[1:]).slope for curve in curves])
    changes = slopes * np.array([np.ptp(curve.at) for curve in curves])
    mean = mean_of(changes if is_memory(metric) else changes / np.where(sizes == 0, np.inf, sizes))
    return {
        "start": float(np.median(sizes - changes / 2)),
        "end": float(np.median(sizes + changes / 2)),
        "change": mean.value,
        "level_share": math.nan,
        "low": mean.low,
        "high": mean.high,
        "p_value": mean.p_value,
    }


def _verdict_on_cost(row: Row) -> str:
    if "low" not in row:
        return UNCLEAR
    small = SMALL_MB if is_memory(row["metric"]) else SMALL
    if row["p_holm"] < REPORTED and abs(row["change"]) > small:
        return RISES if row["change"] > 0 else FALLS
    return STEADY if -small <= row["low"] and row["high"] <= small else UNCLEAR


def _learned(rows: Sequence[Row]) -> list[str]:
    """What each loss and the score do."""
    parts = []
    for row in rows:
        verdict, level_share = row["verdict"], row["level_share"]
        if verdict == UNCLEAR:
            continue
        level = f"is level after {digits(100 * level_share)} % of the training"
        if level_share >= AT_THE_END:
            level = f"still {verdict} at the end"
        parts.append(f"`{row['metric']}` {verdict} {_from_to(row['start'], row['end'])} and {level}")
    return parts


def _from_to(start: float, end: float) -> str:
    """Such as ``from 0.96 to 0.66``, with as many digits as tell the two apart."""
    count = 2
    while digits(start, count) == digits(end, count) and count < MAX_DIGITS:
        count += 1
    return f"from {digits(start, count)} to {digits(end, count)}"


def _costs(rows: Sequence[Row]) -> list[str]:
    """Which costs change. How much memory a process has says nothing: most of it is libraries."""
    changed = [row for row in rows if row["verdict"] in (RISES, FALLS)]
    steady = [row["metric"] for row in rows if row["verdict"] == STEADY]
    parts = [f"`{row['metric']}` {row['verdict']} by {_change(row)}" for row in changed]
    if steady:
        parts.append(f"{quoted(steady)} hardly {'changes' if len(steady) == 1 else 'change'}")
    return parts


def _change(row: Row) -> str:
    """Such as ``5 MB (4.8 to 5.2)`` or ``12 % (10 to 14)``."""
    scale, unit = (1, "MB") if is_memory(row["metric"]) else (100, "%")
    change, low, high = (abs(scale * row[name]) for name in ("change", "low", "high"))
    return with_interval(change, low, high, unit)
