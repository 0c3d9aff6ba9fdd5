"""Tests of differences between models: t-tests of folds that share rows and of pairs, ranks over datasets, Holm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

Array = NDArray[np.float64]
LEVEL = 0.05
REPORTED = 0.01  # the level at which effects and trends are reported, after Holm's correction within one metric
DRAWS = 9999  # of rankings by chance
_MIN_ERROR = 1e-12  # where all values are equal


class Estimate(NamedTuple):
    """A value, the ends of its 95 % interval, and the p-value of the test that it is 0; NaN where not known."""

    value: float
    low: float
    high: float
    p_value: float


def range_by_chance(scores: pd.DataFrame) -> float:
    """The p-value of the range of rank sums, from the best configuration to the worst, by permutation in each block.

    It tests what is said, that the best and the worst differ; Friedman's test says only that some two do.

    Args:
        scores: a row per block, a column per configuration, without gaps.
    """
    within = scores.rank(axis=1).to_numpy()
    drawn = np.random.default_rng(0).permuted(np.broadcast_to(within, (DRAWS, *within.shape)), axis=2)
    reached = np.ptp(drawn.sum(axis=1), axis=1) >= np.ptp(within.sum(axis=0)) - 1e-6
    return float(1 + reached.sum()) / (1 + DRAWS)


def over_folds(differences: Array, error_rate: float = LEVEL) -> Estimate:
    """The corrected resampled t-test of differences between models, one a fold of a cross-validation.

    Nadeau and Bengio (Machine Learning 52, 2003) add to 1/n, for n folds, the share of test rows to training rows,
    since the folds' training rows overlap; Bouckaert and Frank (PAKDD 2004) use it with cross-validation.

    Returns:
        The mean difference, with an interval that fails to hold the true one at the error rate. Its ends and the
        p-value are NaN where all differences are equal, so that their error is not known.
    """
    folds, mean = len(differences), float(differences.mean())
    spread = float(differences.std(ddof=1))
    if spread <= 1e-12 * float(np.abs(differences).max()):
        return Estimate(mean, math.nan, math.nan, math.nan)
    error = spread * math.sqrt(1 / folds + 1 / (folds - 1))
    return by_t(mean, error, folds - 1, error_rate)


def mean_of(values: Array) -> Estimate:
    """The mean of independent values, by their t-test."""
    return by_t(float(values.mean()), float(stats.sem(values)), len(values) - 1)


def by_t(value: float, error: float, degrees: float, error_rate: float = LEVEL) -> Estimate:
    """A value with this standard error, which has these degrees of freedom, and its interval at the error rate."""
    # scipy.stats takes as long for thousands of trials as all else that is asked of them.
    error = max(error, _MIN_ERROR)
    reach = -float(special.stdtrit(degrees, error_rate / 2)) * error
    return Estimate(value, value - reach, value + reach, 2 * float(special.stdtr(degrees, -abs(value) / error)))


def is_number(values: pd.Series[Any]) -> bool:
    """Whether a column holds numbers; truth values are words."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def is_learned(metric: str) -> bool:
    """Whether it says what a model has learned, not what it cost."""
    return metric.startswith(("train_", "val_", "test_")) or "loss" in metric


def holm(p_values: Sequence[float] | Array | pd.Series[float]) -> Array:
    """Holm's step-down adjustment for several tests; those without a p-value (NaN) keep none and do not count."""
    adjusted = np.array(p_values, dtype=float)
    order = np.argsort(adjusted)[: np.count_nonzero(~np.isnan(adjusted))]  # NaN come last
    adjusted[order] = np.maximum.accumulate(adjusted[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return adjusted
