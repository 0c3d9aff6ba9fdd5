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
from entrypoints.reporting.hyperparameters.metric_ranks import Placed, squares
from entrypoints.reporting.hyperparameters.trial_levels import TrialLevels, design, trial_levels
from entrypoints.reporting.statistics import holm, median_interval

if TYPE_CHECKING:
    from entrypoints.reporting.studies import Study


def interactions(study: Study) -> pd.DataFrame:
    """The pairs of hyperparameters that together explain more of a metric than what each does added up.

    That sum is fitted by least squares to the trials there are, which need not fill all cells (Searle, Linear Models
    for Unbalanced Data, 1987): to the values, of costs to their logarithms. Ranks of sums are no sums of ranks, so a
    test on them alone would find interactions where there are none; one on values alone would where a few trials are
    extreme and cells are missing. Pairs with fewer than two trials per cell are not judged: chance alone would make up
    large shares. The place in the order is taken out as of effects.

    Returns:
        A row per metric and pair that is worth a sentence, as an effect is (p_value is the larger of an F-test of the
        interaction on the values and one on their ranks, p_holm adjusted over all pairs that were judged), the largest
        share (omega squared of the interaction, on the values) first; the columns are
        metric, first, second, share_of_variance, p_value, p_holm, trials, left_out, told; and of the cell that is
        furthest from what its two levels make of it (the sum of what each alone does, of costs the product):
        first_at, second_at, its median with a 95 % interval (median_low, median_high; NaN of fewer than six trials),
        of_trials, what is expected there, and their difference as a share of the median of all.
    """
    trials = study.complete
    factors = [trial_levels(trials, name, study.hyperparameters) for name in study.hyperparameters]
    found = [
        _interaction(metric, placed, first, second, study)
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
    placed: Placed,
    first: TrialLevels,
    second: TrialLevels,
    study: Study,
) -> dict[str, Any] | None:
    """None where there are too few trials to judge, or no cell that the levels of both do not explain."""
    counted = np.isfinite(placed.values) & (first.codes >= 0) & (second.codes >= 0)
    values, ranks = placed.steady[counted], stats.rankdata(placed.values[counted])
    codes = [each.codes[counted] for each in (first, second)]
    both = np.unique(codes[0] * len(second.levels) + codes[1], return_inverse=True)[1]
    cells = len(np.unique(both))
    if not cells or len(values) < 2 * cells or np.ptp(ranks) == 0 or np.ptp(values) == 0:
        return None
    sums = design([first, second], len(counted))[counted]
    if np.linalg.matrix_rank(sums) == cells:
        return None
    as_factor = is_factor(metric, study.score, values)
    share, p_value, fitted = _tested(np.log(values) if as_factor else values, sums, both)
    return {
        "metric": metric,
        "first": first.name,
        "second": second.name,
        "share_of_variance": share,
        "p_value": max(p_value, _tested(ranks, sums, both)[1]),
        "trials": len(values),
        "left_out": len(study.trials) - len(values),
        **_furthest(values, np.exp(fitted) if as_factor else fitted, first, second, codes),
    }


def _tested(
    values: NDArray[np.float64], sums: NDArray[np.float64], both: NDArray[np.int64]
) -> tuple[float, float, NDArray[np.float64]]:
    """What cells explain beyond the sums of what each level does: omega squared, the p-value of F, and those sums."""
    coefficients, _, rank, _ = np.linalg.lstsq(sums, values, rcond=None)
    fitted: NDArray[np.float64] = sums @ coefficients
    total, cells = (squares(values, codes) for codes in (np.arange(len(values)), both))
    freedom, left = len(np.unique(both)) - int(rank), len(values) - len(np.unique(both))
    explained, within = cells - float(((fitted - values.mean()) ** 2).sum()), (total - cells) / left
    if explained <= 1e-9 * total:  # rounding
        return 0.0, 1.0, fitted
    f = explained / freedom / within if within > 1e-9 * total else np.inf
    share = (explained - freedom * within) / (total + within)
    return max(share, 0.0), float(stats.f.sf(f, freedom, left)), fitted


def _furthest(
    values: NDArray[np.float64],
    expected: NDArray[np.float64],
    first: TrialLevels,
    second: TrialLevels,
    codes: list[NDArray[np.int64]],
) -> dict[str, Any]:
    """The cell whose median is furthest from what its two levels make of it."""
    cells = pd.DataFrame({"median": values, "expected": expected}).groupby(codes).median()
    away = np.abs(cells["median"] - cells["expected"]).to_numpy(float)
    place = int(away.argmax())
    ours, theirs = cells.index[place]
    of_cell = values[(codes[0] == ours) & (codes[1] == theirs)]
    low, high = median_interval(of_cell)
    return {
        "difference": float(away[place]) / size(values),
        "first_at": first.levels[ours],
        "second_at": second.levels[theirs],
        "median": float(cells["median"].iloc[place]),
        "median_low": low,
        "median_high": high,
        "of_trials": len(of_cell),
        "expected": float(cells["expected"].iloc[place]),
    }
