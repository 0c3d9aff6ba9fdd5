"""What waits for runs, and the thread that brings it to one store, again and again until the store has it."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import random
import threading
import time
from collections.abc import Iterable, Mapping

from mlflow_sysmetrics.delivery.journal import SUFFIX, Journal, journal_folder
from mlflow_sysmetrics.delivery.operations import Operation, end, log, now_ms, texts
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.delivery.replay import replay
from mlflow_sysmetrics.delivery.store import DeletedRunError, NoSuchRunError, Store, one_line
from mlflow_sysmetrics.delivery.waiting import within
from mlflow_sysmetrics.redact import get_logger, lasting_uri

logger = get_logger(__name__)
MIN_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0  # after a failure
MIN_TIMEOUT_S, MAX_TIMEOUT_S = 5.0, 30.0  # few at first, so that an outage is noticed; more later, for a slow server
_KEPT_WITHIN_S = 10.0  # for each run


class Writer:
    """Create, fill and end MLflow runs without making the caller wait, nor touching a disk. Only `close` waits.

    The thread writes the points of a live run every `every_s` seconds, and the creation and the end of a run at once.
    After a failure the run's outbox pauses, longer and longer, and keeps its data. That of a deleted run pauses too,
    since the run may be restored; other runs and `close` do not wait for it. No error reaches the thread that starts or
    closes the writer.
    """

    def __init__(self, store: Store, *, every_s: float = 2.0) -> None:
        self._store, self._every_s = store, every_s
        self._outboxes: dict[str, Outbox] = {}  # by key
        self._open: dict[str, Outbox] = {}  # of runs that were created and not ended since
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._deadline: float | None = None
        self.is_away = False  # whether the store did not take what it was sent last
        self._cpu_clock: int | None = None  # of its thread
        self._cpu_s = 0.0
        self._warned: Outbox | None = None  # whose failure began the outage
        run = contextvars.copy_context().run  # MLflow keeps its workspace there
        self._thread = threading.Thread(target=run, args=(self._work,), name="mlflow-sysmetrics-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            logger.warning("points are kept, but not delivered by this process. %s", error)

    def attach(self, outbox: Outbox) -> None:
        """Write what waits in this outbox, too: for the first time after `every_s`."""
        outbox.due_at = time.monotonic() + self._every_s
        with self._lock:
            self._outboxes[f"attached {len(self._outboxes)}"] = outbox

    def create(
        self,
        key: str,
        *,
        experiment_id: str,
        name: str | None = None,
        tags: Mapping[str, object] | None = None,
        parent: str | None = None,
        run_id: str | None = None,
        start_ms: int | None = None,
    ) -> None:
        """Create a run that starts now, or at `start_ms`, nested under that with the key `parent`. No-op if it is open.

        With `run_id`, or a key whose run has ended, that run goes on: it is RUNNING again, gets these tags, and of its
        metrics what it does not have: another step, or another value at a step. `key` is unique for ever: the run has
        it as a tag.
        """
        with self._lock:
            if key in self._open:
                return
            outbox = self._outboxes.get(key)
            if outbox is None and run_id is None:
                outbox = Outbox(title=name or key)
                wanted = {"key": key, "experiment_id": experiment_id, "start_ms": start_ms or now_ms(), "name": name}
                first = [Operation("create", {**wanted, "parent": parent, "tags": texts("tags", tags)})]
            else:
                outbox = outbox or Outbox(run_id, name or key)
                first = [Operation("reopen"), *log(tags=tags)]
            outbox.add(first)
            self._outboxes[key] = self._open[key] = outbox
        self.hurry(outbox)

    def add(self, key: str, operations: Iterable[Operation]) -> None:
        """Add operations, such as those of `log`, to an open run. KeyError if it is not open."""
        self._open[key].add(operations)

    def end(
        self, key: str, status: str, *, tags: Mapping[str, object] | None = None, end_ms: int | None = None
    ) -> None:
        """End an open run, now or at `end_ms`: FINISHED, KILLED or FAILED, with tags that say why; or a KeyError."""
        with self._lock:
            outbox = self._open.pop(key)
            outbox.add(end(status, tags, end_ms))
        self.hurry(outbox)

    def is_open(self, key: str) -> bool:
        """Whether a run was created and not ended since."""
        return key in self._open

    def open_keys(self) -> list[str]:
        """The runs that were created and not ended since, in the order of their creation."""
        return list(self._open)

    def run_id(self, key: str) -> str | None:
        """MLflow's id of the run with this key; None while the store has not created it."""
        return self._outboxes[key].run_id if key in self._outboxes else None

    @property
    def cpu_seconds(self) -> float:
        """CPU time of its thread: what a measurement of this process may leave out."""
        if self._cpu_clock is not None:
            with contextlib.suppress(OSError):  # it has ended
                self._cpu_s = time.clock_gettime(self._cpu_clock)
        return self._cpu_s

    def close(self, timeout_s: float = 10.0) -> bool:
        """Write what is left, for at most `timeout_s`, and stop; say whether nothing is left. Idempotent.

        What waits for a deleted run is given up. A request that hangs goes on alone.
        """
        timeout_s = min(timeout_s, threading.TIMEOUT_MAX)
        self._deadline = time.monotonic() + timeout_s
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._left()

    def keep(self) -> int:
        """Write journals of what `close` could not bring to the store; return the number of runs. Never raises."""
        moment, uri, left, kept = time.time_ns(), lasting_uri(self._store.tracking_uri), self._left(), 0

        def write(number: int, outbox: Outbox) -> None:
            path = journal_folder() / f"left-{moment}-{number:06}{SUFFIX}"  # a run around others comes before them
            journal, is_written = Journal(path, {"tracking_uri": uri, "run_id": outbox.run_id}), False
            try:
                journal.append(outbox.peek())
                is_written = True
            finally:
                journal.close(remove=not is_written)

        for number, outbox in enumerate(left):
            try:
                within(_KEPT_WITHIN_S, functools.partial(write, number, outbox))
                kept += 1
            except Exception as error:
                last = error
                if isinstance(error, TimeoutError):  # the disk hangs
                    break
        if kept < len(left):
            logger.warning("data of %d runs that MLflow did not take is lost. %s", len(left) - kept, last)
        return kept

    def hurry(self, outbox: Outbox) -> None:
        """Have the thread write this at once, unless it pauses after a failure."""
        if not outbox.failures:
            outbox.due_at = 0.0
        self._wake.set()

    def _waiting(self) -> list[Outbox]:
        with self._lock:
            return [outbox for outbox in self._outboxes.values() if not outbox.is_empty]

    def _left(self) -> list[Outbox]:
        return [outbox for outbox in self._waiting() if not isinstance(outbox.gone, DeletedRunError)]

    def _work(self) -> None:
        closing = False
        if hasattr(time, "pthread_getcpuclockid"):
            self._cpu_clock = time.pthread_getcpuclockid(threading.get_ident())
        while True:
            due_at = min((outbox.due_at for outbox in self._waiting()), default=float("inf"))
            self._wake.wait(max(0.0, min(due_at - time.monotonic(), self._every_s, threading.TIMEOUT_MAX)))
            self._wake.clear()
            if self._deadline is not None and not closing:
                closing = True
                for outbox in list(self._outboxes.values()):  # a pause may be longer than the time that is left
                    outbox.due_at = 0.0
            for outbox in self._waiting():
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    return
                if time.monotonic() >= outbox.due_at:
                    self._attempt(outbox, closing=closing)
                    self._cpu_s = time.thread_time()
            if closing and all(outbox.gone for outbox in self._waiting()):
                return

    def _attempt(self, outbox: Outbox, *, closing: bool) -> None:
        """Write what waits in an outbox, and say when it is due again. While `closing` no pause grows."""
        times = 1.0 if closing else 2.0 ** min(outbox.failures, 10)
        # A creation whose answer comes too late is made twice: its run cannot be found before that.
        self._store.timeout_s = MAX_TIMEOUT_S if outbox.run_id is None else min(MIN_TIMEOUT_S * times, MAX_TIMEOUT_S)
        outbox.due_at = time.monotonic() + (0.0 if closing else self._every_s)  # before: see `hurry`
        try:
            replay(outbox, self._store, self.run_id)
        except Exception as error:
            self._failed(outbox, error)
            outbox.failures += 1
            jitter = random.uniform(0.5, 1.0)  # so that clients do not reconnect at the same moment
            outbox.due_at = time.monotonic() + min(MIN_PAUSE_S * times, MAX_PAUSE_S) * jitter
            return
        outbox.failures, outbox.gone, self.is_away = 0, None, False
        if self._warned is outbox:
            self._warned = None
            logger.warning("MLflow takes the data of run %r again", outbox.title)

    def _failed(self, outbox: Outbox, error: Exception) -> None:
        """Say so at the beginning of an outage, and once of a run that is gone."""
        if isinstance(error, NoSuchRunError):
            if outbox.gone is None:
                logger.warning("nothing more is written to run %r, unless it is restored: %s", outbox.title, error)
            self.is_away, outbox.gone = False, error
            self._warned = None if self._warned is outbox else self._warned
            return
        self.is_away = True
        if self._warned is None:
            self._warned = outbox
            logger.warning("MLflow does not take the data of run %r; it waits. %s", outbox.title, one_line(error))


def keep_end(tracking_uri: str, run_id: str, status: str | None, tags: Mapping[str, object] | None = None) -> None:
    """Keep the end of a run, or without a status tags of it, that the store did not take, for `sync`. Never raises."""
    outbox, writer = Outbox(run_id), Writer(Store(tracking_uri))
    outbox.add(end(status, tags) if status else log(tags=tags))
    writer.attach(outbox)
    writer.keep()
