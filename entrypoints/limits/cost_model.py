"""Predict what a configuration will cost from what others of its kind have cost."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import NamedTuple

from entrypoints.limits.extrapolation import Prediction
from entrypoints.limits.noise import MIN_DEGREES, SMALL_MB, is_memory, kind
from entrypoints.models.configuration import Configuration
from mlflow_sysmetrics.limits import Values

MIN_ENDED = 5  # trials of the study, for an interval: timings on a machine that was slow say little alone
LAST = 8  # trials that have ended, whose differences from their kinds say how fast the machine is now
TOTALS = ("training_time_s", "elapsed_s")  # learned per step: each configuration's number of steps is known
MIN_SPREAD = 0.05  # of a prediction's logarithm
BOUND = 0.99  # confidence of one bound: it is looked at once, before the trial begins
_Z = NormalDist().inv_cdf(BOUND)


class _Seen(NamedTuple):
    """A cost that a configuration had or would have had, as a logarithm; of a timing no trial has ended yet."""

    kind: Hashable
    cost: float
    ended: bool


class CostModel:
    """The median of each kind of configuration: see ``noise.kind``."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._seen: dict[str, list[_Seen]] = {}

    def observe(self, configuration: Configuration, figures: Values, *, ended: bool = True) -> None:
        """Learn what a configuration costs; figures of 0 or below are ignored.

        Args:
            configuration: of a trial.
            figures: what it has cost, or would have.
            ended: whether the trial has ended; else a few batches were timed before the first one.
        """
        for name, value in figures.items():
            if value > 0:
                cost = math.log(value / _unit(name, configuration, self._rows))
                self._seen.setdefault(name, []).append(_Seen(kind(configuration), cost, ended))

    def usual(self, metric: str) -> UsualCosts:
        """What is known of a metric by now."""
        seen = self._seen.get(metric, [])
        by_kind: dict[Hashable, list[float]] = {}
        for one in seen:
            by_kind.setdefault(one.kind, []).append(one.cost)
        of_kind = {of: median(costs) for of, costs in by_kind.items()}
        above = [one.cost - of_kind[one.kind] for one in seen]
        ended_above = [one.cost - of_kind[one.kind] for one in seen if one.ended]
        shift = median(ended_above[-LAST:] or [0.0])
        spread = None
        degrees = len(seen) - len(of_kind)
        if len(ended_above) >= MIN_ENDED and degrees >= MIN_DEGREES:
            # Of a new trial, and of the median of its kind.
            spread = math.sqrt(2 * sum(each**2 for each in above) / degrees)
        return UsualCosts(metric, self._rows, of_kind, shift, spread)


@dataclass(frozen=True)
class UsualCosts:
    """The usual cost of each kind by one metric, as a logarithm.

    A machine becomes faster or slower while a study runs, so predictions are shifted by the median difference of the
    last eight trials from their kinds. The interval also allows for no shift.

    Attributes:
        metric: its name.
        rows: training rows of a fold.
        of_kind: the median of each kind.
        shift: by how much the last trials were above theirs.
        spread: within kinds; None: too little is known for an interval.
    """

    metric: str
    rows: int
    of_kind: dict[Hashable, float]
    shift: float
    spread: float | None

    def expected(self, configuration: Configuration) -> float | None:
        """What a configuration will cost; None of a kind that is not known."""
        usual = self.of_kind.get(kind(configuration))
        if usual is None:
            return None
        return _unit(self.metric, configuration, self.rows) * math.exp(usual + self.shift)

    def predict(self, configuration: Configuration, noise: float = 0.0) -> Prediction | None:
        """The same with an interval; None also before five trials have ended.

        It is at least as wide as the ``noise`` of equal trials (a share), and for memory as the few pages that a
        process takes or keeps by chance: these are most of a small model's memory, which often measures as 0.
        """
        value = self.expected(configuration)
        if value is None or self.spread is None:
            return None
        half = _Z * max(self.spread, noise, MIN_SPREAD)
        low = value * math.exp(-max(0.0, self.shift) - half)
        high = value * math.exp(-min(0.0, self.shift) + half)
        if is_memory(self.metric):
            low = max(0.0, min(low, value - SMALL_MB))
            high = max(high, value + SMALL_MB)
        return Prediction(value, low, high)


def _unit(metric: str, configuration: Configuration, rows: int) -> int:
    return configuration.steps(rows) if metric in TOTALS else 1
