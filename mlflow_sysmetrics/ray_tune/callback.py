"""The callback: one MLflow run per Tune trial, written without the Tune loop ever waiting for MLflow."""

from __future__ import annotations

import atexit
import functools
import math
import numbers
import os
import signal
import uuid
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click
from mlflow import MlflowClient, get_tracking_uri
from ray.tune.experiment import Trial
from ray.tune.logger.mlflow import MLflowLoggerCallback
from ray.tune.result import DONE, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics.delivery.operations import Point, points_now
from mlflow_sysmetrics.host import HostContext
from mlflow_sysmetrics.limits import StopButton, reason_of_a_person
from mlflow_sysmetrics.measurement import summary_names
from mlflow_sysmetrics.ray_tune import endings
from mlflow_sysmetrics.ray_tune.destination import find_destination, source_tags
from mlflow_sysmetrics.ray_tune.inside import introduce
from mlflow_sysmetrics.ray_tune.results import HAS_SUMMARY, MEASURES_ITSELF, PAYLOAD_KEY, points_of
from mlflow_sysmetrics.ray_tune.runs import Runs
from mlflow_sysmetrics.redact import get_logger, lasting_uri, redacted_errors, with_login
from mlflow_sysmetrics.sampling import check_groups, check_seconds
from mlflow_sysmetrics.tags import CHANGED_PREFIX, KIND, NOT_FINITE, RETRIED_AFTER, STOP, STUDY_ID, TRIAL_ID

logger = get_logger(__name__)
_MAX_NAME = 60
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


@dataclass
class _Open:
    """What the callback knows of a trial until its end."""

    trial: Trial
    params: dict[str, Any] = field(default_factory=dict)  # as they were last
    begins_again: bool = False  # it has failed, and is going to be repeated
    is_paused: bool = False  # and its process is not measured
    is_done: bool = False  # its last result says so
    diverged: bool = False  # a value was not finite
    left_out: Collection[str] = ()  # a summary so far in its results, which is measured from outside as well
    reported: set[str] = field(default_factory=set)  # names of metrics
    told: Mapping[str, float] = field(default_factory=dict)  # the summary of a trial that measures itself, so far
    asked_to_stop: str | None = None  # by somebody, who has set the tag to this
    state: Future[Any] | None = None  # what its trainable says of itself


class SystemMetricsCallback(MLflowLoggerCallback):
    """Record each trial of a Tune experiment as an MLflow run of its own, with what its process used.

    It takes the place of Ray's ``MLflowLoggerCallback``, is one, and has its arguments. Its hooks only queue; threads
    of this process write the runs, and measure the trials' processes from outside. When the experiment ends, whatever
    ended it, no run is left ``RUNNING``, and ``Tuner.restore`` goes on in the same runs. docs/tune-scripts.md says what
    a run holds.

    Args, beside those of Ray's callback, of which `tracking_token` alone changes a setting of this process:
        experiment_id: where runs go, by id; wins over `experiment_name`. By default the experiment in use.
        parent_run_id: the run that trials are nested under: by default the active one, that of ``mlflow run``, or else
            one that is made for them.
        tags: tags for every trial's run, or a trial -> those of its run.
        run_name: a trial -> the name of its run; by default its parameters.
        params: a trial -> the parameters of its run; by default its ``config``, flattened.
        continues: a trial -> the id of the run that it goes on in; None for a new one.
        groups: what is read of trials' processes, see ``mlflow-sysmetrics run --help``; () for nothing.
        interval_s: seconds between two readings.
        close_timeout_s: how long the end of the experiment waits for the store to take what is left.
        views: whether the view "What trials cost" of the MLflow UI is saved at the end, and its link printed.

    Raises:
        ValueError: an unknown group, an interval that is not a positive number, or a negative time limit.
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
        interval_s: float = 0.1,
        close_timeout_s: float = 60.0,
        views: bool = True,
    ) -> None:
        if groups:
            check_groups(groups)
        check_seconds(interval_s=interval_s)
        if not close_timeout_s >= 0:
            raise ValueError(f"close_timeout_s={close_timeout_s!r}: give a number of seconds from 0 up")
        where = {"registry_uri": registry_uri, "experiment_name": experiment_name, "tracking_token": tracking_token}
        when = {"save_artifact": save_artifact, "log_params_on_trial_end": log_params_on_trial_end}
        super().__init__(tracking_uri, tags=tags, **where, **when)
        del self.mlflow_util  # which holds a module, and so cannot be pickled
        self.experiment_id, self.parent_run_id = experiment_id, parent_run_id
        self.run_name, self.params, self.continues, self.views = run_name, params, continues, views
        self.groups, self.interval_s, self.close_timeout_s = tuple(groups), interval_s, close_timeout_s
        # Tune pickles the callback before setup. A restored one finds its runs by this.
        self._study_id, self._next_study_id, self._restored = uuid.uuid4().hex, uuid.uuid4().hex, False
        self._runs: Runs | None = None  # this and what follows is of one experiment
        self._button: StopButton | None = None
        self._trials: dict[str, _Open] = {}

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Find where the runs go, and start the threads that write and measure.

        Raises:
            mlflow.exceptions.MlflowException: the store cannot be reached or does not know the experiment.
        """
        if self.tracking_token:
            os.environ["MLFLOW_TRACKING_TOKEN"] = self.tracking_token
        if self._runs is not None:  # it has recorded another experiment
            self._study_id, self._restored = self._next_study_id, False
        self._next_study_id, self._trials = uuid.uuid4().hex, {}
        client = MlflowClient(self.tracking_uri or get_tracking_uri(), self.registry_uri)
        with redacted_errors():
            study_id = self._study_id if self._restored else None
            place = find_destination(client, self.experiment_id, self.experiment_name, self.parent_run_id, study_id)
        self._source_tags = source_tags()
        study_tags = {**self._source_tags, **HostContext().tags(), KIND: "study", STUDY_ID: self._study_id}
        self._runs = runs = Runs(client, place, self._study_id, study_tags)
        runs.start(self.groups, self.interval_s)
        endings.outlive_memory_kills()
        ask = functools.partial(runs.store.running_with, place.experiment_id, STOP)
        self._button = StopButton(ask, self._stop_asked, self._clear_stop, is_away=lambda: runs.writer.is_away).start()
        atexit.register(self.close)

    def __getstate__(self) -> dict[str, Any]:
        """What Tune keeps on disk for `Tuner.restore`: no password, no token, and nothing of an earlier experiment."""
        kept: dict[str, Any] = {name: uri and lasting_uri(uri) for name, uri in self._uris().items()}
        study_id = self._study_id if self._runs is None else self._next_study_id
        kept |= {"tracking_token": None, "_study_id": study_id, "_runs": None, "_button": None, "_trials": {}}
        return self.__dict__ | kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the copy that `Tuner.restore` has kept; the login is that of MLflow's settings now."""
        self.__dict__.update(state, _restored=True)
        for name, uri in self._uris().items():
            setattr(self, name, uri and with_login(uri, get_tracking_uri()))

    def _uris(self) -> dict[str, str | None]:
        return {"tracking_uri": self.tracking_uri, "registry_uri": self.registry_uri}

    def get_state(self) -> dict[str, str]:
        """What a restored callback finds its runs by."""
        return {"study_id": self._study_id}

    @_never_raises
    def set_state(self, state: dict[str, str]) -> None:
        """Go on in the runs of an experiment that was interrupted: Tune tells which it is, before setup."""
        self._study_id, self._restored, self._runs = state["study_id"], True, None

    def run_id(self, trial_id: str) -> str | None:
        """MLflow's id of a trial's run; None while the store has not created it."""
        return self._runs.run_id(trial_id) if self._runs else None

    @_never_raises
    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Release the processes of paused trials, which other trials may get; Tune has no hook for a pause."""
        for trial_id, here in self._trials.items():
            if here.trial.status == Trial.PAUSED and not here.is_paused and self._runs is not None:
                here.is_paused = True
                self._runs.measured.measure(trial_id, None)

    @_never_raises
    def log_trial_start(self, trial: Trial) -> None:
        """Have the trial's run created, unless it has one, and its process measured."""
        runs, here = self._open(trial)
        here.is_paused = False
        if here.begins_again:
            here.begins_again = False
            runs.repeat(trial.trial_id)
        self._log_params(runs, here)
        inherited = {run_id for run_id in (runs.place.parent_run_id, os.environ.get("MLFLOW_RUN_ID")) if run_id}
        located = introduce(trial.temporary_state.ray_actor, trial.trial_id, runs.where(trial.trial_id), inherited)
        trainable = trial.get_trainable_cls()
        if self.groups and getattr(trainable, HAS_SUMMARY, False):
            here.left_out = summary_names(self.groups)
        if self.groups and not getattr(trainable, MEASURES_ITSELF, False):
            runs.measured.measure(trial.trial_id, located)

    @_never_raises
    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Queue what a result carries."""
        runs, here = self._open(trial)
        if (carried := result.get(PAYLOAD_KEY)) is not None:
            runs.log(trial.trial_id, [Point(*point) for point in carried["points"]], carried["tags"])
            here.told = carried["summary"]
            return
        points = points_of(result, here.left_out)
        wrong = next((each for each in points if not math.isfinite(each.value)), None)
        first = None if wrong is None or here.diverged else f"{wrong.name} is {wrong.value} at step {wrong.step}"
        runs.log(trial.trial_id, points, {NOT_FINITE: first} if first else None)
        here.reported.update(point.name for point in points)
        here.diverged, here.is_done = here.diverged or wrong is not None, bool(result.get(DONE))
        if here.is_done and endings.known_end(trial, result, told=True) is None:
            here.state = trial.temporary_state.ray_actor.get_state.remote().future()

    @_never_raises
    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that Tune is going to try a failed trial again: in the same run."""
        runs, here = self._open(trial)
        here.begins_again = True
        runs.measured.measure(trial.trial_id, None)
        runs.log(trial.trial_id, tags={RETRIED_AFTER: endings.error_line(trial)})

    @_never_raises
    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the trial's run: FINISHED, FAILED, or KILLED where Tune ended it before its own end."""
        runs, here = self._open(trial)
        del self._trials[trial.trial_id]
        if self.log_params_on_trial_end:
            runs.log(trial.trial_id, params=self.params(trial))
        if self.should_save_artifact:
            runs.save_files(trial.trial_id, trial.local_path)
        result = trial.run_metadata.last_result  # `Trial.last_result` would wait for the trial's process
        carried = result.get(PAYLOAD_KEY) or {}
        if failed:
            end: endings.End | None = endings.failure(trial)
        elif here.asked_to_stop is not None and carried.get("status") is None:
            end = endings.by_person(here.asked_to_stop)
        else:
            end = endings.known_end(trial, result, told=here.is_done)
        runs.end(trial.trial_id, here.told, here.reported, lambda it: end or endings.end_by(it, result), here.state)
        carried.get("points", []).clear()  # Tune keeps every last result in memory; all callbacks have seen it

    @_never_raises
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """End every run that Tune did not end, write what is left, and save the view of all of them."""
        if self.close() and self.views and self._runs is not None and (link := self._runs.save_view()):
            click.echo(f"What the trials cost{', in `mlflow-sysmetrics ui`' if link.startswith('#') else ''}: {link}")

    def close(self, timeout_s: float | None = None) -> bool:
        """Mark open runs KILLED and write what is left, for a limited time; say whether all of it was written."""
        if self._runs is None:
            return True
        atexit.unregister(self.close)
        if self._button is not None:
            self._button.stop()
        for trial_id, here in self._trials.items():
            if self.log_params_on_trial_end:
                self._runs.log(trial_id, params=self.params(here.trial))
            self._runs.end(trial_id, here.told, here.reported, lambda it: endings.SWEPT)
        self._trials = {}
        return self._runs.close(self.close_timeout_s if timeout_s is None else timeout_s)

    def _stop_asked(self, run_id: str, said: str) -> bool:
        """Stop the trial or the experiment of this run; say whether the run is ours. Runs in the asking thread."""
        if (runs := self._runs) is None:
            return False
        here = next((each for trial_id, each in list(self._trials.items()) if runs.run_id(trial_id) == run_id), None)
        if runs.is_study(run_id):
            os.kill(os.getpid(), signal.SIGINT)
            self._said = said
        elif here is not None:
            here.asked_to_stop = said
            # The loop reads it at the trial's next result, and ends the trial as one that has done what was planned.
            # One that is paused has that result when it goes on.
            here.trial.stopping_criterion = {**here.trial.stopping_criterion, TRAINING_ITERATION: 0}
        else:
            return False
        logger.warning("stopping %s: %s", f"trial {here.trial}" if here else "all trials", reason_of_a_person(said))
        return True

    def _clear_stop(self, run_id: str) -> None:
        """Remove the tag, so that it does not end a process that continues the run; the run around says who set it."""
        if (runs := self._runs) is not None:
            if runs.is_study(run_id):
                runs.tag(run_id, endings.by_person(self._said).tags)
            runs.store.delete_tag(run_id, STOP)

    def _open(self, trial: Trial) -> tuple[Runs, _Open]:
        """The runs, with this trial's open, and what is known of the trial."""
        if (runs := self._runs) is None:
            raise RuntimeError("setup() has not been called")
        if trial.trial_id not in self._trials:
            given = self.tags(trial) if callable(self.tags) else self.tags or {}
            own = {KIND: "trial", STUDY_ID: self._study_id, TRIAL_ID: trial.trial_id, "trial_name": str(trial)}
            study_name = f"tune {getattr(trial, 'experiment_dir_name', trial)}"
            tags = {**self._source_tags, **own, **given}
            runs.open(trial.trial_id, self.run_name(trial), tags, study_name, self.continues(trial))
            self._trials[trial.trial_id] = _Open(trial)
            self._log_params(runs, self._trials[trial.trial_id])
        return runs, self._trials[trial.trial_id]

    def _log_params(self, runs: Runs, here: _Open) -> None:
        """Log new parameters, unless they wait for the end, and, in tags and curves, those that a scheduler changed."""
        params, before = self.params(here.trial), here.params
        new = {name: value for name, value in params.items() if name not in before}
        changed = {name: each for name, each in params.items() if name not in new and str(each) != str(before[name])}
        here.params = {**before, **params}
        step = int(here.trial.run_metadata.last_result.get(TRAINING_ITERATION) or 0)
        numeric = {f"perturbed/{name}": float(it) for name, it in changed.items() if isinstance(it, numbers.Real)}
        tags = {CHANGED_PREFIX + name: value for name, value in changed.items()}
        runs.log(here.trial.trial_id, points_now(numeric, step), tags, None if self.log_params_on_trial_end else new)
