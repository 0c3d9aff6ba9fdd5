"""The callback: one MLflow run per Tune trial, written without the Tune loop ever waiting for MLflow."""

from __future__ import annotations

import _thread
import atexit
import functools
import os
import signal
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mlflow import MlflowClient, get_tracking_uri
from ray.tune.experiment import Trial
from ray.tune.logger.mlflow import MLflowLoggerCallback
from ray.tune.result import DONE, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.host import HostContext
from mlflow_sysmetrics.measure import figures_of
from mlflow_sysmetrics.ray_tune.changes import Changes
from mlflow_sysmetrics.ray_tune.destination import Destination, find_destination, source_tags
from mlflow_sysmetrics.ray_tune.endings import FINISHED, Ending, by_person, ending_by, failure, known_ending
from mlflow_sysmetrics.ray_tune.inherited import forget_run
from mlflow_sysmetrics.ray_tune.low_memory import outlive_memory_kills
from mlflow_sysmetrics.ray_tune.results import (
    HAS_FIGURES_SO_FAR,
    MEASURES_ITSELF,
    PAYLOAD_KEY,
    error_line,
    first_not_finite,
    last_result,
    points_of,
    trainable_class,
)
from mlflow_sysmetrics.ray_tune.trial_runs import Told, TrialRuns
from mlflow_sysmetrics.redact import get_logger, lasting_uri, redacted_errors, with_login
from mlflow_sysmetrics.sampling import check_groups, check_seconds
from mlflow_sysmetrics.stopping.brake import reason_of_a_person
from mlflow_sysmetrics.stopping.stop_button import StopButton
from mlflow_sysmetrics.tags import KIND, NOT_FINITE, RETRIED_AFTER, STUDY_ID, TRIAL_ID

logger = get_logger(__name__)

_OF_ONE_EXPERIMENT = {"_client", "_source_tags", "_changes", "_notes", "_last_words", "_running", "_button"}
_LAST_WORDS_S = 5.0  # at the end, to wait for the answers of trainables

Hook = TypeVar("Hook", bound=Callable[..., Any])


def _never_raises(hook: Hook) -> Hook:
    """Log errors of a hook: recording must not end the training."""

    @functools.wraps(hook)
    def guarded(self: SystemMetricsCallback, *args: Any, **kwargs: Any) -> Any:
        try:
            return hook(self, *args, **kwargs)
        except Exception:
            logger.exception("%s.%s failed; training goes on", type(self).__name__, hook.__name__)
            return None

    return guarded  # type: ignore[return-value]


def _interrupt() -> None:
    """End the experiment as Ctrl-C does."""
    if sys.platform == "win32":  # where os.kill ends the process at once
        _thread.interrupt_main()
    else:
        os.kill(os.getpid(), signal.SIGINT)


@dataclass
class _Notes:
    """The callback's notes on a trial until its end."""

    begins_again: bool = False  # it has failed, and is going to be repeated
    is_paused: bool = False  # and its process is not watched
    told: bool = False  # its last result says that it is done
    diverged: bool = False  # a figure was not finite
    left_out: Collection[str] = ()  # figures so far in its results, which are measured from outside as well
    reported: set[str] = field(default_factory=set)  # names of metrics
    costs: Mapping[str, float] = field(default_factory=dict)  # of a trial that measures itself, so far
    asked_to_stop: str | None = None  # by somebody, who has set the tag to this
    state: Future[Any] | None = None  # what its trainable says of itself

    @property
    def told_costs(self) -> Told:
        return Told(self.reported, self.costs)


class SystemMetricsCallback(MLflowLoggerCallback):
    """Record each trial of a Tune experiment as an MLflow run of its own, with what its process used.

    It takes the place of Ray's ``MLflowLoggerCallback``, is one, and has its arguments; its hooks are all its own. Each
    only queues; threads of this process write each run's points in batches, and watch the trials' processes from
    outside: their ``system/process_*`` series are in each run and, at the end, ``elapsed_s``, ``cpu_seconds``,
    ``mean_cpu_percent``, ``peak_memory_mb``, ``memory_growth_mb``, ``read_mb`` and ``write_mb``, of all processes that
    the trial has had: see `figures_in_turn`.
    Of results, every number that is not Ray's bookkeeping is written at its time step or training iteration, except for
    the figures of one process so far that `system_metrics` adds; a ``payload`` is written with its own times and steps.

    Trials are nested under a run: the active one, that of ``mlflow run``, or else one that is made for them. When the
    experiment ends, whatever ended it, no run is left ``RUNNING``: FINISHED is a trial that came to its end, KILLED one
    that was ended before, with the tag ``sysmetrics.stop_reason``, FAILED one with an error, in ``sysmetrics.error``.
    ``Tuner.restore`` goes on in the same runs.

    Somebody who sets the tag ``sysmetrics.stop`` of a trial's run, in the MLflow UI say, ends that trial at its next
    result, as a scheduler would; set on the run around the trials, it ends the experiment as Ctrl-C does.

    Args:
        tracking_uri: MLflow's store; by default the one in use. The process's own setting is never changed.
        registry_uri: the model registry, as for ``mlflow.MlflowClient``.
        experiment_name: where runs go; created if it does not exist. By default the experiment in use.
        tags: tags for every trial's run, or a trial -> those of its run.
        tracking_token: sets MLFLOW_TRACKING_TOKEN. `Tuner.restore` finds it there, since Tune's files hold no secret.
        save_artifact: whether the files that Tune keeps of a trial are logged in its run when it ends.
        log_params_on_trial_end: whether parameters are logged then, and not at the trial's start.
        experiment_id: where runs go, by id; wins over the name.
        parent_run_id: the run that trials are nested under.
        run_name: a trial -> the name of its run; by default Ray's name for it.
        params: a trial -> the parameters of its run; by default its ``config``, flattened.
        continues: a trial -> the id of the run that it goes on in; None for a new one.
        groups: what is read of trials' processes, see ``mlflow-sysmetrics run --help``; () for nothing.
        interval_s: seconds between two readings.
        close_timeout_s: how long the end of the experiment waits for the store to take what is left.
        views: whether the view "What trials cost" of the MLflow UI is saved at the end, and its link logged.

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
        run_name: Callable[[Trial], str] = str,
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
        super().__init__(
            tracking_uri,
            registry_uri=registry_uri,
            experiment_name=experiment_name,
            tags=tags,
            tracking_token=tracking_token,
            save_artifact=save_artifact,
            log_params_on_trial_end=log_params_on_trial_end,
        )
        del self.mlflow_util  # which holds a module, and so cannot be pickled
        self.experiment_id, self.parent_run_id = experiment_id, parent_run_id
        self.run_name, self.params, self.continues = run_name, params, continues
        self.groups, self.interval_s, self.close_timeout_s = tuple(groups), interval_s, close_timeout_s
        self.views = views
        # Tune pickles the callback before setup. A restored one finds its runs by this.
        self._study_id, self._next_study_id = uuid.uuid4().hex, uuid.uuid4().hex
        self._restored = False
        self._runs: TrialRuns | None = None

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Find where the runs go, and start the thread that writes.

        Raises:
            mlflow.exceptions.MlflowException: the store cannot be reached or does not know the experiment.
        """
        if self.tracking_token:
            os.environ["MLFLOW_TRACKING_TOKEN"] = self.tracking_token
        if self._runs is not None:  # it has recorded another experiment
            self._study_id, self._restored = self._next_study_id, False
        self._next_study_id = uuid.uuid4().hex
        self._client = MlflowClient(self.tracking_uri or get_tracking_uri(), self.registry_uri)
        self._source_tags = source_tags()
        self._changes = Changes()
        self._notes: defaultdict[str, _Notes] = defaultdict(_Notes)  # of trials that go on
        self._last_words: list[Future[None]] = []  # of trainables whose trials have ended
        with redacted_errors():
            destination = self._find_destination()
        self._runs = TrialRuns(self._client, destination, self._study_tags, self.groups, self.interval_s)
        self._runs.start()
        outlive_memory_kills()
        self._running: dict[str, Trial] = {}
        runs = self._runs
        self._button = StopButton(
            runs.asked_to_stop, self._stop_asked, self._clear_stop, is_away=lambda: runs.store_is_away
        ).start()
        atexit.register(self.close)

    def __getstate__(self) -> dict[str, Any]:
        """What Tune keeps on disk for `Tuner.restore`: no password, no token, and nothing of an earlier experiment."""
        kept: dict[str, Any] = {name: uri and lasting_uri(uri) for name, uri in self._uris().items()}
        study_id = self._study_id if self._runs is None else self._next_study_id
        kept |= {"tracking_token": None, "_study_id": study_id, "_runs": None}
        return {name: value for name, value in self.__dict__.items() if name not in _OF_ONE_EXPERIMENT} | kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the copy that `Tuner.restore` has kept; the login is that of MLflow's settings now."""
        self.__dict__.update(state, _restored=True)
        for name, uri in self._uris().items():
            setattr(self, name, uri and with_login(uri, get_tracking_uri()))

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
        for trial_id, trial in self._running.items():
            if trial.status == Trial.PAUSED and not self._notes[trial_id].is_paused and self._runs is not None:
                self._notes[trial_id].is_paused = True
                self._runs.pause(trial_id)

    @_never_raises
    def log_trial_start(self, trial: Trial) -> None:
        """Have the trial's run created, unless it has one, and its process watched."""
        runs, trial_id = self._open(trial), trial.trial_id
        self._running[trial_id] = trial
        notes = self._notes[trial_id]
        notes.is_paused = False
        if notes.begins_again:
            notes.begins_again = False
            runs.repeat(trial_id)
        self._log_params(runs, trial)
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            forget_run(actor, None if runs.place.is_own else runs.place.parent_run_id)
            trainable = trainable_class(trial)
            if self.groups and getattr(trainable, HAS_FIGURES_SO_FAR, False):
                notes.left_out = figures_of(self.groups)
            if not getattr(trainable, MEASURES_ITSELF, False):
                runs.watch(trial_id, actor)

    @_never_raises
    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Queue what a result carries."""
        runs, trial_id = self._open(trial), trial.trial_id
        notes = self._notes[trial_id]
        if (carried := result.get(PAYLOAD_KEY)) is not None:
            runs.log(trial_id, [Point(*point) for point in carried["points"]], carried["tags"])
            notes.costs = carried["figures"]
            return
        points = points_of(result, notes.left_out)
        runs.log(trial_id, points)
        notes.reported.update(point.name for point in points)
        if not notes.diverged and (wrong := first_not_finite(points)) is not None:
            notes.diverged = True
            runs.log(trial_id, tags={NOT_FINITE: wrong})
        notes.told = bool(result.get(DONE))
        if notes.told and known_ending(trial, result, told=True) is None:
            notes.state = trial.temporary_state.ray_actor.get_state.remote().future()

    @_never_raises
    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that Tune is going to try a failed trial again: in the same run."""
        self._notes[trial.trial_id].begins_again = True
        runs = self._open(trial)
        runs.pause(trial.trial_id)
        runs.log(trial.trial_id, tags={RETRIED_AFTER: error_line(trial)})

    @_never_raises
    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the trial's run: FINISHED, FAILED, or KILLED where Tune ended it before its own end."""
        runs, trial_id = self._open(trial), trial.trial_id
        self._log_last_params(trial)
        if self.should_save_artifact:
            runs.save_files(trial_id, trial.local_path)
        self._changes.forget(trial_id)
        result, notes = last_result(trial), self._notes.pop(trial_id, _Notes())
        self._running.pop(trial_id, None)
        ending = failure(trial) if failed else self._asked_ending(notes, result)
        ending = ending or known_ending(trial, result, told=notes.told)
        if ending is not None or notes.state is None:
            runs.end(trial_id, ending or FINISHED, notes.told_costs)
        else:
            ended: Future[None] = Future()  # wait for this: `notes.state` is done before its callback has run

            def end(done: Future[Any]) -> None:
                try:
                    runs.end(trial_id, ending_by(trial, done), notes.told_costs)
                finally:
                    ended.set_result(None)

            notes.state.add_done_callback(end)
            self._last_words = [each for each in self._last_words if not each.done()] + [ended]
        if PAYLOAD_KEY in result:
            result[PAYLOAD_KEY]["points"].clear()  # Tune keeps every last result in memory; all callbacks have seen it

    @_never_raises
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """End every run that Tune did not end, write what is left, and save the view of all of them."""
        if self.close() and self.views and self._runs is not None:
            self._runs.save_view()

    def close(self, timeout_s: float | None = None) -> bool:
        """Mark open runs KILLED and write what is left, for a limited time; say whether all of it was written."""
        if self._runs is None:
            return True
        atexit.unregister(self.close)
        self._button.stop()
        timeout_s = self.close_timeout_s if timeout_s is None else timeout_s
        began = time.monotonic()
        wait(self._last_words, min(_LAST_WORDS_S, timeout_s))
        told = {trial_id: notes.told_costs for trial_id, notes in self._notes.items()}
        for trial in self._running.values():
            self._log_last_params(trial)
        return self._runs.close(max(0.0, began + timeout_s - time.monotonic()), told)

    @_never_raises
    def _log_last_params(self, trial: Trial) -> None:
        if self.log_params_on_trial_end and self._runs is not None:
            self._runs.log(trial.trial_id, params=self.params(trial))

    def _stop_asked(self, run_id: str, said: str) -> bool:
        """Stop the trial or the experiment of this run; say whether the run is ours. Runs in the asking thread."""
        if self._runs is None:
            return False
        if self._runs.is_study(run_id):
            self._study_asked = said
            _interrupt()
            logger.warning("stopping the experiment: %s", reason_of_a_person(said))
            return True
        trial_id = self._runs.trial_of(run_id)
        trial = None if trial_id is None else self._running.get(trial_id)
        if trial_id is None or trial is None:
            return False
        logger.warning("stopping trial %s: %s", trial, reason_of_a_person(said))
        self._notes[trial_id].asked_to_stop = said
        # The loop reads it at the trial's next result, and ends the trial as one that has done what was planned. One
        # that is paused has that result when it goes on.
        trial.stopping_criterion = {**trial.stopping_criterion, TRAINING_ITERATION: 0}
        return True

    def _clear_stop(self, run_id: str) -> None:
        """Remove the tag; say in the run around the trials, if it is that, who stopped it."""
        if self._runs is not None:
            self._runs.clear_stop(run_id)
            if self._runs.is_study(run_id):
                self._runs.tag_study(by_person(self._study_asked).tags)

    @staticmethod
    def _asked_ending(notes: _Notes, result: Mapping[str, Any]) -> Ending | None:
        """The ending of a trial that a person stopped; None if there is none, or if the trial reports its own end."""
        if notes.asked_to_stop is None or (result.get(PAYLOAD_KEY) or {}).get("status") is not None:
            return None
        return by_person(notes.asked_to_stop)

    @property
    def _study_tags(self) -> dict[str, str]:
        return {**self._source_tags, **HostContext().tags(), KIND: "study", STUDY_ID: self._study_id}

    def _uris(self) -> dict[str, str | None]:
        return {"tracking_uri": self.tracking_uri, "registry_uri": self.registry_uri}

    def _find_destination(self) -> Destination:
        return find_destination(
            self._client,
            experiment_id=self.experiment_id,
            experiment_name=self.experiment_name,
            parent_run_id=self.parent_run_id,
            study_id=self._study_id if self._restored else None,
        )

    def _open(self, trial: Trial) -> TrialRuns:
        """The runs, with this trial's open."""
        runs = self._runs
        if runs is None:
            raise RuntimeError("setup() has not been called")
        if not runs.is_open(trial.trial_id):
            given = self.tags(trial) if callable(self.tags) else self.tags or {}
            own = {KIND: "trial", STUDY_ID: self._study_id, TRIAL_ID: trial.trial_id, "trial_name": str(trial)}
            runs.open(
                trial.trial_id,
                name=self.run_name(trial),
                tags={**self._source_tags, **own, **given},
                study_name=f"tune {getattr(trial, 'experiment_dir_name', trial)}",
                run_id=self.continues(trial),
            )
            self._log_params(runs, trial)
        return runs

    def _log_params(self, runs: TrialRuns, trial: Trial) -> None:
        """Log parameters that are new, unless they wait for the end, and the new values of those that have changed."""
        step = int(last_result(trial).get(TRAINING_ITERATION) or 0)
        change = self._changes.see(trial.trial_id, self.params(trial), step)
        runs.log(trial.trial_id, change.points, change.tags, None if self.log_params_on_trial_end else change.params)
