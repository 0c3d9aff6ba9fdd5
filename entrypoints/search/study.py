"""A study: grid -> Tuner -> callback -> the study's run. What ``tune`` and ``early_stop`` share."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
import mlflow
from ray import tune

from entrypoints import own_modules
from entrypoints.compute import cluster, workers
from entrypoints.compute.recovery import MAX_DEATHS, RecoveringTrials
from entrypoints.datasets import known
from entrypoints.datasets.prepared import Prepared, Request, split_for
from entrypoints.datasets.stored import obtain
from entrypoints.datasets.tables import Table
from entrypoints.errors import UserError, say
from entrypoints.limits import ledger
from entrypoints.limits.forecast import Forecast, forecast, search_seconds
from entrypoints.limits.schedulers import NO_RULES, Rules, scheduling, stopping_rules
from entrypoints.models import algorithms, best_model
from entrypoints.models.configuration import Configuration
from entrypoints.models.losses import score_name
from entrypoints.progress import Progress, Stages, duration
from entrypoints.runs import RecordedRun
from entrypoints.search import full_study, journal, limits_summary, summary
from entrypoints.search.earlier import NOTHING, Earlier
from entrypoints.search.grid import configurations, run_name
from entrypoints.search.record import Record
from entrypoints.search.trial import Trial
from entrypoints.settings import Limits, StudySettings, own_target
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.tags import (
    BY_TIME_LIMIT,
    CRITERIA,
    DATASET,
    PREPARE_RUN_ID,
    SEARCHED,
    STOP_REASON,
    STOPPED_BY,
    STUDY_KEY,
)

# Who ran what: trials show it in the same columns of the UI as their study.
INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")

LONG_S = 3600.0  # a study that takes longer is announced with what would shorten it


@dataclass(frozen=True)
class Plan:
    """What a study is going to do: ``trials`` has one configuration each, and the result meets the ``limits``."""

    settings: StudySettings
    limits: Limits | None
    rules: Rules
    request: Request
    table: Table
    trials: list[Configuration]
    cluster: str | None


def planned(settings: StudySettings, limits: Limits | None = None, *, folder: Path) -> Plan:
    """All that can be wrong with settings is found here, before anything slow begins.

    Args:
        settings: what is searched.
        limits: what a trial may cost.
        folder: where the user typed the command. A module of theirs is found there, or beside their table.

    Raises:
        UserError: the settings do not fit the dataset, or each other.
    """
    address = cluster.chosen(settings.ray_address)
    table = _table(settings)
    rules = stopping_rules(table.task, limits)
    request = Request(settings.dataset, settings.max_rows, settings.folds, settings.seed)
    folders = (folder, Path(settings.dataset).parent) if Path(settings.dataset).is_absolute() else (folder,)
    own_modules.look_in(folders, settings.algorithm)
    searched = algorithms.find_all(table.task, settings.algorithm)
    made = configurations(settings, split_for(table, request), searched, len(table.classes))
    trials = [replace(trial, folders=folders) for trial in made]
    return Plan(settings, limits, rules, request, table, trials, address)


def run_study(run: RecordedRun, plan: Plan, earlier: Earlier = NOTHING) -> None:
    """Search the grid, refit the best model, and leave everything in the study's run and its children.

    Args:
        run: the study's run.
        plan: what is searched.
        earlier: what an interrupted command has left of the same study.

    Raises:
        UserError: no trial came to a usable end.
    """
    stages = Stages(run.start)
    settings, rules, table, trials = plan.settings, plan.rules, plan.table, plan.trials
    journal.begin(run, settings, plan.limits)
    with ExitStack() as stack:
        # This thread must outlive the study: the kernel ends Ray's processes with the thread that started them.
        executor = stack.enter_context(ThreadPoolExecutor(1, "ray-start"))
        ray_up: Future[None] = executor.submit(_start_ray(plan))
        stack.callback(workers.stop)
        stack.callback(wait, [ray_up])  # Ray can be stopped only once it has started
        if plan.cluster:
            ray_up.result()  # at once, or it is a mistake
            click.echo(f"Cluster: {cluster.line()}")
        usable = cluster.free_cores(settings.cpus) if plan.cluster else settings.cpus or workers.usable_cpus()
        cpus = min(usable, max(1, len(earlier.left(trials))))
        stages.end("start")
        data, prepare_run_id, reused = obtain(run, table, plan.request)
        summary.log_dataset(run, table)
        run.client.set_tag(run.run_id, PREPARE_RUN_ID, prepare_run_id)
        run.client.set_tag(run.run_id, DATASET, settings.dataset)
        run.client.set_tag(run.run_id, STUDY_KEY, full_study.study_key(settings, data))
        run.client.set_tag(run.run_id, SEARCHED, json.dumps(full_study.searched_names(trials)))
        say(f"Data: {summary.data_line(data, prepare_run_id, reused)}")
        stages.end("data")
        ray_up.result()
        with cluster.workers_can(plan.cluster):
            expected = forecast(trials, data, cpus)
        _announce(run, plan, cpus, expected, earlier)
        stages.end("forecast")
        record = search(run, data, trials, cpus, settings, replace(rules, observed=expected.observed), earlier)
        stages.end("search")
        outcome = None
        if rules.stopping:
            limits_summary.mark_feasible(run, record, rules.stopping)
            outcome = limits_summary.outcome(run, settings, data, trials, record, expected, rules.stopping)
        summary.log_results(run, record, settings, outcome)
        if record.best is None:
            nothing = outcome.nothing if outcome and record.trials else None
            why = nothing or summary.no_usable_trial(record, settings)
            summary.log_study_without_result(run, settings, data, record, expected.search_s, outcome, why)
            raise UserError(why)
        best = best_model.refit(record.best.configuration, data)
        best_model.log(run, best, data)
        stages.end("best model")
        summary.log_study(run, settings, data, record, best.figures, expected.search_s, outcome)
        stages.end("summary")
    click.echo(summary.closing(run, settings, data, record, best.figures, outcome))
    first = f"first trial after {record.first_start - stages.start:.1f} s; " if record.first_start else ""
    click.echo(f"Time since the command's run was created: {first}{stages}")


def _start_ray(plan: Plan) -> Callable[[], None]:
    """Start Ray on this machine, or connect to the cluster."""
    if plan.cluster is None:
        return partial(workers.start, plan.settings.cpus)
    return partial(
        cluster.connect, plan.cluster, own_modules.sources(plan.settings.algorithm), mlflow.get_tracking_uri()
    )


def _table(settings: StudySettings) -> Table:
    table = known.load(settings.dataset, target=own_target(settings.target))
    return table.sample(settings.max_rows, settings.seed)


def _announce(run: RecordedRun, plan: Plan, cpus: int, expected: Forecast, earlier: Earlier) -> None:
    """Say what is about to happen, and for how long."""
    settings, stopping = plan.settings, plan.rules.stopping
    left = {id(trial) for trial in earlier.left(plan.trials)}
    left_s = [trial_s for trial, trial_s in zip(plan.trials, expected.trials_s, strict=True) if id(trial) in left]
    search_s = search_seconds(left_s, cpus)
    within = f", at most {duration(settings.time_limit_s)}" if settings.time_limit_s else ""
    of = f" of {len(plan.trials)}" if earlier.done else ""
    click.echo(
        f"Search: {len(left)}{of} trials of {settings.folds} folds on {cpus} CPU cores, "
        f"about {duration(search_s)}{within}"
    )
    if search_s > LONG_S and not 0 < settings.time_limit_s <= LONG_S:
        click.echo(summary.how_to_shorten(settings, len(left), search_s, cpus))
    if stopping:
        run.client.set_tag(run.run_id, CRITERIA, str(stopping.criteria))
        click.echo(f"Limits: {stopping.criteria}; that time is without them")


def search(
    run: RecordedRun,
    data: Prepared,
    trials: list[Configuration],
    cpus: int,
    settings: StudySettings,
    rules: Rules = NO_RULES,
    earlier: Earlier = NOTHING,
) -> Record:
    """Run one trial per configuration that is not done yet and return what came of all. Ray must be running."""
    criteria = rules.stopping.criteria if rules.stopping else None
    progress = Progress(len(trials), f"val_{score_name(data.task)}", done=len(earlier.done))
    record = Record(data.task, progress, criteria, earlier.done, earlier.search_s)
    left = earlier.left(trials)
    if not left:
        return record
    callback = SystemMetricsCallback(
        experiment_id=run.experiment_id,
        parent_run_id=run.run_id,
        tags={key: tag for key, tag in run.tags.items() if key in INHERITED},
        run_name=lambda trial: run_name(trial.config["configuration"], trials),
        params=lambda trial: trial.config["configuration"].searched | settings.shared,
        continues=lambda trial: earlier.run_of(trial.config["configuration"]),
    )
    rows = max(len(fit) for fit, _ in data.split.folds)
    trainable = tune.with_parameters(
        Trial,
        data=data,
        barrier=workers.barrier(cpus),
        stopping=rules.stopping,
        ledger=ledger.start(rows, criteria.metrics, rules.observed, earlier.known) if criteria else None,
        every_report=rules.scheduler != "none",
    )
    steps = max(trial.steps(rows) for trial in trials)
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        try:
            tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                param_space={"configuration": tune.grid_search(left)},
                tune_config=tune.TuneConfig(
                    reuse_actors=True,
                    search_alg=RecoveringTrials(
                        max_concurrent=cluster.most_trials(settings.ray_address, settings.cpus)
                    ),
                    time_budget_s=settings.time_limit_s or None,
                    **scheduling(rules.scheduler, settings.report_every, steps),
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    callbacks=[record, callback],
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
        if trial.cut_off and trial.run_id:
            reason = f"time_limit_s={settings.time_limit_s:g} of the study"
            run.client.set_tag(trial.run_id, STOPPED_BY, BY_TIME_LIMIT)
            run.client.set_tag(trial.run_id, STOP_REASON, reason)
    record.trials = earlier.in_order(record.trials, trials)
    return record
