"""Where points go: batches to MLflow runs, from one background thread that survives outages of the store."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlflow.entities import Metric, Param, RunTag

from mlflow_sysmetrics.points import Point

logger = logging.getLogger(__name__)

BATCH_METRICS = 1000  # the most that MLflow takes in one log_batch
BATCH_PARAMS = BATCH_TAGS = 100
_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 30.0
_PARAM_LENGTH = 6000
_TAG_LENGTH = 5000


class Store(Protocol):
    """The part of ``mlflow.MlflowClient`` that is used."""

    def create_run(
        self, experiment_id: str, start_time: int | None, tags: dict[str, Any] | None, run_name: str | None
    ) -> Any: ...

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> Any: ...

    def set_terminated(self, run_id: str, status: str | None, end_time: int | None) -> None: ...


@dataclass
class _Run:
    """What of one run still has to be written."""

    experiment_id: str
    name: str | None
    tags: dict[str, str]
    start_ms: int
    run_id: str | None = None
    points: deque[Point] = field(default_factory=deque)
    params: dict[str, str] = field(default_factory=dict)
    new_tags: dict[str, str] = field(default_factory=dict)
    status: str | None = None
    end_ms: int | None = None
    next_write: float = 0.0
    retry_s: float = 0.0

    @property
    def has_something(self) -> bool:
        return self.run_id is None or self.status is not None or bool(self.points or self.params or self.new_tags)


class Sink:
    """Creates, fills and ends MLflow runs without ever making the caller wait or raising into it.

    Every method but ``close`` only queues. A thread writes what is due: a live run's points at most every
    ``every_s``, a new or an ended run's at once, at most 1000 points a request. A request that fails is repeated
    after a growing pause while its run's points wait in memory; MLflow ignores a point that it has already, so
    repeating loses and doubles nothing.

    Args:
        store: an ``mlflow.MlflowClient``, or what looks like one.
        every_s: seconds between two writes to one live run, > 0.
        capacity: the most points that wait; the oldest of a run that adds more are given up and counted in ``lost``.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        store: Store,
        *,
        every_s: float = 2.0,
        capacity: int = 1_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not every_s > 0:
            raise ValueError(f"every_s={every_s!r}: a number of seconds above 0 is needed")
        if capacity < 1:
            raise ValueError(f"capacity={capacity!r}: at least one point has to fit")
        self.lost = 0
        self._store = store
        self._every_s = every_s
        self._capacity = capacity
        self._clock = clock
        self._open: dict[Hashable, _Run] = {}
        self._ended: dict[Hashable, str | None] = {}
        self._waiting = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow-sysmetrics-sink", daemon=True)

    def start(self) -> None:
        """Start the thread that writes."""
        self._thread.start()

    def create(
        self,
        key: Hashable,
        *,
        experiment_id: str,
        name: str | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """Have a run created that starts now and is known by ``key`` from now on."""
        with self._lock:
            self._open.setdefault(key, _Run(experiment_id, name, _texts(tags, _TAG_LENGTH), _now_ms()))
        self._wake.set()

    def log(
        self,
        key: Hashable,
        points: Iterable[Point] = (),
        *,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """Queue points, parameters and tags of an open run. Values that are not finite are left out."""
        with self._lock:
            run = self._open[key]
            before = len(run.points)
            run.points.extend(point for point in points if math.isfinite(point.value))
            self._waiting += len(run.points) - before
            while self._waiting > self._capacity and run.points:
                run.points.popleft()
                self._waiting -= 1
                self.lost += 1
            run.params |= _texts(params, _PARAM_LENGTH)
            run.new_tags |= _texts(tags, _TAG_LENGTH)

    def end(self, key: Hashable, status: str, *, tags: Mapping[str, object] | None = None) -> None:
        """Queue the end of an open run now: ``FINISHED``, ``KILLED`` or ``FAILED``."""
        with self._lock:
            run = self._open[key]
            run.status, run.end_ms = status, _now_ms()
            run.new_tags |= _texts(tags, _TAG_LENGTH)
        self._wake.set()

    def is_open(self, key: Hashable) -> bool:
        """Whether a run was created and not yet ended."""
        with self._lock:
            return key in self._open and self._open[key].end_ms is None

    def open_keys(self) -> list[Hashable]:
        """The runs that were created and not yet ended, in the order of their creation."""
        with self._lock:
            return [key for key, run in self._open.items() if run.end_ms is None]

    def run_id(self, key: Hashable) -> str | None:
        """MLflow's id of a run; None until the store has created it."""
        with self._lock:
            return self._open[key].run_id if key in self._open else self._ended.get(key)

    def close(self, timeout_s: float = 10.0) -> bool:
        """Write what is left, for at most ``timeout_s``, and stop; say whether all was written. Idempotent."""
        self._deadline = self._clock() + timeout_s
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        with self._lock:
            return not any(run.has_something for run in self._open.values())

    def _work(self) -> None:
        while True:
            self._wake.wait(min(0.25, self._every_s))
            self._wake.clear()
            closing = self._deadline is not None
            with self._lock:
                runs = list(self._open.items())
            for key, run in runs:
                if self._deadline is not None and self._clock() >= self._deadline:
                    return
                if run.has_something and self._is_due(run):
                    self._write(key, run)
            if closing and not any(run.has_something for _, run in runs):
                return

    def _is_due(self, run: _Run) -> bool:
        urgent = run.run_id is None or run.status is not None or self._deadline is not None
        return self._clock() >= run.next_write or (urgent and not run.retry_s)

    def _write(self, key: Hashable, run: _Run) -> None:
        try:
            if run.run_id is None:
                created = self._store.create_run(run.experiment_id, run.start_ms, run.tags, run.name)
                run.run_id = created.info.run_id
            while self._flush_batch(run):
                pass
            if run.status is not None:
                self._store.set_terminated(run.run_id, run.status, run.end_ms)
                with self._lock:
                    self._ended[key] = self._open.pop(key).run_id
        except Exception as error:
            if not run.retry_s:
                logger.warning("MLflow does not take the data of run %r; it waits. %s", run.name or run.run_id, error)
            run.retry_s = min(2 * run.retry_s, _LAST_RETRY_S) if run.retry_s else _FIRST_RETRY_S
            run.next_write = self._clock() + run.retry_s
        else:
            run.retry_s = 0.0
            run.next_write = self._clock() + self._every_s

    def _flush_batch(self, run: _Run) -> bool:
        """Write one batch; forget it only when the store has taken it. False when nothing was left."""
        with self._lock:
            points = list(itertools.islice(run.points, BATCH_METRICS))
            params = dict(itertools.islice(run.params.items(), BATCH_PARAMS))
            tags = dict(itertools.islice(run.new_tags.items(), BATCH_TAGS))
        if not (points or params or tags):
            return False
        assert run.run_id is not None
        self._store.log_batch(
            run.run_id,
            [Metric(point.name, point.value, point.time_ms, point.step) for point in points],
            [Param(name, value) for name, value in params.items()],
            [RunTag(name, value) for name, value in tags.items()],
        )
        with self._lock:
            for point in points:
                # Points may have been given up at the front in the meantime.
                if run.points and run.points[0] is point:
                    run.points.popleft()
                    self._waiting -= 1
            for written, waiting in ((params, run.params), (tags, run.new_tags)):
                for name, value in written.items():
                    if waiting.get(name) == value:
                        del waiting[name]
        return True


def _texts(values: Mapping[str, object] | None, length: int) -> dict[str, str]:
    """Values as text, cut to what MLflow's columns hold."""
    return {name: str(value)[:length] for name, value in (values or {}).items()}


def _now_ms() -> int:
    return int(time.time() * 1000)
