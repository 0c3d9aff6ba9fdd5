"""A study: grid -> Tuner -> callback -> the study's run. What ``tune`` and ``early_stop`` share."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress

import click
import mlflow
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from ray import tune

from entrypoints import own_modules
from entrypoints.compute.barrier import Barrier
from entrypoints.compute.recovery import MAX_DEATHS, RecoveringTrials
from entrypoints.datasets.prepared import Prepared, prepared
from entrypoints.datasets.stored import obtain
from entrypoints.errors import UserError, say
from entrypoints.limits import ledger
from entrypoints.limits.duration_forecast import Forecast, one_of_each
from entrypoints.limits.schedulers import scheduling
from entrypoints.mlflow_io import search_runs
from entrypoints.models import best_model, registered
from entrypoints.models.configuration import Configuration
from entrypoints.models.losses import score_name
from entrypoints.progress import Progress, Stages
from entrypoints.runs import RecordedRun
from entrypoints.search import full_study, journal
from entrypoints.search.beginning import announce, data_line, log_dataset
from entrypoints.search.earlier import NOTHING, Earlier
from entrypoints.search.first_trials import FirstTrials, Forecaster
from entrypoints.search.pages import save_pages
from entrypoints.search.phases import FORECAST, PREPARE, REFIT, SEARCH, SUMMARY, Phases
from entrypoints.search.plan import Plan
from entrypoints.search.record import Record, TrialRecord
from entrypoints.search.run_names import run_names
from entrypoints.search.trial import Trial
from entrypoints.tags import BY_TIME_LIMIT, CRITERIA, DATASET, PREPARE_RUN_ID, REPEAT, SEARCHED, STUDY_KEY
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.tags import BY_PERSON, STOP_REASON, STOPPED_BY

# Who ran what: trials show it in the same columns of the UI as their study.
INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


def run_study(run: RecordedRun, plan: Plan, earlier: Earlier = NOTHING) -> None:
    """Search the grid, refit the best model, and leave everything in the study's run and its children.

    Within the context of the plan's place: see ``start``.
    """
    with Phases(run) as phases:
        _run_study(run, plan, earlier, phases)


def _run_study(run: RecordedRun, plan: Plan, earlier: Earlier, phases: Phases) -> None:
    stages, settings = Stages(run.start), plan.settings
    journal.begin(run, settings, plan.limits)
    joined = plan.place.join(own_modules.sources(settings.algorithm), mlflow.get_tracking_uri())
    if joined:
        click.echo(joined)
    stages.end("start")
    phases.begin(PREPARE)
    data = _data(run, plan)
    stages.end("data")
    phases.begin(FORECAST)
    if plan.rules.stopping:
        run.client.set_tag(run.run_id, CRITERIA, str(plan.rules.stopping.criteria))
    record, expected = search(run, plan, data, earlier, lambda: phases.begin(SEARCH))
    stages.end("search")
    phases.begin(SUMMARY)
    from entrypoints.search import ended, last_words  # what they import takes seconds, which no trial need wait for

    study = ended.ended(run, plan, data, record, expected)
    ended.log_results(study)
    links = save_pages(run, data.name, record, plan.trials)
    best = study.best
    if best is None:
        raise UserError(last_words.tell_no_result(study, links))
    phases.begin(REFIT)
    refitted = best_model.refit(best.configuration, data)
    model = best_model.log(run, refitted, data, best.figures, settings.shared)
    stages.end("best model")
    phases.begin(SUMMARY)
    said = last_words.tell(study, model, links)
    stages.end("summary")
    click.echo(said)
    if settings.register:
        try:
            say(registered.register(settings.register, model))
        except UserError as refused:
            refused.show()  # nothing of the study is lost
    first = f"first trial after {record.first_start - stages.start:.1f} s; " if record.first_start else ""
    click.echo(f"Time since the command's run was created: {first}{stages}")


def _data(run: RecordedRun, plan: Plan) -> Prepared:
    """The data that all trials work on, which the study's run says."""
    prepare_run_id, reused = obtain(run, plan.table, plan.split, plan.request)
    data = prepared(plan.table, plan.split)
    log_dataset(run, plan.table)
    about = {
        PREPARE_RUN_ID: prepare_run_id,
        DATASET: plan.settings.dataset,
        STUDY_KEY: full_study.study_key(plan.settings, data),
        SEARCHED: json.dumps(list(dict.fromkeys(name for trial in plan.trials for name in trial.searched))),
    }
    about |= Host().tags()
    run.client.log_batch(run.run_id, tags=[RunTag(name, value) for name, value in about.items()])
    say(f"Data: {data_line(plan.table, plan.split, prepare_run_id, reused)}")
    return data


def search(
    run: RecordedRun, plan: Plan, data: Prepared, earlier: Earlier = NOTHING, begins: Callable[[], None] = lambda: None
) -> tuple[Record, Forecast]:
    """Run one trial per configuration that is not done yet. Ray must be running.

    Returns what came of all trials, and how long they were expected to take; ``begins`` is called when that is said.
    """
    settings, stopping, trials, left = plan.settings, plan.rules.stopping, plan.trials, earlier.left(plan.trials)
    criteria = stopping.criteria if stopping else None
    score = f"val_{score_name(data.task)}{' within the limits' if criteria else ''}"
    progress = Progress(len(trials), score, done=len(earlier.done), limit_s=settings.time_limit_s or 0.0)
    record = Record(data.task, progress, criteria, earlier.done, earlier.search_s)
    cpus = min(plan.place.cores(), max(1, len(left)))

    def say_forecast(expected: Forecast) -> None:
        announce(plan, cpus, expected, earlier)
        begins()
        seconds = {trial.place: trial_s for trial, trial_s in zip(trials, expected.trials_s, strict=True)}
        progress.expect({trial.place: seconds[trial.place] for trial in left})

    barrier = Barrier(cpus) if left else None
    forecaster = Forecaster(barrier, trials, data, cpus, say_forecast)
    if barrier is None:
        return record, forecaster.expected
    costs = ledger.start(data.split.fit_rows, criteria.metrics, trials, earlier.known) if criteria else None
    trainable = tune.with_parameters(
        Trial,
        data=data,
        first=FirstTrials(barrier, one_of_each(trials), costs),
        stopping=stopping,
        ledger=costs,
        every_report=plan.rules.scheduler != "none",
        groups=settings.groups,
    )
    try:
        _run_trials(run, plan, data, earlier, trainable, forecaster, record)
        return record, forecaster.expected
    finally:
        barrier.remove()


def _run_trials(
    run: RecordedRun,
    plan: Plan,
    data: Prepared,
    earlier: Earlier,
    trainable: type[tune.Trainable],
    forecaster: Forecaster,
    record: Record,
) -> None:
    """Have Tune run the trials that are left, each in its run, and complete their record."""
    settings, trials = plan.settings, plan.trials
    names = {trial.place: name for trial, name in zip(trials, run_names(trials), strict=True)}
    inherited = {key: tag for key, tag in run.tags.items() if key in INHERITED}
    callback = SystemMetricsCallback(
        experiment_id=run.experiment_id,
        parent_run_id=run.run_id,
        tags=lambda trial: inherited | _repeat(trial.config["configuration"]),
        run_name=lambda trial: names[trial.config["configuration"].place],
        params=lambda trial: trial.config["configuration"].searched | settings.shared,
        continues=lambda trial: earlier.open_runs.get(trial.config["configuration"].place),
        views=False,
    )
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        try:
            tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                param_space={"configuration": tune.grid_search(earlier.left(trials))},
                tune_config=tune.TuneConfig(
                    reuse_actors=True,
                    search_alg=RecoveringTrials(max_concurrent=plan.place.max_concurrent),
                    time_budget_s=settings.time_limit_s,
                    **scheduling(plan.rules.scheduler, trials, data.split.fit_rows),
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    callbacks=[forecaster, record, callback],
                    failure_config=tune.FailureConfig(max_failures=MAX_DEATHS),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    verbose=0,
                ),
            ).fit()
        finally:
            # Also after an interruption, when Tune calls no hook.
            callback.close(timeout_s=4.0)
    ran = [trial for trial in record.trials.values() if trial.run_id is None]
    for trial in ran:
        trial.run_id = callback.run_id(trial.trial_id)
    tell_of_outside(run, ran, settings.time_limit_s or 0.0)
    in_order = sorted(record.trials.values(), key=lambda trial: trial.configuration.place)
    record.trials = {trial.trial_id: trial for trial in in_order}  # whichever command has run them


def tell_of_outside(run: RecordedRun, trials: Iterable[TrialRecord], time_limit_s: float) -> None:
    """Tag the runs of trials that the time limit ended, and mark the records of those that a person ended.

    The tags of a run say whether it was a person. A run that was deleted meanwhile is ignored.
    """
    ended = [trial for trial in trials if trial.run_id and trial.ended_from_outside]
    if not ended:
        return
    stopped = f"tags.mlflow.parentRunId = '{run.run_id}' and tags.`{STOPPED_BY}` = '{BY_PERSON}'"
    by_person = {each.info.run_id for each in search_runs(run.client, run.experiment_id, stopped)}
    why = {STOPPED_BY: BY_TIME_LIMIT, STOP_REASON: f"time_limit_s={time_limit_s:g} of the study"}
    for trial in ended:
        trial.by_person = trial.run_id in by_person
        with suppress(MlflowException):
            for name, value in why.items() if trial.cut_off else ():
                run.client.set_tag(str(trial.run_id), name, value)


def _repeat(configuration: Configuration) -> dict[str, str]:
    """The tag of a trial that repeats an earlier one."""
    return {REPEAT: str(configuration.repeat)} if configuration.repeat else {}
