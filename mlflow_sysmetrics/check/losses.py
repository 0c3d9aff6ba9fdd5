"""Is one model's loss larger than another's on the same rows? The paired t test of `verdict`, at one look."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mlflow_sysmetrics.check.verdict import PASSES, UNDECIDED, ComparedMetric, Differences, Finding, by_noise

_P_WORSE, _P_PASSES = 0.01, 0.05  # as those of all looks of a cost together; the first is shared by all metrics
_TOLERANCE, _MIN_CHANGE = 1.0, 0.25  # % of the metric


class Loss(NamedTuple):
    """The loss of each row, from targets and predictions, and what makes the metric of its mean."""

    of_rows: Callable[[np.ndarray, np.ndarray], np.ndarray]
    metric: Callable[[float], float]


LOSSES = {
    "rmse": Loss(lambda y, predicted: (y - predicted) ** 2, lambda mean: mean**0.5),
    "mae": Loss(lambda y, predicted: abs(y - predicted), float),
    "error_rate": Loss(lambda y, predicted: (y != predicted).astype(float), float),
}


def compared_loss(name: str) -> ComparedMetric:
    return ComparedMetric(name, "%", _TOLERANCE, _MIN_CHANGE)


def judge_loss(metric: ComparedMetric, a: np.ndarray, b: np.ndarray, groups: np.ndarray, together: int) -> Finding:
    """Judge the mean loss of the candidate, `b`, against that of the baseline, row by row, in % of the metric.

    Rows of one group, such as a patient's, err alike, so each group is one observation: the sum of its differences.
    `together` metrics share the error.
    """
    score = LOSSES[metric.name].metric
    if np.array_equal(a, b):
        return Finding(metric.name, PASSES, "%", 0.0, 0.0, 0.0, why=f"{score(a.mean()):.4g}, the same loss in each row")
    before = score(a.mean())
    if not before:
        why = f"0 -> {score(b.mean()):.4g}: the baseline makes no error here, of which a part could be tolerated"
        return Finding(metric.name, UNDECIDED, "%", 0.0, 0.0, 0.0, why=why)
    mean = float((b - a).mean())
    step = mean or 1e-6 * a.mean()  # a chord, so that the change is that of the metric; else the slope here
    percent = 100 * (score(a.mean() + step) - before) / step / before
    values = percent * _of_groups(b - a, mean, groups)
    differences = Differences(values, metric.tolerance, metric.min_change, metric.min_noise)
    return by_noise(metric, differences, _P_WORSE / together, _P_PASSES)


def _of_groups(differences: np.ndarray, mean: float, groups: np.ndarray) -> np.ndarray:
    """A value for each group, with the mean of all rows, and the noise of a ratio of sums: sizes of groups differ."""
    _, places = np.unique(groups, return_inverse=True)
    sums = np.bincount(places, differences)
    sizes = np.bincount(places)
    values: np.ndarray = mean + (sums - mean * sizes) / sizes.mean()
    return values
