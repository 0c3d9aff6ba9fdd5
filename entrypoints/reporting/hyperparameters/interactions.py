"""Where two hyperparameters together do something to a metric that neither does alone."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from entrypoints.reporting.hyperparameters.change import is_factor
from entrypoints.reporting.hyperparameters.effects import placed_metrics, size, worth_a_sentence
from entrypoints.reporting.hyperparameters.metric_ranks import Placed, omega_squared, squares
from entrypoints.reporting.hyperparameters.trial_levels import TrialLevels, trial_levels
from entrypoints.reporting.statistics import holm

if TYPE_CHECKING:
    from entrypoints.reporting.studies import Study


def interactions(study: Study) -> pd.DataFrame:
    """The pairs of hyperparameters that together explain more of a metric's ranks than each alone does.

    The share is omega squared of the cells of both minus those of each alone; where trials are not spread evenly over
    the cells, part of it may be what one hyperparameter has in common with the other. Pairs with fewer than two trials
    per cell are not judged: chance alone would make up large shares. The place in the order is taken out of the ranks
    as of effects.

    Returns:
        A row per metric and pair that is worth a sentence, as an effect is (p_holm is that of an F-test of the
        interaction on the ranks, adjusted over all pairs that were judged), the largest share first; the columns are
        metric, first, second, share_of_variance, p_value, p_holm, trials, left_out, told; and of the cell that is
        furthest from what its two levels make of it (the sum of what each alone does, of costs the product):
        first_at, second_at, its median, what is expected there, and their difference as a share of the median of all.
    """
    trials = study.complete
    factors = [trial_levels(trials, name, study.hyperparameters) for name in study.hyperparameters]
    found = [
        _interaction(metric, trials[metric].to_numpy(float), placed, first, second, study)
        for metric, placed in placed_metrics(study, factors).items()
        for first, second in combinations(factors, 2)
    ]
    rows = [row for row in found if row is not None]
    table: pd.DataFrame = pd.DataFrame(rows)
    if not rows:
        return table
    table["p_holm"] = holm(table["p_value"])
    table["told"] = worth_a_sentence(study, table)
    kept = table[table["told"].astype(bool)].sort_values("share_of_variance", ascending=False, kind="stable")
    largest_first: pd.DataFrame = kept.reset_index(drop=True)
    return largest_first


def _interaction(
    metric: str,
    values: NDArray[np.float64],
    placed: Placed,
    first: TrialLevels,
    second: TrialLevels,
    study: Study,
) -> dict[str, Any] | None:
    """None where there are too few trials to judge, or one of the two has a single level."""
    counted = np.isfinite(values) & (first.codes >= 0) & (second.codes >= 0)
    ranks = stats.rankdata(placed.values[counted])
    ours, theirs = (np.unique(each.codes[counted], return_inverse=True)[1] for each in (first, second))
    both = np.unique(ours * len(second.levels) + theirs, return_inverse=True)[1]
    levels = [len(np.unique(codes)) for codes in (ours, theirs, both)]
    if min(levels, default=0) < 2 or len(ranks) < 2 * levels[2] or np.ptp(ranks) == 0:
        return None
    alone = omega_squared(ranks, ours) + omega_squared(ranks, theirs)
    total, *between = (squares(ranks, codes) for codes in (np.arange(len(ranks)), ours, theirs, both))
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
        "share_of_variance": max(omega_squared(ranks, both) - alone, 0.0),
        "p_value": float(stats.f.sf(f, freedom, left)) if explained else 1.0,
        "trials": len(ranks),
        "left_out": len(study.trials) - len(ranks),
        **_furthest(values[counted], first, second, counted, as_factor=is_factor(metric, study.score, values[counted])),
    }


def _furthest(
    values: NDArray[np.float64],
    first: TrialLevels,
    second: TrialLevels,
    counted: NDArray[np.bool_],
    *,
    as_factor: bool,
) -> dict[str, Any]:
    """The cell whose median is furthest from what the medians of its two levels make of it."""
    codes = [first.codes[counted], second.codes[counted]]
    cells: pd.DataFrame = pd.Series(values).groupby(codes).median().unstack()
    middle = cells.to_numpy(float)
    inner = np.log(middle) if as_factor else middle
    alone = np.nanmean(inner, axis=1, keepdims=True) + np.nanmean(inner, axis=0) - np.nanmean(inner)
    expected = np.exp(alone) if as_factor else alone
    away = np.abs(middle - expected)
    line, column = divmod(int(np.nanargmax(away)), away.shape[1])
    return {
        "difference": float(away[line, column]) / size(values),
        "first_at": first.levels[int(cells.index[line])],
        "second_at": second.levels[int(cells.columns[column])],
        "median": float(middle[line, column]),
        "expected": float(expected[line, column]),
    }
