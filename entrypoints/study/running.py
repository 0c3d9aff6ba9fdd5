"""Carry a study out: its trials by Ray Tune, each in its run, then its result."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click
import mlflow
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from ray import tune
from ray.tune import Stopper
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import SearchAlgorithm

from entrypoints.checks import importance, leaks
from entrypoints.compute import own_modules
from entrypoints.compute.recovery import MAX_DEATHS, RecoveringSamples, RecoveringTrials
from entrypoints.datasets.dataset_input import record_data
from entrypoints.errors import UserError, say
from entrypoints.limits import cost_history
from entrypoints.models import best_model, registered
from entrypoints.models.configuration import Configuration
from entrypoints.runs.mlflow_io import search_runs
from entrypoints.runs.recorded import is_interrupted
from entrypoints.runs.tags import (
    AXIS,
    BY_TIME_LIMIT,
    DATASET,
    NOTE,
    ROLE,
    SCORE,
    SEARCHED,
    STUDY_KEY,
    STUDY_LIMITS,
)
from entrypoints.search.run_names import searched
from entrypoints.study.pages import described, open_from_the_start
from entrypoints.study.progress import Progress
from entrypoints.study.recorder import Recorder
from entrypoints.study.study import Study
from entrypoints.study.trial_process import TrialTrainable
from entrypoints.study.warm_up import WarmUp, announce, forecast, representatives, search_seconds, time_kinds
from mlflow_sysmetrics.delivery import writer_for
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.recording import Host
from mlflow_sysmetrics.recording.tags import BY_PERSON, STOP_REASON, STOPPED_BY

REFIT_WITHIN_S = 2.0  # of a study that is interrupted
# Who ran what: trials show it in the same columns of the UI as their study.
INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


def run_study(study: Study, command: Callable[[], dict[str, float]] = dict) -> None:
    """Search, refit the best model, and leave everything in the study's run, which is open, and its children.

    Within the context of the study's backend.

    Args:
        study: maybe with trials of earlier commands.
        command: what the whole command has cost so far, if that is known.

    Raises:
        UserError: no trial came to a usable end.
    """
    settings = study.settings
    joined = study.backend.join(own_modules.sources(settings.algorithm), mlflow.get_tracking_uri())
    if joined:
        click.echo(joined)
    describe(study)
    if study.limits != study.trial_limits:
        from entrypoints.study import finalists  # which imports MLflow's server

        finalists.check_limits(study)
    run_trials(study)
    from entrypoints.study import finalists, result  # their imports take seconds, which no trial need wait for

    result.decide(study)
    best = study.best
    if best is None:
        raise UserError(result.tell_no_result(study, command()))
    refitted = finalists.refitted(study, best)
    result.add_model(study, refitted)
    model = study.logged or best_model.log(study.run, refitted, study.table, best.figures, settings.shared)
    if refitted.tested:
        columns = importance.importance(refitted.tested, study.table, settings.seed)
        result.add_importance(study, columns)
        result.add_leak(study, leaks.sentence(refitted.tested, study.table, columns, study.baseline, settings.seed))
    click.echo(result.tell(study, model, command()))
    if settings.register:
        try:
            description = described(study.frame, best.configuration.searched, model, study.not_judged)
            is_judged = not study.not_judged
            say(registered.register(settings.register, model, description, is_judged=is_judged))
        except UserError as refused:
            refused.show()  # nothing of the study is lost


@contextmanager
def best_kept(study: Study) -> Iterator[None]:
    """If the user ends the study in here, log the model of its best trial so far, where that takes a few seconds.

    The page of the study then names it.
    """
    try:
        yield
    except BaseException:
        if is_interrupted():
            _keep_best(study)
        raise


def _keep_best(study: Study) -> None:
    best = study.best_by_now
    if best is None:
        return
    if study.logged is None and study.refit_s <= REFIT_WITHIN_S:
        with suppress(Exception):  # the study is over in any case
            refitted = best_model.refit(best.configuration, study.data)
            study.logged = best_model.log(study.run, refitted, study.table, best.figures, study.settings.shared)
    client, run_id = study.run.client, study.run.run_id
    note = client.get_run(run_id).data.tags.get(NOTE, "")
    client.set_tag(run_id, NOTE, f"{note}\n\n**Best so far**: {study.best_so_far()}.")


def describe(study: Study) -> None:
    """Leave in the study's run what it searches, on which data, by which score and where."""
    score = {
        "score": study.score.validated,
        "higher_is_better": study.score.higher_is_better,
        "baseline": study.baseline,
        "planned": None if study.learns else study.size,
    }
    about = {
        DATASET: study.settings.dataset,
        STUDY_KEY: study.key,
        SEARCHED: json.dumps(searched(study.spaces)),
        SCORE: json.dumps(score),
        **Host().tags(),
    }
    if study.limits.rules:
        about[STUDY_LIMITS] = str(study.limits)
    tags = [RunTag(name, value) for name, value in about.items()]
    study.run.client.log_batch(study.run.run_id, tags=tags)
    study.facts["copies"] = record_data(study.run, study.table, study.split) or None
    say(f"Score: {study.score_line}")


def run_trials(study: Study) -> None:
    """Run one trial per configuration that is not done yet, and note how long all were expected to take.

    Ray must be running.
    """
    limits = study.trial_limits
    n_done = len(study.trials)
    n_left = study.size - n_done
    cpus = min(study.backend.cores(), max(1, n_left))
    history = None
    if limits.rules and n_left:
        history = cost_history.start(study.split.fit_rows, limits, study.configurations, study.judged)
    kinds = [] if study.learns else representatives(study.configurations)
    warm_up = WarmUp(cpus, kinds, [*study.references.values()], history)
    score = f"{study.score.validated}{' within the limits' if limits.rules else ''}"
    progress = Progress(study.size, score, done=n_done, is_most=study.learns)

    def begins() -> None:
        """Say what is about to happen, and let references know how long that takes."""
        left_s = study.search_ends - time.time()
        progress.begin(left_s)
        search_s = left_s
        if not study.learns:
            study.forecasts = forecast(study.configurations, warm_up.timed() or [time_kinds(kinds, study.data)])
            study.forecast_s = search_seconds(study.forecasts.values(), cpus)
            search_s = search_seconds((study.forecasts[each.id] for each in (*study.begun, *study.left)), cpus)
        announce(study, n_left, cpus, search_s, left_s)
        warm_up.tell_forecast(cpus * search_s)

    log = writer_for(mlflow.get_tracking_uri()).open(study.run.run_id).log
    open_from_the_start(study)
    try:
        if n_left:
            _tune(study, Recorder(study, progress, begins, log), warm_up)
    finally:
        warm_up.remove()


def _tune(study: Study, recorder: Recorder, warm_up: WarmUp) -> None:
    """Have Tune run the trials that are left, each in its run, and complete what is known of them."""
    trainable = tune.with_parameters(
        TrialTrainable,
        data=study.data,
        first=warm_up,
        limits=study.trial_limits,
        cost_history=warm_up.cost_history,
    )
    left = [*study.references_left, *study.begun, *study.left]
    space: dict[str, Any] = {"configuration": tune.grid_search(left)}
    searcher: SearchAlgorithm = RecoveringTrials(max_concurrent=study.backend.max_concurrent)
    samples = 1
    if study.learns:
        from entrypoints.study.tune_sampler import TuneSampler  # which imports Optuna

        space = {}
        searcher = RecoveringSamples(TuneSampler(study, warm_up.parties))
        samples = study.size - len(study.trials) + len(study.references_left)
    callback = _callback(study)
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(reuse_actors=True, search_alg=searcher, num_samples=samples),
            run_config=tune.RunConfig(
                storage_path=folder,
                stop=_TimeLimit(study),
                callbacks=[recorder, callback],
                failure_config=tune.FailureConfig(max_failures=MAX_DEATHS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        finally:
            # Also after an interruption, when Tune calls no hook.
            callback.close(timeout_s=4.0)
    for trial in (*study.reference_trials.values(), *study.trials.values()):
        trial.run_id = trial.run_id or callback.run_id(trial.trial_id)
    tell_of_outside(study)
    in_order = sorted(study.trials.values(), key=lambda trial: trial.configuration.number)
    study.trials = {trial.trial_id: trial for trial in in_order}  # whichever command has run them


def _callback(study: Study) -> SystemMetricsCallback:
    """What makes and fills the runs of trials."""
    run = study.run
    inherited = {key: tag for key, tag in run.tags.items() if key in INHERITED}
    # Tune writes what it is given to disk: not the study.
    names, shared, open_runs = study.names, study.settings.shared, study.open_runs

    def of(trial: TuneTrial) -> Configuration:
        return trial.config["configuration"]  # type: ignore[no-any-return]

    return _Callback(
        experiment_id=run.experiment_id,
        parent_run_id=run.run_id,
        tags=lambda trial: inherited | _place(of(trial)),
        run_name=lambda trial: names.of(of(trial)),
        params=lambda trial: of(trial).searched | shared,
        continues=lambda trial: open_runs.get(of(trial).id),
    )


def _place(configuration: Configuration) -> dict[str, str]:
    """The tags that say what the steps of a trial count, and whether it is a reference."""
    tags: dict[str, str] = {AXIS: configuration.axis}
    if configuration.role:
        tags[ROLE] = configuration.role
    return tags


class _Callback(SystemMetricsCallback):
    """Ends the study as Ctrl-C does where somebody sets the tag that stops it."""

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        super().on_step_end(iteration, trials, **info)
        if self.is_stopped:
            signal.raise_signal(signal.SIGINT)


class _TimeLimit(Stopper):  # type: ignore[misc]
    """Ends a search in time for its result. Tune's own limit counts neither what was before, nor what follows."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune writes it to disk."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._study.first_start is not None and time.time() >= self._study.search_ends


def tell_of_outside(study: Study) -> None:
    """Tell the runs of trials that the time limit ended, and note which ones a person ended.

    Only the tags of a run say that it was a person. A run that was deleted meanwhile is ignored.
    """
    run = study.run
    stopped = f"tags.mlflow.parentRunId = '{run.run_id}' and tags.`{STOPPED_BY}` = '{BY_PERSON}'"
    by_person = {each.info.run_id for each in search_runs(run.client, run.experiment_id, stopped)}
    for trial in study.trials.values():
        if trial.run_id in by_person and trial.ended_from_outside:
            trial.tags[STOPPED_BY] = BY_PERSON
        elif trial.run_id and trial.stopped_by == BY_TIME_LIMIT:
            why = f"time_limit_s={study.settings.time_limit_s:g} of the study"
            with suppress(MlflowException):
                run.client.set_tag(trial.run_id, STOPPED_BY, BY_TIME_LIMIT)
                run.client.set_tag(trial.run_id, STOP_REASON, why)
