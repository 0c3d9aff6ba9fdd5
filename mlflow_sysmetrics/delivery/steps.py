"""The steps of a run's points when several processes write the run in turn, or work is repeated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlflow_sysmetrics.delivery.points import SYSTEM_PREFIX, Point


class Steps:
    """Keep each step of a run's series unique when another process continues or repeats the work.

    Every process numbers its samples from 1; in the run, the numbers of ``system/`` series go on. Where work is
    repeated, as after a crash, points at steps that the run has are left out: the first values stay. Figures, which
    have one value for the whole run, at step 0, are written again: of several values at the last step, MLflow shows
    that with the latest time (`SqlAlchemyStore`, by step, timestamp and value).
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}  # of each metric, so far
        self._had: Mapping[str, int] = {}  # of each metric, when the work began again
        self._base = self._number = 0  # added to the number of a sample; the last number as it came
        self._time_ms = 0  # of that sample
        self._figures: set[str] = set()  # their names

    def place(self, points: Iterable[Point]) -> list[Point]:
        """The next points, with the steps that they have in the run."""
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

    def place_figures(self, figures: Iterable[Point]) -> list[Point]:
        """The figures of the run as it is now, which all are written."""
        placed = list(figures)
        self._figures.update(point.name for point in placed)
        return placed

    def repeat(self) -> None:
        """The work begins again, from an earlier step."""
        self._had = dict(self._last)

    def follow(self, last_steps: Mapping[str, int], placed: Iterable[Point]) -> list[Point]:
        """Correct points that were placed before it was known that the run already had these last steps."""
        base = max((step for name, step in last_steps.items() if name.startswith(SYSTEM_PREFIX)), default=0)
        self._base += base
        self._last = dict(last_steps) | {name: max(step, last_steps.get(name, -1)) for name, step in self._last.items()}
        self._had = {name: max(step, self._had.get(name, -1)) for name, step in last_steps.items()} | {
            name: step for name, step in self._had.items() if name not in last_steps
        }
        return [
            point._replace(step=base + point.step) if point.name.startswith(SYSTEM_PREFIX) else point
            for point in placed
            if point.name.startswith(SYSTEM_PREFIX)
            or point.name in self._figures
            or point.step > last_steps.get(point.name, -1)
        ]
