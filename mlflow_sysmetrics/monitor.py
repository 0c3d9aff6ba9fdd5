"""A background thread that takes readings at a fixed interval and folds them into windows.

It does not depend on what is read or where it goes: `sample` is any function that returns numbers by name, and the
caller drains the windows.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.common.threads import start_thread
from mlflow_sysmetrics.common.time_limits import READING_S

logger = get_logger(__name__)
_MIN_SPAN_S = 1e-9  # so that readings at one moment count alike
_MAX_WINDOWS = 1200  # that wait, about 2 MB
_WINDOW_SHARE = 1 / 1200  # of the time so far: 12 hours have 7,000 windows, not 43,200
_MAX_WINDOW_S = 10.0


@dataclass(frozen=True)
class Window:
    """The readings of one stretch of time, folded.

    A mean is over time: a reading counts for as long as it is since the one before that had the name, or since the
    window opened. Those are the seconds that a rate describes.
    """

    time_ms: int  # unix time in ms at which it closed
    mean: dict[str, float]
    maximum: dict[str, float]


@dataclass(slots=True)
class _Fold:
    """The readings of one name in a window that is open."""

    at: float
    mean: float
    maximum: float
    seconds: float = 0.0

    def add(self, value: float, now: float) -> None:
        span = now - self.at + _MIN_SPAN_S
        self.at = now
        self.seconds += span
        self.mean += (value - self.mean) * span / self.seconds
        if value > self.maximum:
            self.maximum = value


def next_due(due: float, now: float, interval_s: float) -> float:
    """When the next reading is due, whole intervals after one that was due and has ended now.

    What a long reading has missed is not made up for: a burst of readings says nothing new.
    """
    missed = (now - due) // interval_s
    return due + (1 + missed) * interval_s


class Monitor:
    """Call `sample` every `interval_s` seconds in a thread, and close a window of the readings every `window_s`.

    However long a reading takes, the next one begins at a multiple of the interval since the start. In a long run
    windows become longer: a 1200th of the time since its start, up to ten seconds.
    `on_sample` sees each reading at once, in the thread that took it. At most 1200 windows wait to be drained; older
    ones are dropped. It is started once, stopped once, and belongs to the process that made it: in a forked child it
    reads nothing. What `sample` or `on_sample` raises is counted in `failures`, and the first is logged.
    ValueError for an `interval_s` that is not above 0.
    """

    def __init__(
        self,
        sample: Callable[[], Mapping[str, float]],
        *,
        interval_s: float,
        window_s: float,
        on_sample: Callable[[Mapping[str, float]], None],
        clock: Callable[[], float],
    ) -> None:
        if not interval_s > 0:
            raise ValueError(f"interval_s={interval_s!r}: give a number of seconds above 0")
        self._sample = sample
        self._on_sample = on_sample
        self._interval_s = interval_s
        self._window_s = window_s
        self._clock = clock
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._sampling = threading.Lock()  # held while a reading is taken, which may take long
        # Held for microseconds; guards all that follows. A signal's handler may call `stop` while its thread holds it.
        self._folding = threading.RLock()
        self._stopped = False
        self._opened_at: float | None = None
        self._began_at = math.inf
        self._folds: dict[str, _Fold] = {}
        self.peaks: dict[str, float] = {}  # the maximum of each value so far
        self._windows: deque[Window] = deque(maxlen=_MAX_WINDOWS)
        self._closed_ms = 0  # the last window; a point of a series is known by its millisecond
        self.failures = 0

    def start(self) -> None:
        """Start the thread, which takes its first reading at once."""
        self._began_at = self._opened_at = self._clock()
        with never_raises("the thread that takes readings"):  # without it, `read` and `stop` still work
            self._thread = start_thread(self._run, "monitor")

    def stop(self, timeout_s: float) -> None:
        """End the thread and take a last reading, then close the window. At most `timeout_s` for each of these two."""
        if self._is_elsewhere or self._stopped:
            return
        self._stopped = True
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        self._take(max(0.0, timeout_s))
        with self._folding:
            self._close_window()

    def read(self) -> Mapping[str, float]:
        """Take one more reading now and return it; {} if that fails, takes over a second, or the monitor is stopped."""
        return {} if self._is_elsewhere or self._stopped else self._take(READING_S)

    def drain(self) -> list[Window]:
        """Return the windows that have closed since the last call, oldest first, and forget them."""
        if self._is_elsewhere:
            return []
        with self._folding:
            windows = list(self._windows)
            self._windows.clear()
        return windows

    @property
    def _is_elsewhere(self) -> bool:
        """Whether this is a forked child, where the locks may be held forever by a thread that is not there."""
        return os.getpid() != self._pid

    def _run(self) -> None:
        due = time.monotonic()
        is_stopping = False
        while not is_stopping:
            self._take(-1)
            now = time.monotonic()
            due = next_due(due, now, self._interval_s)
            is_stopping = self._stopping.wait(due - now)

    def _take(self, patience_s: float) -> Mapping[str, float]:
        """Take a reading, fold it, and show it to `on_sample`: outside the locks, so that it may call this monitor."""
        try:
            if not self._sampling.acquire(timeout=patience_s):
                raise TimeoutError(f"another reading has been going on for {patience_s} s")
            try:
                values = {name: float(value) for name, value in self._sample().items()}
            finally:
                self._sampling.release()
            values = {name: value for name, value in values.items() if math.isfinite(value)}
            with self._folding:
                self._fold(values)
            self._on_sample(values)
        except Exception as error:
            self._fail(error)
            return {}
        return values

    def _fail(self, error: Exception) -> None:
        self.failures += 1
        if self.failures == 1:
            logger.warning("a reading failed; the monitor goes on, and logs no further failure", exc_info=error)

    def _fold(self, values: Mapping[str, float]) -> None:
        now = self._clock()
        if self._opened_at is None:
            self._began_at = self._opened_at = now
        for name, value in values.items():
            fold = self._folds.get(name)
            if fold is None:
                fold = self._folds[name] = _Fold(self._opened_at, value, value)
            fold.add(value, now)
            if value > self.peaks.get(name, -math.inf):
                self.peaks[name] = value
        long_s = min(_MAX_WINDOW_S, _WINDOW_SHARE * (now - self._began_at))
        if now - self._opened_at >= max(self._window_s, long_s):
            self._opened_at = now
            self._close_window()

    def _close_window(self) -> None:
        """Put the window among those to drain, unless nothing could be read in it."""
        if self._folds:
            mean = {name: fold.mean for name, fold in self._folds.items()}
            maximum = {name: fold.maximum for name, fold in self._folds.items()}
            self._folds = {}
            self._closed_ms = max(int(time.time() * 1000), self._closed_ms + 1)
            self._windows.append(Window(self._closed_ms, mean, maximum))
