"""The operations of one run that wait for the store, in order."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable

from mlflow_sysmetrics.delivery.journal import Journal
from mlflow_sysmetrics.delivery.operations import Checkpoint, Create, End, Operation, Points
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.threads import within

logger = get_logger(__name__)
_DISK_S = 5.0  # a line takes microseconds, except on a network's disk or where threads wait for a processor
MAX_WAITING = 300_000  # values in memory, about 40 MB: five hours of one logger's


class Outbox:
    """Operations of one run. Any thread may add; one thread takes them and keeps the other attributes.

    With a journal, adding touches a disk: then only threads that may wait for it add. When too much waits, the oldest
    points are given up, unless they are in the journal, which then stays for `sync`.

    Args:
        run_id: the run; None for one that is to be created, as its first operation says.
        title: what the user knows the run by.
    """

    def __init__(self, run_id: str | None = None, title: str | None = None) -> None:
        self.run_id = run_id
        self.title = title or run_id
        self.created: Create | None = None  # of a run that this project creates: how
        self.parent: Outbox | None = None  # of the run around it, if that was created here
        self.is_released = False  # whether nothing more is added, so that it is forgotten once it is empty
        self.is_closing = False  # whether somebody waits for it
        self.start_ms: int | None = None  # of the run, once it is known
        # The step and value of each point that the run has, by metric; None: all that waits is new.
        self.stored: dict[str, set[tuple[int, float]]] | None = None
        self.is_superseded = False  # whether the run has gone on after all that waits here, and has ended otherwise
        self.gone: Exception | None = None  # the store's last answer, if the run does not exist
        self.failures = 0  # attempts in a row that failed
        self.due_at = 0.0  # when the writer tries next
        self.refused_names: set[str] = set()  # of metrics
        self.sent = 0  # values that the store took
        self.refused = 0  # values that it will never take
        self.lost = 0  # values that were given up
        self.max_waiting: float = MAX_WAITING
        self._waiting: deque[Operation] = deque()
        self._values = 0  # that wait
        self._journal: Journal | None = None
        self._overflowed = False
        self._lock = threading.Lock()
        self._disk = threading.Lock()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    @property
    def has_journal(self) -> bool:
        """Whether all that waits is on disk."""
        return self._journal is not None

    def header(self, tracking_uri: str) -> dict[str, str | None]:
        """What a journal says of the run."""
        known = {"tracking_uri": tracking_uri, "run_id": self.run_id}
        if self.created is None:
            return known
        return {**known, "key": self.created.key, "experiment_id": self.created.experiment_id}

    def add(self, operations: Iterable[Operation]) -> None:
        """Add operations at the end."""
        added = list(operations)
        with self._lock:
            self._waiting.extend(added)
            self._values += sum(map(_values, added))
        self._write(lambda journal: journal.append(added))
        with self._lock:
            while self._values > self.max_waiting and (oldest := next(filter(_is_points, self._waiting), None)):
                self._give_up(oldest)

    def keep_in(self, journal: Journal) -> None:
        """Have a journal hold, too, what waits. What an earlier process has left there comes first."""
        left = [operation for operation in journal.read() if not isinstance(operation, End)]  # the run goes on
        with self._lock:
            journal.append(self._waiting)
            self._waiting.extendleft(reversed(left))
            self._values += sum(map(_values, left))
            self._journal = journal

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Have the journal hold what counts if this process is killed now."""
        self._write(lambda journal: journal.checkpoint(checkpoint))

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

    def _give_up(self, oldest: Operation) -> None:
        self._waiting.remove(oldest)
        self._values -= _values(oldest)
        if self._journal is None:
            self.lost += _values(oldest)
            if not self._overflowed:
                logger.warning("too much waits for run %r: its oldest points are given up", self.title)
        self._overflowed = True

    def _write(self, write: Callable[[Journal], None]) -> None:
        """Do this with the journal, if there is one. On a disk that hangs, or is full, it is given up."""
        with self._disk:
            journal = self._journal
            if journal is None:
                return
            try:
                within(_DISK_S, lambda: write(journal))
            except OSError as error:  # a TimeoutError, too
                self._journal = None  # what is in it, `sync` delivers
                logger.warning("what MLflow has not taken waits in memory only, no longer on disk. %s", error)


def _is_points(operation: Operation) -> bool:
    return isinstance(operation, Points)


def _values(operation: Operation) -> int:
    return len(operation.values) if isinstance(operation, Points) else 1
