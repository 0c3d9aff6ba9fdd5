"""The thread that brings what waits for runs to one store, again and again until the store has it."""

from __future__ import annotations

import math
import os
import random
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from multiprocessing.util import Finalize

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_USER

from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.common.threads import Deadline, start_thread
from mlflow_sysmetrics.common.time_limits import (
    ANSWER_S,
    ASK_EVERY_S,
    DELIVER_S,
    MAX_ANSWER_S,
    MAX_PAUSE_S,
    MIN_PAUSE_S,
)
from mlflow_sysmetrics.delivery.location import RunRef, source_tags
from mlflow_sysmetrics.delivery.operations import MAX_NAME, MAX_TAG, Batch, Create, now_ms, text, texts
from mlflow_sysmetrics.delivery.run import Run
from mlflow_sysmetrics.delivery.send import send
from mlflow_sysmetrics.delivery.store import NoSuchRunError, Store, one_line

logger = get_logger(__name__)

_writers: dict[tuple[int, str], Writer] = {}  # by process and store
_making = threading.Lock()


def writer_for(tracking_uri: str) -> Writer:
    """The one writer of this process for a store. At the end of the process it delivers what it has, or keeps it."""
    key = (os.getpid(), tracking_uri)  # a forked child has a thread of its own
    with _making:
        writer = _writers.get(key)
        if writer is None:
            writer = _writers[key] = Writer(Store(tracking_uri))
            Finalize(None, writer.close_all, [DELIVER_S], exitpriority=0)  # also of a forked process: it skips atexit
    return writer


def child_run(parent: RunRef, name: str, tags: Mapping[str, object] | None = None) -> Run:
    """Have a run created that starts now: below `parent`, or where that has no id in the same experiment."""
    writer = writer_for(parent.tracking_uri)
    around = writer.open(parent.run_id) if parent.run_id else None
    return writer.create(parent.experiment_id, name=name, tags={**source_tags(), **(tags or {})}, parent=around)


class Writer:
    """Creates, fills and ends MLflow runs without making the caller wait. Only `close` waits.

    Its thread runs while there are runs to write. It writes the points of a run every `ask_every_s` seconds, and the
    creation and the end of a run at once. After a failure the run pauses, longer and longer up to `max_pause_s`, and
    keeps its data; other runs go on. `close` does not wait for a run that the store does not have. No error reaches the
    thread that uses the writer.
    """

    def __init__(self, store: Store, *, ask_every_s: float = ASK_EVERY_S, max_pause_s: float = MAX_PAUSE_S) -> None:
        self.store = store
        self.ask_every_s = ask_every_s
        self.max_pause_s = max_pause_s
        self.is_unreachable = False  # whether the store did not take what it was sent last
        self.cpu_seconds = 0.0  # of its thread: what a measurement of this process may leave out
        self._runs: dict[Run, None] = {}  # in the order in which they came: a run before those below it
        self._lock = threading.RLock()  # a signal's handler may close a run while its thread has it
        self.wake = threading.Event()  # has the thread look at once whether a run is due, or done
        self._progress = threading.Condition()  # told after each attempt
        self._thread: threading.Thread | None = None
        self._outage: Run | None = None  # the failure of which began it

    def create(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        tags: Mapping[str, object] | None = None,
        parent: Run | None = None,
        key: str | None = None,
        start_ms: int | None = None,
    ) -> Run:
        """Have a run created that starts now, or at `start_ms`, below the parent.

        The run has the key, which is unique for ever, as a tag: by it the run is found again. A tag ``mlflow.runName``
        is the name.
        """
        known = texts(tags or {}, MAX_TAG)
        name = text(known.pop(MLFLOW_RUN_NAME, name or ""), MAX_NAME)
        start_ms = start_ms or now_ms()
        parent_key = None
        if parent is not None and parent.run_id is not None:
            known.setdefault(MLFLOW_PARENT_RUN_ID, parent.run_id)
        elif parent is not None:
            parent_key = parent.key
        run = Run(self, key=key or uuid.uuid4().hex, start_ms=start_ms)
        run.created = Create(str(run.key), experiment_id, start_ms, name, known.get(MLFLOW_USER, ""), parent_key)
        run.add([run.created, Batch(start_ms, tags=known)])
        self.take(run, at_once=True)
        return run

    def open(self, run_id: str, *, key: str | None = None, start_ms: int | None = None) -> Run:
        """A run that exists. Nothing is changed in it. `key` is that with which it was created."""
        return Run(self, run_id, key=key, start_ms=start_ms)

    def take(self, run: Run, *, at_once: bool = False) -> None:
        """Write what is added to a run from now on."""
        with self._lock:
            if run not in self._runs:
                self._runs[run] = None
                run.due_at = time.monotonic() + self.ask_every_s
            run.is_closing = False
            if at_once and not run.failures:
                run.due_at = 0.0
            if self._thread is None:
                self._thread = start_thread(self._work, "writer")
        if at_once:
            self.wake.set()

    def close(self, runs: Iterable[Run], timeout_s: float) -> bool:
        """Write what is left of these, for at most `timeout_s`; say whether nothing is left. Then they are done.

        What the store does not take in time, or all at Ctrl-C, goes to disk, and `sync` delivers it. A request that
        hangs goes on alone.
        """
        closing = list(runs)
        for run in closing:
            run.is_open = False
            run.is_closing = True
            run.due_at = 0.0  # a pause may be longer than the time that is left
        self.wake.set()
        try:
            self._wait(closing, Deadline(timeout_s))
        except KeyboardInterrupt:
            logger.warning("interrupted: what MLflow has not taken goes to disk")
        with self._lock:
            for run in closing:
                self._runs.pop(run, None)
                if self._outage is run:
                    self._outage = None  # the next run says it
        self.wake.set()  # the thread ends with the last of them
        left = [run.title for run in closing if not run.is_empty]
        lost: Exception | None = None
        for run in closing:
            try:
                run.leave_on_disk()
            except Exception as error:
                lost = error
        whose = f"run {left[0]!r}" if len(left) == 1 else f"{len(left)} runs"
        if lost is not None:
            logger.warning("data of %s that MLflow did not take is lost. %s", whose, lost)
        elif left:
            logger.warning("MLflow has not taken all of %s yet: `mlflow-sysmetrics sync` delivers the rest", whose)
        return not left

    def close_all(self, timeout_s: float) -> bool:
        """`close` for all runs that it writes."""
        with self._lock:
            runs = list(self._runs)
        return self.close(runs, timeout_s)

    def _wait(self, runs: list[Run], deadline: Deadline) -> None:
        with self._progress:
            while any(not run.is_empty and not run.is_missing for run in runs):
                thread = self._thread
                if not deadline.left() or thread is None or thread is threading.current_thread():
                    return
                self._progress.wait(min(deadline.left(), 1.0))

    def _work(self) -> None:
        used_before_s = self.cpu_seconds
        while self._goes_on():
            due_at = min((run.due_at for run in self._waiting()), default=math.inf)
            self.wake.wait(max(0.0, min(due_at - time.monotonic(), self.ask_every_s)))
            self.wake.clear()
            for run in self._waiting():
                if time.monotonic() >= run.due_at and run in self._runs:
                    self._attempt(run)
                    self.cpu_seconds = used_before_s + time.thread_time()
                    with self._progress:
                        self._progress.notify_all()

    def _goes_on(self) -> bool:
        """Forget the runs that are done; say whether some are left, or else the thread ends."""
        with self._lock:
            self._runs = {run: None for run in self._runs if run.is_open or not run.is_empty}
            if not self._runs:
                self._thread = None
            return bool(self._runs)

    def _waiting(self) -> list[Run]:
        with self._lock:
            return [run for run in self._runs if not run.is_empty]

    def _attempt(self, run: Run) -> None:
        """Write what waits for a run, and say when it is due again. While it closes no pause grows."""
        times = 2.0 ** min(run.failures, 10)
        # Wait long for the answer to a creation: a retry before the run is visible would create it twice.
        self.store.timeout_s = MAX_ANSWER_S if run.run_id is None else min(ANSWER_S * times, MAX_ANSWER_S)
        # Before the attempt: during it a caller may bring the next one forward.
        run.due_at = time.monotonic() + (0.0 if run.is_closing else self.ask_every_s)
        try:
            send(run, self.store)
        except Exception as error:
            self._failed(run, error)
            jitter = random.uniform(0.5, 1.0)  # so that clients do not reconnect at the same moment
            pause_s = MIN_PAUSE_S if run.is_closing else min(MIN_PAUSE_S * times, self.max_pause_s)
            run.due_at = time.monotonic() + pause_s * jitter
            return
        run.failures = 0
        run.is_missing = False
        self.is_unreachable = False
        if self._outage is run:
            self._outage = None
            logger.warning("MLflow takes the data of run %r again", run.title)

    def _failed(self, run: Run, error: Exception) -> None:
        """Say so at the beginning of an outage, and once of a run that the store does not have."""
        run.failures += 1
        is_missing = isinstance(error, NoSuchRunError)
        is_new = is_missing and not run.is_missing
        run.is_missing = is_missing
        self.is_unreachable = not is_missing
        if is_missing and self._outage is run:
            self._outage = None
        if self._outage is None and not is_missing:
            self._outage = run
            is_new = True
        if is_new:
            logger.warning("MLflow does not take the data of run %r; it waits. %s", run.title, one_line(error))
