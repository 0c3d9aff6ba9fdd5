"""A study: grid -> Tuner -> callback -> the study's run. What ``tune`` and ``early_stop`` share."""

from __future__ import annotations

import tempfile
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any

import click
from ray import tune

from entrypoints import best_model, datasets, forecast, summary, workers
from entrypoints.errors import UserError
from entrypoints.grid import SEARCHED, Config, algorithms_for, grid, run_name
from entrypoints.learners import score_name
from entrypoints.options import StudySettings, own_target
from entrypoints.prepared import Prepared, Request, obtain, split_for
from entrypoints.progress import Progress, Stages, duration
from entrypoints.record import Record
from entrypoints.runs import RecordedRun
from entrypoints.trial import Trial
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback

# Who ran what: trials show it in the same columns of the UI as their study.
INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


def run_study(run: RecordedRun, settings: StudySettings) -> None:
    """Search the grid, refit the best model, and leave everything in the study's run and its children.

    Raises:
        UserError: the settings do not fit the dataset, or no trial came to a usable end.
    """
    stages = Stages(run.start)
    table = datasets.load(settings.dataset, target=own_target(settings.target))
    request = Request(settings.dataset, settings.folds, settings.seed)
    # All that can be wrong with the settings is found before anything slow begins.
    configs = grid(settings, split_for(table, request), algorithms_for(table.task, settings.algorithm))
    with ExitStack() as stack:
        # This thread must outlive the study: the kernel ends Ray's processes with the thread that started them.
        executor = stack.enter_context(ThreadPoolExecutor(1, "ray-start"))
        ray_up: Future[None] = executor.submit(workers.start, settings.cpus)
        stack.callback(workers.stop)
        stack.callback(wait, [ray_up])  # Ray can be stopped only once it has started
        stages.end("start")
        data, prepare_run_id, reused = obtain(run, table, request, ray_up.result)
        run.client.set_tag(run.run_id, "sysmetrics.prepare_run_id", prepare_run_id)
        summary.log_dataset(run, table)
        click.echo(f"Data: {summary.data_line(data, prepare_run_id, reused)}")
        stages.end("data")
        ray_up.result()
        cpus = min(settings.cpus or workers.usable_cpus(), len(configs))
        expected = forecast.study_seconds(configs, data, cpus)
        click.echo(
            f"Search: {len(configs)} trials of {settings.folds} folds on {cpus} CPU cores, about {duration(expected)}"
        )
        stages.end("forecast")
        record = search(run, data, configs, cpus)
        stages.end("search")
        if record.best is None:
            raise UserError(summary.no_usable_trial(list(record.trials.values())))
        best = best_model.refit(record.best.config, data)
        best_model.log(run, best, data)
        stages.end("best model")
        summary.log_study(run, settings, data, record, best.figures, expected)
        stages.end("summary")
    click.echo(summary.closing(run, data, record, best.figures))
    first = (record.first_start or 0) - stages.start
    click.echo(f"Time since the study's run was created: first trial after {first:.1f} s; {stages}")


def search(run: RecordedRun, data: Prepared, configs: list[Config], cpus: int) -> Record:
    """Run one trial per configuration and return what came of them. Ray must be running."""
    record = Record(data.task, Progress(len(configs), f"val_{score_name(data.task)}"))
    callback = SystemMetricsCallback(
        experiment_id=run.experiment_id,
        parent_run_id=run.run_id,
        tags={key: tag for key, tag in run.tags.items() if key in INHERITED},
        run_name=lambda trial: run_name(trial.config, configs),
    )
    trainable = tune.with_parameters(Trial, data=data, barrier=workers.barrier(cpus))
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        try:
            tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                param_space={**configs[0], **{key: tune.grid_search(_values(configs, key)) for key in SEARCHED}},
                tune_config=tune.TuneConfig(reuse_actors=True),
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
    return record


def _values(configs: list[Config], key: str) -> list[Any]:
    return list(dict.fromkeys(config[key] for config in configs))
