"""A point: one value of one metric at one moment."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mlflow_sysmetrics.monitor import Window

SYSTEM_PREFIX = "system/"  # the MLflow UI shows names with it in the System metrics tab


class Point(NamedTuple):
    """One value of one metric, at a unix time in milliseconds and a step."""

    name: str
    value: float
    time_ms: int
    step: int


def now_ms() -> int:
    """Unix time in milliseconds."""
    return int(time.time() * 1000)


def points_now(figures: Mapping[str, float], step: int) -> list[Point]:
    """A point for each figure, at this moment and step."""
    time_ms = now_ms()
    return [Point(name, value, time_ms, step) for name, value in figures.items()]


def window_points(windows: Iterable[Window], prefix: str = SYSTEM_PREFIX) -> list[Point]:
    """Each window's means under their own names and its maxima under ``<name>_max``, at the sample's number."""
    return [
        Point(f"{prefix}{name}{suffix}", value, window.time_ms, window.number)
        for window in windows
        for suffix, values in (("", window.mean), ("_max", window.maximum))
        for name, value in values.items()
    ]
