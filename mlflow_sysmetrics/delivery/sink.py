"""Where points go: batches to MLflow runs, from one background thread that survives outages of the store."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.addresses import get_logger, redacted_text
from mlflow_sysmetrics.delivery.batch import Batch, BatchStore, send
from mlflow_sysmetrics.delivery.pending import PendingRun
from mlflow_sysmetrics.delivery.points import Point, now_ms
from mlflow_sysmetrics.delivery.spool import Header
from mlflow_sysmetrics.delivery.store import RunState, one_line

logger = get_logger(__name__)

_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 30.0
_PARAM_LENGTH = 6000
_TAG_LENGTH = 5000


class RunStore(BatchStore, Protocol):
    """The part of a ``store.Store`` that is used."""

    def create_run(self, experiment_id: str, start_ms: int, tags: Mapping[str, str], name: str | None) -> str: ...

    def created_run(self, experiment_id: str, start_ms: int, tags: Mapping[str, str]) -> str | None: ...

    def run(self, run_id: str) -> RunState: ...

    def set_status(self, run_id: str, status: str, end_ms: int | None) -> None: ...


class Sink:
    """Creates, fills and ends MLflow runs without ever making the caller wait.

    Every method but ``close`` only queues. A thread writes what is due: a live run's points at most every
    ``every_s``, a new or an ended run's at once, at most 1000 points a request. A request that fails is repeated
    after a growing pause while its run's points wait in memory; MLflow ignores a point that it has already, and a run
    that was created though the answer got lost is found again, so repeating loses and doubles none. What MLflow refuses
    for what it is, such as a name with forbidden characters, is left out, counted and logged.

    Args:
        store: where the runs are.
        every_s: seconds between two writes to one live run, > 0.
        capacity: the most points that wait; the oldest of a run that adds more are given up and counted in ``lost``.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        store: RunStore,
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
        self.refused = 0
        self._away_s = 0.0
        self._away_since: float | None = None
        self._store = store
        self._every_s = every_s
        self._capacity = capacity
        self._clock = clock
        self._open: dict[Hashable, PendingRun] = {}  # created and not ended by the caller
        self._unfinished: list[PendingRun] = []  # not ended in the store
        self._run_ids: dict[Hashable, str] = {}
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
        run_id: str | None = None,
        parent: Hashable | None = None,
    ) -> None:
        """Have a run created that starts now and is known by ``key`` until its end; nothing if it is open already.

        It is nested under the run with the key ``parent``, which must be open or have been so, and is created first.

        A run that exists goes on instead: the one named by ``run_id``, or else the last that this key had here. It is
        ``RUNNING`` again, gets these tags, and each of its series goes on: see `Steps`.
        """
        run = PendingRun(key, experiment_id, name, _texts(tags, _TAG_LENGTH), now_ms(), parent)
        with self._lock:
            if key in self._open:
                return
            unfinished = next((each for each in self._unfinished if each.key == key), None)
            if unfinished is not None:
                unfinished.status = unfinished.end_ms = None
                unfinished.new_tags |= run.tags
                unfinished.steps.repeat()
                self._open[key] = unfinished
            else:
                run.run_id = run_id or self._run_ids.get(key)
                run.goes_on = run.unread = run.run_id is not None
                run.new_tags |= run.tags if run.goes_on else {}
                self._open[key] = run
                self._unfinished.append(run)
        self._wake.set()

    def repeat(self, key: Hashable) -> None:
        """The work of an open run begins again, somewhere before where it ended: see `Steps`. KeyError if not open."""
        with self._lock:
            self._open[key].steps.repeat()

    def log(
        self,
        key: Hashable,
        points: Iterable[Point] = (),
        *,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """Queue points, parameters and tags of an open run. Values that are not finite are left out.

        Raises:
            KeyError: no run with this key is open.
        """
        finite = [point for point in points if math.isfinite(point.value)]
        param_texts, tag_texts = _texts(params, _PARAM_LENGTH), _texts(tags, _TAG_LENGTH)
        with self._lock:
            run = self._open[key]
            placed = run.steps.place(finite)
            run.points.extend(placed)
            self._waiting += len(placed)
            while self._waiting > self._capacity and run.points:
                run.points.popleft()
                self._waiting -= 1
                self.lost += 1
            run.params |= param_texts
            run.new_tags |= tag_texts

    def end(self, key: Hashable, status: str, *, tags: Mapping[str, object] | None = None) -> None:
        """Queue the end of an open run now: ``FINISHED``, ``KILLED`` or ``FAILED``.

        Raises:
            KeyError: no run with this key is open.
        """
        tag_texts = _texts(tags, _TAG_LENGTH)
        with self._lock:
            run = self._open.pop(key)
            run.new_tags |= tag_texts
            run.status, run.end_ms = status, now_ms()
        self._wake.set()

    def is_open(self, key: Hashable) -> bool:
        """Whether a run was created and not yet ended."""
        with self._lock:
            return key in self._open

    def open_keys(self) -> list[Hashable]:
        """The runs that were created and not yet ended, in the order of their creation."""
        with self._lock:
            return list(self._open)

    @property
    def away_s(self) -> float:
        """For how long in all, up to now, the store has taken nothing that was sent to it."""
        since = self._away_since
        return self._away_s + (0.0 if since is None else self._clock() - since)

    def run_id(self, key: Hashable) -> str | None:
        """MLflow's id of the last run with this key; None until the store has created it."""
        with self._lock:
            return self._run_ids.get(key)

    def close(self, timeout_s: float = 10.0) -> bool:
        """Write what is left, for at most ``timeout_s``, and stop; say whether all was written. Idempotent."""
        timeout_s = min(timeout_s, threading.TIMEOUT_MAX)
        self._deadline = self._clock() + timeout_s
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        with self._lock:
            return not any(run.has_something for run in self._unfinished)

    def left(
        self, tracking_uri: str, tags: Mapping[Hashable, Mapping[str, str]] | None = None
    ) -> list[tuple[Header, list[Point]]]:
        """What was not written by the end of ``close``: for each run what a spool for this store says of it.

        `tags` are by key: what is to be said of a run, now that it is known not to be written.
        """
        with self._lock:
            left = [run for run in self._unfinished if run.has_something]
            for run in left:
                run.new_tags |= _texts((tags or {}).get(run.key), _TAG_LENGTH)
            return [(run.header(tracking_uri, self._parent(run, tracking_uri)), list(run.points)) for run in left]

    def _parent(self, run: PendingRun, tracking_uri: str) -> Header | None:
        """The run around one that is not created yet, as far as that one has to be found or created first."""
        if run.run_id is not None or run.parent is None:
            return None
        if run.parent in self._run_ids:
            return Header(self._run_ids[run.parent], tracking_uri)
        parent = next((each for each in self._unfinished if each.key == run.parent), None)
        return None if parent is None else replace(parent.header(tracking_uri), params={}, new_tags={})

    def _work(self) -> None:
        closing = False
        while True:
            self._wake.wait(min(0.25, self._every_s))
            self._wake.clear()
            with self._lock:
                runs = list(self._unfinished)
            if self._deadline is not None and not closing:
                closing = True
                for run in runs:
                    run.retry_s = run.next_write = 0.0  # a pause after a failure may outlast the time that is left
            for run in runs:
                if self._deadline is not None and self._clock() >= self._deadline:
                    return
                if run.has_something and self._is_due(run):
                    self._write(run)
            if closing and not any(run.has_something for run in runs):
                return

    def _is_due(self, run: PendingRun) -> bool:
        if run.run_id is None and run.parent is not None and run.parent not in self._run_ids:
            return False
        urgent = run.is_new or run.status is not None or self._deadline is not None
        return self._clock() >= run.next_write or (urgent and not run.retry_s)

    def _write(self, run: PendingRun) -> None:
        try:
            run_id = self._opened(run)
            status, end_ms = run.status, run.end_ms  # first: what was logged before the end is written before it
            while (batch := self._next_batch(run)) is not None:
                self.refused += send(self._store, run_id, batch)
                self._forget(run, batch)
            if status is not None:
                self._store.set_status(run_id, status, end_ms)
                with self._lock:
                    if (run.status, run.end_ms) == (status, end_ms):
                        run.status = None
                        self._unfinished.remove(run)
                    else:  # it goes on since
                        run.goes_on = True
        except Exception as error:
            if not run.retry_s and self._away_since is None:  # once in an outage
                name = run.name or run.run_id
                logger.warning("MLflow does not take the data of run %r; it waits. %s", name, one_line(error))
            self._away_since = self._clock() if self._away_since is None else self._away_since
            longest = _LAST_RETRY_S if self._deadline is None else _FIRST_RETRY_S
            run.retry_s = min(max(2 * run.retry_s, _FIRST_RETRY_S), longest)
            run.next_write = self._clock() + run.retry_s
        else:
            self._away_s, self._away_since = self.away_s, None
            run.retry_s = 0.0
            run.next_write = self._clock() + self._every_s

    def _opened(self, run: PendingRun) -> str:
        """The id of a run that exists and is ``RUNNING``."""
        if run.run_id is None:
            if run.parent is not None:
                run.tags[MLFLOW_PARENT_RUN_ID] = self._run_ids[run.parent]
            found = self._store.created_run(run.experiment_id, run.start_ms, run.tags) if run.asked_for else None
            run.asked_for = True
            created = found or self._store.create_run(run.experiment_id, run.start_ms, run.tags, run.name)
            with self._lock:
                run.run_id = self._run_ids[run.key] = created
        elif run.goes_on:
            last_steps = self._store.run(run.run_id).steps if run.unread else {}
            self._store.set_status(run.run_id, "RUNNING", None)
            with self._lock:
                run.goes_on = run.unread = False
                self._run_ids[run.key] = run.run_id
                self._waiting -= len(run.points)
                run.points = deque(run.steps.follow(last_steps, run.points))
                self._waiting += len(run.points)
        return run.run_id

    def _next_batch(self, run: PendingRun) -> Batch | None:
        with self._lock:
            batch = Batch.of(run.points, run.params, run.new_tags)
        return batch if any(batch) else None

    def _forget(self, run: PendingRun, batch: Batch) -> None:
        with self._lock:
            for point in batch.points:
                # Points may have been given up at the front in the meantime.
                if run.points and run.points[0] is point:
                    run.points.popleft()
                    self._waiting -= 1
            for written, waiting in ((batch.params, run.params), (batch.tags, run.new_tags)):
                for name, value in written.items():
                    if waiting.get(name) == value:
                        del waiting[name]


def _texts(values: Mapping[str, object] | None, length: int) -> dict[str, str]:
    """Values as text, without passwords of addresses, cut to what MLflow's columns hold."""
    return {name: redacted_text(str(value))[:length] for name, value in (values or {}).items()}
