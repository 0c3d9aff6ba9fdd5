"""A watch whose windows go to a backlog as they close, and its figures at its end, and from there to the store."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from mlflow_sysmetrics.delivery.backlog import Backlog
from mlflow_sysmetrics.delivery.points import SYSTEM_PREFIX, Point, points_now, window_points
from mlflow_sysmetrics.delivery.spool import Header
from mlflow_sysmetrics.delivery.time_limit import within
from mlflow_sysmetrics.delivery.writer import Writer
from mlflow_sysmetrics.monitor import Window
from mlflow_sysmetrics.phases.course import Course, Moment
from mlflow_sysmetrics.phases.totals import Phases
from mlflow_sysmetrics.redact import get_logger

logger = get_logger(__name__)

STEP_TIME = "step_time_ms"
STEP_FIGURES = ("mean_step_time_ms", "steps")
LOST = "lost_points"
_CLOSING_S, _STOPPING_SHARE = 0.5, 0.8  # to close the file: half a second, at most a fifth
_READING_SHARE = 0.25  # of the time before that, for a last reading that hangs


class Watched(Protocol):
    """The part of a ``Measurement`` that is used."""

    phases: Phases

    def tell(self, listener: Callable[[dict[str, float]], None]) -> None: ...

    def start(self) -> object: ...

    def stop(self, timeout_s: float) -> None: ...

    def drain(self) -> list[Window]: ...

    def figures(self) -> dict[str, float]: ...


class StepTimes:
    """Durations of training steps. Any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds, self._steps = 0.0, 0
        self._seconds_before, self._steps_before = 0.0, 0  # at the last call of `mean_ms`

    def add(self, seconds: float) -> None:
        """Count one step."""
        with self._lock:
            self._seconds += seconds
            self._steps += 1

    def mean_ms(self) -> float | None:
        """Milliseconds per step since the last call; None if there was no step."""
        with self._lock:
            seconds, steps = self._seconds - self._seconds_before, self._steps - self._steps_before
            self._seconds_before, self._steps_before = self._seconds, self._steps
        return 1000 * seconds / steps if steps else None

    def figures(self) -> dict[str, float]:
        """``steps``, and ``mean_step_time_ms`` of all of them; empty if there was none."""
        with self._lock:
            seconds, steps = self._seconds, self._steps
        return {"steps": float(steps), "mean_step_time_ms": 1000 * seconds / steps} if steps else {}


class Recording:
    """Read, keep and deliver from `start` to `stop`. Used once, in the process that made it.

    Args:
        watch: what is read. It may have been started, and even stopped, before.
        backlog: where points wait; closed at the end.
        writer: delivers them; closed at the end.
        prefix: of the series' names. The figures have it without ``system/``: they are the run's own.
        first_step: the last step that the series already have.
        taken: asked at the end: the names that the program has logged itself, which are left alone.
    """

    def __init__(
        self,
        watch: Watched,
        backlog: Backlog,
        writer: Writer,
        *,
        prefix: str,
        first_step: int,
        taken: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.last_step = first_step
        self._first_step, self._prefix = first_step, prefix
        self._watch, self._backlog, self._writer = watch, backlog, writer
        self._taken = taken
        self.course = Course()
        self._steps = StepTimes()
        self._lost_told = 0
        self._pid = os.getpid()
        watch.tell(self._keep)

    @property
    def is_here(self) -> bool:
        """False in a forked child, which has no threads, and whose locks may be held for ever."""
        return os.getpid() == self._pid

    @property
    def store_is_away(self) -> bool:
        """Whether the store did not take what it was sent last."""
        return self._writer.is_away

    @property
    def phases(self) -> Phases:
        """The parts of the program so far."""
        return self._watch.phases

    @property
    def lost(self) -> int:
        """Points that could not be kept."""
        return self._backlog.lost

    def left(self, tracking_uri: str) -> list[tuple[Header, list[Point]]]:
        """What the store has not taken, beside the points in the file: see `Writer.left`."""
        return self._writer.left(tracking_uri)

    def start(self) -> None:
        """Start the two threads."""
        self._watch.start()
        self._writer.start()

    def step_took(self, seconds: float) -> None:
        """Count a training step."""
        if self.is_here:
            self._steps.add(seconds)

    def stop(self, timeout_s: float, then: Callable[[], None] = lambda: None) -> bool:
        """Take a last reading and deliver what is left; say whether nothing is left.

        `then` is called once the last figures wait for delivery: whatever ends the run has to come after them.
        It takes `timeout_s` at most, or half a second if that is more, even where the disk hangs.
        """
        if not self.is_here:
            return True
        try:
            in_time = max(_STOPPING_SHARE * timeout_s, timeout_s - _CLOSING_S)
            return within(max(timeout_s, _CLOSING_S), lambda: self._stop(in_time, then))
        except TimeoutError:
            logger.warning("the disk on which system metrics wait does not answer; the last of them may be lost")
            return False

    def _stop(self, timeout_s: float, then: Callable[[], None]) -> bool:
        deadline = time.monotonic() + timeout_s
        try:
            self._watch.stop(_READING_SHARE * timeout_s)
            self._keep({})
            figures = self._figures(self._watch.figures())
            taken = set(self._taken()) & figures.keys()
            self._backlog.append(points_now({name: figures[name] for name in figures if name not in taken}, step=0))
            then()
            return self._writer.close(max(0.0, deadline - time.monotonic()))
        finally:
            self._backlog.close()

    def _figures(self, of_the_process: Mapping[str, float]) -> dict[str, float]:
        """These figures and those of the steps, under the names that they have in the run."""
        prefix = self._prefix.removeprefix(SYSTEM_PREFIX)
        return {f"{prefix}{name}": value for name, value in {**of_the_process, **self._steps.figures()}.items()}

    def _keep(self, reading: Mapping[str, float]) -> None:
        """Move closed windows to the backlog. Called after each reading, by whoever took it.

        The figures up to now go to disk with them, so that a process that is killed has them, too.
        """
        if not reading:  # the end: the last figures follow
            self._move_windows()
        elif self._move_windows():
            so_far = {name: value for name, value in reading.items() if name != "memory_mb"}
            self._backlog.say_last(points_now(self._figures(so_far | self._watch.phases.figures()), step=0))

    def _move_windows(self) -> bool:
        """Move closed windows to the backlog; say whether there were any."""
        windows = self._watch.drain()
        for window in windows:
            points = window_points([window], self._prefix)
            for name, value in self._own_figures():
                points.append(Point(f"{self._prefix}{name}", value, window.time_ms, window.number))
            if self._watch.phases.is_used:
                self.course.add(Moment.of(window))
            self.last_step = self._first_step + window.number
            self._backlog.append([point._replace(step=self.last_step) for point in points])
        return bool(windows)

    def _own_figures(self) -> list[tuple[str, float]]:
        figures = []
        if (mean_ms := self._steps.mean_ms()) is not None:
            figures.append((STEP_TIME, mean_ms))
        if (lost := self._backlog.lost) > self._lost_told:
            self._lost_told = lost
            figures.append((LOST, float(lost)))
        return figures
