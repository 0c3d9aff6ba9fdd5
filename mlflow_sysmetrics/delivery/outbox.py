"""The operations of one run that wait for the store, in order."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable

from mlflow_sysmetrics.delivery.journal import Journal
from mlflow_sysmetrics.delivery.operations import Operation
from mlflow_sysmetrics.delivery.waiting import within
from mlflow_sysmetrics.redact import get_logger

logger = get_logger(__name__)
_DISK_S = 5.0  # a line takes microseconds, except on a network's disk or where threads wait for a processor
MAX_WAITING = 300_000  # values in memory, about 40 MB: five hours of one logger's


class Outbox:
    """Operations of one run. Any thread may add; one thread takes them and keeps the other attributes.

    With a journal, adding touches a disk: then only threads that may wait for it add. What an earlier process has left
    there comes first. When too much waits, the oldest points are given up, unless they are in the journal, which then
    stays for `sync`.

    Args:
        run_id: the run; None for one that is to be created, as its first operation says.
        title: what the user knows the run by.
        journal: where operations are kept, too, in case this process ends before the store has them.
    """

    def __init__(self, run_id: str | None = None, title: str | None = None, journal: Journal | None = None) -> None:
        self.run_id, self.title = run_id, title or run_id
        self.start_ms: int | None = None  # of the run, once it is known
        # The step and value of each point that the run has, by metric; None: all that waits is new.
        self.stored: dict[str, set[tuple[int, float]]] | None = None
        self.is_superseded = False  # whether the run has gone on after all that waits here, and has ended otherwise
        self.gone: Exception | None = None  # the store's last answer, if the run does not exist
        self.failures, self.due_at = 0, 0.0  # attempts in a row that failed; when the writer tries next
        self.refused_names: set[str] = set()  # of metrics
        self.sent = self.refused = self.lost = 0  # values that the store took, will never take, and that were given up
        left = journal.read() if journal else ()
        self._waiting = deque(operation for operation in left if operation.kind != "end")  # the run goes on
        self._values = sum(map(_values, self._waiting))
        self.max_waiting: float = MAX_WAITING
        self._journal, self._overflowed = journal, False
        self._lock, self._disk = threading.Lock(), threading.Lock()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def add(self, operations: Iterable[Operation]) -> None:
        """Add operations at the end."""
        added = list(operations)
        with self._lock:
            self._waiting.extend(added)
            self._values += sum(map(_values, added))
        self._write(lambda journal: journal.append(added))
        with self._lock:
            while self._values > self.max_waiting and (oldest := next(filter(_is_points, self._waiting), None)):
                self._waiting.remove(oldest)
                self._values -= _values(oldest)
                self.lost += 0 if self._journal else _values(oldest)
                if not self._journal and not self._overflowed:
                    logger.warning("too much waits for run %r: its oldest points are given up", self.title)
                self._overflowed = True

    def say_last(self, summary: Operation) -> None:
        """Have the journal hold the summary that is to be delivered if this process is killed now."""
        self._write(lambda journal: journal.say_last(summary))

    def peek(self, limit: int | None = None) -> list[Operation]:
        """What waits, longest first; at most this number."""
        with self._lock:
            return list(itertools.islice(self._waiting, limit))

    def forget(self, operations: list[Operation]) -> None:
        """Drop these, which came from the front, since the store has them."""
        with self._lock:
            for operation in operations:  # meanwhile some may have been given up
                if self._waiting and self._waiting[0] is operation:
                    self._values -= _values(self._waiting.popleft())
        if not self._waiting and not self._overflowed:
            self._write(lambda journal: None if self._waiting else journal.empty())

    def close(self) -> None:
        """Give the journal back, which stays if something waits in it. Idempotent."""
        self._write(lambda journal: journal.close(remove=not self._waiting and not self._overflowed))
        self._journal = None

    def _write(self, write: Callable[[Journal], None]) -> None:
        """Do this with the journal, if there is one. On a disk that hangs, or is full, it is given up."""
        with self._disk:
            try:
                if (journal := self._journal) is not None:
                    within(_DISK_S, lambda: write(journal))
            except OSError as error:  # a TimeoutError, too
                self._journal = None  # what is in it, `sync` delivers
                logger.warning("what MLflow has not taken waits in memory only, no longer on disk. %s", error)


def _is_points(operation: Operation) -> bool:
    return operation.kind == "points"


def _values(operation: Operation) -> int:
    return len(operation.data[2]) if _is_points(operation) else 1
