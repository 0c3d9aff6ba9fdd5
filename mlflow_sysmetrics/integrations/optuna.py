"""Optuna: what each trial costs, and limits that prune it. The only module that imports optuna."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import optuna

from mlflow_sysmetrics.common.guard import never_raises, require_version
from mlflow_sysmetrics.delivery import Run, RunRef, child_run, current_run, open_store, points_now
from mlflow_sysmetrics.limits import (
    Limit,
    Limits,
    Stop,
    Values,
    process_limits,
)
from mlflow_sysmetrics.measurement import Measurement, check_attainable
from mlflow_sysmetrics.recording.outcome import Outcome, ended_by, failed, killed
from mlflow_sysmetrics.recording.tags import BY_PRUNER, KIND, STUDY_ID
from mlflow_sysmetrics.sampling import collect_garbage

require_version(optuna, 5)
_KNOWN_IN_THREADS = "elapsed_s"  # all that is known of trials that run at once in threads of one process

_running: list[_Trial] = []
_lock = threading.Lock()  # of the list, and of `is_shared` of those in it

Objective = Callable[[Any], Any]


def system_metrics(limits: str | None = None) -> Callable[[Objective], Objective]:
    """A decorator for an Optuna objective: its trials are measured, and limits prune them.

        @system_metrics(limits="peak_memory_mb<=500, elapsed_s<=60")
        def objective(trial): ...

        study.optimize(objective, n_trials=50)

    The summary of a trial becomes its user attributes, and a run below the active one with its parameters and value.
    Each limit is a constraint of the trial: by which share it is exceeded. Once one is broken, the trial is pruned: at
    its next `report` or `should_prune`, or at its end.

    Args:
        limits: on figures of the summary; with ``n_jobs>1`` on ``elapsed_s`` only.

    Raises:
        ValueError: an argument is wrong, MLflow has no such store, or this process has more memory than a limit
            allows.
    """
    if callable(limits):
        raise ValueError("@system_metrics: write it with brackets, @system_metrics()")
    open_store()
    parsed = process_limits(limits)
    check_attainable(parsed)

    def decorate(objective: Objective) -> Objective:
        @functools.wraps(objective)
        def measured(trial: Any) -> Any:
            if not isinstance(trial, optuna.Trial):  # a fixed or a frozen one, of no study
                return objective(trial)
            return _Trial(trial, parsed).run(objective)

        return measured

    return decorate


class _Trial:
    """A trial while it runs: what it costs, its MLflow run, and the limit that it has broken."""

    def __init__(self, trial: Any, limits: Limits) -> None:
        self.trial = trial
        self.ref: RunRef | None = None
        self.is_shared = False  # whether another one has run in this process meanwhile
        self.thread = threading.get_ident()
        self._limits = limits
        self._measurement = Measurement().limit(limits)
        self._run: Run | None = None
        self._summary: dict[str, float] = {}
        self._report = trial.report
        self._should_prune = trial.should_prune

    def run(self, objective: Objective) -> Any:
        """What the objective returns or raises; TrialPruned if a limit is broken."""
        self._join_others()
        try:
            self._begin()
            value = self._measured(objective)
        except BaseException as error:
            self._end(None, error)
            if self._broken and isinstance(error, Exception):
                raise optuna.TrialPruned(str(self._broken)) from error
            raise
        self._end(value)
        if self._broken:
            raise optuna.TrialPruned(str(self._broken))
        return value

    def _join_others(self) -> None:
        """Count as running. ValueError for limits on what is not known of trials that share the process."""
        with _lock:
            others = [other for other in _running if other.thread != self.thread]
            refused = set(self._limits.metrics) - {_KNOWN_IN_THREADS}
            if others and refused:
                why = f"other trials run in this process at once, so {min(refused)} of one trial is not known"
                do = "use n_jobs=1, and for more at once several processes on one storage"
                raise ValueError(f"limits={self._limits}: {why}; {do}")
            if others:
                for trial in [self, *others]:
                    trial.is_shared = True
            _running.append(self)

    def _begin(self) -> None:
        """Have a run created: below the same one as those of the study's other trials."""
        self.trial.report = self._reported
        self.trial.should_prune = lambda: bool(self._broken) or self._should_prune()
        with never_raises("creating the MLflow run of a trial"):
            self.ref = current_run()
            for other in _running.copy():  # an objective may have a run of its own by now
                if other.trial.study is self.trial.study and other.ref:
                    self.ref = other.ref
                    break
            tags = {KIND: "trial", STUDY_ID: self.trial.study.study_name}
            self._run = child_run(self.ref, f"trial {self.trial.number}", tags)

    def _measured(self, objective: Objective) -> Any:
        if not self.is_shared:
            collect_garbage()  # Optuna leaves the error of a trial there, with all that its objective held
        with self._measurement:
            try:
                return objective(self.trial)
            finally:
                self._summary = self._measurement.stop()
                if self.is_shared:
                    self._summary = {_KNOWN_IN_THREADS: self._summary[_KNOWN_IN_THREADS]}

    @property
    def _broken(self) -> Stop | None:
        return self._measurement.broken

    def _reported(self, value: float, step: int) -> None:
        self._report(value, step)
        if self._run:
            self._run.log(points_now({"intermediate_value": float(value)}, step))
        if self._broken:
            raise optuna.TrialPruned(str(self._broken))

    def _end(self, value: Any, error: BaseException | None = None) -> None:
        """Keep what it has cost and how it has ended, in its run and in the study."""
        with _lock:
            _running.remove(self)
        values = _by_name(value, self.trial.study)
        if self._run:
            self._run.log(params=self.trial.params, summary={**self._summary, **values})
            self._run.end(self._outcome(value, values, error))
        with never_raises("giving a trial of Optuna what it has cost"):
            for name, number in self._summary.items():
                self.trial.set_user_attr(name, number)
            for limit in self._limits.rules:
                if limit.metric.name in self._summary:
                    self.trial.set_constraint(str(limit), _excess(limit, self._summary))

    def _outcome(self, value: Any, values: Values, error: BaseException | None) -> Outcome:
        if self._broken:
            return self._broken.outcome()
        if isinstance(error, optuna.TrialPruned):
            return killed(BY_PRUNER, str(error) or "pruned")
        if error is None and not values:
            return failed(f"the objective has returned {value!r}, which is not a number for each goal")
        return ended_by(error)


def _by_name(value: Any, study: optuna.Study) -> dict[str, float]:
    """What an objective has returned; {} if Optuna fails the trial for it."""
    count = len(study.directions)
    names = study.metric_names or (["value"] if count == 1 else [f"values_{number}" for number in range(count)])
    returned = value if isinstance(value, Sequence) else [value]
    with contextlib.suppress(TypeError, ValueError):
        values = list(map(float, returned))
        if not any(map(math.isnan, values)):
            return dict(zip(names, values, strict=True))
    return {}


def _excess(limit: Limit, summary: Values) -> float:
    """By which share of the limit a value is beyond it; 0 or less only if it meets the limit."""
    beyond = summary[limit.metric.name] - limit.number
    share = beyond / (abs(limit.number) or 1.0)
    if not limit.is_upper:
        share = -share
    if limit.broken(summary):
        return share or sys.float_info.min  # at the number itself, which `<` does not allow
    return min(share, 0.0)  # it may not count yet
