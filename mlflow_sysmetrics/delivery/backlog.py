"""What waits to be delivered to one run: in its spool file, or in memory where no file takes it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from mlflow_sysmetrics.addresses import get_logger
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.spool import SpoolFile

logger = get_logger(__name__)

_CAPACITY = 100_000  # points in memory: about 20 MB, an hour and a half of one logger's


class Backlog:
    """Points in the order in which they came. Never raises, and may be used from any thread.

    Args:
        file: where points are kept; None where there is no place for one.
        capacity: the most points that wait in memory for want of a file, say on a full disk. The oldest beyond it are
            given up and counted in `lost`.
    """

    def __init__(self, file: SpoolFile | None, capacity: int = _CAPACITY) -> None:
        self.lost = 0
        self._file, self._capacity = file, capacity
        self._memory: deque[Sequence[Point]] = deque()
        self._in_memory = 0
        self._given: list[Sequence[Point]] = []  # by the last peek, from memory
        self._warned = self._closed = False
        self._lock = threading.Lock()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        with self._lock:
            return not self._memory and (self._file is None or self._closed or self._file.is_empty)

    def append(self, points: Sequence[Point]) -> None:
        """Keep these points, the next to deliver after all that wait."""
        if not points:
            return
        with self._lock:
            self._memory.append(points)
            self._in_memory += len(points)
            self._save()
            while self._in_memory > self._capacity or (self._memory and self._closed):
                self.lost += len(self._memory[0])
                self._pop()

    def peek(self, limit: int) -> list[Point]:
        """About `limit` of the points that have waited longest; [] if none do, or after `close`."""
        with self._lock:
            self._given = []
            if self._closed:
                return []
            try:
                points = self._file.peek(limit) if self._file is not None else []
            except OSError as error:
                self._warn(error)
                points = []
            if points:
                return points
            for part in self._memory:
                if points and len(points) + len(part) > limit:
                    break
                self._given.append(part)
                points += part
            return points

    def forget(self) -> None:
        """Drop what the last `peek` returned, since the store has it."""
        with self._lock:
            if self._closed:
                return
            if not self._given and self._file is not None:
                try:
                    self._file.forget()
                except OSError as error:  # then it is delivered again, which the store ignores
                    self._warn(error)
            for part in self._given:  # some may have been given up, or have got into the file, in the meantime
                if self._memory and self._memory[0] is part:
                    self._pop()
            self._given = []

    def close(self) -> None:
        """Give the file back; what waits in it stays there, what waits in memory is lost. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._save()
            self._closed = True
            while self._memory:
                self.lost += len(self._memory[0])
                self._pop()
            if self._file is not None:
                self._file.close()

    def _save(self) -> None:
        """Put into the file what is in memory."""
        while self._memory and self._file is not None and not self._closed:
            try:
                self._file.append(self._memory[0])
            except OSError as error:
                self._warn(error)
                return
            self._pop()

    def _pop(self) -> None:
        self._in_memory -= len(self._memory.popleft())

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("system metrics that MLflow has not taken wait in memory, and no longer on disk. %s", error)
