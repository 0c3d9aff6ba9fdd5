"""What a tol that ends trials once they have converged saves, and what it does to the score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from entrypoints.limits.noise import SHARE, SMALL
from entrypoints.reporting.hyperparameters.change import change, is_factor
from entrypoints.reporting.hyperparameters.trial_levels import trial_levels

if TYPE_CHECKING:
    from entrypoints.reporting.studies import Study

TOL = "tol"
SAVED = ("steps", "training_time_s")
MIN_TRIALS = 3  # of a tol


def tol_savings(study: Study) -> pd.DataFrame:
    """Each tol against the smallest, over the trials that ran to their end and did not diverge.

    Returns:
        A row per larger tol and metric (steps, training_time_s and the score, as far as trials have them): against,
        tol, metric; first, second, change, change_low, change_high, change_in, matched and medians_agree as of
        ``effects``, the interval allowing for all tols; noise, in the metric's own unit, NaN where it is unknown; and
        beyond_noise: whether the change is more than that, of a cost more than 5 %, and its interval leaves out 0.
        Empty where no tol was searched.
    """
    trials: pd.DataFrame = study.complete
    if TOL not in study.hyperparameters:
        nothing: pd.DataFrame = pd.DataFrame()
        return nothing
    levels = trial_levels(trials, TOL, study.hyperparameters)
    index = np.arange(len(trials)) if levels.others is None else levels.others
    rows: list[dict[str, Any]] = []
    for metric in (*SAVED, study.score):
        values = trials[metric].to_numpy(float) if metric in trials else np.empty(0)
        known = np.isfinite(values)
        groups = {
            level: pd.Series(values[own], index=index[own])
            for code, level in enumerate(levels.levels)
            if len(values) and (own := known & (levels.codes == code)).sum() >= MIN_TRIALS
        }
        (smallest, *larger) = groups or [""]
        for tol in larger:
            found = change(
                str(metric),
                groups[smallest],
                groups[tol],
                as_factor=is_factor(str(metric), study.score, values[known]),
                comparisons=len(larger),
            )
            noise, away = _noise(study, str(metric), found.first), abs(found.second - found.first)
            least = 0.0 if metric == study.score else SMALL * abs(found.first)
            rows.append(
                {
                    "against": smallest,
                    "tol": tol,
                    "metric": metric,
                    "first": found.first,
                    "second": found.second,
                    **found.row(),
                    "noise": noise,
                    "beyond_noise": away > max(np.nan_to_num(noise), least) and not found.low <= 0,
                }
            )
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _noise(study: Study, metric: str, of: float) -> float:
    known = study.noises.get(metric)
    if known is None or known.noise is None:
        return float("nan")
    return known.noise * abs(of) if known.unit == SHARE else known.noise
