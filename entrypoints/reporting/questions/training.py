"""What losses, score and costs do while models train (RQ1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from entrypoints.frame import Frame
from entrypoints.reporting.answer import Answer
from entrypoints.reporting.drawing import LINES, MARKERS, PALETTE, scale_axis, sheet, styled
from entrypoints.reporting.statistics import SMALL, SMALL_MB, TOLD, Array, holm, is_learned, is_memory
from entrypoints.reporting.words import broken, digits, listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RISES, FALLS, STEADY, UNCLEAR = "rises", "falls", "steady", "unclear"
MIN_POINTS = 4  # of a curve of costs: its first is the warm-up, and it has to have a beginning and an end
MIN_TRIALS = 3
MOST = 0.9  # of the trials have to agree on the way of a loss
LEVEL_WITHIN = 0.05  # of the whole change: from where a curve stays as near to its end it is level
AT_THE_END = 0.9  # of the training, from where on a curve that becomes level is not called so
SHARES = np.linspace(0, 1, 41)  # of the training at which a figure has a median
SERIES = "system/process_"


def courses(frame: Frame) -> pd.DataFrame:
    """What each metric does from the beginning of a trial to its end, over the first study's trials that ran to theirs.

    Losses of different algorithms are different functions, so each has rows of its own.

    Returns:
        A row per metric and algorithm (empty text for all together): metric, algorithm, trials, and

        - start, end: medians over trials; of what is learned the first and the last value, step 0 included, of a cost
          the median of the first and of the last third of a curve, without its first point, in which caches are cold
        - change, change_percent: medians of the difference, and of it as a share of the start
        - low, high: of the change (of costs but memory of the share) the 95 % interval of its mean over trials
        - level_from, level_share: the median step, and share of the training, from which on the curve stays within 5 %
          of its whole change of its end; NaN of costs
        - p_holm: of costs, of the t-test over trials that they do not change, adjusted over all of them
        - verdict: rises or falls: of what is learned nine of ten trials do; of a cost p_holm is below 0.01 and the
          change over 5 %, of memory 0.1 MB. steady: the interval of a cost lies within that. Else unclear
    """
    rows = []
    for (metric, algorithm), own in _curves(frame).groupby(["metric", "algorithm"], sort=False):
        learned = _is_learned(frame, str(metric))
        each = [_course(trial, learned) for _, trial in own.groupby("trial_id", sort=False)]
        known = [course for course in each if course is not None]
        if len(known) >= MIN_TRIALS:
            rows.append({"metric": metric, "algorithm": algorithm, **_together(str(metric), known, learned)})
    table: pd.DataFrame = pd.DataFrame(rows)
    if not rows:
        return table
    table["p_holm"] = holm(table["p_value"])
    table["verdict"] = [_verdict(row) for row in table.to_dict("records")]
    return table.drop(columns=["p_value", "agree"])


def answer(frame: Frame) -> Answer:
    """What is learned, when that is over, and which costs change."""
    table = courses(frame)
    if table.empty:
        why = f"What changes during training: fewer than {MIN_TRIALS} trials have curves of {MIN_POINTS} points."
        return Answer("training", open_question=why)
    rows = table.to_dict("records")
    learned = [row for row in rows if row["level_share"] == row["level_share"]]
    costs = [row for row in rows if row not in learned]
    sentences = [*_learned(learned), *_costs(costs)]
    title = sentences[0] if sentences else "No metric is shown to change during training"
    return Answer("training", tuple(sentences), table, lambda: _drawn(frame, table, title))


def _is_learned(frame: Frame, metric: str) -> bool:
    return metric == frame.score or is_learned(metric) or "loss" in metric


def _curves(frame: Frame) -> pd.DataFrame:
    """The points, with the algorithm of what is a loss; of a cost those by step, or else those of its series."""
    ended = frame.complete[["trial_id", *(["algorithm"] if "algorithm" in frame.hyperparameters else [])]]
    points = frame.curves[frame.curves["study"] == frame.first].merge(ended, on="trial_id")
    points = points[np.isfinite(points["value"].astype(float)) & ~points["metric"].str.endswith("_sd")]
    own = set(points["metric"])
    points = points[
        [
            name.removeprefix(SERIES) not in own or name in own and not name.startswith(SERIES)
            for name in points["metric"]
        ]
    ]
    algorithms = points["algorithm"].astype(str) if "algorithm" in points else pd.Series("", index=points.index)
    table: pd.DataFrame = points.assign(algorithm=algorithms.where(points["metric"].str.contains("loss"), ""))
    return table.sort_values(["metric", "trial_id", "at"], kind="stable")


def _course(trial: pd.DataFrame, learned: bool) -> dict[str, float] | None:
    """What one curve does; None of one that is too short."""
    at, value = trial["at"].to_numpy(float), trial["value"].to_numpy(float)
    if learned:
        if len(value) < 2:
            return None
        away = np.abs(value - value[-1]) > LEVEL_WITHIN * abs(value[-1] - value[0])
        level = float(at[np.flatnonzero(away)[-1] + 1]) if away.any() else float(at[0])
        return {
            "start": value[0],
            "end": value[-1],
            "level_from": level,
            "level_share": level / at[-1],
            "length": at[-1],
        }
    if len(value) < MIN_POINTS:
        return None
    third = math.ceil((len(value) - 1) / 3)
    start, end = float(np.median(value[1 : 1 + third])), float(np.median(value[-third:]))
    return {"start": start, "end": end, "level_from": math.nan, "level_share": math.nan, "length": at[-1]}
