"""What losses, score and costs do while models train (RQ1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from entrypoints.frame import Frame
from entrypoints.limits.noise import REPEATABILITY, SMALL, SMALL_MB, is_memory
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.drawing import LINES, PALETTE, scale_axis, sheet, styled
from entrypoints.reporting.statistics import REPORTED, Array, holm, is_learned, mean_of
from entrypoints.reporting.words import digits, listed, with_interval

Row = Mapping[Any, Any]  # of a table
RISES, FALLS, STEADY, UNCLEAR = "rises", "falls", "steady", "unclear"
MIN_POINTS = 4  # of a curve of costs: its first is the warm-up, and it has to have a beginning and an end
MIN_TRIALS = 3
MOST = 0.9  # of the trials have to agree on the way of a loss
LEVEL_WITHIN = 0.1  # of the whole change: from where a curve stays as near to its end it is level
AT_THE_END = 0.9  # of the training, from where on a curve that becomes level is not called so
SHARES = np.linspace(0, 1, 41)  # of the training at which a figure has a median
SERIES = "system/process_"


def learning_curves(frame: Frame) -> pd.DataFrame:
    """What each metric does from the beginning of a trial to its end, over the first study's trials that ran to theirs.

    Losses of different algorithms are different functions, so each has rows of its own.

    Returns:
        A row per metric and algorithm (empty text for all together): metric, algorithm, trials, and

        - start, end: medians over trials: of what is learned the first and the last value, step 0 included; of a cost
          the ends of the Theil-Sen line through the curve without its first point, in which caches are cold
        - change: from start to end, as a share of the start, of a cost of its median, and of memory in MB: of what is
          learned the median, of a cost the mean over trials, with low and high, its 95 % interval
        - level_from, level_share: the median step, and share of the training, from which on the curve stays as near to
          its end as a tenth of its whole change, and twice its noise from point to point; NaN of costs. same_length:
          whether all trials have as many steps
        - p_holm: of costs, of the t-test over trials that they do not change, adjusted over all of them
        - verdict: rises or falls: of what is learned nine of ten trials do, in the median by more than two points of a
          curve differ by noise; of a cost p_holm is below 0.01 and the change over 5 %, of memory 0.1 MB. steady: the
          interval of a cost lies within that. Else unclear
    """
    rows = []
    for (metric, algorithm), own in _curves(frame).groupby(["metric", "algorithm"], sort=False):
        learned = metric == frame.score or is_learned(str(metric))
        each = [_learning_curve(str(metric), trial, learned) for _, trial in own.groupby("trial_id", sort=False)]
        known = [curve for curve in each if curve is not None]
        if len(known) >= MIN_TRIALS:
            rows.append({"metric": metric, "algorithm": algorithm, **_together(str(metric), known, learned)})
    table: pd.DataFrame = pd.DataFrame(rows)
    if not rows:
        return table
    table["p_holm"] = holm(table["p_value"])
    table["verdict"] = [_verdict(row) for row in rows_of(table)]
    whole: pd.DataFrame = table.drop(columns=["p_value", "agree"])
    return whole


def answer(frame: Frame) -> Answer:
    """What is learned, when that is over, and which costs change."""
    table = learning_curves(frame)
    if table.empty:
        why = f"What changes during training: fewer than {MIN_TRIALS} trials have curves of {MIN_POINTS} points."
        return Answer("training", open_question=why)
    rows = rows_of(table)
    learned = [row for row in rows if row["level_share"] == row["level_share"]]
    costs = [row for row in rows if row not in learned]
    sentences = [*_learned(learned), *_costs(costs)]
    title = sentences[0] if sentences else "No metric is shown to change during training"
    return Answer("training", tuple(sentences), table, lambda: _drawn(frame, table, title))


def _curves(frame: Frame) -> pd.DataFrame:
    """The points of trials, with the algorithm of losses; of a cost those by step, or else those of its series."""
    ended = frame.complete[["trial_id", *(["algorithm"] if "algorithm" in frame.hyperparameters else [])]]
    points = frame.curves[frame.curves["study"] == frame.first].merge(ended, on="trial_id")
    names, by_step = points["metric"].astype(str), set(points.loc[points["axis"] == "step", "metric"])
    is_spare = names.str.startswith(SERIES) & names.str.removeprefix(SERIES).isin(by_step)
    points = points[np.isfinite(points["value"].astype(float)) & ~names.str.endswith("_sd") & ~is_spare]
    algorithms = points["algorithm"].astype(str) if "algorithm" in points else pd.Series("", index=points.index)
    named = points.assign(algorithm=algorithms.where(points["metric"].str.contains("loss"), ""))
    table: pd.DataFrame = named.sort_values("at", kind="stable")
    return table


def _learning_curve(metric: str, trial: pd.DataFrame, learned: bool) -> dict[str, float] | None:
    """What one curve does; None of one that is too short."""
    at, value = trial["at"].to_numpy(float), trial["value"].to_numpy(float)
    if len(value) < (2 if learned else MIN_POINTS):
        return None
    noise = 0.0  # from point to point
    if learned:
        start, end = float(value[0]), float(value[-1])
        noise = 1.48 * float(np.median(np.abs(np.diff(value, 2)))) / math.sqrt(6) if len(value) > MIN_POINTS else 0.0
        away = np.flatnonzero(np.abs(value - end) > LEVEL_WITHIN * abs(end - start) + 2 * noise)
        level, size = float(at[away[-1] + 1]) if len(away) else float(at[0]), abs(start)
    else:
        slope, size, level = float(stats.theilslopes(value[1:], at[1:]).slope), float(np.median(value[1:])), math.nan
        start, end = (size + side * slope * float(np.ptp(at)) for side in (-0.5, 0.5))
    change = end - start if is_memory(metric) else (end - start) / size if size else 0.0
    return {"start": start, "end": end, "change": change, "level_from": level, "length": float(at[-1]), "noise": noise}


def _together(metric: str, each: Sequence[dict[str, float]], learned: bool) -> dict[str, Any]:
    """A row of ``learning_curves``, but for the verdict."""
    table: pd.DataFrame = pd.DataFrame(each)
    row: dict[str, Any] = {"trials": len(table)} | table[["start", "end", "change", "level_from"]].median().to_dict()
    lengths = table["length"]
    row |= {"level_share": float((table["level_from"] / lengths).median()), "same_length": lengths.nunique() == 1}
    changes = table["change"].to_numpy(float)
    is_beyond_noise = (table["end"] - table["start"]).abs().median() > REPEATABILITY * table["noise"].median()
    agree = float(np.mean(np.sign(changes) == np.sign(row["change"]))) if is_beyond_noise else 0.0
    row |= {"agree": agree, "low": math.nan, "high": math.nan}
    if learned:
        return row | {"p_value": math.nan}
    mean, low, high, p = mean_of(changes)
    return row | {"change": mean, "low": low, "high": high, "p_value": p}


def _verdict(row: Row) -> str:
    way = RISES if row["change"] > 0 else FALLS
    if row["level_share"] == row["level_share"]:
        return way if row["agree"] >= MOST and row["level_share"] > 0 else UNCLEAR
    small = SMALL_MB if is_memory(row["metric"]) else SMALL
    if row["p_holm"] < REPORTED and abs(row["change"]) > small:
        return way
    return STEADY if -small <= row["low"] and row["high"] <= small else UNCLEAR


def _learned(rows: Sequence[Row]) -> list[str]:
    """What losses and the score do, in a sentence; of a loss that algorithms have of their own one after the other."""
    parts = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        own = [row for row in rows if row["metric"] == metric]
        way = own[0]["verdict"]
        if way == UNCLEAR or any(row["verdict"] != way for row in own):
            continue
        by = f"by {_each(own, [100 * abs(row['change']) for row in own], ' %')}"
        if "loss" not in metric:
            by = f"from {digits(own[0]['start'], 2)} to {digits(own[0]['end'], 2)}"
        level = f"is level from step {_each(own, [row['level_from'] for row in own])} on"
        if not all(row["same_length"] for row in own):
            level = f"is level after {_each(own, [100 * row['level_share'] for row in own], ' %')} of the training"
        if max(row["level_share"] for row in own) >= AT_THE_END:
            level = f"still {way} at the end"
        parts.append(f"`{metric}` {way} {by} and {level}")
    return [f"{'; '.join(parts)}."] if parts else []


def _each(rows: Sequence[Row], values: Sequence[float], unit: str = "") -> str:
    """Such as ``48 % (logistic) and 61 % (svm)``; one number where all are written alike."""
    texts = [f"{digits(value, 2)}{unit}" for value in values]
    if len(set(texts)) == 1:
        return texts[0]
    return listed([f"{text} ({row['algorithm']})" for text, row in zip(texts, rows, strict=True)])


def _costs(rows: Sequence[Row]) -> list[str]:
    """Which costs change, and which do not. How much memory a process has says nothing: most of it is libraries."""
    changed = [f"{_named(row)} {row['verdict']} by {_change(row)}" for row in rows if row["verdict"] in (RISES, FALLS)]
    steady = [row for row in rows if row["verdict"] == STEADY]
    level = [_named(row) for row in steady if not is_memory(row["metric"])]
    parts = [f"{listed(changed)}"] if changed else []
    parts += [f"{_named(row)} does not grow" for row in steady if is_memory(row["metric"])]
    parts += [f"{listed(level)} {'stays' if len(level) == 1 else 'stay'} within 5 %"] if level else []
    return [f"{'; '.join(parts)}."] if parts else []


def _named(row: Row) -> str:
    return f"`{row['metric']}`"


def _change(row: Row) -> str:
    """Such as ``5 MB (4.8 to 5.2)`` or ``12 % (10 to 14)``."""
    in_mb = is_memory(row["metric"])
    change, *ends = (abs(row[name]) * (1 if in_mb else 100) for name in ("change", "low", "high"))
    texts = digits(change, 2), digits(min(ends), 2), digits(max(ends), 2)
    return with_interval(*texts, unit="MB" if in_mb else "%")


@styled
def _drawn(frame: Frame, table: pd.DataFrame, title: str) -> Figure:
    """Each metric over the training: the median of the trials and their middle 80 %."""
    curves, metrics = _curves(frame), list(dict.fromkeys(table["metric"]))
    figure, panels = sheet(len(metrics), title, "Lines: medians over trials; bands: the middle 80 % of them.")
    for metric, axes in zip(metrics, panels, strict=True):
        for number, algorithm in enumerate(table.loc[table["metric"] == metric, "algorithm"]):
            own = curves[(curves["metric"] == metric) & (curves["algorithm"] == algorithm)]
            values = np.array([_along(trial) for _, trial in own.groupby("trial_id") if len(trial) > 1])
            known = np.isfinite(values).any(axis=0)
            low, middle, high = np.nanquantile(values[:, known], [0.1, 0.5, 0.9], axis=0)
            shares, color = 100 * SHARES[known], PALETTE[number % len(PALETTE)]
            axes.fill_between(shares, low, high, color=color, alpha=0.2, linewidth=0)
            axes.plot(shares, middle, LINES[number % len(LINES)], color=color, label=algorithm or None)
        scale_axis(axes, "y", np.concatenate([line.get_ydata() for line in axes.lines]))
        axes.set_xlabel("% of the training")
        axes.set_ylabel(metric)
        if len(axes.lines) > 1:
            axes.legend(title="algorithm")
    return figure


def _along(trial: pd.DataFrame) -> Array:
    """A curve at the shares of the training; straight between its points, nothing before its first."""
    at = trial["at"].to_numpy(float)
    values: Array = np.interp(SHARES, at / at[-1], trial["value"].to_numpy(float), left=np.nan)
    return values
