"""Which trials of a study meet limits: its own, or those of another study of the same trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import pandas as pd

from entrypoints.limits import costs
from entrypoints.limits.grammar import Limits, RelativeLimit
from entrypoints.limits.judging import excess, resolved, violations
from entrypoints.reporting.answer import rows_of
from entrypoints.trials.frame import Frame
from mlflow_gate.metrics import SERVED
from mlflow_sysmetrics.limits import Stop, finite
from mlflow_sysmetrics.recording.tags import BY_LIMITS


class Verdict(str, Enum):
    """Whether a trial meets limits; unknown, too, of one that has not come to its end."""

    MEETS = "meets"
    BREAKS = "breaks"
    UNKNOWN = "unknown"

    __str__ = str.__str__


def limits_of(frame: Frame, text: str | None = None) -> Limits:
    """The limits of the first study that has some, none without; or those of a text."""
    text = text or next((text for text in frame.studies["limits"] if text), None)
    metrics = costs.metrics(frame.score, frame.higher_is_better)
    return Limits.parse(text, metrics) if text else Limits(())


def with_served(frame: Frame) -> pd.DataFrame:
    """The first study's trials, with what their models cost as served in any study: each serves only finalists."""
    trials: pd.DataFrame = frame.trials[frame.trials["study"] == frame.first]
    names = [name for name in SERVED if name in frame.trials]
    if not names:
        return trials
    configurations = frame.configurations
    known = frame.trials[names].groupby(configurations).first()  # of each column the first value that is there
    of_each = known.loc[configurations[trials.index]].set_index(trials.index)
    filled = {name: trials[name].fillna(of_each[name]) for name in names}
    own: pd.DataFrame = trials.assign(**filled)
    return own


def judged(frame: Frame) -> pd.DataFrame:
    """Which trials of the first study meet the limits of the first study that has some.

    A study under limits has judged its own trials: what its relative limits came to is known to it alone.

    Args:
        frame: of the study, and maybe of the one under limits.

    Returns:
        A row per trial, with the index of ``frame.trials``: trial_id; verdict; excess: by how much it breaks them,
        relative to each; broken: the stop of the limit that it breaks most, None without one; unknown: the limits that
        it could not be judged by, in words.
    """
    given, trials = limits_of(frame), with_served(frame)
    complete = rows_of(frame.complete)
    is_own = bool(frame.studies["limits"].iloc[0])
    numbers = resolved(given, [] if is_own else complete)
    nearer = resolved(given, complete)  # good enough for an order, whatever has been stopped
    rows = []
    for trial in rows_of(trials):
        stops = violations(numbers, trial)
        missing = []
        for limit in numbers.rules:
            is_inactive = isinstance(limit, RelativeLimit) and not is_own
            if is_inactive or finite(trial, limit.metric.name) is None:
                missing.append(limit)
        row = {
            "trial_id": trial["trial_id"],
            "verdict": own_verdict(trial, stops) if is_own else verdict_against(trial, stops, missing=bool(missing)),
            "excess": excess(nearer, trial),
            "broken": max(stops, key=_distance, default=None),
            "unknown": ", ".join(map(str, missing)),
        }
        rows.append(row)
    columns = ["trial_id", "verdict", "excess", "broken", "unknown"]
    made = pd.DataFrame(rows, index=trials.index, columns=columns, dtype=object)
    table: pd.DataFrame = made.astype({"excess": float})
    return table


def own_verdict(trial: Mapping[str, Any], stops: Sequence[Stop]) -> Verdict:
    """By the study's own limits, of which it broke these at its end."""
    if stops or trial["stopped_by"] == BY_LIMITS or trial["feasible"] is False:
        return Verdict.BREAKS
    return Verdict.MEETS if trial["feasible"] else Verdict.UNKNOWN


def verdict_against(trial: Mapping[str, Any], stops: Sequence[Stop], *, missing: bool) -> Verdict:
    """By the limits of another study, of which it breaks these and maybe lacks a figure."""
    if stops or trial["stopped_by"] == BY_LIMITS:
        return Verdict.BREAKS
    if missing or trial["diverged"] or trial["status"] != "FINISHED":
        return Verdict.UNKNOWN
    return Verdict.MEETS


def _distance(stop: Stop) -> float:
    return abs(stop.value - stop.limit) / (abs(stop.limit) or 1e-9)
