"""Parameters that change during a trial, as under population based training. MLflow only keeps their first values."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple

from mlflow_sysmetrics.delivery.points import Point, points_now
from mlflow_sysmetrics.tags import CHANGED_PREFIX

PERTURBED = "perturbed/"


class Change(NamedTuple):
    """What to log: parameters that are new, tags with the last values of those that changed, and their curves."""

    params: dict[str, Any]
    tags: dict[str, Any]
    points: list[Point]


class Changes:
    """The parameters of each trial that goes on, as they were last."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, Any]] = {}

    def see(self, trial_id: str, params: Mapping[str, Any], step: int) -> Change:
        """What to log of a trial that begins, or goes on at this step, with these parameters."""
        last = self._last.setdefault(trial_id, {})
        new = {name: value for name, value in params.items() if name not in last}
        changed = {name: value for name, value in params.items() if name in last and str(value) != str(last[name])}
        last.update(params)
        curves = {
            PERTURBED + name: float(value)
            for name, value in changed.items()
            if isinstance(value, numbers.Real) and math.isfinite(value)
        }
        tags = {CHANGED_PREFIX + name: value for name, value in changed.items()}
        return Change(new, tags, points_now(curves, step))

    def forget(self, trial_id: str) -> None:
        """The trial has ended."""
        self._last.pop(trial_id, None)
