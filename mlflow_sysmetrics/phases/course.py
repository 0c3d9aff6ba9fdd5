"""What a process used over time, for the figure of its phases."""

from __future__ import annotations

from typing import NamedTuple

from mlflow_sysmetrics.monitor import Window

_MAX_MOMENTS = 1000


class Moment(NamedTuple):
    """What a process used at one moment: CPU in percent of one core, memory in MB; None where it could not be read."""

    unix_s: float
    cpu_percent: float | None
    memory_mb: float | None

    @classmethod
    def of(cls, window: Window) -> Moment:
        """The means of a window of readings, at its end."""
        mean = window.mean
        return cls(window.time_ms / 1000, mean.get("process_cpu_percent"), mean.get("process_memory_mb"))


class Course:
    """What a process used over time, in at most a thousand moments: of a long time fewer are kept."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self._every, self._passed = 1, 0

    def add(self, moment: Moment) -> None:
        """Add the next moment, or pass it by."""
        self._passed += 1
        if self._passed % self._every == 0:
            self.moments.append(moment)
        if len(self.moments) >= _MAX_MOMENTS:
            self.moments = self.moments[1::2]
            self._every *= 2
