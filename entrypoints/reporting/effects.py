"""What hyperparameters do to what trials cost and score: each one's effect on each metric, and where two interact.

Effects are on the ranks of a metric over the trials, so that a few extreme trials do not decide them. All trials of a
study share one split of one dataset: its p-values say that an effect is more than the other hyperparameters and noise
make it, in these trials, and nothing of other data.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from entrypoints.limits.noise import SHARE, Noise, small, worth_telling
from entrypoints.reporting.statistics import holm

if TYPE_CHECKING:
    from entrypoints.reporting.studies import Study

MANY = 12  # a number with more values than these is cut into quartiles
MIN_SHARE = 0.05  # of the variance: interactions with less are not shown
_EFFECTS = (
    "metric",
    "hyperparameter",
    "trials",
    "left_out",
    "levels",
    "share_of_variance",
    "spearman",
    "p_value",
    "p_holm",
    "lowest",
    "lowest_at",
    "highest",
    "highest_at",
    "difference",
    "told",
)
_INTERACTIONS = (
    "metric",
    "first",
    "second",
    "share_of_variance",
    "p_value",
    "p_holm",
    "trials",
    "left_out",
    "difference",
    "told",
)


@dataclass(frozen=True)
class _Factor:
    """A hyperparameter: each trial's level (-1: it has none), the levels' texts, and the numbers if it is one."""

    name: str
    codes: NDArray[np.int64]
    levels: list[str]
    numbers: NDArray[np.float64] | None


def metrics(study: Study) -> list[str]:
    """Figures with at least two different values over the complete trials, in column order."""
    trials = study.complete
    return [name for name in study.figures if len(np.unique(_known(trials[name]))) > 1]


def effects(study: Study) -> pd.DataFrame:
    """The effect of each hyperparameter on each metric, over the trials that ran to their end and did not diverge.

    Returns:
        A row per metric and hyperparameter:

        - trials, left_out: those counted, and those of the study that diverged, did not end, or lack the figure
        - levels: of the hyperparameter; quartiles where a number has more than 12 values
        - share_of_variance: omega squared of the metric's ranks, at least 0 (Hays, Statistics, 1963; as in Kirk,
          Experimental Design, 1995): what the hyperparameter alone explains, less what chance would
        - spearman: the rank correlation with a number; NaN for words
        - p_value, p_holm: of the Kruskal-Wallis test, as it is and adjusted over all rows
        - lowest, lowest_at, highest, highest_at: the smallest and the largest median over the levels, and where
        - difference: of these two, as a share of the median of all
        - told: whether it is worth a sentence: p_holm is below 0.01, the share of the variance at least 5 %, and the
          difference larger than the metric's noise and, but for the score, than 5 %

        Shares and p-values are NaN where there is one level only, or as many levels as trials.
    """
    trials = study.complete
    factors = [_factor(trials[name], name) for name in study.hyperparameters]
    rows = [
        _effect(metric, trials[metric].to_numpy(float), factor, len(study.trials))
        for metric in metrics(study)
        for factor in factors
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(_EFFECTS))
    table["p_holm"] = holm(table["p_value"])
    table["told"] = _told(study, table)
    return table


def interactions(study: Study) -> pd.DataFrame:
    """The pairs of hyperparameters that together explain more of a metric's ranks than each alone does.

    The share is omega squared of the cells of both minus those of each alone; where trials are not spread evenly over
    the cells, part of it may be what one hyperparameter has in common with the other. Pairs with fewer than two trials
    per cell are not judged: chance alone would make up large shares.

    Returns:
        A row per metric and pair that is worth a sentence, as an effect is (p_holm is that of an F-test of the
        interaction on the ranks, adjusted over all pairs that were judged), the largest share first; the columns are
        metric, first, second, share_of_variance, p_value, p_holm, trials, left_out, told and difference: the furthest
        that a cell's median is from what each alone makes of it, as a share of the median of all.
    """
    trials = study.complete
    factors = [_factor(trials[name], name) for name in study.hyperparameters]
    rows = [
        _interaction(metric, trials[metric].to_numpy(float), first, second, len(study.trials))
        for metric in metrics(study)
        for first, second in combinations(factors, 2)
    ]
    table: pd.DataFrame = pd.DataFrame([row for row in rows if row is not None], columns=list(_INTERACTIONS))
    table["p_holm"] = holm(table["p_value"])
    table["told"] = _told(study, table)
    kept = table[table["told"].astype(bool)].sort_values("share_of_variance", ascending=False, kind="stable")
    largest_first: pd.DataFrame = kept.reset_index(drop=True)
    return largest_first


def _told(study: Study, table: pd.DataFrame) -> list[bool]:
    """Which rows are worth a sentence. A small difference of the score matters, if it is more than noise."""
    return [
        row["share_of_variance"] >= MIN_SHARE
        and worth_telling(
            row["p_holm"],
            row["difference"],
            _noise(study, row["metric"]),
            small=0.0 if row["metric"] == study.score else small(row["metric"], _typical(study, row["metric"])),
        )
        for row in table.to_dict("records")
    ]


def _noise(study: Study, metric: str) -> float:
    known: Noise | None = study.noises.get(metric)
    if known is None:
        return 0.0
    return known.as_share(1.0 if known.unit == SHARE else _typical(study, metric))


def _typical(study: Study, metric: str) -> float:
    return _size(_known(study.complete[metric]))


def _size(values: NDArray[np.float64]) -> float:
    """What a difference is a share of."""
    return float(abs(np.median(values)) or np.abs(values).mean() or 1.0)


def _factor(column: pd.Series[Any], name: str) -> _Factor:
    if not _is_number(column):
        codes, words = pd.factorize(column, sort=False)
        return _Factor(name, np.asarray(codes, dtype=np.int64), [str(word) for word in words], None)
    numbers = column.to_numpy(float)
    codes, values = pd.factorize(numbers, sort=True)
    levels = [_text(value) for value in values]
    if len(values) > MANY:
        quartiles = np.asarray(pd.qcut(numbers, 4, labels=False, duplicates="drop"), dtype=float)
        codes = np.where(np.isnan(quartiles), -1, quartiles).astype(np.int64)
        parts = [numbers[codes == code] for code in range(int(np.max(codes)) + 1)]
        levels = [f"{part.min():.3g} to {part.max():.3g}" for part in parts]
    return _Factor(name, np.asarray(codes, dtype=np.int64), levels, numbers)


def _effect(metric: str, values: NDArray[np.float64], factor: _Factor, all_trials: int) -> dict[str, Any]:
    counted = np.isfinite(values) & (factor.codes >= 0)
    values, (present, codes) = values[counted], np.unique(factor.codes[counted], return_inverse=True)
    groups = [values[codes == code] for code in range(len(present))]
    share = _omega_squared(stats.rankdata(values), codes)
    row: dict[str, Any] = {
        "metric": metric,
        "hyperparameter": factor.name,
        "trials": len(values),
        "left_out": all_trials - len(values),
        "levels": len(groups),
        "share_of_variance": share,
        "spearman": np.nan if factor.numbers is None else _spearman(factor.numbers[counted], values),
        "p_value": np.nan if np.isnan(share) else float(stats.kruskal(*groups).pvalue),
    }
    if groups:
        medians = [float(np.median(group)) for group in groups]
        low, high = int(np.argmin(medians)), int(np.argmax(medians))
        row |= {"lowest": medians[low], "lowest_at": factor.levels[present[low]]}
        row |= {"highest": medians[high], "highest_at": factor.levels[present[high]]}
        row["difference"] = (medians[high] - medians[low]) / _size(values)
    return row


def _interaction(
    metric: str, values: NDArray[np.float64], first: _Factor, second: _Factor, all_trials: int
) -> dict[str, Any] | None:
    """None where there are too few trials to judge, or one of the two has a single level."""
    counted = np.isfinite(values) & (first.codes >= 0) & (second.codes >= 0)
    ranks = stats.rankdata(values[counted])
    ours, theirs = (np.unique(each.codes[counted], return_inverse=True)[1] for each in (first, second))
    both = np.unique(ours * len(second.levels) + theirs, return_inverse=True)[1]
    levels = [len(np.unique(codes)) for codes in (ours, theirs, both)]
    if min(levels, default=0) < 2 or len(ranks) < 2 * levels[2] or np.ptp(ranks) == 0:
        return None
    alone = _omega_squared(ranks, ours) + _omega_squared(ranks, theirs)
    total, *between = (_squares(ranks, codes) for codes in (np.arange(len(ranks)), ours, theirs, both))
    freedom, left = levels[2] - levels[0] - levels[1] + 1, len(ranks) - levels[2]
    if freedom < 1:
        return None
    within = (total - between[2]) / left
    explained = max(between[2] - between[0] - between[1], 0.0) / freedom
    f = explained / within if within > 1e-9 * total else np.inf
    return {
        "metric": metric,
        "first": first.name,
        "second": second.name,
        "share_of_variance": max(_omega_squared(ranks, both) - alone, 0.0),
        "p_value": float(stats.f.sf(f, freedom, left)) if explained else 1.0,
        "trials": len(ranks),
        "left_out": all_trials - len(ranks),
        "difference": _beyond_each(values[counted], ours, theirs),
    }


def _beyond_each(values: NDArray[np.float64], ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> float:
    """The furthest that the median of a cell is from what the medians of its two levels add up to."""
    cells: pd.DataFrame = pd.Series(values).groupby([ours, theirs]).median().unstack()
    middle = cells.to_numpy(float)
    alone = np.nanmean(middle, axis=1, keepdims=True) + np.nanmean(middle, axis=0) - np.nanmean(middle)
    return float(np.nanmax(np.abs(middle - alone))) / _size(values)


def _omega_squared(values: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """The share of the variance between groups, without the part that chance is expected to put there; at least 0."""
    groups, count = len(np.unique(codes)), len(values)
    if groups < 2 or count <= groups or np.ptp(values) == 0:
        return float("nan")
    total = _squares(values, np.arange(count))
    between = _squares(values, codes)
    within = (total - between) / (count - groups)
    return max(float((between - (groups - 1) * within) / (total + within)), 0.0)


def _squares(values: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """The sum of squares between groups, around the mean of all."""
    away = values - values.mean()
    counts = np.bincount(codes)
    return float((np.bincount(codes, weights=away) ** 2 / counts).sum())


def _spearman(numbers: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    if len(values) < 3 or np.ptp(numbers) == 0 or np.ptp(values) == 0:
        return float("nan")
    return float(stats.spearmanr(numbers, values).statistic)


def _is_number(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _known(column: pd.Series[Any]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.to_numpy(float)
    return values[np.isfinite(values)]


def _text(number: float) -> str:
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else f"{number:g}"
