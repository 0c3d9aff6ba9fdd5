"""Estimates with their intervals and tests: over folds that share rows, pairs, blocks of rows, ranks over datasets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
LEVEL = 0.05
REPORTED = 0.01  # the level at which effects and trends are reported, after Holm's correction within one metric
DRAWS = 9999  # of rankings by chance
BLOCKS = 20  # of rows, of the jackknife
PSEUDO_FOLDS = 4  # with the pooled spread, beside those of a pair
_MIN_ERROR = 1e-12  # where all values are equal


@dataclass(frozen=True)
class Estimate:
    """A number that was estimated, its interval, and the test that it is 0, by Student's t.

    Attributes:
        value: the number.
        error: its standard error; NaN where that is not known, and then there is neither interval nor test.
        degrees: of freedom, of the error.
        error_rate: how often the interval may miss the true number.
        why_unknown: why there is no interval, as the end of a sentence; else empty.
    """

    value: float
    error: float = math.nan
    degrees: float = math.nan
    error_rate: float = LEVEL
    why_unknown: str = ""

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.value - self._reach

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.value + self._reach

    @property
    def p_value(self) -> float:
        """The probability of a value as far from 0 by chance alone."""
        # scipy.stats takes as long for thousands of trials as all else that is asked of them.
        return 2 * float(special.stdtr(self.degrees, -abs(self.value) / self.error))

    @property
    def _reach(self) -> float:
        return -float(special.stdtrit(self.degrees, self.error_rate / 2)) * self.error


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
        return Estimate(mean, why_unknown="it is the same on each fold")
    error = spread * math.sqrt(1 / folds + 1 / (folds - 1))
    return by_t(mean, error, folds - 1, error_rate)


def mean_of(values: Array) -> Estimate:
    """The mean of independent values, by their t-test."""
    return by_t(float(values.mean()), float(stats.sem(values)), len(values) - 1)


def by_t(value: float, error: float, degrees: float, error_rate: float = LEVEL) -> Estimate:
    """A value with this standard error, which has these degrees of freedom, and its interval at the error rate."""
    return Estimate(value, max(error, _MIN_ERROR), degrees, error_rate)


def blocks_of(groups: NDArray[Any]) -> NDArray[np.int64]:
    """The block (rows,) of each row: rows of one group share it, and groups are dealt out at random.

    Args:
        groups: of each row; where rows stand alone each is its own, as in ``np.arange(rows)``.
    """
    distinct, of_row = np.unique(groups, return_inverse=True)
    dealt = np.random.default_rng(0).permutation(len(distinct)) % BLOCKS
    return np.asarray(dealt[of_row], dtype=np.int64)


def jackknife(score: Callable[[Rows], float], blocks: NDArray[np.int64]) -> Estimate:
    """A score of all rows, with its error by that of the rows without each block in turn.

    For g blocks the variance is (g - 1)/g times the sum of the squared distances of the g scores from their mean, with
    g - 1 degrees of freedom (Kott, Journal of Official Statistics 17, 2001). Of a fixed model's test rows it is the
    error of its score; of the difference between two models' scores on the same rows that of this difference.

    Args:
        score: of the rows with these places; NaN where it is not defined.
        blocks: the block of each row, of ``blocks_of``.
    """
    value = score(np.arange(len(blocks)))
    distinct = np.unique(blocks)
    count = len(distinct)
    if count < 2:
        return Estimate(value, why_unknown="all rows are of one group")
    without = np.array([score(np.flatnonzero(blocks != block)) for block in distinct])
    if not np.isfinite(without).all():
        return Estimate(value, why_unknown="without some of the rows the score is not defined")
    squares = float(((without - without.mean()) ** 2).sum())
    error = math.sqrt((count - 1) / count * squares)
    if error <= 1e-12 * abs(value):
        return Estimate(value, why_unknown="it is the same without any of the rows")
    return Estimate(value, error, count - 1)


@dataclass(frozen=True)
class FoldNoise:
    """How much the scores of two good models differ by the folds alone.

    Attributes:
        spread: the standard deviation of their difference over folds, pooled over the better half of the different
            models, since bad ones differ more; NaN with one model or one fold.
        folds: how many there are.
        models: how many different ones.
    """

    spread: float = math.nan
    folds: int = 0
    models: int = 0

    @classmethod
    def of(cls, scores: Array) -> FoldNoise:
        """That of some models: a row each, the best first, and a column per fold. Equal rows are one model."""
        digits = np.array([[float(f"{score:.9e}") for score in row] for row in scores])
        _, first = np.unique(digits, axis=0, return_index=True)
        models = scores[np.sort(first)]
        count, folds = models.shape
        if folds < 2 or count < 2:
            return cls(folds=folds, models=count)
        better = models[: _better_half(count)]
        left = better - better.mean(axis=1, keepdims=True) - better.mean(axis=0) + better.mean()
        degrees = (len(better) - 1) * (folds - 1)
        return cls(math.sqrt(2 * float((left**2).sum()) / degrees), folds, count)

    @property
    def degrees(self) -> int:
        """The degrees of freedom of the spread."""
        return 0 if math.isnan(self.spread) else (_better_half(self.models) - 1) * (self.folds - 1)

    def error(self, differences: Sequence[float] | Array = ()) -> float:
        """The standard error of the mean difference of two models over all folds (Nadeau and Bengio).

        Args:
            differences: those of this pair, fold by fold, which count beside the pooled ones.
        """
        if self.folds < 2:
            return math.nan
        return self._of_pair(differences) * math.sqrt(1 / self.folds + 1 / (self.folds - 1))

    def still_open(self, differences: Sequence[float] | Array) -> float:
        """The standard error of what the folds to come change, of the mean difference on those so far."""
        return self._of_pair(differences) * math.sqrt(1 / len(differences) - 1 / self.folds)

    @property
    def least_difference(self) -> float:
        """What it takes to say that two differ: the best and any other one (Bonferroni)."""
        if not self.degrees:
            return math.nan
        return float(stats.t.isf(LEVEL / 2 / (self.models - 1), self.degrees)) * self.error()

    def _of_pair(self, differences: Sequence[float] | Array) -> float:
        """The spread of a pair: two folds say little of it, so the pooled one counts as four more."""
        squares = PSEUDO_FOLDS * self.spread**2
        if len(differences):
            squares += float(np.var(differences)) * len(differences)
        return math.sqrt(squares / (PSEUDO_FOLDS + max(0, len(differences) - 1)))


def _better_half(models: int) -> int:
    return max(2, (models + 1) // 2)


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
