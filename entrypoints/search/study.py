"""A study: grid -> Tuner -> callback -> the study's run. What ``tune`` and ``early_stop`` share."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from statistics import fmean
from typing import Any

import click
import mlflow
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from ray import tune
from ray.actor import ActorHandle
from ray.tune import Stopper
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import SearchAlgorithm

from entrypoints import own_modules
from entrypoints.compute.barrier import Barrier
from entrypoints.compute.recovery import MAX_DEATHS, RecoveringSuggestions, RecoveringTrials
from entrypoints.datasets.dataset_input import data_line, log_dataset, record_duplicates
from entrypoints.datasets.prepared import Prepared, prepared
from entrypoints.datasets.stored import obtain
from entrypoints.errors import UserError, say
from entrypoints.limits import cost_history
from entrypoints.limits.duration_forecast import Forecast, one_of_each, search_seconds
from entrypoints.limits.schedulers import scheduling
from entrypoints.mlflow_io import search_runs
from entrypoints.models import best_model, registered
from entrypoints.models.configuration import Configuration
from entrypoints.progress import Progress
from entrypoints.runs import RecordedRun
from entrypoints.search import first_trials, journal
from entrypoints.search.earlier import NOTHING, Earlier
from entrypoints.search.pages import BestSoFar, open_from_the_start
from entrypoints.search.phases import FORECAST, PREPARE, REFIT, SEARCH, SUMMARY, Phases
from entrypoints.search.plan import Plan, study_key
from entrypoints.search.record import Record
from entrypoints.search.trial import Trial
from entrypoints.tags import BY_TIME_LIMIT, DATASET, PREPARE_RUN_ID, REPEAT, SCORE, SEARCHED, STUDY_KEY, STUDY_LIMITS
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.tags import BY_PERSON, STOP_REASON, STOPPED_BY

# Who ran what: trials show it in the same columns of the UI as their study.
INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


def run_study(run: RecordedRun, plan: Plan, earlier: Earlier = NOTHING) -> None:
    """Search the grid, refit the best model, and leave everything in the study's run and its children.

    Within the context of the plan's place.
    """
    settings, stopping = plan.settings, plan.stopping
    with Phases(run) as phases:
        journal.begin(run, settings, plan.limits)
        joined = plan.place.join(own_modules.sources(settings.algorithm), mlflow.get_tracking_uri())
        if joined:
            click.echo(joined)
        phases.begin(PREPARE)
        data = _data(run, plan)
        phases.begin(FORECAST)
        if stopping:
            run.client.set_tag(run.run_id, STUDY_LIMITS, str(stopping.limits))
        record, expected = search(run, plan, data, earlier, lambda: phases.begin(SEARCH))
        phases.begin(SUMMARY)
        from entrypoints.search import ended, last_words  # their imports take seconds, which no trial need wait for

        study = ended.ended(run, plan, data, record, expected)
        best = study.best
        if best is None:
            raise UserError(last_words.tell_no_result(study))
        phases.begin(REFIT)
        model = best_model.log(
            run,
            best_model.refit(best.configuration, data, plan.table),
            plan.table,
            best.figures,
            settings.shared,
        )
        phases.begin(SUMMARY)
        click.echo(last_words.tell(study, model))
        if settings.register:
            try:
                say(registered.register(settings.register, model))
            except UserError as refused:
                refused.show()  # nothing of the study is lost


def _data(run: RecordedRun, plan: Plan) -> Prepared:
    """The data that all trials work on, which the study's run says."""
    prepare_run_id, reused = obtain(run, plan.table, plan.split, plan.request)
    data = prepared(plan.table, plan.split)
    log_dataset(run, plan.table)
    score = {"score": plan.score.validated, "higher_is_better": plan.score.higher_is_better, "baseline": plan.baseline}
    about = {
        PREPARE_RUN_ID: prepare_run_id,
        DATASET: plan.settings.dataset,
        STUDY_KEY: study_key(plan.settings, plan.table),
        SEARCHED: json.dumps(plan.searched),
        SCORE: json.dumps(score),
        **Host().tags(),
    }
    run.client.log_batch(run.run_id, tags=[RunTag(name, value) for name, value in about.items()])
    say(f"Data: {data_line(plan.table, plan.split, prepare_run_id, reused)}")
    record_duplicates(run, plan.table, plan.split)
    say(f"Score: {plan.score_line}")
    return data


def search(
    run: RecordedRun, plan: Plan, data: Prepared, earlier: Earlier = NOTHING, begins: Callable[[], None] = lambda: None
) -> tuple[Record, Forecast]:
    """Run one trial per configuration that is not done yet. Ray must be running.

    Returns what came of all trials, and how long they were expected to take; ``begins`` is called when that is said.
    """
    settings, stopping, trials, left = plan.settings, plan.stopping, plan.trials, plan.size - len(earlier.done)
    limits = stopping.limits if stopping else None
    rows = data.split.fit_rows
    cpus = min(plan.place.cores(), max(1, left))
    barrier = Barrier(cpus)

    @cache
    def forecast() -> Forecast:
        return first_trials.expected(barrier, plan, data, cpus)

    def say_forecast() -> None:
        if plan.learns:  # nobody knows which ones
            of_left = dict.fromkeys(range(len(earlier.done) + 1, plan.size + 1), fmean(forecast().trials_s))
        else:
            seconds = dict(zip((trial.place for trial in trials), forecast().trials_s, strict=True))
            of_left = {trial.place: seconds[trial.place] for trial in earlier.left(trials)}
        first_trials.announce(plan, left, cpus, search_seconds(of_left.values(), cpus))
        begins()
        progress.expect(of_left)

    score = f"{plan.score.validated}{' within the limits' if limits else ''}"
    progress = Progress(plan.size, score, done=len(earlier.done), limit_s=settings.time_limit_s or 0.0)
    record = Record(plan.score, progress, limits, earlier.done, earlier.search_s, say_forecast)
    open_from_the_start(run, plan, record)
    try:
        if left:
            costs = cost_history.start(rows, limits.metrics, trials, earlier.known) if limits else None
            trainable = tune.with_parameters(
                Trial,
                data=data,
                first=first_trials.FirstTrials(barrier, one_of_each(trials), costs),
                stopping=stopping,
                ledger=costs,
                every_report=stopping is not None and stopping.scheduler != "none",
                groups=settings.groups,
            )
            _run_trials(run, plan, data, earlier, trainable, record, _searching(plan, record, earlier, costs, cpus))
        if plan.learns and limits:
            known = [trial.known for trial in record.trials.values() if trial.end.expected is not None]
            record.to_come = cost_history.CostHistory(rows, limits.metrics, trials, known).to_come()
        return record, forecast()
    finally:
        barrier.remove()


def _searching(
    plan: Plan, record: Record, earlier: Earlier, costs: ActorHandle | None, cpus: int
) -> tuple[dict[str, Any], SearchAlgorithm, int]:
    """What Tune is to try: its space, what takes trials from it, and how often."""
    if not plan.learns:
        in_order = RecoveringTrials(max_concurrent=plan.place.max_concurrent)
        return {"configuration": tune.grid_search(earlier.left(plan.trials))}, in_order, 1
    from entrypoints.search.suggestions import Suggestions  # which imports Optuna

    suggested = RecoveringSuggestions(Suggestions(plan, record, earlier, costs, cpus))
    return {}, suggested, plan.size - len(earlier.done)


def _run_trials(
    run: RecordedRun,
    plan: Plan,
    data: Prepared,
    earlier: Earlier,
    trainable: type[tune.Trainable],
    record: Record,
    searching: tuple[dict[str, Any], SearchAlgorithm, int],
) -> None:
    """Have Tune run the trials that are left, each in its run, and complete their record."""
    settings, trials, names = plan.settings, plan.trials, plan.names
    space, searcher, samples = searching
    inherited = {key: tag for key, tag in run.tags.items() if key in INHERITED}

    def of(trial: TuneTrial) -> Configuration:
        return trial.config["configuration"]  # type: ignore[no-any-return]

    callback = SystemMetricsCallback(
        experiment_id=run.experiment_id,
        parent_run_id=run.run_id,
        tags=lambda trial: inherited | ({REPEAT: str(of(trial).repeat)} if of(trial).repeat else {}),
        run_name=lambda trial: names[of(trial).id],
        params=lambda trial: of(trial).searched | settings.shared,
        continues=lambda trial: earlier.open_runs.get(of(trial).id),
        views=False,
    )
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        try:
            tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                param_space=space,
                tune_config=tune.TuneConfig(
                    reuse_actors=True,
                    search_alg=searcher,
                    num_samples=samples,
                    **scheduling(
                        plan.stopping.scheduler if plan.stopping else "none",
                        trials,
                        data.split.fit_rows,
                        higher_is_better=plan.score.higher_is_better,
                    ),
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    stop=_TimeLimit(record, settings.time_limit_s or math.inf),
                    callbacks=[record, callback, BestSoFar(run, record)],
                    failure_config=tune.FailureConfig(max_failures=MAX_DEATHS),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    verbose=0,
                ),
            ).fit()
        finally:
            # Also after an interruption, when Tune calls no hook.
            callback.close(timeout_s=4.0)
    for trial in record.trials.values():
        trial.run_id = trial.run_id or callback.run_id(trial.trial_id)
    _tell_of_outside(run, record, settings.time_limit_s or 0.0)
    in_order = sorted(record.trials.values(), key=lambda trial: trial.configuration.place)
    record.trials = {trial.trial_id: trial for trial in in_order}  # whichever command has run them


class _TimeLimit(Stopper):  # type: ignore[misc]
    """Ends a search this many seconds after its first trial began. Tune's own limit counts the start of processes."""

    def __init__(self, record: Record, seconds: float) -> None:
        self._record, self._seconds = record, seconds

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        began = self._record.first_start
        return began is not None and time.time() - began >= self._seconds


def _tell_of_outside(run: RecordedRun, record: Record, time_limit_s: float) -> None:
    """Tell the runs of trials that the time limit ended, and the records of those that a person ended.

    Only the tags of a run say that it was a person. A run that was deleted meanwhile is ignored.
    """
    stopped = f"tags.mlflow.parentRunId = '{run.run_id}' and tags.`{STOPPED_BY}` = '{BY_PERSON}'"
    by_person = {each.info.run_id for each in search_runs(run.client, run.experiment_id, stopped)}
    why = {STOPPED_BY: BY_TIME_LIMIT, STOP_REASON: f"time_limit_s={time_limit_s:g} of the study"}
    for trial in record.trials.values():
        if trial.run_id in by_person and trial.ended_from_outside:
            trial.tags[STOPPED_BY] = BY_PERSON
        elif trial.run_id and trial.stopped_by == BY_TIME_LIMIT:
            with suppress(MlflowException):
                for name, value in why.items():
                    run.client.set_tag(trial.run_id, name, value)
