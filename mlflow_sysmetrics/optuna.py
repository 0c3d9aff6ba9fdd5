"""Optuna: what each trial costs, and limits that prune it. The only module that imports optuna."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import optuna

from mlflow_sysmetrics.apart import own_process
from mlflow_sysmetrics.delivery.door_runs import Place, check_store, child_run, place_here
from mlflow_sysmetrics.delivery.operations import end, log, points_now
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.limits import Limit, Limits, Stop, Values, groups_for, process_limits
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling import reset_peak_rss
from mlflow_sysmetrics.tags import BY_PERSON, BY_PRUNER, ERROR, KIND, STOP_REASON, STOPPED_BY, STUDY_ID

logger = get_logger(__name__)
_OWN = "elapsed_s"  # all that is known of a trial in a thread beside others
_places: dict[_Trial, Place] = {}  # of the trials that run

Objective = Callable[[Any], Any]


def measured(limits: str | None = None, apart: bool = False) -> Callable[[Objective], Objective]:
    """A decorator for an Optuna objective: its trials are measured, and limits prune them.

        @measured(limits="peak_memory_mb<=500, elapsed_s<=60")
        def objective(trial): ...

        study.optimize(objective, n_trials=50)

    The summary of a trial becomes its user attributes, and a run below the active one with its parameters and value.
    Each limit is a constraint of the trial: by which share it is exceeded. Once one is broken, the trial is pruned: at
    its next `report` or `should_prune`, or at its end.

    Args:
        limits: on figures of the summary.
        apart: run each trial in a process of its own, to which the objective is pickled, and which a broken limit ends
            at once. Without it ``n_jobs>1`` allows limits on ``elapsed_s`` only.

    Raises:
        ValueError: an argument is wrong, MLflow has no such store, or Optuna is too old.
    """
    if int(optuna.__version__.partition(".")[0]) < 5:
        raise ValueError(f"optuna {optuna.__version__} has no constraints of a trial; install optuna>=5")
    check_store()
    parsed = process_limits(limits)

    def decorate(objective: Objective) -> Objective:
        if isinstance(objective, type) or not callable(objective):
            raise ValueError(f"objective={objective!r}: give a function of a trial, or an instance of the class")

        @functools.wraps(objective)
        def run(trial: Any) -> Any:
            if not isinstance(trial, optuna.Trial):  # a fixed or a frozen one, of no study
                return objective(trial)
            return _Trial(trial, parsed, apart).run(objective)

        return run

    return decorate


class _Trial:
    """A trial while it runs: what it costs, its MLflow run, and the limit that it has broken."""

    def __init__(self, trial: Any, limits: Limits, apart: bool) -> None:
        self.trial, self._limits, self._apart = trial, limits, apart
        self._is_shared = not apart and threading.current_thread() is not threading.main_thread()
        if self._is_shared and (refused := set(limits.metrics) - {_OWN}):
            why = f"n_jobs>1 runs trials as threads of one process, so {min(refused)} of one trial is not known"
            raise ValueError(f"limits={limits}: {why}; use measured(..., apart=True), or n_jobs=1")
        self._judge = limits.judge()
        self._broken: Stop | None = None
        self._outbox, self._summary = Outbox(), dict[str, float]()
        self._report, self._should_prune = trial.report, trial.should_prune
        trial.report, trial.should_prune = self._reported, lambda: bool(self._broken) or self._should_prune()

    def run(self, objective: Objective) -> Any:
        """What the objective returns or raises; TrialPruned if a limit is broken."""
        value: Any = None
        try:
            self._begin()
            value = self._call(objective)
            if self._broken:
                raise optuna.TrialPruned
        except BaseException as error:
            self._end(value, error)
            if self._broken and isinstance(error, Exception):
                raise optuna.TrialPruned(str(self._broken)) from error
            raise
        self._end(value)
        return value

    def _begin(self) -> None:
        """Have a run created: below the same one as those of the study's other trials."""
        try:
            beside = [place for each, place in list(_places.items()) if each.trial.study is self.trial.study]
            _places[self] = beside[0] if beside else place_here()  # an objective may have a run of its own by now
            tags = {KIND: "trial", STUDY_ID: self.trial.study.study_name}
            self._outbox = child_run(_places[self], f"trial {self.trial.number}", tags)
        except Exception:
            logger.warning("trial %s has no MLflow run", self.trial.number, exc_info=True)

    def _call(self, objective: Objective) -> Any:
        here = contextlib.nullcontext((None, lambda: objective(self.trial), lambda: None))
        with own_process(objective, self.trial) if self._apart else here as (pid, call, kill):

            def see(reading: Values) -> None:
                self._broken = self._broken or self._judge.crossed(reading)
                if self._broken:
                    kill()

            measurement = Measurement(pid, groups_for(self._limits))
            measurement.subscribe(see)
            reset_peak_rss()  # an earlier trial of this process may have had more
            try:
                measurement.start()
                return call()
            finally:
                summary = measurement.stop()
                self._summary = {_OWN: summary[_OWN]} if self._is_shared else summary
                self._broken = self._broken or self._judge.crossed(self._summary)

    def _reported(self, value: float, step: int) -> None:
        self._report(value, step)
        self._outbox.add(log(points_now({"intermediate_value": float(value)}, step)))
        if self._broken:
            raise optuna.TrialPruned(str(self._broken))

    def _end(self, value: Any, error: BaseException | None = None) -> None:
        """Keep what it has cost and how it has ended, in its run and in the study."""
        _places.pop(self, None)
        values = _by_name(value, self.trial.study)
        self._outbox.add(log(params=self.trial.params, summary={**self._summary, **values}))
        status, why = "FINISHED", dict[str, str]()
        if self._broken:
            status, why = "KILLED", self._broken.tags()
        elif isinstance(error, optuna.TrialPruned):
            status, why = "KILLED", {STOPPED_BY: BY_PRUNER, STOP_REASON: str(error) or "pruned"}
        elif isinstance(error, KeyboardInterrupt):
            status, why = "KILLED", {STOPPED_BY: BY_PERSON, STOP_REASON: "interrupted"}
        elif error is not None:
            status, why = "FAILED", {ERROR: f"{type(error).__name__}: {error}"}
        elif not values:
            status, why = (
                "FAILED",
                {ERROR: f"the objective has returned {value!r}, which is not a number for each goal"},
            )
        self._outbox.add(end(status, why))
        try:
            for name, number in self._summary.items():
                self.trial.set_user_attr(name, number)
            for limit in self._limits.bounds:
                if limit.metric.name in self._summary:
                    self.trial.set_constraint(str(limit), _excess(limit, self._summary))
        except Exception:
            logger.warning("trial %s has not all of its costs", self.trial.number, exc_info=True)


def _by_name(value: Any, study: optuna.Study) -> dict[str, float]:
    """What an objective has returned; {} if Optuna fails the trial for it."""
    count = len(study.directions)
    names = study.metric_names or (["value"] if count == 1 else [f"values_{place}" for place in range(count)])
    with contextlib.suppress(TypeError, ValueError):
        values = [float(each) for each in (value if isinstance(value, Sequence) else [value])]
        if not any(map(math.isnan, values)):
            return dict(zip(names, values, strict=True))
    return {}


def _excess(limit: Limit, summary: Values) -> float:
    """By which share of the limit a value is beyond it; 0 or less only if it meets the limit."""
    share = (summary[limit.metric.name] - limit.number) / (abs(limit.number) or 1.0)
    share = share if limit.is_upper else -share
    return share if limit.broken(summary, limit.number) else min(share, 0.0)  # it may not count yet
