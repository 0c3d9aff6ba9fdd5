"""How much a metric changes from one level of a hyperparameter to another, in units that people use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from entrypoints.reporting.words import is_score, short_unit

CONFIDENCE = 0.95
MIN_TIMES = 2.0  # a change by a smaller factor is said in percent
MAX_SAMPLE = 400  # trials of a level that are compared with each of the other level's


@dataclass(frozen=True)
class Change:
    """By how much a metric is more or less at the second of two levels.

    Attributes:
        first: the metric's median at the first level; of the matched configurations where there are such.
        second: that at the second level.
        amount: of the change: above 0 in the direction that ``words`` names.
        low, high: its interval; NaN where there are too few trials.
        words: what follows the number, such as ``times less``, ``% more`` or ``MB more``.
        matched: configurations that were compared at both levels; 0: those of the levels differ.
        medians_agree: whether ``first`` and ``second`` differ by about as much. They need not where what one
            configuration gains is not what another does.
    """

    first: float
    second: float
    amount: float
    low: float
    high: float
    words: str
    matched: int
    medians_agree: bool

    def row(self) -> dict[str, Any]:
        """Its columns in a table: all but the medians, which tables write beside their levels."""
        return {
            "change": self.amount,
            "change_low": self.low,
            "change_high": self.high,
            "change_in": self.words,
            "matched": self.matched,
            "medians_agree": self.medians_agree,
        }


def change(
    metric: str, first: pd.Series[float], second: pd.Series[float], *, as_factor: bool, comparisons: int = 1
) -> Change:
    """The change between two levels.

    Where the levels share at least half of their configurations (all other hyperparameters equal), as in a grid, these
    are compared, each with itself: the median of the differences and the interval of the sign test (Conover, Practical
    Nonparametric Statistics, 1999, section 3.2). Else all trials of one level are compared with all of the other, and
    of matched ones that are too few for that interval each with all: the estimate of Hodges and Lehmann, and the
    interval that inverts the test of Mann and Whitney (Annals of Mathematical Statistics 34, 1963), which is wider
    where configurations differ. Neither assumes a distribution, and with too few trials neither gives an interval.

    Args:
        metric: its name.
        first: the metric of the first level's trials; the index says which have all other hyperparameters equal.
        second: of the second level's.
        as_factor: by logarithms; all values have to be above 0.
        comparisons: how many pairs of levels the two were chosen from: the interval holds for all at once (Bonferroni).
    """
    level = 1 - (1 - CONFIDENCE) / comparisons
    ours, theirs = (each.groupby(level=0).median() for each in (first, second))
    both = ours.index.intersection(theirs.index)
    matched = len(both) if 2 * len(both) >= min(len(ours), len(theirs)) and len(both) > 1 else 0
    before, after = (
        (each[both] if matched else whole).to_numpy(float) for each, whole in ((ours, first), (theirs, second))
    )
    scale = np.log if as_factor else np.asarray
    interval = _of_pairs(scale(after) - scale(before), level) if matched else None
    if interval is None or math.isnan(interval[1]):
        of_two = _of_two(scale(before), scale(after), level)
        interval = of_two if interval is None or not math.isnan(of_two[1]) else interval
    amount, low, high, words = _factor(*interval) if as_factor else _difference(metric, *interval)
    medians = float(np.median(before)), float(np.median(after))
    agree = _agree(float(np.subtract(*scale(medians[::-1]))), *interval[1:])
    return Change(*medians, amount, low, high, words, matched, agree)


def is_factor(metric: str, score: str | None, values: NDArray[np.float64]) -> bool:
    """Whether a metric's changes are said by factors: of costs above 0 that are no percentages."""
    return (
        metric != score
        and not is_score(metric)
        and "percent" not in metric
        and bool(len(values) and (values > 0).all())
    )


def _of_pairs(differences: NDArray[np.float64], level: float) -> tuple[float, float, float]:
    """The median, and its interval; the interval is NaN with fewer pairs than the level needs."""
    interval = stats.quantile_test(differences, p=0.5).confidence_interval(confidence_level=level)
    known = np.isfinite([interval.low, interval.high]).all()
    low, high = (float(interval.low), float(interval.high)) if known else (math.nan, math.nan)
    return float(np.median(differences)), low, high


def _of_two(before: NDArray[np.float64], after: NDArray[np.float64], level: float) -> tuple[float, float, float]:
    """Hodges and Lehmann's estimate, and its interval; of the latter the normal approximation, which is wider."""
    random = np.random.default_rng(0)
    before, after = (
        random.choice(each, MAX_SAMPLE, replace=False) if len(each) > MAX_SAMPLE else each for each in (before, after)
    )
    all_differences = np.sort(np.subtract.outer(after, before), axis=None)
    count, sizes = len(all_differences), len(before) + len(after)
    reach = float(stats.norm.ppf(0.5 + level / 2)) * math.sqrt(count * (sizes + 1) / 12)
    outside = math.floor(count / 2 - reach)
    middle = float(np.median(all_differences))
    if outside < 1:
        return middle, math.nan, math.nan
    return middle, float(all_differences[outside - 1]), float(all_differences[count - outside])


def _factor(middle: float, low: float, high: float) -> tuple[float, float, float, str]:
    """Logarithms as factors from 2 on, else in percent."""
    sign, way = _way(middle)
    logs = _ordered(sign, middle, low, high)
    if (logs[0] if math.isnan(logs[1]) else logs[1]) >= math.log(MIN_TIMES):
        amount, least, most = (math.exp(each) for each in logs)
        return amount, least, most, f"times {way}"
    amount, least, most = (100 * sign * math.expm1(sign * each) for each in logs)
    return amount, least, most, f"% {way}"


def _difference(metric: str, middle: float, low: float, high: float) -> tuple[float, float, float, str]:
    sign, way = _way(middle)
    return (*_ordered(sign, middle, low, high), f"{short_unit(metric)} {way}".strip())


def _agree(of_medians: float, low: float, high: float) -> bool:
    """Whether a difference of medians is in the interval, or near to it; also where there is no interval."""
    near = (high - low) / 2 + 1e-9
    return not (of_medians < low - near or of_medians > high + near)


def _way(middle: float) -> tuple[int, str]:
    return (-1, "less") if middle < 0 else (1, "more")


def _ordered(sign: int, middle: float, low: float, high: float) -> tuple[float, float, float]:
    """In the direction of the sign, the smaller end first."""
    return sign * middle, min(sign * low, sign * high), max(sign * low, sign * high)
