"""A study: grid -> Tuner -> callback -> the study's run."""

from __future__ import annotations

import json
import math
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click
import mlflow
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from ray import tune
from ray.tune import Stopper
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import SearchAlgorithm

from entrypoints import own_modules
from entrypoints.compute.recovery import MAX_DEATHS, RecoveringSamples, RecoveringTrials
from entrypoints.datasets.dataset_input import record_data
from entrypoints.datasets.prepared import Prepared, prepared
from entrypoints.errors import UserError, say
from entrypoints.limits import cost_history
from entrypoints.limits.cost_history import CostHistory
from entrypoints.mlflow_io import search_runs
from entrypoints.models import best_model, importance, leaks, registered
from entrypoints.models.configuration import Configuration
from entrypoints.progress import Progress
from entrypoints.runs import RecordedRun
from entrypoints.search.pages import described, open_from_the_start
from entrypoints.search.plan import Plan, study_key
from entrypoints.search.record import NOTHING, Earlier, Record, judged
from entrypoints.search.run_names import run_names, searched
from entrypoints.search.trial import TrialTrainable
from entrypoints.search.warm_up import Forecast, WarmUp, announce, representatives, search_seconds, time_kinds
from entrypoints.search.warm_up import forecast as forecast_of
from entrypoints.tags import (
    BY_TIME_LIMIT,
    DATASET,
    LEAK,
    REPEAT,
    SCORE,
    SEARCHED,
    STUDY_KEY,
    STUDY_LIMITS,
)
from mlflow_sysmetrics.delivery import writer_for
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.tags import BY_PERSON, STOP_REASON, STOPPED_BY

if TYPE_CHECKING:
    from entrypoints.search.finalists import Finalists

# Who ran what: trials show it in the same columns of the UI as their study.
INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


def run_study(
    run: RecordedRun, plan: Plan, earlier: Earlier = NOTHING, command: Callable[[], dict[str, float]] = dict
) -> None:
    """Search the grid, refit the best model, and leave everything in the study's run and its children.

    Within the context of the plan's backend.

    Args:
        run: of the study.
        plan: what it does.
        earlier: what interrupted commands have left.
        command: what the whole command has cost so far, if that is known.

    Raises:
        UserError: no trial came to a usable end.
    """
    settings = plan.settings
    joined = plan.backend.join(own_modules.sources(settings.algorithm), mlflow.get_tracking_uri())
    if joined:
        click.echo(joined)
    data = _data(run, plan)
    leak = run.tags.get(LEAK, "") if earlier.done else say_leak(run, plan, data)
    if plan.limits != plan.trial_limits:
        finalists_of(run, plan, data).check_limits()
    record, forecast = search(run, plan, data, earlier)
    from entrypoints.search import summary  # its imports take seconds, which no trial need wait for

    finalists = finalists_of(run, plan, data)
    study = summary.summarise(run, plan, record, forecast, leak, partial(finalists.choose, record))
    best = study.best
    if best is None:
        raise UserError(summary.tell_no_result(study, command()))
    refitted = finalists.finalist(best).model
    study = summary.with_model(study, refitted)
    model = best_model.log(run, refitted, plan.table, best.figures, settings.shared)
    columns = importance.importance(refitted, data, plan.table, plan.score, settings.seed)
    click.echo(summary.tell(summary.with_importance(study, columns), model, command()))
    if settings.register:
        try:
            description = described(study.frame, best.configuration.searched, model, study.not_judged)
            say(registered.register(settings.register, model, description))
        except UserError as refused:
            refused.show()  # nothing of the study is lost


def finalists_of(run: RecordedRun, plan: Plan, data: Prepared) -> Finalists:
    """Those of a study."""
    from entrypoints.search.finalists import Finalists  # which imports MLflow's server

    return Finalists(run, plan, data)


def _data(run: RecordedRun, plan: Plan) -> Prepared:
    """The data that all trials work on, which the study's run says."""
    score = {
        "score": plan.score.validated,
        "higher_is_better": plan.score.higher_is_better,
        "baseline": plan.baseline,
        "planned": plan.size,
    }
    about = {
        DATASET: plan.settings.dataset,
        STUDY_KEY: study_key(plan.settings, plan.table),
        SEARCHED: json.dumps(searched(plan.trials)),
        SCORE: json.dumps(score),
        **Host().tags(),
    }
    if plan.limits.rules:
        about[STUDY_LIMITS] = str(plan.limits)
    run.client.log_batch(run.run_id, tags=[RunTag(name, value) for name, value in about.items()])
    record_data(run, plan.table, plan.split)
    say(f"Score: {plan.score_line}")
    return prepared(plan.table, plan.split)


def say_leak(run: RecordedRun, plan: Plan, data: Prepared) -> str:
    """Say which columns may be leaks, also in the study's run, while Ray starts."""
    leak = leaks.sentence(data, plan.table, plan.score, plan.settings.seed)
    if leak:
        run.client.set_tag(run.run_id, LEAK, leak)
        say(f"A leak? {leak}")
    return leak


def search(run: RecordedRun, plan: Plan, data: Prepared, earlier: Earlier = NOTHING) -> tuple[Record, Forecast]:
    """Run one trial per configuration that is not done yet. Ray must be running.

    Returns what came of all trials, and how long they were expected to take.
    """
    limits = plan.trial_limits
    n_done = len(earlier.done)
    n_left = plan.size - n_done
    cpus = min(plan.backend.cores(), max(1, n_left))
    history = None
    if limits.rules and n_left:
        history = cost_history.start(plan.split.fit_rows, limits.metrics, plan.trials, judged(earlier.done))
    warm_up = WarmUp(cpus, representatives(plan.trials), history)
    left = earlier.left(plan.trials)

    @cache
    def forecast() -> Forecast:
        of_all = forecast_of(plan.trials, cpus, warm_up.timed() or [time_kinds(warm_up.kinds, data)])
        return replace(of_all, search_s=of_all.search_s * plan.size / len(plan.trials))  # which ones is not known

    def say_forecast() -> None:
        seconds = forecast().trials_s
        of_left = {trial.number: seconds[trial.id] for trial in left}
        if plan.learns:  # nobody knows which ones
            of_left = dict.fromkeys(range(n_done + 1, plan.size + 1), fmean(seconds.values()))
        announce(plan, n_left, cpus, search_seconds(of_left.values(), cpus))
        progress.expect(of_left)

    score = f"{plan.score.validated}{' within the limits' if limits.rules else ''}"
    progress = Progress(plan.size, score, done=n_done, limit_s=plan.settings.time_limit_s or math.inf)
    log = writer_for(mlflow.get_tracking_uri()).open(run.run_id).log
    record = Record(plan.score, plan.limits, progress, earlier, say_forecast, log)
    open_from_the_start(run, plan, record)
    try:
        if n_left:
            _run_trials(run, plan, data, left, record, warm_up)
        if plan.learns and limits.rules:
            known = judged(record.trials.values())
            record.to_come = CostHistory(plan.split.fit_rows, limits.metrics, plan.trials, known).to_come()
        return record, forecast()
    finally:
        warm_up.remove()


def _run_trials(
    run: RecordedRun, plan: Plan, data: Prepared, left: list[Configuration], record: Record, warm_up: WarmUp
) -> None:
    """Have Tune run the trials that are left, each in its run, and complete their record."""
    trainable = tune.with_parameters(
        TrialTrainable,
        data=data,
        first=warm_up,
        limits=plan.trial_limits,
        cost_history=warm_up.cost_history,
    )
    space: dict[str, Any] = {"configuration": tune.grid_search(left)}
    searcher: SearchAlgorithm = RecoveringTrials(max_concurrent=plan.backend.max_concurrent)
    samples = 1
    if plan.learns:
        from entrypoints.search.sampler import TuneSampler  # which imports Optuna

        space = {}
        searcher = RecoveringSamples(TuneSampler(plan, record, warm_up.cost_history, warm_up.parties))
        samples = plan.size - len(record.trials)
    callback = _callback(run, plan, record.open_runs)
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(reuse_actors=True, search_alg=searcher, num_samples=samples),
            run_config=tune.RunConfig(
                storage_path=folder,
                stop=_TimeLimit(record, plan.settings.time_limit_s),
                callbacks=[record, callback],
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
    for trial in record.trials.values():
        trial.run_id = trial.run_id or callback.run_id(trial.trial_id)
    _tell_of_outside(run, record, plan.settings.time_limit_s)
    in_order = sorted(record.trials.values(), key=lambda trial: trial.configuration.number)
    record.trials = {trial.trial_id: trial for trial in in_order}  # whichever command has run them


def _callback(run: RecordedRun, plan: Plan, open_runs: Mapping[str, str]) -> SystemMetricsCallback:
    """What makes and fills the runs of trials."""
    inherited = {key: tag for key, tag in run.tags.items() if key in INHERITED}
    names, shared = run_names(plan.trials), plan.settings.shared  # Tune writes what it is given to disk: not the plan

    def of(trial: TuneTrial) -> Configuration:
        return trial.config["configuration"]  # type: ignore[no-any-return]

    return _Callback(
        experiment_id=run.experiment_id,
        parent_run_id=run.run_id,
        tags=lambda trial: inherited | ({REPEAT: str(of(trial).repeat)} if of(trial).repeat else {}),
        run_name=lambda trial: names[of(trial).id],
        params=lambda trial: of(trial).searched | shared,
        continues=lambda trial: open_runs.get(of(trial).id),
    )


class _Callback(SystemMetricsCallback):
    """Ends the study as Ctrl-C does where somebody sets the tag that stops it."""

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        super().on_step_end(iteration, trials, **info)
        if self.is_stopped:
            signal.raise_signal(signal.SIGINT)


class _TimeLimit(Stopper):  # type: ignore[misc]
    """Ends a search this many seconds after its first trial began. Tune's own limit counts the start of processes."""

    def __init__(self, record: Record, seconds: float | None) -> None:
        self._record = record
        self._seconds = seconds

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        began = self._record.first_start
        return began is not None and self._seconds is not None and time.time() - began >= self._seconds


def _tell_of_outside(run: RecordedRun, record: Record, time_limit_s: float | None) -> None:
    """Tell the runs of trials that the time limit ended, and the records of those that a person ended.

    Only the tags of a run say that it was a person. A run that was deleted meanwhile is ignored.
    """
    stopped = f"tags.mlflow.parentRunId = '{run.run_id}' and tags.`{STOPPED_BY}` = '{BY_PERSON}'"
    by_person = {each.info.run_id for each in search_runs(run.client, run.experiment_id, stopped)}
    for trial in record.trials.values():
        if trial.run_id in by_person and trial.ended_from_outside:
            trial.tags[STOPPED_BY] = BY_PERSON
        elif trial.run_id and trial.stopped_by == BY_TIME_LIMIT:
            why = f"time_limit_s={time_limit_s:g} of the study"
            with suppress(MlflowException):
                run.client.set_tag(trial.run_id, STOPPED_BY, BY_TIME_LIMIT)
                run.client.set_tag(trial.run_id, STOP_REASON, why)
