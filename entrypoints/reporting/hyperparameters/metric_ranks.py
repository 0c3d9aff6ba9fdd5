"""A metric's ranks over trials: without what the order of the trials explains, and what groups explain of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from entrypoints.limits.noise import MIN_DEGREES


@dataclass(frozen=True, eq=False)
class Placed:
    """A metric over trials, without what their place in the order of the study explains.

    Attributes:
        values: of each trial, NaN where it has none: for ranks alone.
        steady: of each trial, as if it had run in the middle of the order: adjusted as in an analysis of covariance, of
            a metric above 0 by a factor.
        share: of the variance of the ranks that the place explains beyond the hyperparameters: omega squared, at least
            0; NaN where it is not known.
        taken_out: whether that was taken out; else ``values`` and ``steady`` are as they were.
    """

    values: NDArray[np.float64]
    steady: NDArray[np.float64]
    share: float
    taken_out: bool


def without_place(
    values: NDArray[np.float64], places: NDArray[np.float64], design: NDArray[np.float64], *, matters: bool
) -> Placed:
    """Take what the place explains out of a metric's ranks, where it matters.

    It is what a covariate explains beside the hyperparameters in an analysis of covariance on ranks (Quade, JASA 62,
    1967; Conover and Iman, Biometrics 38, 1982). Trials run in a random order, so that tests are right without this: it
    removes noise and no effect. Where little is to remove, the error of the slope is more than that.

    Args:
        values: of each trial; NaN where it has none.
        places: of each trial in the order of the study. Where some are NaN nothing is taken out.
        design: a row per trial, and columns of 0 and 1 that span what the hyperparameters do.
        matters: whether the order is told to change this metric, which is decided in ``limits/order_effect``.
    """
    known = np.isfinite(values)
    ranks, order, others = stats.rankdata(values[known]), stats.rankdata(places[known]), design[known]
    products = others.T @ others  # small, where there are thousands of trials
    freedom = len(ranks) - int(np.linalg.matrix_rank(products, hermitian=True)) - 1
    if np.isnan(places[known]).any() or freedom < MIN_DEGREES or np.ptp(ranks) == 0 or np.ptp(order) == 0:
        return Placed(values, values, float("nan"), False)
    inverse = np.linalg.pinv(products, hermitian=True)
    left, moved = (each - others @ (inverse @ (others.T @ each)) for each in (ranks, order))
    slope = float(left @ moved / (moved @ moved))
    explained, total = slope**2 * float(moved @ moved), float(((ranks - ranks.mean()) ** 2).sum())
    within = max(float(left @ left) - explained, 1e-9 * total) / freedom
    share = max((explained - within) / (total + within), 0.0)
    if not matters:
        return Placed(values, values, share, False)
    adjusted, steady = values.copy(), values.copy()
    adjusted[known] = np.round(ranks - slope * order, 9)
    positive = bool((values[known] > 0).all())
    inner = np.log(values[known]) if positive else values[known]
    inner = inner - float(inner @ moved / (moved @ moved)) * (order - order.mean())
    # What is never below 0 as measured, such as a memory, is not so without the place's part either.
    steady[known] = np.exp(inner) if positive else np.maximum(inner, min(0.0, float(np.min(values[known]))))
    return Placed(adjusted, steady, share, True)


def omega_squared(values: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """The share of the variance between groups, less the part that chance is expected to put there; at least 0.

    NaN where there is one group only, or as many groups as values (Hays, Statistics, 1963).
    """
    groups, count = len(np.unique(codes)), len(values)
    if groups < 2 or count <= groups or np.ptp(values) == 0:
        return float("nan")
    total = squares(values, np.arange(count))
    between = squares(values, codes)
    within = (total - between) / (count - groups)
    return max(float((between - (groups - 1) * within) / (total + within)), 0.0)


def smallest_p(counts: Sequence[int] | NDArray[np.int64]) -> float:
    """The smallest p-value of the Kruskal-Wallis test for groups of these sizes: that of ranks that never overlap.

    NaN with fewer than two groups.
    """
    sizes = np.asarray(counts, float)
    total = sizes.sum()
    if len(sizes) < 2:
        return float("nan")
    within = (sizes**3 - sizes).sum() / (total**3 - total)  # as a share of the sum of squares of all ranks
    return float(stats.chi2.sf((total - 1) * (1 - within), len(sizes) - 1))


def matched_p(values: NDArray[np.float64], codes: NDArray[np.int64], blocks: NDArray[np.int64]) -> tuple[float, float]:
    """The p-value of Friedman's test over the blocks that have each level, and the smallest that their number allows.

    It sees what a hyperparameter does at equal others, however much these do. Ties are corrected for; several trials of
    a level in a block count as their mean. Neither p-value is below that of blocks which agree by chance (Conover,
    Practical Nonparametric Statistics, 3rd edition, 1999, section 5.8). NaN with fewer than two blocks.

    Args:
        values: of each trial.
        codes: its level.
        blocks: its combination of the other hyperparameters.
    """
    known: pd.DataFrame = pd.DataFrame({"value": values, "level": codes, "block": blocks})
    table = known.pivot_table(index="block", columns="level", values="value").dropna().to_numpy()
    count, levels = table.shape
    if count < 2 or levels < 2:
        return float("nan"), float("nan")
    agree = math.exp(-(count - 1) * math.lgamma(levels + 1))
    away = stats.rankdata(table, axis=1) - (levels + 1) / 2
    spread = float((away**2).sum())
    chi2 = (levels - 1) * float((away.sum(axis=0) ** 2).sum()) / spread if spread else 0.0
    p, smallest = (float(stats.chi2.sf(each, levels - 1)) for each in (chi2, count * (levels - 1)))
    return max(p, agree), max(smallest, agree)


def squares(values: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """The sum of squares between groups, around the mean of all."""
    away = values - values.mean()
    counts = np.bincount(codes)
    return float((np.bincount(codes, weights=away) ** 2 / counts).sum())
