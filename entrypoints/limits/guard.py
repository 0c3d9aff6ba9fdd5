"""The guard of one trial: skips it, or stops it as soon as it crosses a limit, or is certain to cross it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from entrypoints.limits.cost_history import PruningContext
from entrypoints.limits.cost_model import TOTALS
from entrypoints.limits.extrapolation import WARM_UP, Extrapolation, Prediction
from entrypoints.limits.judging import patience_of, resolved_bounds
from entrypoints.tags import STOP_HOW, STOP_PREDICTION
from mlflow_sysmetrics.limits import Kind, Limit, Limits, Stop, Values, finite
from mlflow_sysmetrics.tags import STOP_REASON

How = Literal["crossed", "predicted", "skipped"]

# Standard errors between a mean and its limit before it counts as evidence. A mean that lies exactly at its limit and
# is looked at after each of 100 equal stretches crosses 3 wrongly in 1.6 % of trials; it would cross 2 in 18 %.
Z = 3.0
DIVERGED = "val_loss<=100x untrained"
GROWING_BY_STEP = ("training_time_s", "elapsed_s", "cpu_seconds", "user_cpu_seconds", "system_cpu_seconds")
PREDICT_EVERY = 10  # steps between two predictions
PREDICT_AFTER_S = 0.2  # a machine may run at half its speed for a tenth of a second


@dataclass(frozen=True)
class Stopping:
    """What ends trials early: the limits, whether to act on predictions, and the name of a scheduler, or none."""

    limits: Limits
    predict: bool
    scheduler: str = "none"


@dataclass(frozen=True)
class EarlyEnd:
    """Why a trial ended early: the broken limit, how that was known, and the figure predicted for its end."""

    stop: Stop
    how: How
    prediction: Prediction | None = None

    @property
    def reason(self) -> str:
        """In one line, e.g. ``training_time_s 5.1 > 4 (predicted, step 120)``."""
        if self.prediction is None or self.how == "crossed":
            return str(self.stop)
        predicted = replace(self.stop, value=self.prediction.value)
        if self.how == "skipped":
            return replace(predicted, step=None).described("predicted", "skipped")
        return predicted.described("predicted")

    @property
    def tags(self) -> dict[str, str]:
        """It as tags of the trial's run."""
        tags = {**self.stop.outcome().tags} | {STOP_REASON: self.reason, STOP_HOW: self.how}
        return tags | ({STOP_PREDICTION: str(self.prediction)} if self.prediction else {})


class _Bound(NamedTuple):
    """A limit, the number that it comes to, and how far beyond it noise may take a value."""

    limit: Limit
    number: float
    noise: float

    @property
    def is_final(self) -> bool:
        """Whether one reading breaks it for good: an upper one of what never falls, or one that holds from a time."""
        kind = self.limit.metric.kind
        return self.limit.from_s > 0 or (self.limit.is_upper and kind in (Kind.GROWING, Kind.FACT))

    def slack(self, errors: Values) -> float | None:
        """How far beyond it a value must be at a report to count; None: only the end tells."""
        kind = self.limit.metric.kind
        if self.is_final or kind is Kind.FACT:
            return self.noise
        error = finite(errors, self.limit.metric.name)
        if kind is Kind.MEAN and error is not None and error >= 0:
            return math.hypot(Z * error, self.noise)
        return None


def is_ruled_out(stopping: Stopping, context: PruningContext) -> bool:
    """Whether a trial that has not begun would be skipped."""
    guard = Guard(stopping, context, steps=0)
    guard.skip_if_predicted()
    return guard.ended()


class Guard:
    """Watches the limits of one trial. The first reason to end it stays the reason.

    Before its end, a trial is stopped only for what noise does not explain. ``crossed`` may be called from any thread.

    Args:
        stopping: what to act on; None for nothing.
        context: what other trials have shown.
        steps: how many steps the trial has.
        may_converge: whether it may end before; then no total is predicted, since it may never be reached.
    """

    def __init__(
        self, stopping: Stopping | None, context: PruningContext, steps: int, *, may_converge: bool = False
    ) -> None:
        self._limits = stopping.limits if stopping else Limits(())
        self._predict = stopping is not None and stopping.predict
        self._predictions = context.predictions
        self._steps = steps
        self._may_converge = may_converge
        self._bounds = []
        for limit, number in resolved_bounds(self._limits, context.costs):
            noise = finite(context.noise, limit.metric.name) or 0.0
            self._bounds.append(_Bound(limit, number, Z * noise * abs(number)))
        self._patience = patience_of(self._limits).judge()
        of_steps = (*TOTALS, "mean_step_time_ms")
        self._totals = {name: Extrapolation() for name in TOTALS} if self.names(of_steps) else {}
        self._step = 0
        self._elapsed_s = 0.0
        self._predict_at = WARM_UP
        self._hopeless: float | None = None  # the last loss that no trained model has
        self._lock = threading.Lock()
        self.ending: EarlyEnd | None = None  # why the trial has to end, once it has
        self.active = bool(self._limits.rules)

    def ended(self) -> bool:
        """Whether it has to."""
        return self.ending is not None

    def names(self, metrics: Iterable[str]) -> bool:
        """Whether a limit limits one of these metrics."""
        return not set(metrics).isdisjoint(self._limits.metrics)

    def skip_if_predicted(self) -> None:
        """Skip the trial if it is predicted to break an upper limit."""
        if not self._predict:
            return
        for name, prediction in self._predictions.items():
            low = {name: prediction.low}  # the noise is in the bound already, and it says nothing of a lower limit
            for bound in self._bounds:
                if bound.limit.is_upper:
                    self._end(bound.limit.broken(low, bound.number, 0), "skipped", prediction)

    def crossed(self, figures: Values, step: int) -> None:
        """End the trial if a limit is broken for good: latest figures, from any thread, microseconds."""
        self._end(self._broken_for_good(figures, step), "crossed")

    def stepped(self, step: int, training_time_s: float, elapsed_s: float) -> None:
        """Count the steps up to this one: their seconds of training per fold, and those of the trial so far.

        What a trial does between its steps is part of the latter, and so expected of the steps to come.
        """
        steps = step - self._step
        took = {"training_time_s": training_time_s / steps, "elapsed_s": (elapsed_s - self._elapsed_s) / steps}
        self._step = step
        self._elapsed_s = elapsed_s
        if not self._totals:
            return
        for name, total in self._totals.items():
            for _ in range(steps):
                total.add(took[name])
        self.crossed({name: total.total for name, total in self._totals.items()}, step)
        if step >= self._predict_at:
            self._predict_at = step + PREDICT_EVERY
            if self._predict and not self._may_converge and elapsed_s >= PREDICT_AFTER_S:
                self._stop_if_predicted(step)

    def reported(self, figures: Values, step: int, errors: Values) -> None:
        """Judge the next point of every curve, limits before patience; after the last one nothing is left to stop.

        Args:
            figures: the latest. Each finite value of a curve is one report to its patience.
            step: of the report.
            errors: the standard errors of means. A mean without one decides nothing.
        """
        times = self._totals.get("training_time_s")
        if times and times.mean is not None and times.error is not None:  # of steps that are warm, as those to come
            figures = {**figures, "mean_step_time_ms": 1e3 * times.mean}
            errors = {**errors, "mean_step_time_ms": 1e3 * times.error}
        if step >= self._steps:
            return
        stalled = self._patience.see(figures, step)
        for bound in self._bounds:
            slack = bound.slack(errors)
            if slack is not None:
                self._end(bound.limit.broken(figures, bound.number, step, slack), "crossed")
        self._end(stalled, "crossed")

    def diverged(self, val_loss: float, hopeless_loss: float, step: int) -> None:
        """Tell of a report with such a loss. If it has not fallen at the next, it ends the trial that has any limit."""
        falling = self._hopeless is None or val_loss < self._hopeless
        self._hopeless = val_loss
        if self.active and step < self._steps and not falling:
            self._end(Stop(DIVERGED, "val_loss", val_loss, hopeless_loss, step), "crossed")

    def feasible(self, figures: Values) -> bool:
        """Whether the final figures of a trial that came to its end break no limit, whatever the noise."""
        return not any(bound.limit.broken(figures, bound.number) for bound in self._bounds)

    def projected(self, figures: Values) -> dict[str, float]:
        """The figures that the trial would have had after all its steps, without those that cannot be predicted.

        The figure that ended the trial is never left out: it has at least the value that ended it.
        """
        totals = {
            name: total.roughly_at(self._steps) for name, total in self._totals.items() if total.steps < self._steps
        }
        unknown = {*totals, *(GROWING_BY_STEP if self.ending else ())}
        known = {name: value for name, value in figures.items() if name not in unknown}
        foreseen = {name: value for name, value in totals.items() if value is not None}
        if self.ending is None:
            return known | foreseen
        stop, prediction = self.ending.stop, self.ending.prediction
        if prediction:
            foreseen.setdefault(stop.metric, prediction.value)
        return known | foreseen | {stop.metric: max(stop.value, foreseen.get(stop.metric, stop.value))}

    def _broken_for_good(self, figures: Values, step: int) -> Stop | None:
        for bound in self._bounds:
            if bound.is_final and (stop := bound.limit.broken(figures, bound.number, step, bound.noise)):
                return stop
        return None

    def _stop_if_predicted(self, step: int) -> None:
        for name, total in self._totals.items():
            prediction = total.at(self._steps)
            if prediction is not None:
                self._end(self._broken_for_good({name: prediction.low}, step), "predicted", prediction)

    def _end(self, stop: Stop | None, how: How, prediction: Prediction | None = None) -> None:
        if stop is None or self.ending is not None:
            return
        if prediction is None and stop.metric in self._totals and not self._may_converge:
            prediction = self._totals[stop.metric].at(self._steps)
        with self._lock:
            self.ending = self.ending or EarlyEnd(stop, how, prediction)
