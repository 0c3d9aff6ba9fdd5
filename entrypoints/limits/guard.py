"""The guard of one trial: stops it as soon as it crosses a limit, or is certain to cross it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import replace

from entrypoints.limits.cost_model import TOTALS
from entrypoints.limits.extrapolation import WARM_UP, Extrapolation, Prediction
from entrypoints.limits.grammar import Bound, Limits
from entrypoints.runs.tags import STOP_HOW, STOP_PREDICTION, TRAINING_STEP, Axis
from mlflow_sysmetrics.limits import Kind, Stop, Values, finite

# Standard errors between a mean and its limit before it counts as evidence. A mean that lies exactly at its limit and
# is looked at after each of 100 equal stretches crosses 3 wrongly in 1.6 % of trials; it would cross 2 in 18 %.
Z = 3.0
DIVERGED = "val_loss<=100x untrained"
GROWING_BY_STEP = ("training_time_s", "elapsed_s", "cpu_seconds", "user_cpu_seconds", "system_cpu_seconds")
PREDICT_EVERY = 10  # steps on batches between two predictions
PREDICT_AFTER_S = 0.2  # a machine may run at half its speed for a tenth of a second


class Guard:
    """Watches the limits of one trial. The first reason to end it stays the reason.

    Before its end, a trial is stopped only for what noise does not explain. ``crossed`` may be called from any thread.

    Args:
        limits: on it, as bounds.
        steps: how many steps the trial has.
        axis: what its steps count.

    Attributes:
        stop: the limit for which the trial has to end, once it has to.
        prediction: of the final value, if that is why.
    """

    def __init__(self, limits: Limits, steps: int, axis: Axis = TRAINING_STEP) -> None:
        self.stop: Stop | None = None
        self.prediction: Prediction | None = None
        self.active = bool(limits.rules)
        self._limited = limits.metrics
        self._steps = steps
        self._predict_every = PREDICT_EVERY if axis == TRAINING_STEP else 1
        self._models = 1 if axis == TRAINING_STEP else steps  # a fold's step trains one of them: all share its time
        self._bounds = [limit for limit in limits.rules if isinstance(limit, Bound)]
        self._totals = {name: Extrapolation(axis) for name in TOTALS} if self.active else {}
        self._step = 0
        self._elapsed_s = 0.0
        self._predict_at = WARM_UP
        self._hopeless_loss = math.inf  # the last loss that no trained model has
        self._lock = threading.Lock()

    def ended(self) -> bool:
        """Whether the trial has to end."""
        return self.stop is not None

    @property
    def tags(self) -> dict[str, str]:
        """Why the trial ends, as tags of its run; none while it goes on.

        The reason is a line such as ``training_time_s 5.1 > 4 (predicted, step 120)``.
        """
        if self.stop is None:
            return {}
        if self.prediction is None:
            return {**self.stop.outcome().tags, STOP_HOW: "crossed"}
        predicted = replace(self.stop, value=self.prediction.value)
        return {
            **predicted.outcome("predicted").tags,
            STOP_HOW: "predicted",
            STOP_PREDICTION: str(self.prediction),
        }

    def names(self, metrics: Iterable[str]) -> bool:
        """Whether a limit limits one of these metrics."""
        return not set(metrics).isdisjoint(self._limited)

    def crossed(self, figures: Values, step: int) -> None:
        """End the trial if a limit is broken for good: latest figures, from any thread, microseconds."""
        self._end(self._broken_for_good(figures, step))

    def stepped(self, step: int, training_time_s: float, elapsed_s: float) -> None:
        """Count the steps up to this one: their seconds of training per fold, and those of the trial so far.

        What a trial does between its steps is part of the latter, and so expected of the steps to come.
        """
        steps = step - self._step
        took = {"training_time_s": training_time_s / steps, "elapsed_s": (elapsed_s - self._elapsed_s) / steps}
        self._step = step
        self._elapsed_s = elapsed_s
        for name, total in self._totals.items():
            for _ in range(steps):
                total.add(took[name])
        self.crossed({name: total.total for name, total in self._totals.items()}, step)
        if step < self._predict_at:
            return
        self._predict_at = step + self._predict_every
        if elapsed_s >= PREDICT_AFTER_S:
            self._stop_if_predicted(step)

    def reported(self, figures: Values, step: int, errors: Values) -> None:
        """Judge the next point of every curve; after the last one nothing is left to stop.

        Args:
            figures: the latest.
            step: of the report.
            errors: the standard errors of means. A mean without one decides nothing.
        """
        times = self._totals.get("training_time_s")
        if times and times.mean is not None and times.error is not None:  # of steps that are warm, as those to come
            to_ms = 1e3 * self._models
            figures = {**figures, "mean_step_time_ms": to_ms * times.mean}
            errors = {**errors, "mean_step_time_ms": to_ms * times.error}
        if step >= self._steps:
            return
        for bound in self._bounds:
            error = finite(errors, bound.metric.name)
            if bound.stops:
                self._end(bound.broken(figures, step, Z * bound.noise))
            elif bound.metric.kind is Kind.MEAN and error is not None:  # of others only the end tells
                self._end(bound.broken(figures, step, Z * math.hypot(error, bound.noise)))

    def diverged(self, val_loss: float, hopeless_loss: float, step: int) -> None:
        """Tell of a report with such a loss. If it has not fallen at the next, it ends the trial that has any limit."""
        falling = val_loss < self._hopeless_loss
        self._hopeless_loss = val_loss
        if self.active and step < self._steps and not falling:
            self._end(Stop(DIVERGED, "val_loss", val_loss, hopeless_loss, step))

    def feasible(self, figures: Values) -> bool:
        """Whether the final figures of a trial that came to its end break no limit, whatever the noise."""
        return not any(bound.broken(figures) for bound in self._bounds)

    def projected(self, figures: Values, *, raced: bool = False) -> dict[str, float]:
        """The figures that the trial would have had after all its steps, without those that cannot be predicted.

        The figure that ended the trial is never left out, nor better than the value that ended it.

        Args:
            figures: those that it has.
            raced: whether it was ended by another reason than its limits.
        """
        final = dict(figures)
        if self.stop or raced:
            final = {name: value for name, value in figures.items() if name not in GROWING_BY_STEP}
        for name, total in self._totals.items():
            if total.steps < self._steps:
                final.pop(name, None)
                value = total.roughly_at(self._steps)
                if value is not None:
                    final[name] = value
        if self.stop is None:
            return final
        if self.prediction:
            final.setdefault(self.stop.metric, self.prediction.value)
        worse = max if self.stop.value >= self.stop.limit else min
        final[self.stop.metric] = worse(self.stop.value, final.get(self.stop.metric, self.stop.value))
        return final

    def _broken_for_good(self, figures: Values, step: int) -> Stop | None:
        for bound in self._bounds:
            stop = bound.broken(figures, step, Z * bound.noise) if bound.stops else None
            if stop:
                return stop
        return None

    def _stop_if_predicted(self, step: int) -> None:
        for name, total in self._totals.items():
            prediction = total.at(self._steps)
            if prediction is not None:
                self._end(self._broken_for_good({name: prediction.low}, step), prediction)

    def _end(self, stop: Stop | None, prediction: Prediction | None = None) -> None:
        if stop is None:
            return
        with self._lock:
            if self.stop is None:
                self.prediction = prediction
                self.stop = stop
