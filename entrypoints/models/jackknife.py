"""How far a score on some rows may be from that on all rows of their kind: the delete-a-block jackknife."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

BLOCKS = 20
CONFIDENCE = 0.95
IN_TIME = "rows in time depend on each other, and later ones may be of another kind"

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A number that was estimated, and its 95 % interval.

    Attributes:
        value: the number.
        error: its standard error; NaN where that is not known.
        degrees: of freedom, of the error.
        why_unknown: why there is no interval, as the end of a sentence; else empty.
    """

    value: float
    error: float = math.nan
    degrees: float = math.nan
    why_unknown: str = ""

    @property
    def reach(self) -> float:
        """Half the width of the interval, by Student's t; NaN where there is none."""
        return float(stats.t.isf((1 - CONFIDENCE) / 2, self.degrees)) * self.error

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.value - self.reach

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.value + self.reach


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
