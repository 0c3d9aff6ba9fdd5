"""When to skip a trial, or to stop it early: as soon as it crosses a limit, or is certain to cross it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from entrypoints.limits.cost_model import TOTALS
from entrypoints.limits.extrapolation import WARM_UP, Extrapolation, Prediction
from entrypoints.limits.judging import NoisyJudge
from entrypoints.limits.ledger import Brief
from entrypoints.tags import STOP_HOW, STOP_PREDICTION
from mlflow_sysmetrics.limits import Limits, Stop, Values
from mlflow_sysmetrics.tags import STOP_REASON

How = Literal["crossed", "predicted", "skipped"]

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

    def expected(self, figures: Values, totals: Values | None = None) -> dict[str, float]:
        """The trial's last figures, without those that grow with each step: their final values are unknown.

        The figure that ended the trial has its expected final value, from ``totals`` or else its prediction, but at
        least the value that ended it.
        """
        foreseen = {self.stop.metric: self.prediction.value} if self.prediction else {}
        foreseen.update(totals or {})
        known = {name: value for name, value in figures.items() if name not in GROWING_BY_STEP}
        least = self.stop.value
        return known | foreseen | {self.stop.metric: max(least, foreseen.get(self.stop.metric, least))}

    @property
    def tags(self) -> dict[str, str]:
        """It as tags of the trial's run."""
        tags = {**self.stop.outcome().tags} | {STOP_REASON: self.reason, STOP_HOW: self.how}
        return tags | ({STOP_PREDICTION: str(self.prediction)} if self.prediction else {})


def is_ruled_out(stopping: Stopping, brief: Brief) -> bool:
    """Whether a trial that has not begun would be skipped."""
    guard = Guard(stopping, brief, steps=0)
    guard.skip_if_predicted()
    return guard.ended()


class Guard:
    """Watches the limits of one trial. The first reason to end it stays the reason.

    Args:
        stopping: what to act on; None for nothing.
        brief: what other trials have shown.
        steps: how many steps the trial has.
        may_converge: whether it may end before; then no total is predicted, since it may never be reached.
    """

    def __init__(self, stopping: Stopping | None, brief: Brief, steps: int, *, may_converge: bool = False) -> None:
        self._limits = stopping.limits if stopping else Limits(())
        self._predict = stopping is not None and stopping.predict
        self._brief = brief
        self._steps = steps
        self._may_converge = may_converge
        self._judge = NoisyJudge(self._limits, brief.costs, brief.noise)
        of_steps = (*TOTALS, "mean_step_time_ms")
        self._totals = {name: Extrapolation() for name in TOTALS} if self.names(of_steps) else {}
        self._step, self._elapsed_s = 0, 0.0
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
        """Skip the trial if it is predicted to break a limit."""
        if self._predict:
            for name, prediction in self._brief.predictions.items():
                stop = self._judge.final({name: prediction.low}, 0)  # the noise is in the bound already
                if stop is not None and stop.value >= stop.limit:  # the low bound says nothing of a lower limit
                    self._end(stop, "skipped", prediction)

    def crossed(self, figures: Values, step: int) -> None:
        """End the trial if a limit is broken for good: latest figures, from any thread, microseconds."""
        if self.ending is None:
            self._end(self._judge.crossed(figures, step), "crossed")

    def stepped(self, step: int, training_time_s: float, elapsed_s: float) -> None:
        """Count the steps up to this one: their seconds of training per fold, and those of the trial so far.

        What a trial does between its steps is part of the latter, and so expected of the steps to come.
        """
        steps, self._step = step - self._step, step
        took = {"training_time_s": training_time_s / steps, "elapsed_s": (elapsed_s - self._elapsed_s) / steps}
        self._elapsed_s = elapsed_s
        for _ in range(steps):
            for name, total in self._totals.items():
                total.add(took[name])
        if self._totals:
            self.crossed({name: total.total for name, total in self._totals.items()}, step)
            if step >= self._predict_at:
                self._predict_at = step + PREDICT_EVERY
                if self._predict and not self._may_converge and elapsed_s >= PREDICT_AFTER_S:
                    self._predicted(step)

    def reported(self, figures: Values, step: int, errors: Values) -> None:
        """Judge the next point of every curve; after the last one there is nothing left to stop."""
        times = self._totals.get("training_time_s")
        if times and times.mean is not None and times.error is not None:  # of steps that are warm, as those to come
            figures = {**figures, "mean_step_time_ms": 1e3 * times.mean}
            errors = {**errors, "mean_step_time_ms": 1e3 * times.error}
        if self.active and step < self._steps:
            self._end(self._judge.see(figures, step, errors), "crossed")

    def diverged(self, val_loss: float, hopeless_loss: float, step: int) -> None:
        """Tell of a report with such a loss. If it has not fallen at the next, it ends the trial that has any limit."""
        falling = self._hopeless is None or val_loss < self._hopeless
        self._hopeless = val_loss
        if self.active and step < self._steps and not falling:
            self._end(Stop(DIVERGED, "val_loss", val_loss, hopeless_loss, step), "crossed")

    def feasible(self, figures: Values) -> bool:
        """Whether the final figures of a trial that came to its end break no limit."""
        return self._judge.final(figures) is None

    def expected(self, figures: Values) -> dict[str, float]:
        """The figures that the trial would have had after all its steps, without times that cannot be predicted.

        The figure that ended the trial is never left out: it has at least its last value.
        """
        on_their_way = {name: total for name, total in self._totals.items() if total.steps < self._steps}
        foreseen = {name: total.roughly_at(self._steps) for name, total in on_their_way.items()}
        known = {name: value for name, value in figures.items() if name not in foreseen}
        totals: dict[str, float] = {name: value for name, value in foreseen.items() if value is not None}
        return self.ending.expected(known, totals) if self.ending else known | totals

    def _predicted(self, step: int) -> None:
        for name, total in self._totals.items():
            prediction = total.at(self._steps)
            if prediction is not None:
                self._end(self._judge.crossed({name: prediction.low}, step), "predicted", prediction)

    def _end(self, stop: Stop | None, how: How, prediction: Prediction | None = None) -> None:
        if stop is not None:
            if prediction is None and stop.metric in self._totals and not self._may_converge:
                prediction = self._totals[stop.metric].at(self._steps)
            with self._lock:
                self.ending = self.ending or EarlyEnd(stop, how, prediction)
