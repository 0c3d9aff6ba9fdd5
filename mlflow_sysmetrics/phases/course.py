"""What a process used over time, for the figure of its phases."""

from __future__ import annotations

from typing import NamedTuple

from mlflow_sysmetrics.monitor import Window

_MAX_MOMENTS = 1000


class Moment(NamedTuple):
    """What a process used up to one moment, as the mean of the seconds before it.

    CPU in percent of one core, memory in MB; None where it could not be read.
    """

    unix_s: float
    cpu_percent: float | None
    memory_mb: float | None
    seconds: float = 1.0

    @classmethod
    def of(cls, window: Window) -> Moment:
        """The means of a window of readings, at its end."""
        mean, seconds = window.mean, max(window.seconds.values(), default=0.0)
        return cls(window.time_ms / 1000, mean.get("process_cpu_percent"), mean.get("process_memory_mb"), seconds)

    def then(self, later: Moment) -> Moment:
        """This one and the next as one: means over the time of both."""
        of_later = later.seconds / ((self.seconds + later.seconds) or 1.0)
        cpu, memory = (
            second if first is None else first if second is None else first + (second - first) * of_later
            for first, second in zip(self[1:3], later[1:3], strict=True)
        )
        return Moment(later.unix_s, cpu, memory, self.seconds + later.seconds)


class Course:
    """What a process used over time, in at most a thousand moments: those of a long time are means of several."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self._each, self._added = 1, 0  # how many each is of

    def add(self, moment: Moment) -> None:
        """Add the next moment."""
        if self._added % self._each:
            self.moments[-1] = self.moments[-1].then(moment)
        else:
            if len(self.moments) == _MAX_MOMENTS:
                self.moments = [
                    first.then(later) for first, later in zip(self.moments[::2], self.moments[1::2], strict=True)
                ]
                self._each *= 2
            self.moments.append(moment)
        self._added += 1
