"""A study: grid -> Tuner -> callback -> the study's run. What ``tune`` and ``early_stop`` share."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence

import click
import mlflow
from mlflow.entities import RunTag
from ray import tune

from entrypoints import own_modules
from entrypoints.compute.barrier import Barrier
from entrypoints.compute.recovery import MAX_DEATHS, RecoveringTrials
from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.stored import obtain
from entrypoints.errors import UserError, say
from entrypoints.limits import ledger
from entrypoints.limits.duration_forecast import Forecast, one_of_each, search_seconds
from entrypoints.limits.schedulers import scheduling
from entrypoints.models import best_model, registered
from entrypoints.models.configuration import Configuration
from entrypoints.models.losses import score_name
from entrypoints.progress import Progress, Stages, duration
from entrypoints.runs import RecordedRun
from entrypoints.search import ended_from_outside, full_study, journal, limits_summary, summary
from entrypoints.search.earlier import NOTHING, Earlier
from entrypoints.search.ended_search import EndedSearch
from entrypoints.search.experiment_note import write_note
from entrypoints.search.first_trials import FirstTrials, Forecaster
from entrypoints.search.pages import save_pages
from entrypoints.search.plan import Plan
from entrypoints.search.record import Record
from entrypoints.search.run_names import run_names
from entrypoints.search.study_phases import FORECAST, PREPARE, REFIT, SEARCH, SUMMARY, StudyPhases
from entrypoints.search.trial import Trial
from entrypoints.tags import CRITERIA, DATASET, PREPARE_RUN_ID, REPEAT, SEARCHED, STUDY_KEY
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback

# Who ran what: trials show it in the same columns of the UI as their study.
INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")

LONG_S = 3600.0  # a study that takes longer is announced with what would shorten it


def run_study(run: RecordedRun, plan: Plan, earlier: Earlier | None = None) -> None:
    """Search the grid, refit the best model, and leave everything in the study's run and its children.

    Within the context of the plan's place: see ``start``.
    """
    with StudyPhases(run) as phases:
        _run_study(run, plan, earlier or NOTHING, phases)


def _run_study(run: RecordedRun, plan: Plan, earlier: Earlier, phases: StudyPhases) -> None:
    stages = Stages(run.start)
    settings, stopping, trials = plan.settings, plan.rules.stopping, plan.trials
    journal.begin(run, settings, plan.limits)
    joined = plan.place.join(own_modules.sources(settings.algorithm), mlflow.get_tracking_uri())
    if joined:
        click.echo(joined)
    stages.end("start")
    phases.begin(PREPARE)
    data = _data(run, plan)
    stages.end("data")
    phases.begin(FORECAST)
    record, expected = _searched(run, plan, data, earlier, lambda: phases.begin(SEARCH))
    stages.end("search")
    phases.begin(SUMMARY)
    study, outcome = EndedSearch(run, settings, data, record, expected), None
    if stopping:
        limits_summary.mark_feasible(run, record, stopping)
        outcome = limits_summary.outcome(study, trials, stopping)
    summary.log_results(study, outcome)
    links = save_pages(run, data, record, trials, stopping.criteria if stopping else None)
    if record.best is None:
        why = summary.no_usable_trial(record, settings, outcome.nothing if outcome else None)
        summary.log_study_without_result(study, why, links, outcome)
        raise UserError(why)
    phases.begin(REFIT)
    best = best_model.refit(record.best.configuration, data)
    model = best_model.log(run, best, data, record.best.figures, settings.shared)
    stages.end("best model")
    phases.begin(SUMMARY)
    summary.log_study(study, model, links, outcome)
    stages.end("summary")
    write_note(run.client, run.experiment_id)
    click.echo(summary.closing(study, model, links, outcome))
    if settings.register:
        try:
            say(registered.register(settings.register, model))
        except UserError as refused:
            refused.show()  # nothing of the study is lost
    first = f"first trial after {record.first_start - stages.start:.1f} s; " if record.first_start else ""
    click.echo(f"Time since the command's run was created: {first}{stages}")


def _data(run: RecordedRun, plan: Plan) -> Prepared:
    """The data that all trials work on, which the study's run says."""
    data, prepare_run_id, reused = obtain(run, plan.table, plan.request)
    summary.log_dataset(run, plan.table)
    about = {
        PREPARE_RUN_ID: prepare_run_id,
        DATASET: plan.settings.dataset,
        STUDY_KEY: full_study.study_key(plan.settings, data),
        SEARCHED: json.dumps(full_study.searched_names(plan.trials)),
    }
    about |= Host().tags()
    run.client.log_batch(run.run_id, tags=[RunTag(name, value) for name, value in about.items()])
    say(f"Data: {summary.data_line(data, prepare_run_id, reused)}")
    return data


def _announce(plan: Plan, rows: int, cpus: int, expected: Forecast, earlier: Earlier) -> None:
    """Say what is about to happen, and for how long."""
    settings = plan.settings
    left = {id(trial) for trial in earlier.left(plan.trials)}
    left_s = [trial_s for trial, trial_s in zip(plan.trials, expected.trials_s, strict=True) if id(trial) in left]
    search_s = search_seconds(left_s, cpus)
    within = f", at most {duration(settings.time_limit_s)}" if settings.time_limit_s else ""
    of = f" of {len(plan.trials)}" if earlier.done else ""
    click.echo(
        f"Search: {len(left)}{of} trials of {settings.folds} folds on {cpus} CPU cores, "
        f"about {duration(search_s)}{within}"
    )
    if note := summary.how_tols_act(plan.trials, rows):
        click.echo(note)
    if search_s > LONG_S and (settings.time_limit_s or math.inf) > LONG_S:
        click.echo(summary.how_to_shorten(settings, len(left), search_s, cpus))
    if plan.rules.stopping:
        click.echo(f"Limits: {plan.rules.stopping.criteria}; they may end the search sooner")


def _searched(
    run: RecordedRun, plan: Plan, data: Prepared, earlier: Earlier, forecast_is_said: Callable[[], None]
) -> tuple[Record, Forecast]:
    """Search what is left of the grid, and what its time was expected to be."""
    if plan.rules.stopping:
        run.client.set_tag(run.run_id, CRITERIA, str(plan.rules.stopping.criteria))
    left = earlier.left(plan.trials)
    cpus = min(plan.place.cores(), max(1, len(left)))
    barrier = Barrier(cpus) if left else None
    progress = _progress(plan, data, earlier)

    def say_forecast(expected: Forecast) -> None:
        _announce(plan, data.split.fit_rows, cpus, expected, earlier)
        forecast_is_said()
        seconds = {trial.trial_key: trial_s for trial, trial_s in zip(plan.trials, expected.trials_s, strict=True)}
        progress.expect({trial.trial_key: seconds[trial.trial_key] for trial in left})

    said = Forecaster(barrier, plan.trials, data, cpus, say_forecast)
    try:
        return search(run, plan, data, barrier, [said], earlier, progress), said.expected
    finally:
        if barrier:
            barrier.remove()


def _progress(plan: Plan, data: Prepared, earlier: Earlier) -> Progress:
    score = f"val_{score_name(data.task)}{' within the limits' if plan.rules.stopping else ''}"
    return Progress(len(plan.trials), score, done=len(earlier.done), limit_s=plan.settings.time_limit_s or 0.0)


def search(
    run: RecordedRun,
    plan: Plan,
    data: Prepared,
    barrier: Barrier | None = None,
    callbacks: Sequence[tune.Callback] = (),
    earlier: Earlier = NOTHING,
    progress: Progress | None = None,
) -> Record:
    """Run one trial per configuration that is not done yet and return what came of all. Ray must be running."""
    settings, rules, trials = plan.settings, plan.rules, plan.trials
    criteria = rules.stopping.criteria if rules.stopping else None
    progress = progress or _progress(plan, data, earlier)
    record = Record(data.task, progress, criteria, earlier.done, earlier.search_s)
    left = earlier.left(trials)
    if not left:
        return record
    names = run_names(trials)
    inherited = {key: tag for key, tag in run.tags.items() if key in INHERITED}
    callback = SystemMetricsCallback(
        experiment_id=run.experiment_id,
        parent_run_id=run.run_id,
        tags=lambda trial: inherited | _repeat(trial.config["configuration"]),
        run_name=lambda trial: names[trial.config["configuration"].trial_key],
        params=lambda trial: trial.config["configuration"].searched | settings.shared,
        continues=lambda trial: earlier.run_of(trial.config["configuration"]),
        views=False,
    )
    rows = data.split.fit_rows
    costs = ledger.start(rows, criteria.metrics, trials, earlier.known) if criteria else None
    trainable = tune.with_parameters(
        Trial,
        data=data,
        first=FirstTrials(barrier, one_of_each(trials), costs) if barrier else None,
        stopping=rules.stopping,
        ledger=costs,
        every_report=rules.scheduler != "none",
        groups=settings.groups,
    )
    steps = max(trial.steps(rows) for trial in trials)
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        try:
            tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                param_space={"configuration": tune.grid_search(left)},
                tune_config=tune.TuneConfig(
                    reuse_actors=True,
                    search_alg=RecoveringTrials(max_concurrent=plan.place.max_concurrent),
                    time_budget_s=settings.time_limit_s,
                    **scheduling(rules.scheduler, trials[0].report_every, steps),
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    callbacks=[*callbacks, record, callback],
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
    ended_from_outside.tell(run, ran, settings.time_limit_s or 0.0)
    record.trials = earlier.in_order(record.trials, trials)
    return record


def _repeat(configuration: Configuration) -> dict[str, str]:
    """The tag of a trial that repeats an earlier one."""
    return {REPEAT: str(configuration.repeat)} if configuration.repeat else {}
