"""The places of a run's points on its step axes, where the run is written in several stretches of work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlflow_sysmetrics.delivery.points import SYSTEM_PREFIX, Point


class Steps:
    """Of one run: no step of a series is written twice, whatever process continues the work or repeats it.

    Samples are numbered from 1 in every process; in the run the numbers of ``system/`` series go on. Where work is
    repeated, as after a crash, points at steps that the run has are left out: the first values stay.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}  # of each metric, so far
        self._had: Mapping[str, int] = {}  # of each metric, when the work began again
        self._base = self._number = 0  # what is added to a sample's number, and the last number as it came
        self._time_ms = 0  # of that sample

    def place(self, points: Iterable[Point]) -> list[Point]:
        """These points, which come after all that were placed before, as the run has to have them."""
        placed = []
        for point in points:
            if point.name.startswith(SYSTEM_PREFIX):
                # Another process counts from 1: its first window may end at the number where the last one ended.
                if point.step < self._number or (point.step == self._number and point.time_ms != self._time_ms):
                    self._base += self._number
                self._number, self._time_ms = point.step, point.time_ms
                placed.append(point._replace(step=self._base + point.step))
            elif point.step > self._had.get(point.name, -1):
                self._last[point.name] = max(point.step, self._last.get(point.name, -1))
                placed.append(point)
        return placed

    def repeat(self) -> None:
        """The work begins again, somewhere before where it ended."""
        self._had = dict(self._last)

    def follow(self, last_steps: Mapping[str, int], placed: Iterable[Point]) -> list[Point]:
        """The run had these last steps before all of this: return what was placed without knowing so, placed anew."""
        base = max((step for name, step in last_steps.items() if name.startswith(SYSTEM_PREFIX)), default=0)
        self._base += base
        self._last = dict(last_steps) | {name: max(step, last_steps.get(name, -1)) for name, step in self._last.items()}
        self._had = {name: max(step, self._had.get(name, -1)) for name, step in last_steps.items()} | {
            name: step for name, step in self._had.items() if name not in last_steps
        }
        return [
            point._replace(step=base + point.step) if point.name.startswith(SYSTEM_PREFIX) else point
            for point in placed
            if point.name.startswith(SYSTEM_PREFIX) or point.step > last_steps.get(point.name, -1)
        ]
