"""The points of one run that wait: in its spool file, or in memory without a usable file."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.spool import SpoolFile
from mlflow_sysmetrics.redact import get_logger

logger = get_logger(__name__)

_PART = 1000  # points saved at once


class Memory:
    """Room for waiting points, which several backlogs may share. `lost` counts points that found no room.

    Args:
        capacity: points. The default is about 20 MB, an hour and a half of one logger's points.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity!r}: give room for at least one point")
        self.capacity, self.used, self.lost = capacity, 0, 0
        self.lock = threading.Lock()


class Backlog:
    """Points in the order in which they came. May be used from any thread.

    Args:
        file: where points wait; None: in memory.
        memory: room for points without a file, and for those that cannot be written, for example to a full disk. When
            it is full, the oldest points of the backlog that adds more are dropped.
        raises: whether errors of the disk are raised instead of logged.
    """

    def __init__(self, file: SpoolFile | None = None, memory: Memory | None = None, *, raises: bool = False) -> None:
        self._file, self._memory, self._raises = file, memory or Memory(), raises
        self._points: deque[Point] = deque()  # in memory
        self._peeked: Sequence[Point] = ()  # by the last peek, from memory
        self._peeked_file = False
        self._warned = self._closed = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        with self._memory.lock:
            return not self._points and (self._file is None or self._closed or self._file.is_empty)

    @property
    def lost(self) -> int:
        """Points that were given up."""
        return self._memory.lost

    def append(self, points: Sequence[Point]) -> None:
        """Add points at the end."""
        memory = self._memory
        with memory.lock:
            if self._closed:
                memory.lost += len(points)
                return
            self._points.extend(points)
            memory.used += len(points)
            self._save()
            while memory.used > memory.capacity and self._points:
                self._drop_oldest()
                memory.lost += 1

    def say_last(self, points: Sequence[Point]) -> None:
        """Save the last points to deliver, in case this process is killed before it appends more."""
        with self._memory.lock:
            if self._file is not None and not self._closed and not self._points:
                try:
                    self._file.say_last(points)
                except OSError as error:
                    self._failed(error)

    def peek(self, limit: int) -> list[Point]:
        """About `limit` of the points that have waited longest; [] if none do, or after `close`."""
        with self._memory.lock:
            points = self._peek_file(limit)
            self._peeked_file = bool(points)
            self._peeked = () if self._closed or points else tuple(itertools.islice(self._points, limit))
            return points or list(self._peeked)

    def forget(self) -> None:
        """Drop what the last `peek` returned, since the store has it."""
        with self._memory.lock:
            if self._closed:
                return
            if self._file is not None and self._peeked_file:
                try:
                    self._file.forget()
                except OSError as error:  # then it is delivered again, which the store ignores
                    self._failed(error)
            for point in self._peeked:  # meanwhile some may have been given up, or have got into the file
                if self._points and self._points[0] is point:
                    self._drop_oldest()
            self._peeked, self._peeked_file = (), False

    def in_memory(self) -> list[Point]:
        """All points that wait in memory."""
        with self._memory.lock:
            return list(self._points)

    def change(self, changed: Callable[[Iterable[Point]], Iterable[Point]]) -> None:
        """Replace the points that wait in memory."""
        with self._memory.lock:
            points = deque(changed(self._points))
            self._memory.used += len(points) - len(self._points)
            self._points = points

    def close(self) -> None:
        """Give the file back. What waits in it stays there, what waits in memory is lost. Idempotent."""
        with self._memory.lock:
            if self._closed:
                return
            self._save()
            self._closed = True
            self._memory.lost += len(self._points)
            self._memory.used -= len(self._points)
            self._points.clear()
            if self._file is not None:
                self._file.close()

    def _peek_file(self, limit: int) -> list[Point]:
        if self._file is None or self._closed:
            return []
        try:
            return self._file.peek(limit)
        except OSError as error:
            self._failed(error)
            return []

    def _save(self) -> None:
        """Move to the file what waits in memory."""
        while self._points and self._file is not None:
            part = list(itertools.islice(self._points, _PART))
            try:
                self._file.append(part)
            except OSError as error:
                self._failed(error)
                return
            for _ in part:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._points.popleft()
        self._memory.used -= 1

    def _failed(self, error: OSError) -> None:
        if self._raises:
            raise error
        if not self._warned:
            self._warned = True
            logger.warning("points that MLflow has not taken wait in memory, and no longer on disk. %s", error)
