"""One MLflow run that this process writes, and what waits for it."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.redact import get_logger, lasting_uri
from mlflow_sysmetrics.delivery.journal import SUFFIX, Journal, journal_folder, journal_path
from mlflow_sysmetrics.delivery.operations import (
    MAX_PARAM,
    MAX_TAG,
    Batch,
    Create,
    Operation,
    Point,
    Status,
    finite_points,
    finite_values,
    now_ms,
    texts,
)
from mlflow_sysmetrics.recording.outcome import Outcome

if TYPE_CHECKING:
    from mlflow_sysmetrics.delivery.writer import Writer

logger = get_logger(__name__)
MAX_VALUES = 300_000  # that wait in memory, about 40 MB: five hours of one logger's


class Run:
    """A run, and the operations that wait for it, in order.

    Any thread may log. Nothing is sent here: `send` takes what waits, in the thread of the run's writer. With a journal
    what waits is on disk, too. If too much is logged, memory loses the oldest points; a journal keeps them for `sync`.
    Only `keep_journal` and `leave_on_disk` raise. What comes after the end of the run, or after `close`, is dropped,
    unless the run is reopened.

    Attributes:
        run_id: MLflow's id; None until the store has created the run.
        key: with which the run was created; unique for ever.
        start_ms: of the run, once it is known.
        created: how this process has it created, if it does.
        outcome_if_killed: of a run with a journal: how `sync` ends it if this process is killed; None: not at all.
        is_open: whether more may come; if not, the writer forgets the run once it is empty.

    Of the writer:
        failures: attempts in a row that failed.
        due_at: when it tries next.
        is_closing: whether somebody waits for it.
        is_missing: whether the store says that it does not have the run.

    Of `send`:
        refused_names: of metrics.
        sent: values that the store took.
    """

    def __init__(
        self,
        writer: Writer,
        run_id: str | None = None,
        *,
        key: str | None = None,
        start_ms: int | None = None,
    ) -> None:
        self.run_id = run_id
        self.key = key
        self.start_ms = start_ms
        self.created: Create | None = None
        self.outcome_if_killed: Outcome | None = None
        self.is_open = True

        self.failures = 0
        self.due_at = 0.0
        self.is_closing = False
        self.is_missing = False

        self.refused_names: set[str] = set()
        self.sent = 0

        self._writer = writer
        self._waiting: deque[Operation] = deque()
        self._values = 0  # that wait
        self._journal: Journal | None = None
        self._overflowed = False
        self._lock = threading.RLock()  # a signal's handler may log while its thread does

    @property
    def title(self) -> str | None:
        """What the user knows the run by."""
        return (self.created and self.created.name) or self.run_id or self.key

    @property
    def tracking_uri(self) -> str:
        return self._writer.store.tracking_uri

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def log(
        self,
        points: Iterable[Point] = (),
        *,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        summary: Mapping[str, float] | None = None,
        unless_logged_since_ms: int | None = None,
    ) -> None:
        """Add these to the run. Values that are not finite are left out.

        Summary values whose names the program itself has logged since `unless_logged_since_ms` are left out, too.
        """
        with never_raises("logging to an MLflow run"):
            operations: list[Operation] = []
            known = finite_points(points)
            if known:
                operations.append(Batch(now_ms(), known))
            numbers = finite_values(summary or {})
            if params or tags or numbers:
                params = texts(params or {}, MAX_PARAM)
                tags = texts(tags or {}, MAX_TAG)
                operations.append(Batch(now_ms(), (), params, tags, numbers, unless_logged_since_ms))
            self._put(operations)

    def reopen(self, tags: Mapping[str, object] | None = None) -> None:
        """Have an ended run go on: it is RUNNING again, and gets these tags."""
        self.is_open = True
        self._put([Status("RUNNING", now_ms(), texts(tags or {}, MAX_TAG))], at_once=True)

    def end(self, outcome: Outcome, end_ms: int | None = None) -> None:
        """End the run, now or at a unix time in ms. The writer forgets it once that is delivered."""
        self._put([_status(outcome, end_ms or now_ms())], at_once=True)
        self.release()

    def release(self) -> None:
        """Nothing more comes, and the end is somebody else's: the writer forgets the run once it has all."""
        self.is_open = False
        self._writer.wake.set()

    def close(self, timeout_s: float) -> bool:
        """Deliver what waits, for at most `timeout_s`, and be done; say whether nothing is left. See `Writer.close`."""
        return self._writer.close([self], timeout_s)

    def keep_journal(self, series: str) -> None:
        """Have what waits on disk, too, from now on. A series of a run has one writer on a machine.

        What an earlier process has left there stays for `sync`.

        Raises:
            InUseError: another process has the journal of this series.
            OSError: the journal cannot be opened.
        """
        uri = lasting_uri(self.tracking_uri)
        with self._lock:
            journal = self._start_journal(journal_path(uri, self.run_id or str(self.key), series))
        if journal.holds_earlier:
            logger.warning("`mlflow-sysmetrics sync` delivers what an earlier process left of run %r", self.title)

    def checkpoint(self, summary: Mapping[str, float], unless_logged_since_ms: int | None = None) -> None:
        """Have the journal hold what `sync` delivers if this process is killed now."""
        time_ms = now_ms()
        batch = Batch(time_ms, summary=finite_values(summary), unless_logged_since_ms=unless_logged_since_ms)
        operations: list[Operation] = [batch]
        if self.outcome_if_killed is not None:
            operations.append(_status(self.outcome_if_killed, time_ms))
        self._write(lambda journal: journal.checkpoint(operations))

    def leave_on_disk(self) -> None:
        """Have what waits in a file for `sync`, and write it no more. Raises OSError."""
        with self._lock:
            if self._journal is None and not self.is_empty:  # a run around others comes before them
                path = journal_folder() / f"left-{time.time_ns()}-{os.getpid()}{SUFFIX}"
                self._start_journal(path)
            if self._journal is not None:
                self._journal.close(remove=self.is_empty and not self._overflowed)
                self._journal = None

    def add(self, operations: Sequence[Operation]) -> None:
        """Add operations at the end."""
        with self._lock:
            for operation in operations:
                self._waiting.append(operation)
                self._values += _values(operation)
            self._write(lambda journal: journal.append(operations))

    def peek(self, limit: int) -> list[Operation]:
        """What waits, longest first; at most this number."""
        with self._lock:
            return list(itertools.islice(self._waiting, limit))

    def forget(self, operations: Iterable[Operation]) -> None:
        """Drop these, which came from the front, since the store has them."""
        with self._lock:
            for operation in operations:
                if self._waiting and self._waiting[0] is operation:  # meanwhile some may have been given up
                    self._drop(operation)
            if self.is_empty and not self._overflowed:
                self._write(Journal.empty)

    def _start_journal(self, path: Path) -> Journal:
        header = {"tracking_uri": lasting_uri(self.tracking_uri), "run_id": self.run_id}
        if self.created is not None:
            header["key"] = self.created.key
            header["experiment_id"] = self.created.experiment_id
        journal = Journal(path, header)
        journal.append(list(self._waiting))
        self._journal = journal
        return journal

    def _put(self, operations: Sequence[Operation], *, at_once: bool = False) -> None:
        with never_raises("writing to an MLflow run"):
            if self.is_open and operations:
                self.add(operations)
                self._bound()
                self._writer.take(self, at_once=at_once)

    def _bound(self) -> None:
        """Forget the oldest points while too many values wait."""
        with self._lock:
            while self._values > MAX_VALUES and (oldest := next(filter(_has_points, self._waiting), None)):
                self._drop(oldest)
                if not self._overflowed and self._journal is None:
                    logger.warning("too much waits for run %r: its oldest points are given up", self.title)
                self._overflowed = True

    def _drop(self, operation: Operation) -> None:
        self._waiting.remove(operation)
        self._values -= _values(operation)

    def _write(self, write: Callable[[Journal], None]) -> None:
        """Do this with the journal, if there is one. One that cannot be written is given up."""
        with self._lock:
            if self._journal is None:
                return
            try:
                write(self._journal)
            except OSError as error:
                self._journal = None  # what is in it, `sync` delivers
                logger.warning("what MLflow has not taken waits in memory only, no longer on disk. %s", error)


def _status(outcome: Outcome, time_ms: int) -> Status:
    return Status(outcome.status, time_ms, texts(outcome.tags, MAX_TAG))


def _has_points(operation: Operation) -> bool:
    return isinstance(operation, Batch) and bool(operation.points)


def _values(operation: Operation) -> int:
    return len(operation.points) or 1 if isinstance(operation, Batch) else 1
