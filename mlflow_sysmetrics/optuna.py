"""Optuna: what each trial costs, and limits that prune it. The only module that imports optuna."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import optuna

from mlflow_sysmetrics.apart import Apart
from mlflow_sysmetrics.delivery.here import Place, check_store, child_run, hurry, place_here
from mlflow_sysmetrics.delivery.operations import end, log, points_now
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.limits import Criteria, Limit, Stop, Values, groups_for, process_criteria
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling import reset_peak_rss
from mlflow_sysmetrics.tags import BY_PERSON, BY_PRUNER, ERROR, KIND, STOP_REASON, STOPPED_BY, STUDY_ID

logger = get_logger(__name__)
_OWN = "elapsed_s"  # all that a trial has of its own where trials are threads of one process
_running: set[_Trial] = set()
_lock = threading.Lock()

Objective = Callable[[Any], Any]


def measured(limits: str | None = None, apart: bool = False) -> Callable[[Objective], Objective]:
    """A decorator for an Optuna objective: its trials are measured, and limits prune them.

        @measured(limits="peak_memory_mb<=500, elapsed_s<=60")
        def objective(trial): ...

        study.optimize(objective, n_trials=50)

    The summary of a trial becomes its user attributes, and a run below the active one with its parameters and value.
    Each limit is a constraint of the trial: by which share it is exceeded. Once one is broken, the trial is pruned at
    its next `report`, which raises, or `should_prune`, which is True, or at its end.

    Args:
        limits: such as ``"peak_memory_mb<=500, elapsed_s<=60"``.
        apart: run each trial in a process of its own, which a broken limit ends at once. The objective, and what it
            returns, are pickled. Without it the trials of ``n_jobs>1`` are threads of this process: only ``elapsed_s``
            is known of each, and other limits are refused.

    Raises:
        ValueError: an argument is wrong, MLflow has no such store, or Optuna is too old.
    """
    if int(optuna.__version__.partition(".")[0]) < 5:
        raise ValueError(f"optuna {optuna.__version__} knows no constraints of a trial; install optuna>=5")
    check_store()
    criteria = Criteria(()) if limits is None else process_criteria(limits)

    def decorate(objective: Objective) -> Objective:
        if isinstance(objective, type) or not callable(objective):
            raise ValueError(f"{objective!r}: measured() takes a function of a trial; of a class give it an instance")

        @functools.wraps(objective)
        def run(trial: Any) -> Any:
            if not isinstance(trial, optuna.Trial):  # a fixed or a frozen one, of no study
                return objective(trial)
            return _Trial(trial, criteria, apart).run(objective)

        return run

    return decorate


class _Trial:
    """A trial while it runs: what it costs, its MLflow run, and the limit that it has broken."""

    def __init__(self, trial: Any, limits: Criteria, apart: bool) -> None:
        self.trial, self.apart = trial, apart
        self.is_shared = False  # whether this process has had other trials meanwhile
        self.place: Place | None = None
        self._limits, self._judge = limits, limits.judge()
        self._outbox, self._summary = Outbox(), dict[str, float]()
        self._broken: Stop | None = None
        self._report, self._should_prune = trial.report, trial.should_prune
        trial.report, trial.should_prune = self._reported, lambda: bool(self._broken) or self._should_prune()

    def run(self, objective: Objective) -> Any:
        """What the objective returns or raises; TrialPruned if a limit is broken."""
        value: Any = None
        error: BaseException | None = None
        try:
            self._begin()
            value = self._call(objective)
        except BaseException as raised:
            error = raised
        with _lock:
            _running.discard(self)
        try:
            self._end(value, error)
        except Exception:
            logger.warning("trial %s has not all of its costs", self.trial.number, exc_info=True)
        if self._broken and (error is None or isinstance(error, Exception)):
            raise optuna.TrialPruned(str(self._broken)) from error
        if error is not None:
            raise error
        return value

    def _begin(self) -> None:
        """See which other trials run, and have a run created: below the same one as theirs."""
        with _lock:
            _running.add(self)
            places = [each.place for each in _running if each.trial.study is self.trial.study and each.place]
            threads = [each for each in _running if not each.apart]
            for each in threads if len(threads) > 1 else ():
                each.is_shared = True
        if self.is_shared and (refused := [limit for limit in self._limits.limits if limit.metric.name != _OWN]):
            why = f'"{refused[0]}" cannot be judged where n_jobs>1 runs trials as threads of one process'
            raise ValueError(f"limits={self._limits}: {why}; use measured(..., apart=True)")
        try:
            self.place = places[0] if places else place_here()  # an objective may have a run of its own by now
            tags = {KIND: "trial", STUDY_ID: self.trial.study.study_name}
            self._outbox = child_run(self.place, f"trial {self.trial.number}", tags)
        except Exception:
            logger.warning("trial %s has no MLflow run", self.trial.number, exc_info=True)

    def _call(self, objective: Objective) -> Any:
        if not self.apart:
            with self._measured():
                return objective(self.trial)
        with Apart(objective, self.trial) as process, self._measured(process):
            return process.answer()

    @contextlib.contextmanager
    def _measured(self, process: Apart | None = None) -> Iterator[None]:
        measurement = Measurement(process.pid if process else None, groups_for(self._limits))

        def see(reading: Values) -> None:
            if self._broken is None and "memory_mb" in reading:  # else its process is gone
                self._broken = self._judge.crossed({_OWN: reading[_OWN]} if self.is_shared else reading)
            if self._broken and process:
                process.kill()

        measurement.tell(see)
        if not process:
            reset_peak_rss()  # an earlier trial may have had more
        try:
            with measurement:
                yield
        finally:
            summary = measurement.stop()
            self._summary = {_OWN: summary[_OWN]} if self.is_shared else summary
            self._broken = self._broken or self._judge.crossed(self._summary)

    def _reported(self, value: float, step: int) -> None:
        self._report(value, step)
        self._outbox.add(log(points_now({"intermediate_value": float(value)}, step)))
        if self._broken:
            raise optuna.TrialPruned(str(self._broken))

    def _end(self, value: Any, error: BaseException | None) -> None:
        """Keep what it has cost and how it has ended, in its run and in the study."""
        values = self._values(value)
        self._outbox.add(log(params=self.trial.params, summary={**self._summary, **values}))
        self._outbox.add(end(*self._ending(values, error)))
        hurry(self._outbox)
        for name, number in self._summary.items():
            self.trial.set_user_attr(name, number)
        for limit in self._limits.limits:
            if limit.metric.name in self._summary:
                self.trial.set_constraint(str(limit), _excess(limit, self._summary))

    def _values(self, value: Any) -> dict[str, float]:
        """What the objective has returned, by name; {} where that is no number."""
        values = list(value) if isinstance(value, Sequence) else [value]
        names = ["value"] if len(values) == 1 else [f"values_{place}" for place in range(len(values))]
        with contextlib.suppress(TypeError, ValueError):
            return dict(zip(self.trial.study.metric_names or names, map(float, values), strict=True))
        return {}

    def _ending(self, values: Values, error: BaseException | None) -> tuple[str, dict[str, str]]:
        """The status of the run, and tags that say why."""
        said = {} if error is None else {ERROR: f"{type(error).__name__}: {error}"}
        if self._broken:
            return "KILLED", self._broken.tags()
        if isinstance(error, optuna.TrialPruned):
            return "KILLED", {STOPPED_BY: BY_PRUNER, STOP_REASON: str(error) or "pruned"}
        if isinstance(error, KeyboardInterrupt):
            return "KILLED", {STOPPED_BY: BY_PERSON, STOP_REASON: "interrupted"}
        if error is None and (not values or any(map(math.isnan, values.values()))):
            said = {ERROR: "the objective has returned no number"}
        return "FAILED" if said else "FINISHED", said


def _excess(limit: Limit, summary: Values) -> float:
    """By which share of the limit a value is beyond it; 0 or less only if it meets the limit."""
    share = (summary[limit.metric.name] - limit.number) / (abs(limit.number) or 1.0)
    share = share if limit.is_upper else -share
    return max(share, 1e-9) if limit.broken(summary, limit.number) else min(share, 0.0)
