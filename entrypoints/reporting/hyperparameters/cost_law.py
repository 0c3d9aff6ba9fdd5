"""The law of a training step's cost: its time is a + b x rows, a for the call and b for each row of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

from entrypoints.reporting.number_levels import is_number
from entrypoints.reporting.words import STEP_TIME

if TYPE_CHECKING:
    from entrypoints.reporting.studies import Study

MIN_SIZES = 3  # batch sizes: through two any line goes
MAX_ERROR = 0.15  # of the median trial, from which on the law is not said
MAX_BEND = 0.3  # of the median of any batch size
MIN_OWN = 8  # trials of a batch size that show their own noise
DRAWS = 999


def step_times(study: Study) -> pd.DataFrame:
    """The time of a step at each batch size, over the trials that ran to their end and did not diverge.

    Returns:
        A row per algorithm (empty text where a study has one) and batch size: algorithm, batch_size, trials, low,
        median and high, in ms: the median and the middle 80 % of its trials. Empty where batch sizes do not vary.
    """
    known = _known(study)
    rows: list[dict[str, Any]] = [
        {
            "algorithm": algorithm,
            "batch_size": size,
            "trials": len(own),
            **dict(zip(("low", "median", "high"), np.quantile(own[STEP_TIME], [0.1, 0.5, 0.9]), strict=True)),
        }
        for (algorithm, size), own in known.groupby(["algorithm", "batch_size"])
    ]
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def cost_law(study: Study) -> pd.DataFrame:
    """Fit time = a + b x rows to the steps of each algorithm.

    Fitted to the medians of the batch sizes by least squares of the relative errors, a and b at least 0 (Lawson and
    Hanson, Solving Least Squares Problems, 1974): step times span three orders of magnitude, and their errors are
    shares of them. The intervals come from 999 resamples of these trials (percentile bootstrap, Efron and Tibshirani,
    1993): they show the noise of this machine, not how well the law holds elsewhere.

    Returns:
        A row per algorithm with at least three batch sizes:

        - algorithm (empty text where a study has one), trials, batch_sizes, smallest, largest
        - call_ms (a), row_ms (b), and per_1000_rows_ms, which is b for a thousand rows; each with its 95 % interval
          (call_low_ms, call_high_ms, ...), NaN with too few trials
        - r_squared: of the logarithms of the trials' times
        - error: the median relative error of the trials; furthest: the largest one of a batch size's median
        - training_error: the median relative error of steps x law against training_time_s; NaN where these are unknown
        - fits: whether the law may be said: error at most 15 %, furthest at most 30 %
    """
    rows = [
        _law(str(algorithm), own)
        for algorithm, own in _known(study).groupby("algorithm")
        if own["batch_size"].nunique() >= MIN_SIZES
    ]
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _known(study: Study) -> pd.DataFrame:
    """The trials with a step time, a batch size and an algorithm."""
    trials: pd.DataFrame = study.complete
    if "batch_size" not in study.hyperparameters or STEP_TIME not in trials or not is_number(trials["batch_size"]):
        nothing: pd.DataFrame = pd.DataFrame(columns=["algorithm", "batch_size", STEP_TIME])
        return nothing
    algorithms = trials["algorithm"].astype(str) if "algorithm" in study.hyperparameters else ""
    known: pd.DataFrame = trials.assign(algorithm=algorithms)
    kept: pd.DataFrame = known[(known[STEP_TIME] > 0) & np.isfinite(known[STEP_TIME]) & (known["batch_size"] > 0)]
    return kept


def _law(algorithm: str, trials: pd.DataFrame) -> dict[str, Any]:
    times, rows = trials[STEP_TIME].to_numpy(float), trials["batch_size"].to_numpy(float)
    sizes = np.unique(rows)
    groups = [times[rows == size] for size in sizes]
    medians = np.array([np.median(own) for own in groups])
    a, b = _fitted(sizes, medians)
    intervals = _intervals(sizes, groups, medians)
    law = a + b * rows
    left = np.log(times) - np.log(law)
    error, furthest = float(np.median(np.abs(law / times - 1))), float(np.max(np.abs((a + b * sizes) / medians - 1)))
    return {
        "algorithm": algorithm,
        "trials": len(trials),
        "batch_sizes": len(sizes),
        "smallest": sizes[0],
        "largest": sizes[-1],
        **_with_interval("call{}ms", a, intervals[:, 0]),
        **_with_interval("row{}ms", b, intervals[:, 1]),
        **_with_interval("per_1000_rows{}ms", 1e3 * b, 1e3 * intervals[:, 1]),
        "r_squared": 1 - float((left**2).sum() / ((np.log(times) - np.log(times).mean()) ** 2).sum()),
        "error": error,
        "furthest": furthest,
        "training_error": _training_error(trials, law),
        "fits": error <= MAX_ERROR and furthest <= MAX_BEND,
    }


def _with_interval(name: str, value: float, ends: NDArray[np.float64]) -> dict[str, float]:
    return {
        name.format("_"): value,
        name.format("_low_"): float(ends[0]),
        name.format("_high_"): float(ends[1]),
    }


def _fitted(sizes: NDArray[np.float64], medians: NDArray[np.float64]) -> tuple[float, float]:
    """a and b, at least 0, with the least squares of the relative errors."""
    (a, b), _ = nnls(np.column_stack([1 / medians, sizes / medians]), np.ones(len(sizes)))
    return float(a), float(b)


def _intervals(
    sizes: NDArray[np.float64], groups: list[NDArray[np.float64]], medians: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The 95 % intervals, a column each of a and b. Batch sizes with few trials share the noise of all of them."""
    random = np.random.default_rng(0)
    noise = [
        np.log(own / median) * np.sqrt(len(own) / (len(own) - 1))
        for own, median in zip(groups, medians, strict=True)
        if len(own) > 1
    ]
    shared = np.concatenate(noise) if noise else np.empty(0)
    if len(shared) < MIN_OWN:
        return np.full((2, 2), np.nan)
    drawn = np.empty((DRAWS, len(sizes)))
    for place, (own, median) in enumerate(zip(groups, medians, strict=True)):
        pool = np.log(own / median) if len(own) >= MIN_OWN else shared
        drawn[:, place] = median * np.exp(np.median(random.choice(pool, (DRAWS, len(own))), axis=1))
    found = np.array([_fitted(sizes, each) for each in drawn])
    ends: NDArray[np.float64] = np.quantile(found, [0.025, 0.975], axis=0)
    return ends


def _training_error(trials: pd.DataFrame, law: NDArray[np.float64]) -> float:
    if not {"steps", "training_time_s"} <= set(trials):
        return float("nan")
    errors = np.abs(trials["steps"] * law / 1e3 / trials["training_time_s"] - 1)
    return float(errors.median())
