"""What a run is to get, as operations that are replayed in order: in memory, and as lines of JSON on disk."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.redact import redacted_text

SYSTEM_PREFIX = "system/"  # the MLflow UI shows names with it in the System metrics tab
_MAX_LENGTH = {"params": 6000, "tags": 5000}  # MLflow's, of a text


class Point(NamedTuple):
    """One value of one metric, at a unix time in milliseconds and a step.

    Without a step it is at the tenths of a second since the run's start, computed when it is sent: so all processes
    that write a run, in turn or at once, number its series alike.
    """

    name: str
    value: float
    time_ms: int
    step: int | None = None


class Operation(NamedTuple):
    """One thing to do with a run, and what it needs.

    create: experiment_id, start_ms, name, tags, its key and that of the parent run. reopen: the ended run goes on.
    repeat: its work begins again, from an earlier step. points: unix ms, step, values by name. summary: unix ms, values
    by name, and the unix ms since which values of these names are the program's own. params, tags: texts by name. file:
    a path among its artifacts, a text. end: status, unix ms, tags that say why.
    """

    kind: str
    data: Any = None

    def line(self) -> bytes:
        return json.dumps(self, separators=(",", ":")).encode() + b"\n"


def now_ms() -> int:
    return int(time.time() * 1000)


def points_now(values: Mapping[str, float], step: int) -> list[Point]:
    """A point for each value, at this moment and step."""
    time_ms = now_ms()
    return [Point(name, value, time_ms, step) for name, value in values.items()]


def window_points(windows: Iterable[Window], prefix: str = SYSTEM_PREFIX) -> list[Point]:
    """Each window's means under their own names and its maxima under ``<name>_max``."""
    return [
        Point(f"{prefix}{name}{suffix}", value, window.time_ms)
        for window in windows
        for suffix, values in (("", window.mean), ("_max", window.maximum))
        for name, value in values.items()
    ]


def log(
    points: Iterable[Point] = (),
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    summary: Mapping[str, float] | None = None,
    own_since_ms: int | None = None,
) -> list[Operation]:
    """The operations that log these. Values that are not finite are left out."""
    operations = []
    for (time_ms, step), group in itertools.groupby(points, lambda point: (point.time_ms, point.step)):
        if values := _finite({point.name: point.value for point in group}):
            operations.append(Operation("points", [time_ms, step, values]))
    operations += [Operation(kind, texts(kind, data)) for kind, data in (("params", params), ("tags", tags)) if data]
    if summary and (values := _finite(summary)):
        operations.append(Operation("summary", [now_ms(), values, own_since_ms]))
    return operations


def table(path: str, rows: Sequence[Mapping[str, float]]) -> list[Operation]:
    """The operations that write a small table among the artifacts of a run, as `mlflow.log_table` has it.

    A column for each name; a value that is absent or not finite is null.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    data = [[value if math.isfinite(value := row.get(name, math.nan)) else None for name in columns] for row in rows]
    listed = {"mlflow.loggedArtifacts": json.dumps([{"path": path, "type": "table"}])}
    return [Operation("tags", listed), Operation("file", [path, json.dumps({"columns": columns, "data": data})])]


def end(status: str, tags: Mapping[str, object] | None = None, end_ms: int | None = None) -> list[Operation]:
    """The operation that ends a run, now or at `end_ms`: FINISHED, KILLED or FAILED, with tags that say why."""
    return [Operation("end", [status, end_ms or now_ms(), texts("tags", tags)])]


def texts(kind: str, values: Mapping[str, object] | None) -> dict[str, str]:
    """Params or tags as MLflow takes them."""
    return {str(name): text(value, _MAX_LENGTH[kind]) for name, value in (values or {}).items()}


def text(value: object, max_length: int) -> str:
    """A text without passwords of addresses, nor what a database cannot hold: a run would wait for it for ever."""
    return redacted_text(str(value)).replace("\0", "").encode("utf-8", "replace").decode()[:max_length]


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
