"""The callback: one MLflow run per Tune trial, written without the Tune loop ever waiting for MLflow."""

from __future__ import annotations

import atexit
import functools
import math
import numbers
import os
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import click
from mlflow import MlflowClient, get_tracking_uri
from ray.tune.experiment import Trial
from ray.tune.logger.mlflow import MLflowLoggerCallback
from ray.tune.result import DONE, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics.delivery.operations import Operation, Point, log, points_now
from mlflow_sysmetrics.ray_tune import endings
from mlflow_sysmetrics.ray_tune.destination import find_destination
from mlflow_sysmetrics.ray_tune.inside import introduce
from mlflow_sysmetrics.ray_tune.results import MEASURES_ITSELF, PAYLOAD_KEY, points_of
from mlflow_sysmetrics.ray_tune.runs import Experiment, TrialRun
from mlflow_sysmetrics.redact import get_logger, lasting_uri, redacted_errors, with_login
from mlflow_sysmetrics.sampling import check_groups
from mlflow_sysmetrics.tags import CHANGED_PREFIX, NOT_FINITE, RETRIED_AFTER
from mlflow_sysmetrics.ui import address

logger = get_logger(__name__)
_MAX_NAME = 60
_URIS = ("tracking_uri", "registry_uri")  # which may hold a login
Hook = TypeVar("Hook", bound=Callable[..., Any])


def _never_raises(hook: Hook) -> Hook:
    """Log errors of a hook: recording must not end the training."""

    @functools.wraps(hook)
    def guarded(self: SystemMetricsCallback, *args: Any, **kwargs: Any) -> Any:
        try:
            return hook(self, *args, **kwargs)
        except Exception:
            logger.exception("%s.%s failed; training goes on", type(self).__name__, hook.__name__)

    return guarded  # type: ignore[return-value]


def trial_name(trial: Trial) -> str:
    """The parameters in which trials differ, as ``rate=0.1 depth=3``; Ray's name where that is long or says nothing."""
    given = {name.rpartition("/")[2]: value for name, value in trial.evaluated_params.items()}
    are_plain = all(isinstance(value, (str, int, float)) for value in given.values())
    words = [f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in given.items()]
    is_short = 0 < len(" ".join(words)) <= _MAX_NAME and len(given) == len(trial.evaluated_params)
    return " ".join(words) if are_plain and is_short else str(trial)


class SystemMetricsCallback(MLflowLoggerCallback):
    """Record each trial of a Tune experiment as an MLflow run of its own, with what its process used.

    It takes the place of Ray's ``MLflowLoggerCallback``, is one, and has its arguments. Its hooks only queue; threads
    of this process write the runs, and measure the trials' processes from outside. When the experiment ends, no run is
    left ``RUNNING``, unless this process is killed at once, and ``Tuner.restore`` goes on in the same runs.
    docs/tune-scripts.md says what a run holds.

    Args, in addition to those of Ray's callback, of which `tracking_token` alone changes a setting of this process:
        experiment_id: where runs go, by id; wins over `experiment_name`. By default the experiment in use.
        parent_run_id: the run that trials are nested under: by default the active one, that of ``mlflow run``, or else
            one that is made for them.
        tags: tags for every trial's run, or a trial -> those of its run.
        run_name: a trial -> the name of its run; by default its parameters.
        params: a trial -> the parameters of its run; by default its ``config``, flattened.
        continues: a trial -> the id of the run that it goes on in; None for a new one.
        groups: what is read of trials' processes, see ``mlflow-sysmetrics run --help``; () for nothing.
        close_timeout_s: how long the end of the experiment waits for the store to take what is left.
        views: whether the view "What trials cost" of the MLflow UI is saved at the end, and its link printed.

    Raises:
        ValueError: an unknown group, or a negative time limit.
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
        groups: Collection[str] = ("process",),
        close_timeout_s: float = 60.0,
        views: bool = True,
    ) -> None:
        if groups:
            check_groups(groups)
        if not close_timeout_s >= 0:
            raise ValueError(f"close_timeout_s={close_timeout_s!r}: give a number of seconds from 0 up")
        where = {"registry_uri": registry_uri, "experiment_name": experiment_name, "tracking_token": tracking_token}
        when = {"save_artifact": save_artifact, "log_params_on_trial_end": log_params_on_trial_end}
        super().__init__(tracking_uri, tags=tags, **where, **when)
        del self.mlflow_util  # which holds a module, and so cannot be pickled
        self.experiment_id, self.parent_run_id = experiment_id, parent_run_id
        self.run_name, self.params, self.continues, self.views = run_name, params, continues, views
        self.groups, self.close_timeout_s = tuple(groups), close_timeout_s
        self._experiment: Experiment | None = None
        self._study_id: str | None = None  # of an experiment that was interrupted

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Find where the runs go, and start the threads that write and measure.

        Raises:
            mlflow.exceptions.MlflowException: the store cannot be reached or does not know the experiment.
        """
        if self.tracking_token:
            os.environ["MLFLOW_TRACKING_TOKEN"] = self.tracking_token
        client = MlflowClient(self.tracking_uri or get_tracking_uri(), self.registry_uri)
        named = (self.experiment_id, self.experiment_name, self.parent_run_id)
        with redacted_errors():
            place = find_destination(client, *named, self._study_id)
        study_id, self._study_id = self._study_id or uuid.uuid4().hex, None
        self._experiment = Experiment(client, place, study_id, self.groups).start()
        endings.outlive_memory_kills()
        atexit.register(self.close)

    def __getstate__(self) -> dict[str, Any]:
        """What Tune keeps on disk for `Tuner.restore`: no password, no token, and nothing of an earlier experiment."""
        uris = {name: uri and lasting_uri(uri) for name, uri in vars(self).items() if name in _URIS}
        return {**vars(self), **uris, "tracking_token": None, "_experiment": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the copy that `Tuner.restore` has kept; the login is that of MLflow's settings now."""
        uris = {name: uri and with_login(uri, get_tracking_uri()) for name, uri in state.items() if name in _URIS}
        self.__dict__.update({**state, **uris})

    def get_state(self) -> dict[str, str]:
        """What a restored callback finds its runs by."""
        return {"study_id": self._experiment.study_id} if self._experiment else {}

    def set_state(self, state: dict[str, str]) -> None:
        """Go on in the runs of an experiment that was interrupted: Tune tells which it is, before setup."""
        self._study_id = state.get("study_id")

    def run_id(self, trial_id: str) -> str | None:
        """MLflow's id of a trial's run; None while the store has not created it."""
        return self._experiment.writer.run_id(self._experiment.key(trial_id)) if self._experiment else None

    @_never_raises
    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Release the processes of paused trials, which other trials may get; Tune has no hook for a pause."""
        for run in self._experiment.trials.values() if self._experiment else ():
            if run.trial.status == Trial.PAUSED:
                run.processes.let_go()

    @_never_raises
    def log_trial_start(self, trial: Trial) -> None:
        """Have the trial's run created, unless it has one, and its process measured."""
        experiment, run = self._open(trial)
        self._log_params(experiment, run)
        located = introduce(trial.temporary_state.ray_actor, experiment.where(run), experiment.place.parent_run_id)
        if self.groups and not getattr(trial.get_trainable_cls(), MEASURES_ITSELF, False):
            run.processes.measure(located)

    @_never_raises
    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Queue what a result carries."""
        experiment, run = self._open(trial)
        if (carried := result.get(PAYLOAD_KEY)) is not None:
            points = [Point(*point) for point in carried["points"]]
            experiment.writer.add(run.key, log(points, tags=carried["tags"]))
            run.told = carried["summary"]
            return
        points = points_of(result, self.groups)
        wrong = next((each for each in points if not math.isfinite(each.value)), None)
        first = None if wrong is None or run.diverged else f"{wrong.name} is {wrong.value} at step {wrong.step}"
        experiment.writer.add(run.key, log(points, tags={NOT_FINITE: first} if first else None))
        run.reported.update(point.name for point in points)
        run.diverged = run.diverged or wrong is not None
        is_unknown = result.get(DONE) and endings.known_end(trial, result) is None
        run.state = trial.temporary_state.ray_actor.get_state.remote().future() if is_unknown else None

    @_never_raises
    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that Tune is going to try a failed trial again: in the same run."""
        has_begun = self._experiment is not None and trial.trial_id in self._experiment.trials  # or failed in setup
        experiment, run = self._open(trial)
        run.processes.let_go()
        experiment.writer.add(run.key, log(tags={RETRIED_AFTER: endings.error_line(trial)}))
        if has_begun:
            experiment.writer.add(run.key, [Operation("repeat")])
            experiment.restarts += 1

    @_never_raises
    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the trial's run: FINISHED, FAILED, or KILLED where Tune ended it before its own end."""
        experiment, run = self._open(trial)
        if self.should_save_artifact:
            experiment.save_files(run)
        result = trial.run_metadata.last_result  # `Trial.last_result` would wait for the trial's process
        carried = result.get(PAYLOAD_KEY) or {}
        if failed:
            end: endings.End | None = endings.failure(trial)
        elif run.asked_to_stop is not None and carried.get("status") is None:
            end = endings.by_person(run.asked_to_stop)
        else:
            end = endings.known_end(trial, result)
        experiment.end(run, end)
        carried.get("points", []).clear()  # Tune keeps every last result in memory; all callbacks have seen it

    @_never_raises
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """End every run that Tune did not end, write what is left, and save the view of all of them."""
        if self._experiment:
            self._experiment.count_only({trial.trial_id for trial in trials})
        if self.close() and self.views and self._experiment and (link := self._experiment.save_view()):
            uri = self.tracking_uri or get_tracking_uri()
            click.echo(f"What the trials cost, in `mlflow-sysmetrics ui`: {address(link, uri)}")

    def close(self, timeout_s: float | None = None) -> bool:
        """Mark open runs KILLED and write what is left, for a limited time; say whether all of it was written."""
        atexit.unregister(self.close)
        limit_s = self.close_timeout_s if timeout_s is None else timeout_s
        return self._experiment is None or self._experiment.close(limit_s)

    def _open(self, trial: Trial) -> tuple[Experiment, TrialRun]:
        """The experiment, and this trial's run in it, which is opened if it is not."""
        if (experiment := self._experiment) is None:
            raise RuntimeError("setup() has not been called")
        if (run := experiment.trials.get(trial.trial_id)) is None:
            tags = self.tags(trial) if callable(self.tags) else self.tags or {}
            run = experiment.open(trial, self.run_name(trial), tags, self.continues(trial))
            self._log_params(experiment, run)
        return experiment, run

    def _log_params(self, experiment: Experiment, run: TrialRun) -> None:
        """Log new parameters, unless they wait for the end, and, in tags and curves, those that a scheduler changed."""
        params, before = self.params(run.trial), run.params
        new = {name: value for name, value in params.items() if name not in before}
        changed = {name: each for name, each in params.items() if name not in new and str(each) != str(before[name])}
        run.params = {**before, **params}
        run.params_at_end = run.params if self.log_params_on_trial_end else {}
        step = int(run.trial.run_metadata.last_result.get(TRAINING_ITERATION) or 0)
        numeric = {f"perturbed/{name}": float(it) for name, it in changed.items() if isinstance(it, numbers.Real)}
        tags = {CHANGED_PREFIX + name: value for name, value in changed.items()}
        new = {} if self.log_params_on_trial_end else new
        experiment.writer.add(run.key, log(points_now(numeric, step), params=new, tags=tags))
