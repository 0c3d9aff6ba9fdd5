"""Where a trial's memory jumps to another level while it trains, as opposed to a slow rise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage, stats

from entrypoints.limits.noise import SMALL, SMALL_MB, TOLD_P
from entrypoints.reporting.statistics import holm
from entrypoints.reporting.training.curves import STEPS

METRIC = "memory_mb"
MIN_POINTS = 8  # of a curve: fewer changes do not tell what is usual
FALSE_RATE = 0.01  # more than the share of trials without jumps in which one is found: see `jumps`
_OF_TRIALS = ("run_id", "group", "at", "progress_percent", "before_mb", "after_mb", "jump_mb")


def jumps(memory_mb: NDArray[np.float64]) -> list[int]:
    """The places of a curve that begin another level, which holds for two points or more.

    A running median of three points (with Tukey's rule for the ends; Tukey, Exploratory Data Analysis, 1977, chapter 7)
    takes out what lasts for one point and leaves jumps where they are. A jump is a change of it, from one point to the
    next, of more than 0.1 MB, twice those before and after it, and many times the usual change of the curve, which is
    the median of their sizes: where memory grows steadily each is usual (compare Hampel, JASA 69, 1974). The factor,
    5 + 45 / points, is by simulation.

    Of 1000 curves of 8 to 100 points at most 1 has a jump where memory is white noise of 0.02 to 5 MB, 4 where it rises
    steadily with noise, 21 where it is a random walk. One of 1 MB in noise of 0.05 MB is found where it is in 86 % of
    curves of 8 points, 93 % of 10, all of 20. Optimal partitioning with an L2 cost (Killick et al., JASA 107, 2012)
    finds 99 % of those of 10, but also some in a quarter of the noisy rises of 100, as steps of a stair.

    Args:
        memory_mb: in the order of time. With fewer than 8 points there are no jumps.
    """
    if len(memory_mb) < MIN_POINTS:
        return []
    usual = float(np.median(np.abs(np.diff(memory_mb))))
    change = np.abs(np.diff(_smooth(memory_mb)))
    beside = np.maximum(np.append(0.0, change[:-1]), np.append(change[1:], 0.0))
    found = (change > SMALL_MB) & (change > (5 + 45 / len(memory_mb)) * usual) & (change > 2 * beside)
    return [int(place) + 1 for place in np.flatnonzero(found)]


def memory_jumps(curves: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The jumps of the trials' ``memory_mb`` after the first report.

    Args:
        curves: as ``curves.read`` returns them.

    Returns:
        A row per group with trials of at least 8 points: group, trials, with_jumps (those with any), up and down (the
        jumps of all), up_mb and down_mb (their median size, NaN without any), progress_percent (their median place, in
        percent of the trial's steps), p_value (binomial: that this many or more have jumps where one in 100 has by
        mistake), p_holm (over groups), and told: whether it is worth a sentence, since p_holm is below 0.01 and more
        than 5 % of the trials have jumps.

        A row per jump: run_id, group, at (the training step of its first report), progress_percent, before_mb and
        after_mb (the smoothed curve beside it), jump_mb.
    """
    known = curves[(curves["axis"] == STEPS) & (curves["metric"] == METRIC)]
    sizes = known.groupby("run_id", sort=False)["at"].transform("size")
    known = known[sizes >= MIN_POINTS]
    found: pd.DataFrame = pd.DataFrame(
        [row for _, trial in known.groupby("run_id", sort=False) for row in _of_trial(trial)], columns=list(_OF_TRIALS)
    )
    rows = [
        _row(str(group), part["run_id"].nunique(), found[found["group"] == group])
        for group, part in known.groupby("group", sort=False)
    ]
    table: pd.DataFrame = pd.DataFrame(rows)
    if not rows:
        return table, found
    table["p_holm"] = holm(table["p_value"])
    table["told"] = (table["p_holm"] < TOLD_P) & (table["with_jumps"] > SMALL * table["trials"])
    return table, found


def _of_trial(trial: pd.DataFrame) -> list[dict[str, Any]]:
    at, memory_mb = trial["at"].to_numpy(float), trial["value"].to_numpy(float)
    level = _smooth(memory_mb)
    return [
        {
            "run_id": trial["run_id"].iloc[0],
            "group": trial["group"].iloc[0],
            "at": float(at[place]),
            "progress_percent": 100 * float(at[place] / at[-1]),
            "before_mb": float(level[place - 1]),
            "after_mb": float(level[place]),
            "jump_mb": float(level[place] - level[place - 1]),
        }
        for place in jumps(memory_mb)
    ]


def _row(group: str, trials: int, found: pd.DataFrame) -> dict[str, Any]:
    with_jumps, size = found["run_id"].nunique(), found["jump_mb"].astype(float)
    up, down = size[size > 0], -size[size < 0]
    return {
        "group": group,
        "trials": trials,
        "with_jumps": with_jumps,
        "up": len(up),
        "up_mb": float(up.median()),
        "down": len(down),
        "down_mb": float(down.median()),
        "progress_percent": float(found["progress_percent"].astype(float).median()),
        "p_value": float(stats.binomtest(with_jumps, trials, FALSE_RATE, alternative="greater").pvalue),
    }


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The running median of three; an end is the median of itself, its neighbour and what the next two lead to."""
    smooth: NDArray[np.float64] = ndimage.median_filter(values, 3, mode="nearest")
    first = np.median([values[0], smooth[1], 3 * smooth[1] - 2 * smooth[2]])
    last = np.median([values[-1], smooth[-2], 3 * smooth[-2] - 2 * smooth[-3]])
    return np.concatenate([[first], smooth[1:-1], [last]])
