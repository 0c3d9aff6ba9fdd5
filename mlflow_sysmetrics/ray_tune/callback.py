"""The callback: one MLflow run per Tune trial, written without the Tune loop ever waiting for MLflow."""

from __future__ import annotations

import atexit
import inspect
import math
import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from mlflow import get_tracking_uri
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.logger.mlflow import MLflowLoggerCallback
from ray.tune.result import DONE
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.redact import lasting_uri, redacted_errors, with_login
from mlflow_sysmetrics.delivery import Point
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.limits import process_limits
from mlflow_sysmetrics.ray_tune import endings
from mlflow_sysmetrics.ray_tune.destination import find_earlier, find_parent
from mlflow_sysmetrics.ray_tune.inside import tell_location
from mlflow_sysmetrics.ray_tune.results import MEASURES_ITSELF, PAYLOAD_KEY, points_of
from mlflow_sysmetrics.ray_tune.runs import Experiment, TrialRun
from mlflow_sysmetrics.recording.tags import CHANGED_PREFIX, NOT_FINITE, RETRIED_AFTER

LIMITS = "MLFLOW_SYSMETRICS_LIMITS"
_MAX_NAME = 60


def trial_name(trial: Trial) -> str:
    """The parameters in which trials differ, as ``rate=0.1 depth=3``; Ray's name where that is long or says nothing."""
    words = {}
    for path, value in trial.evaluated_params.items():
        name = path.rpartition("/")[2]
        if name in words or not isinstance(value, (str, int, float)):
            return str(trial)
        words[name] = f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
    title = " ".join(words.values())
    return title if 0 < len(title) <= _MAX_NAME else str(trial)


def _controller() -> TuneController:
    """Tune's loop, which calls this hook. It hands itself to schedulers, and not to callbacks."""
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, TuneController):
            return caller
        frame = frame.f_back
    raise RuntimeError("no loop of Tune calls this")


class SystemMetricsCallback(MLflowLoggerCallback):
    """Record each trial of a Tune experiment as an MLflow run of its own, with what its process used.

    It takes the place of Ray's ``MLflowLoggerCallback``, is one, and has its arguments. Its hooks only queue; threads
    of this process write the runs, and measure the trials' processes from outside. When the experiment ends, no run is
    left ``RUNNING``, unless this process is killed at once, and ``Tuner.restore`` goes on in the same runs.
    docs/tune-scripts.md says what a run holds.

    Args, in addition to those of Ray's callback, of which `tracking_token` alone changes a setting of this process, and
    `registry_uri` has no effect, since nothing is registered:
        experiment_id: where runs go, by id; wins over `experiment_name`. By default the experiment in use.
        parent_run_id: the run that trials are nested under: by default the active one, that of ``mlflow run``, or else
            one that is made for them.
        tags: tags for every trial's run, or a trial -> those of its run.
        run_name: a trial -> the name of its run; by default its parameters.
        params: a trial -> the parameters of its run; by default its ``config``, flattened.
        continues: a trial -> the id of the run that it goes on in; None for a new one.
        limits: what each trial's process may use, such as ``"peak_memory_mb<=500, elapsed_s<=3600"``; by default what
            MLFLOW_SYSMETRICS_LIMITS says. A trial whose process breaks one is KILLED: at its next result, or if none
            comes within seconds by the end of its process, which Tune then counts as a failed trial.
        close_timeout_s: how long the end of the experiment waits for the store to take what is left.

    Raises:
        ValueError: a wrong limit, or a negative time limit.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        *,
        registry_uri: str | None = None,
        experiment_name: str | None = None,
        tags: Mapping[str, str] | Callable[[Trial], Mapping[str, str]] | None = None,
        tracking_token: str | None = None,
        save_artifact: bool = False,
        log_params_on_trial_end: bool = False,
        experiment_id: str | None = None,
        parent_run_id: str | None = None,
        run_name: Callable[[Trial], str] = trial_name,
        params: Callable[[Trial], Mapping[str, Any]] = lambda trial: flatten_dict(trial.config),
        continues: Callable[[Trial], str | None] = lambda trial: None,
        limits: str | None = None,
        close_timeout_s: float = 60.0,
    ) -> None:
        if not close_timeout_s >= 0:
            raise ValueError(f"close_timeout_s={close_timeout_s!r}: give a number of seconds from 0 up")
        super().__init__(
            tracking_uri,
            experiment_name=experiment_name,
            tags=tags,
            tracking_token=tracking_token,
            save_artifact=save_artifact,
            log_params_on_trial_end=log_params_on_trial_end,
        )
        del self.mlflow_util  # which holds a module, and so cannot be pickled
        self.experiment_id = experiment_id
        self.parent_run_id = parent_run_id
        self.run_name = run_name
        self.params = params
        self.continues = continues
        self.limits = process_limits(os.environ.get(LIMITS) if limits is None else limits)
        self.close_timeout_s = close_timeout_s
        self._experiment: Experiment | None = None
        self._study_id: str | None = None  # of an experiment that was interrupted

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Find where the runs go, and start the threads that write and measure.

        Raises:
            mlflow.exceptions.MlflowException: the store does not know the experiment or the parent run, or does not
                answer within seconds where it has to be asked for their ids. It is not waited for longer.
        """
        if self.tracking_token:
            os.environ["MLFLOW_TRACKING_TOKEN"] = self.tracking_token
        uri = self.tracking_uri or get_tracking_uri()
        study_id = self._study_id
        self._study_id = None
        with redacted_errors():
            store = Store(uri)
            parent = find_parent(store, self.experiment_id, self.experiment_name, self.parent_run_id)
            earlier = find_earlier(store, parent.experiment_id, study_id) if study_id else {}
        self._experiment = Experiment(parent, study_id or uuid.uuid4().hex, earlier, self.limits).start()
        atexit.register(self.close)

    def __getstate__(self) -> dict[str, Any]:
        """What Tune keeps on disk for `Tuner.restore`: no password, no token, and nothing of an earlier experiment."""
        uri = self.tracking_uri and lasting_uri(self.tracking_uri)
        return {**vars(self), "tracking_uri": uri, "tracking_token": None, "_experiment": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the copy that `Tuner.restore` has kept; the login is that of MLflow's settings now."""
        uri = state["tracking_uri"]
        self.__dict__.update(state, tracking_uri=uri and with_login(uri, get_tracking_uri()))

    def get_state(self) -> dict[str, str]:
        """What a restored callback finds its runs by."""
        return {"study_id": self._experiment.study_id} if self._experiment else {}

    def set_state(self, state: dict[str, str]) -> None:
        """Go on in the runs of an experiment that was interrupted: Tune tells which it is, before setup."""
        self._study_id = state.get("study_id")

    def run_id(self, trial_id: str) -> str | None:
        """MLflow's id of a trial's run; None while the store has not created it."""
        return self._running.run_id(trial_id)

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has set the tag that stops the experiment."""
        return self._running.is_stopped

    @never_raises("SystemMetricsCallback.on_step_end")
    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Release the processes of paused trials, for which Tune has no hook; end an experiment that is stopped."""
        experiment = self._running
        for run in list(experiment.trials.values()):
            if run.trial.status == Trial.PAUSED and run.is_measured:
                experiment.release(run)
        if experiment.is_stopped:
            _controller().request_stop_experiment()

    @never_raises("SystemMetricsCallback.log_trial_start")
    def log_trial_start(self, trial: Trial) -> None:
        """Have the trial's run created, unless it has one, and its process measured."""
        experiment = self._running
        run = self._open(trial)
        run.has_begun = True
        self._log_changes(run)
        place = tell_location(trial.temporary_state.ray_actor, experiment.location(run), experiment.parent.run_id)
        if not getattr(trial.get_trainable_cls(), MEASURES_ITSELF, False):
            experiment.measure(run, place)

    @never_raises("SystemMetricsCallback.log_trial_result")
    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Queue what a result carries."""
        run = self._open(trial)
        run.had_last_result = bool(result.get(DONE))
        carried = result.get(PAYLOAD_KEY)
        if carried is not None:
            run.handle.log([Point(*point) for point in carried["points"]], tags=carried["tags"])
            run.summary = carried["summary"]
            return
        points = points_of(result)
        for point in points:
            run.reported.add(point.name)
            if not run.has_diverged and not math.isfinite(point.value):
                run.has_diverged = True
                run.handle.log(tags={NOT_FINITE: f"{point.name} is {point.value} at step {point.step}"})
        run.handle.log(points)
        run.state = None
        if result.get(DONE):  # Tune's doing, or its own? Only the trainable knows.
            run.state = trial.temporary_state.ray_actor.get_state.remote().future()

    @never_raises("SystemMetricsCallback.on_trial_recover")
    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that Tune is going to try a failed trial again: in the same run."""
        experiment = self._running
        run = self._open(trial)
        experiment.release(run)
        run.handle.log(tags={RETRIED_AFTER: endings.error_line(trial)})
        if run.has_begun:
            experiment.restarts += 1

    @never_raises("SystemMetricsCallback.log_trial_end")
    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the trial's run: FINISHED, FAILED, or KILLED where Tune ended it before its own end."""
        experiment = self._running
        run = self._open(trial)
        if self.log_params_on_trial_end:
            run.handle.log(params=run.params)
        result = trial.run_metadata.last_result  # `Trial.last_result` would wait for the trial's process
        carried = result.get(PAYLOAD_KEY) or {}
        outcome = run.outcome  # which a person or a limit asks for
        if failed and not run.was_killed:
            outcome = endings.error_outcome(trial)
        elif outcome is None or carried.get("status") is not None:
            outcome = endings.known_outcome(trial, result)
        experiment.end(run, outcome, with_files=self.should_save_artifact)
        carried.get("points", []).clear()  # Tune keeps every last result in memory; all callbacks have seen it

    @never_raises("SystemMetricsCallback.on_experiment_end")
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """End every run that Tune did not end, and write what is left."""
        self._running.count([trial.trial_id for trial in trials])
        self.close()

    def close(self, timeout_s: float | None = None) -> bool:
        """Mark open runs KILLED and write what is left, for a limited time; say whether all of it was written."""
        atexit.unregister(self.close)
        limit_s = self.close_timeout_s if timeout_s is None else timeout_s
        return self._experiment is None or self._experiment.close(limit_s)

    @property
    def _running(self) -> Experiment:
        assert self._experiment is not None, "setup() has not been called"
        return self._experiment

    def _open(self, trial: Trial) -> TrialRun:
        """The trial's run, which is opened if it is not."""
        experiment = self._running
        if trial.trial_id in experiment.trials:
            return experiment.trials[trial.trial_id]
        tags = self.tags(trial) if callable(self.tags) else self.tags or {}
        run = experiment.open(trial, self.run_name(trial), tags, self.continues(trial))
        run.params = self.params(trial)
        if not self.log_params_on_trial_end:
            run.handle.log(params=run.params)
        return run

    def _log_changes(self, run: TrialRun) -> None:
        """Log, in tags, the parameters that a scheduler changed."""
        params = self.params(run.trial)
        for name, value in params.items():
            if str(value) != str(run.params.get(name)):
                run.handle.log(tags={CHANGED_PREFIX + name: value})
        run.params = params
