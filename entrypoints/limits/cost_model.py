"""Predict what a configuration will cost from what others of its kind have cost."""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import cached_property
from statistics import median

from entrypoints.limits.noise import kind
from entrypoints.models.configuration import Configuration

LAST = 8  # trials that have ended, whose differences from their kinds say how fast the machine is now
TOTALS = ("training_time_s", "elapsed_s")  # learned per step: each configuration's number of steps is known


class UsualCosts:
    """What configurations cost by one metric: the median of each kind, see ``noise.kind``, as a logarithm.

    A machine becomes faster or slower while a study runs, so what is expected is shifted by the median difference of
    the last eight trials from their kinds.

    Args:
        metric: its name.
        rows: training rows of a fold.
    """

    def __init__(self, metric: str, rows: int) -> None:
        self.metric = metric
        self._rows = rows
        self._by_kind: dict[Hashable, list[float]] = {}
        self._ended: list[tuple[Hashable, float]] = []  # the kind and the cost of each trial that has ended

    def see(self, configuration: Configuration, value: float, *, ended: bool = True) -> None:
        """Learn what a configuration costs, or would have cost; 0 and below are ignored.

        Args:
            configuration: of a trial.
            value: of the metric.
            ended: whether the trial has ended; else a few batches were timed before the first one.
        """
        if value <= 0:
            return
        of, cost = kind(configuration), math.log(value / self._unit(configuration))
        self._by_kind.setdefault(of, []).append(cost)
        if ended:
            self._ended.append((of, cost))
        for name in ("_medians", "_shift"):
            self.__dict__.pop(name, None)

    def expected(self, configuration: Configuration) -> float | None:
        """What a configuration will cost; None of a kind that is not known."""
        usual = self._medians.get(kind(configuration))
        return None if usual is None else self._unit(configuration) * math.exp(usual + self._shift)

    @cached_property
    def _medians(self) -> dict[Hashable, float]:
        """Of each kind."""
        return {of: median(costs) for of, costs in self._by_kind.items()}

    @cached_property
    def _shift(self) -> float:
        """By how much the last trials were above their kinds."""
        return median([cost - self._medians[of] for of, cost in self._ended[-LAST:]] or [0.0])

    def _unit(self, configuration: Configuration) -> int:
        return configuration.steps(self._rows) if self.metric in TOTALS else 1
