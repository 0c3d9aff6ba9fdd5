"""What a run is to get, as operations that are replayed in order: in memory, and as lines of JSON on disk."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, get_args

from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.redact import redacted_text

SYSTEM_PREFIX = "system/"  # the MLflow UI shows names with it in the System metrics tab
MAX_PARAM, MAX_TAG = 6000, 5000  # characters that MLflow keeps of a value


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
    """Create the run. `key` is unique for ever, `parent` is the key of the run around it."""

    key: str
    experiment_id: str
    start_ms: int
    name: str | None
    tags: Mapping[str, str]
    parent: str | None


class Reopen(NamedTuple):
    """The ended run goes on: it is RUNNING again, and gets only the points that it lacks."""


class Repeat(NamedTuple):
    """The work of the run begins again, from an earlier step."""


class Points(NamedTuple):
    """Values by metric, at a unix time in ms and a step, see `Point`."""

    time_ms: int
    step: int | None
    values: Mapping[str, float]


class Summary(NamedTuple):
    """Values by metric, at step 0. Those that the program itself has logged since `own_since_ms` are left alone."""

    time_ms: int
    values: Mapping[str, float]
    own_since_ms: int | None


class Params(NamedTuple):
    """Parameters by name."""

    values: Mapping[str, str]


class Tags(NamedTuple):
    """Tags by name."""

    values: Mapping[str, str]


class DeleteTag(NamedTuple):
    """Remove a tag, if the run has it."""

    name: str


class File(NamedTuple):
    """A small text file among the artifacts."""

    path: str
    text: str


class End(NamedTuple):
    """End the run at a unix time in ms, with tags that say why."""

    status: str
    time_ms: int
    tags: Mapping[str, str]


class Delete(NamedTuple):
    """Delete the run, which somebody may restore."""


class Checkpoint(NamedTuple):
    """On disk only: what counts if the process is killed before it writes a summary or an end."""

    summary: Summary
    end: End | None


Operation = Create | Reopen | Repeat | Points | Summary | Params | Tags | DeleteTag | File | End | Delete
_KINDS = {kind.__name__: kind for kind in get_args(Operation)}


def to_line(operation: Operation | Checkpoint) -> bytes:
    """An operation as a line of a journal."""
    return json.dumps([type(operation).__name__, *operation], separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Operation | Checkpoint:
    """The operation of a line. ValueError, TypeError or KeyError for a line that is none of ours."""
    kind, *fields = json.loads(line)
    if kind == Checkpoint.__name__:
        summary, end = fields
        return Checkpoint(Summary(*summary), None if end is None else End(*end))
    return _KINDS[kind](*fields)  # type: ignore[no-any-return]


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


def grouped(points: Iterable[Point]) -> list[Operation]:
    """The operations that log these points. Values that are not finite are left out."""
    operations: list[Operation] = []
    for (time_ms, step), group in itertools.groupby(points, lambda point: (point.time_ms, point.step)):
        values = finite({point.name: point.value for point in group})
        if values:
            operations.append(Points(time_ms, step, values))
    return operations


def table(path: str, rows: Sequence[Mapping[str, float]]) -> list[Operation]:
    """The operations that write a small table among the artifacts of a run, as `mlflow.log_table` has it.

    A column for each name; a value that is absent or not finite is null.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    data = [[_or_null(row.get(name)) for name in columns] for row in rows]
    listed = json.dumps([{"path": path, "type": "table"}])
    return [
        Tags({"mlflow.loggedArtifacts": listed}),
        File(path, json.dumps({"columns": columns, "data": data})),
    ]


def texts(values: Mapping[str, object], max_length: int) -> dict[str, str]:
    """Params or tags as MLflow takes them."""
    return {str(name): text(value, max_length) for name, value in values.items()}


def text(value: object, max_length: int) -> str:
    """A text without passwords of addresses, nor what a database cannot hold: a run would wait for it for ever."""
    clean = redacted_text(str(value)).replace("\0", "")
    return clean.encode("utf-8", "replace").decode()[:max_length]


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """These without those that are NaN or infinite."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def _or_null(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
