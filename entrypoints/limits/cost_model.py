"""Predict what a configuration will cost from what others of its kind have cost."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist, median

from entrypoints.limits.extrapolation import Prediction
from entrypoints.limits.noise import MIN_DEGREES, SMALL_MB, is_memory
from entrypoints.models.configuration import Configuration
from mlflow_sysmetrics.limits import Values

MIN_ENDED = 5  # trials of the study, for an interval: timings on a machine that was slow say little alone
LAST = 8  # trials that have ended, whose differences from their kinds say how fast the machine is now
TOTALS = ("training_time_s", "elapsed_s")  # learned per step: each configuration's number of steps is known
MIN_SPREAD = 0.05  # of a prediction's logarithm
BOUND = 0.99  # confidence of one bound: it is looked at once, before the trial begins
_Z = NormalDist().inv_cdf(BOUND)


@dataclass
class _Observed:
    """The logarithms of one metric by kind, and of the trials that have ended, in their order, with their kinds."""

    by_kind: dict[Hashable, list[float]] = field(default_factory=dict)
    ended: list[tuple[Hashable, float]] = field(default_factory=list)


@dataclass(frozen=True)
class _Levels:
    """The usual logarithm of each kind, by how much the last trials were above theirs, and the spread within kinds."""

    of_kind: dict[Hashable, float]
    shift: float
    spread: float | None  # None: too little is known for an interval


class CostModel:
    """The median of each kind of configuration. A kind is all that is equal but for rates: see ``kind``.

    A machine becomes faster or slower while a study runs, so predictions are shifted by the median difference of the
    last eight trials from their kinds. The interval also allows for no shift.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._observed: dict[str, _Observed] = {}

    def observe(self, configuration: Configuration, figures: Values, *, ended: bool = True) -> None:
        """Learn what a configuration costs; figures of 0 or below are ignored.

        Args:
            configuration: of a trial.
            figures: what it has cost, or would have.
            ended: whether the trial has ended; else a few batches were timed before the first one.
        """
        of = kind(configuration)
        for name, value in figures.items():
            if value > 0:
                observed = self._observed.setdefault(name, _Observed())
                cost = math.log(value / self._unit(name, configuration))
                observed.by_kind.setdefault(of, []).append(cost)
                if ended:
                    observed.ended.append((of, cost))

    def predict(
        self, configurations: Sequence[Configuration], metric: str, noise: float = 0.0
    ) -> list[Prediction | None]:
        """What each configuration will cost; None of a kind that is not known, or before five trials have ended.

        The interval is at least as wide as the ``noise`` of equal trials (a share), and for memory as the few pages
        that a process takes or keeps by chance: these are most of a small model's memory, which often measures as 0.
        """
        levels = self._levels(metric)
        if levels.spread is None:
            return [None] * len(configurations)
        half = _Z * max(levels.spread, noise, MIN_SPREAD)
        pages = SMALL_MB if is_memory(metric) else 0.0
        predictions: list[Prediction | None] = []
        for configuration in configurations:
            level = levels.of_kind.get(kind(configuration))
            if level is None:
                predictions.append(None)
                continue
            unit = self._unit(metric, configuration)
            value = unit * math.exp(level + levels.shift)
            low = unit * math.exp(level + min(0.0, levels.shift) - half)
            high = unit * math.exp(level + max(0.0, levels.shift) + half)
            predictions.append(Prediction(value, max(0.0, min(low, value - pages)), max(high, value + pages)))
        return predictions

    def expected(self, configurations: Sequence[Configuration], metric: str) -> list[float | None]:
        """What each will cost, without intervals."""
        levels = self._levels(metric)
        values: list[float | None] = []
        for configuration in configurations:
            level = levels.of_kind.get(kind(configuration))
            unit = self._unit(metric, configuration)
            values.append(None if level is None else unit * math.exp(level + levels.shift))
        return values

    def _levels(self, metric: str) -> _Levels:
        observed = self._observed.get(metric, _Observed())
        of_kind = {of: median(costs) for of, costs in observed.by_kind.items()}
        shift = median([cost - of_kind[of] for of, cost in observed.ended[-LAST:]] or [0.0])
        squares = sum((cost - of_kind[of]) ** 2 for of, costs in observed.by_kind.items() for cost in costs)
        degrees = sum(len(costs) - 1 for costs in observed.by_kind.values())
        if len(observed.ended) < MIN_ENDED or degrees < MIN_DEGREES:
            return _Levels(of_kind, shift, None)
        return _Levels(of_kind, shift, math.sqrt(2 * squares / degrees))  # of a new one, and of its kind's level

    def _unit(self, metric: str, configuration: Configuration) -> int:
        return configuration.steps(self._rows) if metric in TOTALS else 1


def kind(configuration: Configuration) -> Hashable:
    """What a cost may depend on: the algorithm, the batch size, amounts and words, but no rates."""
    amounts = {name: value for name, value in configuration.hyperparameters.items() if not isinstance(value, float)}
    return configuration.algorithm, configuration.batch_size, configuration.iterations, repr(sorted(amounts.items()))
