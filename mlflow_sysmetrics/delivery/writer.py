"""The thread that brings what waits for runs to one store, again and again until the store has it."""

from __future__ import annotations

import contextvars
import functools
import math
import os
import random
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from multiprocessing.util import Finalize
from pathlib import Path

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from mlflow_sysmetrics.delivery.journal import SUFFIX, Journal, journal_folder
from mlflow_sysmetrics.delivery.location import RunRef, source_tags
from mlflow_sysmetrics.delivery.operations import MAX_TAG, Create, now_ms, texts
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.delivery.replay import replay
from mlflow_sysmetrics.delivery.run_handle import RunHandle
from mlflow_sysmetrics.delivery.store import DeletedRunError, NoSuchRunError, Store, one_line
from mlflow_sysmetrics.redact import get_logger, lasting_uri
from mlflow_sysmetrics.threads import Deadline, within

logger = get_logger(__name__)
EVERY_S = 2.0  # between two requests for the points of a run
MIN_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0  # after a failure
MIN_TIMEOUT_S, MAX_TIMEOUT_S = 5.0, 30.0  # few at first, so that an outage is noticed; more later, for a slow server
_AT_EXIT_S = 5.0
_KEPT_WITHIN_S = 10.0  # on disk, for each run

_writers: dict[tuple[int, str], Writer] = {}  # by process and store
_making = threading.Lock()


def writer_for(tracking_uri: str) -> Writer:
    """The one writer of this process for a store. At the end of the process it delivers what it has, or keeps it."""
    key = (os.getpid(), tracking_uri)  # a forked child has a thread of its own
    with _making:
        writer = _writers.get(key)
        if writer is None:
            writer = _writers[key] = Writer(Store(tracking_uri))
            Finalize(None, writer.close_all, [_AT_EXIT_S], exitpriority=0)  # also of a forked process: it skips atexit
    return writer


def child_run(parent: RunRef, name: str, tags: Mapping[str, object] | None = None) -> RunHandle:
    """Have a run created that starts now: below `parent`, or where that has no id in the same experiment."""
    writer = writer_for(parent.tracking_uri)
    around = writer.open(parent.run_id) if parent.run_id else None
    return writer.create(parent.experiment_id, name=name, tags={**source_tags(), **(tags or {})}, parent=around)


class Writer:
    """Creates, fills and ends MLflow runs without making the caller wait, nor touching a disk. Only `close` waits.

    Its thread runs while there are runs to write. It writes the points of a run every two seconds, and the creation and
    the end of a run at once. After a failure the run's outbox pauses, longer and longer, and keeps its data. That of a
    deleted run pauses too, since the run may be restored; other runs and `close` do not wait for it. No error reaches
    the thread that uses the writer.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.is_unreachable = False  # whether the store did not take what it was sent last
        self.cpu_seconds = 0.0  # of its thread: what a measurement of this process may leave out
        self._outboxes: dict[Outbox, None] = {}  # in the order in which they came: a run before those below it
        self._lock = threading.RLock()  # a signal's handler may close a run while its thread has it
        self._wake = threading.Event()
        self._progress = threading.Condition()  # told after each attempt
        self._thread: threading.Thread | None = None
        self._outage: Outbox | None = None  # the failure of which began it

    def create(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        tags: Mapping[str, object] | None = None,
        parent: RunHandle | None = None,
        key: str | None = None,
        start_ms: int | None = None,
    ) -> RunHandle:
        """Have a run created that starts now, or at `start_ms`, below the parent.

        The run has the key, which is unique for ever, as a tag: by it the run is found again. A tag ``mlflow.runName``
        is the name.
        """
        known = texts(tags or {}, MAX_TAG)
        name = known.pop(MLFLOW_RUN_NAME, name)
        parent_key = None
        parent_outbox = None
        if parent is not None and parent.run_id is not None:
            known.setdefault(MLFLOW_PARENT_RUN_ID, parent.run_id)
        elif parent is not None:
            parent_key = parent.key
            parent_outbox = parent.outbox
        create = Create(key or uuid.uuid4().hex, experiment_id, start_ms or now_ms(), name, known, parent_key)
        outbox = Outbox(title=name or create.key)
        outbox.created = create
        outbox.parent = parent_outbox
        outbox.add([create])
        self.take(outbox, at_once=True)
        return RunHandle(outbox, self)

    def open(
        self, run_id: str, *, key: str | None = None, title: str | None = None, start_ms: int | None = None
    ) -> RunHandle:
        """The handle of a run that exists. Nothing is changed in it. `key` is that with which it was created."""
        outbox = Outbox(run_id, title)
        outbox.start_ms = start_ms
        return RunHandle(outbox, self, key)

    def take(self, outbox: Outbox, *, at_once: bool = False) -> None:
        """Write what is added to an outbox from now on."""
        with self._lock:
            if outbox not in self._outboxes:
                self._outboxes[outbox] = None
                outbox.due_at = time.monotonic() + EVERY_S
            outbox.is_released = False
            outbox.is_closing = False
            if at_once and not outbox.failures:
                outbox.due_at = 0.0
            self._start()
        if at_once:
            self._wake.set()

    def release(self, outbox: Outbox) -> None:
        """Forget an outbox once the store has what waits in it."""
        outbox.is_released = True
        self._wake.set()

    def close(self, handles: Iterable[RunHandle], timeout_s: float) -> bool:
        """Write what is left of these, for at most `timeout_s`; say whether nothing is left. Then they are done.

        What the store does not take in time, or all at Ctrl-C, goes to disk, and `sync` delivers it. What waits for a
        deleted run is given up. A request that hangs goes on alone.
        """
        outboxes = []
        for handle in handles:
            handle.is_open = False
            handle.outbox.is_closing = True
            handle.outbox.due_at = 0.0  # a pause may be longer than the time that is left
            outboxes.append(handle.outbox)
        self._wake.set()
        try:
            self._wait(outboxes, Deadline(timeout_s))
        except KeyboardInterrupt:
            logger.warning("interrupted: what MLflow has not taken goes to disk")
        with self._lock:
            closing = set(outboxes)
            left = [outbox for outbox in self._outboxes if outbox in closing and _is_left(outbox)]
            for outbox in outboxes:
                self._outboxes.pop(outbox, None)
        self._wake.set()  # the thread ends with the last of them
        self._keep(left)
        for outbox in outboxes:
            outbox.close()
            if outbox.lost:
                logger.warning("%d values of run %r could not be kept and are lost", outbox.lost, outbox.title)
        return not left

    def close_all(self, timeout_s: float) -> bool:
        """`close` for all runs that it writes."""
        with self._lock:
            handles = [RunHandle(outbox, self) for outbox in self._outboxes]
        return self.close(handles, timeout_s)

    def _wait(self, outboxes: list[Outbox], deadline: Deadline) -> None:
        with self._progress:
            while any(not outbox.is_empty and not outbox.gone for outbox in outboxes):
                thread = self._thread
                if not deadline.left() or thread is None or thread is threading.current_thread():
                    return
                self._progress.wait(min(deadline.left(), 1.0))

    def _keep(self, left: list[Outbox]) -> None:
        """Write journals of what the store did not take, and say what became of it. Never raises."""
        if not left:
            return
        moment = time.time_ns()
        uri = lasting_uri(self.store.tracking_uri)
        lost: Exception | None = None
        for number, outbox in enumerate(left):
            path = journal_folder() / f"left-{moment}-{number:06}{SUFFIX}"  # a run around others comes before them
            try:
                if not outbox.has_journal:
                    within(_KEPT_WITHIN_S, functools.partial(_write_journal, path, uri, outbox))
            except Exception as error:
                lost = error
                if isinstance(error, TimeoutError):  # the disk hangs
                    break
        runs = f"run {left[0].title!r}" if len(left) == 1 else f"{len(left)} runs"
        if lost is None:
            logger.warning("MLflow has not taken all of %s yet: `mlflow-sysmetrics sync` delivers the rest", runs)
        else:
            logger.warning("data of %s that MLflow did not take is lost. %s", runs, lost)

    def _start(self) -> None:
        """Start the thread, if it does not run."""
        if self._thread is not None:
            return
        run = contextvars.copy_context().run  # MLflow keeps its workspace there
        thread = threading.Thread(target=run, args=(self._work,), name="mlflow-sysmetrics-writer", daemon=True)
        try:
            thread.start()
            self._thread = thread
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            logger.warning("points are kept, but not delivered by this process. %s", error)

    def _work(self) -> None:
        used_before_s = self.cpu_seconds
        while self._goes_on():
            due_at = min((outbox.due_at for outbox in self._waiting()), default=math.inf)
            self._wake.wait(max(0.0, min(due_at - time.monotonic(), EVERY_S)))
            self._wake.clear()
            for outbox in self._waiting():
                if time.monotonic() >= outbox.due_at and outbox in self._outboxes:
                    self._attempt(outbox)
                    self.cpu_seconds = used_before_s + time.thread_time()
                    with self._progress:
                        self._progress.notify_all()

    def _goes_on(self) -> bool:
        """Forget the runs that are done; say whether some are left, or else the thread ends."""
        with self._lock:
            self._outboxes = {outbox: None for outbox in self._outboxes if not (outbox.is_released and outbox.is_empty)}
            if not self._outboxes:
                self._thread = None
            return bool(self._outboxes)

    def _waiting(self) -> list[Outbox]:
        with self._lock:
            return [outbox for outbox in self._outboxes if not outbox.is_empty]

    def _attempt(self, outbox: Outbox) -> None:
        """Write what waits in an outbox, and say when it is due again. While it closes no pause grows."""
        times = 1.0 if outbox.is_closing else 2.0 ** min(outbox.failures, 10)
        # A creation whose answer comes too late is made twice: its run cannot be found before that.
        self.store.timeout_s = MAX_TIMEOUT_S if outbox.run_id is None else min(MIN_TIMEOUT_S * times, MAX_TIMEOUT_S)
        # Before the attempt: during it a caller may bring the next one forward.
        outbox.due_at = time.monotonic() + (0.0 if outbox.is_closing else EVERY_S)
        try:
            replay(outbox, self.store, lambda key: outbox.parent.run_id if outbox.parent else None)
        except Exception as error:
            self._failed(outbox, error)
            outbox.failures += 1
            jitter = random.uniform(0.5, 1.0)  # so that clients do not reconnect at the same moment
            outbox.due_at = time.monotonic() + min(MIN_PAUSE_S * times, MAX_PAUSE_S) * jitter
            if outbox.is_closing:  # perhaps only since this attempt began
                outbox.due_at = time.monotonic() + MIN_PAUSE_S * jitter
            return
        outbox.failures = 0
        outbox.gone = None
        self.is_unreachable = False
        if self._outage is outbox:
            self._outage = None
            logger.warning("MLflow takes the data of run %r again", outbox.title)

    def _failed(self, outbox: Outbox, error: Exception) -> None:
        """Say so at the beginning of an outage, and once of a run that is gone."""
        if isinstance(error, NoSuchRunError):
            if outbox.gone is None:
                logger.warning("nothing more is written to run %r, unless it is restored: %s", outbox.title, error)
            outbox.gone = error
            self.is_unreachable = False
            if self._outage is outbox:
                self._outage = None
            return
        self.is_unreachable = True
        if self._outage is None:
            self._outage = outbox
            logger.warning("MLflow does not take the data of run %r; it waits. %s", outbox.title, one_line(error))


def _write_journal(path: Path, tracking_uri: str, outbox: Outbox) -> None:
    journal = Journal(path, outbox.header(tracking_uri))
    is_written = False
    try:
        journal.append(outbox.peek())
        is_written = True
    finally:
        journal.close(remove=not is_written)


def _is_left(outbox: Outbox) -> bool:
    return not outbox.is_empty and not isinstance(outbox.gone, DeletedRunError)
