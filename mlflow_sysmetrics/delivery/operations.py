"""What a run is to get, as three operations: in memory in their order, and as lines of JSON on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from mlflow_sysmetrics.common.redact import redacted_text
from mlflow_sysmetrics.monitor import Window

SYSTEM_PREFIX = "system/"  # the MLflow UI shows names with it in the System metrics tab
MAX_PARAM, MAX_TAG, MAX_NAME = 6000, 5000, 250  # characters that MLflow keeps of a value, and of a run's name


class Point(NamedTuple):
    """One value of one metric, at a unix time in milliseconds and a step.

    Without a step it is at the tenths of a second since the run's start, computed when it is sent: so all processes
    that write a run, in turn or at once, number its series alike.
    """

    name: str
    value: float
    time_ms: int
    step: int | None = None


class Create(NamedTuple):
    """Create the run. `key` is unique for ever, `parent` is the key of a run around it that has no id yet."""

    key: str
    experiment_id: str
    start_ms: int
    name: str
    user: str
    parent: str | None


class Batch(NamedTuple):
    """Points, params, tags, and a summary, which is at step 0: what MLflow logs in one request.

    Values of the summary that the program itself has logged since `unless_logged_since_ms` are left out.
    """

    time_ms: int
    points: Sequence[Point] = ()
    params: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    summary: Mapping[str, float] = {}
    unless_logged_since_ms: int | None = None


class Status(NamedTuple):
    """End the run at a unix time in ms, with tags that say why; RUNNING: it goes on."""

    status: str
    time_ms: int
    tags: Mapping[str, str]


Operation = Create | Batch | Status
_KINDS = {kind.__name__: kind for kind in get_args(Operation)}


def to_json(operation: Operation) -> list[Any]:
    """An operation as JSON has it."""
    return [type(operation).__name__, *operation]


def from_json(content: list[Any]) -> Operation:
    """The operation that JSON had. ValueError, TypeError or KeyError for what is none of ours."""
    kind, *fields = content
    operation: Operation = _KINDS[kind](*fields)
    if isinstance(operation, Batch):
        return operation._replace(points=[Point(*point) for point in operation.points])
    return operation


def now_ms() -> int:
    return int(time.time() * 1000)


def points_now(values: Mapping[str, float], step: int) -> list[Point]:
    """A point for each value, at this moment and step."""
    time_ms = now_ms()
    return [Point(name, value, time_ms, step) for name, value in values.items()]


def window_points(windows: Iterable[Window], prefix: str = SYSTEM_PREFIX) -> list[Point]:
    """Each window's means under their own names and its maxima under ``<name>_max``."""
    points = []
    for window in windows:
        for name, value in window.mean.items():
            points.append(Point(f"{prefix}{name}", value, window.time_ms))
        for name, value in window.maximum.items():
            points.append(Point(f"{prefix}{name}_max", value, window.time_ms))
    return points


def texts(values: Mapping[str, object], max_length: int) -> dict[str, str]:
    """Params or tags as MLflow takes them."""
    return {str(name): text(value, max_length) for name, value in values.items()}


def text(value: object, max_length: int) -> str:
    """A text without passwords of addresses, nor what a database cannot hold: a run would wait for it for ever."""
    clean = redacted_text(str(value)).replace("\0", "")
    return clean.encode("utf-8", "replace").decode()[:max_length]


def finite_points(points: Iterable[Point]) -> list[Point]:
    """These without those whose value is NaN or infinite."""
    return [point._replace(value=float(point.value)) for point in points if math.isfinite(point.value)]


def finite_values(values: Mapping[str, float]) -> dict[str, float]:
    """These without those that are NaN or infinite."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
