"""One configuration on all folds: the Ray trainable."""

from __future__ import annotations

import gc
import math
import os
import platform
import time
from statistics import stdev
from typing import Any, Literal

import ray
from ray import tune
from ray.actor import ActorHandle

from entrypoints.datasets.prepared import Prepared
from entrypoints.limits.cost_history import ask
from entrypoints.limits.costs import OF_UNTRAINED
from entrypoints.limits.extrapolation import MIN_BLOCKS
from entrypoints.limits.grammar import Limits
from entrypoints.limits.guard import GROWING_BY_STEP, Guard
from entrypoints.models.configuration import Configuration
from entrypoints.models.cross_validation import training_of
from entrypoints.runs.tags import DIVERGED, FEASIBLE, NUMBER, RAY_NODE_ID, TRAINING_STEP
from entrypoints.search.racing import Lost, Rival
from entrypoints.study.warm_up import WarmUp
from entrypoints.trials.trial import Trial, end_tags
from mlflow_sysmetrics.delivery import Point, points_now, window_points
from mlflow_sysmetrics.limits import Values
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.ray_tune import MEASURES_ITSELF, payload
from mlflow_sysmetrics.recording import Host
from mlflow_sysmetrics.recording.tags import MEMORY_DEFINITION, NODE, PID
from mlflow_sysmetrics.sampling import MEMORY_DEFINITION as DEFINITION
from mlflow_sysmetrics.sampling import trim_heap

RESULT_EVERY_S = 1.0  # a result a second keeps a long trial live at little cost to the driver
WINDOW_S = 0.5  # so that a trial of a second has a series
CPU = "process_cpu_percent"
Status = Literal["FINISHED", "KILLED"]
TIME = "training_time_s"  # the curve of which each trial on batches has a last point


class TrialTrainable(tune.Trainable):
    """A trial that trains for about a second per result and sends all points since the last one with it.

    Tune's ``config`` holds the ``configuration`` and maybe the ``rival`` that it races against.

    The process is kept for the next trial, so each trial's memory and CPU are counted from its own start.
    """

    def setup(
        self,
        config: dict[str, Any],
        data: Prepared,
        first: WarmUp | None = None,
        limits: Limits | None = None,
        cost_history: ActorHandle | None = None,
    ) -> None:
        """Return once all processes of the study are up and this one's first trial can begin.

        Args:
            config: the configuration, and maybe the rival.
            data: the dataset, from Ray's shared memory.
            first: what to do before the first trial of this process.
            limits: what a trial may cost.
            cost_history: what the trials of the study have cost so far.
        """
        gc.collect()
        gc.freeze()  # what the imports left is permanent: later collections need not look at it
        # Once in this process, whose trials all have them.
        self._where = {NODE: platform.node(), PID: str(os.getpid()), MEMORY_DEFINITION: DEFINITION, **Host().tags()}
        if ray.is_initialized():  # several nodes of a cluster may be on one host
            self._where[RAY_NODE_ID] = ray.get_runtime_context().get_node_id()
        self._data = data
        self._limits = limits or Limits(())
        self._cost_history = cost_history
        self._warm_up = first
        self._first = first if first and first.join(data) else None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another configuration in this process."""
        self.cleanup()
        if self._begun:
            del self._training  # the models of the last trial are no memory of the next
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        self._configuration: Configuration = config["configuration"]
        self._rival: Rival | None = config.get("rival")
        self._begun = False

    def cleanup(self) -> None:
        """Stop measuring, also when Tune ends the trial before its own end."""
        if self._begun:
            self._measurement.stop()

    def _begin(self) -> None:
        """Begin the trial. Its costs count from here, so they exclude waiting for Tune and for other trials."""
        if self._first:
            self._first.begin()
            self._first = None
        configuration = self._configuration
        self._points: list[Point] = []
        self._tags = {NUMBER: str(configuration.number), **self._where}  # that no result has carried yet
        self._summary: dict[str, float] = {}  # the latest value of each figure
        # Those that have points, the last of which is their value in the summary.
        self._curves = {TIME} if configuration.axis == TRAINING_STEP else set()
        self._shares: list[float] = []
        self._lost: Lost | None = None  # the race, once that is known
        self._steps_done = 0
        limits, history = self._limits, self._cost_history
        if configuration.role:
            limits, history = Limits(()), None
        self._guard = Guard(ask(history, limits), configuration.trial_steps(self._data.split), configuration.axis)
        fit_rows = None
        if configuration.role and self._warm_up:
            fit_rows = self._warm_up.reference_rows(configuration, self._data)
        gc.collect()  # what the last trial has left is no memory of this one
        self._measurement = Measurement(window_s=WINDOW_S)
        if self._guard.active:
            self._measurement.subscribe(lambda summary: self._guard.crossed(summary, self._steps_done))
        self._measurement.start()
        self._begun = True
        self._training = training_of(configuration, self._data, fit_rows, shuffled=self._rival is not None)
        if fit_rows is not None:
            self._summary["fit_rows"] = float(fit_rows)

    def step(self) -> dict[str, Any]:
        """Train for about a second, whether a report is due or not, or to the trial's end."""
        if not self._begun:
            self._begin()
        began = time.monotonic()
        if not self._training.step_number:
            self._look_ahead()
        while not self._has_ended():
            self._train()
            if time.monotonic() - began >= RESULT_EVERY_S:
                break
        if self._has_ended():
            return self._end()
        self._summary |= self._costs()  # a time limit, a person or an error may end the trial after this result
        return self._result()

    def _has_ended(self) -> bool:
        return self._training.ended or self._guard.ended() or self._lost is not None

    def _look_ahead(self) -> None:
        """Judge before the first step, by what an untrained model shows.

        Then come the points of curves before the first step, where the first interval begins: it excludes the making
        of the models.
        """
        training, guard = self._training, self._guard
        if guard.active and guard.names(OF_UNTRAINED):
            guard.crossed(training.untrained_facts(), 0)
        if not guard.ended() and self._configuration.axis == TRAINING_STEP:
            before = self._measurement.interval()
            memory_mb = {name: value for name, value in before.items() if name == "memory_mb"}
            self._points += points_now(training.untrained() | memory_mb, 0)

    def _train(self) -> None:
        """A step or a few, and the points of the curves where they are due."""
        training = self._training
        trained_s = training.training_time_s
        if not training.advance(self._guard.ended):
            return  # a limit was broken before each fold had its own
        self._steps_done = training.step_number
        if not training.overflowed:  # else only some folds have trained, up to one that cannot go on
            trained_s = training.training_time_s - trained_s
            self._guard.stepped(training.step_number, trained_s, self._measurement.elapsed_s)
        if training.report_due:
            self._report()

    def _report(self) -> None:
        """A point of each curve, or the values of a fold."""
        training, guard = self._training, self._guard
        trim_heap()  # what the model has freed is not its memory
        interval = self._measurement.interval()  # first: scoring takes memory of its own
        figures = training.report()
        if self._configuration.axis == TRAINING_STEP:
            figures |= interval
            self._curves |= figures.keys()
            self._points += points_now(figures, training.step_number)
        else:
            self._points += points_now(training.last_fold(), training.folds[training.step_number - 1].number)
        self._summary.pop(self._training.score.validated, None)  # it may not be defined any more
        self._summary |= figures
        summary = self._summary | self._costs()
        if training.val_loss > training.hopeless_loss:
            guard.diverged(training.val_loss, training.hopeless_loss, training.step_number)
        errors = {}
        if len(self._shares) >= MIN_BLOCKS:  # the standard error of their mean
            errors["mean_cpu_percent"] = stdev(self._shares) / math.sqrt(len(self._shares))
        guard.reported(summary, training.step_number, errors)
        if self._rival:
            self._race(self._rival, summary)

    def _race(self, rival: Rival, figures: Values) -> None:
        """End the trial if it cannot become the best any more."""
        training = self._training
        share = training.step_number / len(training.folds)
        costs = {name: value / share if name in GROWING_BY_STEP else value for name, value in figures.items()}
        self._lost = rival.after_folds(training.fold_scores, costs)

    def _costs(self) -> dict[str, float]:
        """What the trial has cost so far."""
        training, of_process = self._training, self._measurement.summary
        return training.times() | of_process | training.model_memory() | {"steps": float(training.step_number)}

    def _end(self) -> dict[str, Any]:
        """The last result: with the whole summary, and how the trial has ended."""
        training, guard = self._training, self._guard
        ended = training.ended  # also if its last step crossed a limit: there was nothing left to stop
        stop = None if ended else guard.stop
        lost = None if ended or stop else self._lost
        folds = training.fold_figures() if ended and not training.diverged else []
        if folds:
            self._summary |= training.final_figures()
        self._measurement.stop()
        self._summary |= self._costs()  # after the last reading, so that they are those of the whole trial
        if stop and not guard.prediction:  # what a model has untrained
            self._summary.setdefault(stop.metric, stop.value)
        if TIME in self._summary and TIME in self._curves and not ended:  # between two reports
            self._points += points_now({TIME: self._summary[TIME]}, training.step_number)
        tags = {DIVERGED: str(training.diverged).lower()}
        expected = None
        if lost:
            tags |= lost.tags
            expected = guard.projected(self._summary, raced=True) | {training.score.validated: lost.predicted}
        if guard.active:
            can_be_chosen = bool(folds) and self._training.score.validated in self._summary
            tags[FEASIBLE] = str(can_be_chosen and guard.feasible(self._summary)).lower()
            tags |= guard.tags if stop else {}
            expected = expected or guard.projected(self._summary)
        tags |= end_tags(folds, expected)
        status: Status = "FINISHED" if ended else "KILLED"
        if self._cost_history and guard.active:
            trial = Trial("", self._configuration, status, self._summary, tags)
            self._cost_history.record.remote(trial)
        self._tags |= tags
        return self._result(status) | {"done": True}

    def _result(self, status: Status | None = None) -> dict[str, Any]:
        training = self._training
        windows = self._measurement.drain()  # the thread's, since the last result
        self._shares += [window.mean[CPU] for window in windows if CPU in window.mean]
        points = self._points + window_points(windows)
        tags = self._tags
        self._points = []
        self._tags = {}
        once = {name: value for name, value in self._summary.items() if name not in self._curves}
        return {
            "step": training.step_number,
            "figures": self._summary,
            **payload(points, tags=tags, status=status, summary=once),
        }


# Its points hold its process's series: it is not watched from outside as well.
setattr(TrialTrainable, MEASURES_ITSELF, True)
