"""A study: grid -> Tuner -> callback -> the study's run. What ``tune`` and ``early_stop`` share."""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace

import click
from ray import tune

from entrypoints import algorithms, best_model, datasets, full_study, ledger, limits_summary, summary, workers
from entrypoints.configuration import Configuration
from entrypoints.errors import UserError
from entrypoints.forecast import Forecast, forecast
from entrypoints.grid import configurations, run_name
from entrypoints.losses import score_name
from entrypoints.options import Limits, StudySettings, own_target, user_folder
from entrypoints.prepared import Prepared, Request, obtain, split_for
from entrypoints.progress import Progress, Stages, duration
from entrypoints.record import Record
from entrypoints.rules import NO_RULES, Rules, scheduling, stopping_rules
from entrypoints.runs import RecordedRun
from entrypoints.tables import Table
from entrypoints.trial import Trial
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback

# Who ran what: trials show it in the same columns of the UI as their study.
INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")

LONG_S = 3600.0  # a study that takes longer is announced with what would shorten it


def run_study(run: RecordedRun, settings: StudySettings, limits: Limits | None = None) -> None:
    """Search the grid, refit the best model, and leave everything in the study's run and its children.

    Args:
        run: the study's run.
        settings: what is searched.
        limits: what a trial may cost; the best one that meets them is the result.

    Raises:
        UserError: the settings do not fit the dataset, or no trial came to a usable end.
    """
    stages = Stages(run.start)
    table = _table(settings)
    # All that can be wrong with the settings is found before anything slow begins.
    rules = stopping_rules(table.task, limits)
    request = Request(settings.dataset, settings.max_rows, settings.folds, settings.seed)
    searched = algorithms.find_all(table.task, settings.algorithm)
    trials = configurations(settings, split_for(table, request), searched, len(table.classes))
    cpus = min(settings.cpus or workers.usable_cpus(), len(trials))
    with ExitStack() as stack:
        # This thread must outlive the study: the kernel ends Ray's processes with the thread that started them.
        executor = stack.enter_context(ThreadPoolExecutor(1, "ray-start"))
        ray_up: Future[None] = executor.submit(workers.start, settings.cpus)
        stack.callback(workers.stop)
        stack.callback(wait, [ray_up])  # Ray can be stopped only once it has started
        stages.end("start")
        data, prepare_run_id, reused = obtain(run, table, request, ray_up.result)
        summary.log_dataset(run, table)
        run.client.set_tag(run.run_id, "sysmetrics.prepare_run_id", prepare_run_id)
        run.client.set_tag(run.run_id, "sysmetrics.dataset", settings.dataset)
        run.client.set_tag(run.run_id, full_study.STUDY_KEY, full_study.study_key(settings, data))
        run.client.set_tag(run.run_id, full_study.SEARCHED, json.dumps(full_study.searched_names(trials)))
        click.echo(f"Data: {summary.data_line(data, prepare_run_id, reused)}")
        stages.end("data")
        ray_up.result()
        expected = forecast(trials, data, cpus)
        _announce(run, settings, trials, cpus, expected, rules)
        stages.end("forecast")
        record = search(run, data, trials, cpus, settings, replace(rules, observed=expected.observed))
        stages.end("search")
        outcome = None
        if rules.stopping:
            limits_summary.mark_feasible(run, record, rules.stopping)
            outcome = limits_summary.outcome(run, settings, data, trials, record, expected, rules.stopping)
        summary.log_tables(record, settings, outcome)
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
    first = (record.first_start or 0) - stages.start
    click.echo(f"Time since the study's run was created: first trial after {first:.1f} s; {stages}")


def _table(settings: StudySettings) -> Table:
    sys.path.append(str(user_folder()))  # where an algorithm of the user's may be; Ray's workers look there too
    table = datasets.load(settings.dataset, target=own_target(settings.target))
    return table.sample(settings.max_rows, settings.seed)


def _announce(
    run: RecordedRun,
    settings: StudySettings,
    trials: list[Configuration],
    cpus: int,
    expected: Forecast,
    rules: Rules,
) -> None:
    """Say what is about to happen, and for how long."""
    within = f", at most {duration(settings.time_limit_s)}" if settings.time_limit_s else ""
    click.echo(
        f"Search: {len(trials)} trials of {settings.folds} folds on {cpus} CPU cores, "
        f"about {duration(expected.search_s)}{within}"
    )
    if expected.search_s > LONG_S and not 0 < settings.time_limit_s <= LONG_S:
        click.echo(summary.how_to_shorten(settings, len(trials), expected.search_s, cpus))
    if rules.stopping:
        run.client.set_tag(run.run_id, full_study.CRITERIA, str(rules.stopping.criteria))
        click.echo(f"Limits: {rules.stopping.criteria}; that time is without them")


def search(
    run: RecordedRun,
    data: Prepared,
    trials: list[Configuration],
    cpus: int,
    settings: StudySettings,
    rules: Rules = NO_RULES,
) -> Record:
    """Run one trial per configuration and return what came of them. Ray must be running."""
    criteria = rules.stopping.criteria if rules.stopping else None
    record = Record(data.task, Progress(len(trials), f"val_{score_name(data.task)}"), criteria)
    callback = SystemMetricsCallback(
        experiment_id=run.experiment_id,
        parent_run_id=run.run_id,
        tags={key: tag for key, tag in run.tags.items() if key in INHERITED},
        run_name=lambda trial: run_name(trial.config["configuration"], trials),
        params=lambda trial: trial.config["configuration"].searched | settings.shared,
    )
    rows = max(len(fit) for fit, _ in data.split.folds)
    trainable = tune.with_parameters(
        Trial,
        data=data,
        barrier=workers.barrier(cpus),
        stopping=rules.stopping,
        ledger=ledger.start(rows, rules.stopping.criteria.metrics, rules.observed) if rules.stopping else None,
        every_report=rules.scheduler != "none",
    )
    steps = max(trial.steps(rows) for trial in trials)
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        try:
            tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                param_space={"configuration": tune.grid_search(trials)},
                tune_config=tune.TuneConfig(
                    reuse_actors=True,
                    time_budget_s=settings.time_limit_s or None,
                    **scheduling(rules.scheduler, settings.report_every, steps),
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    callbacks=[record, callback],
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    verbose=0,
                ),
            ).fit()
        finally:
            # Also after an interruption, when Tune calls no hook.
            callback.close(timeout_s=4.0)
    for trial in record.trials.values():
        trial.run_id = callback.run_id(trial.trial_id)
        if trial.cut_off and trial.run_id:
            reason = f"time_limit_s={settings.time_limit_s:g} of the study"
            run.client.set_tag(trial.run_id, "sysmetrics.stop_reason", reason)
    return record
