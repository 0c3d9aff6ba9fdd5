"""A study: grid -> Tuner -> callback -> the study's run. What ``tune`` and ``early_stop`` share."""

from __future__ import annotations

import itertools
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import click
import psutil
from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from entrypoints import best_model, datasets, forecast, summary, workers
from entrypoints.errors import UserError
from entrypoints.learners import ALGORITHMS, Task, better, score_name
from entrypoints.options import AUTO, StudySettings
from entrypoints.preparation import obtain
from entrypoints.prepared import Prepared, Request
from entrypoints.progress import Progress, duration
from entrypoints.runs import RecordedRun
from entrypoints.trial import Trial
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback

Config = dict[str, Any]
# Who ran what: trials show it in the same columns of the UI as their study.
INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")
SEARCHED = ("algorithm", "batch_size", "learning_rate", "alpha")


@dataclass
class TrialRecord:
    """What the study knows of one trial. ``figures`` holds the last value of every metric outside ``system/``."""

    trial_id: str
    config: Config
    status: str = "RUNNING"
    figures: dict[str, float] = field(default_factory=dict)
    folds: list[dict[str, float]] = field(default_factory=list)
    diverged: bool = False
    run_id: str | None = None


class Stages:
    """Where the time goes: seconds from the command's start to the end of each named stage."""

    def __init__(self) -> None:
        self._last = _command_start()
        self.start = self._last
        self.seconds: dict[str, float] = {}

    def end(self, name: str) -> None:
        """Everything since the last stage was this one."""
        now = time.time()
        self.seconds[name] = now - self._last
        self._last = now

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())


class Record(tune.Callback):
    """Follows the search on the driver: each trial's last figures, the best so far, progress on the terminal."""

    def __init__(self, task: Task, progress: Progress) -> None:
        self.trials: dict[str, TrialRecord] = {}
        self.first_start: float | None = None
        self.last_end: float | None = None
        self._task = task
        self._score = f"val_{score_name(task)}"
        self._progress = progress

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note the trial, and the moment when the search began."""
        self.first_start = self.first_start or time.time()
        self._progress.trial_started()
        self.trials[trial.trial_id] = TrialRecord(trial.trial_id, dict(trial.config))

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Keep what the trial's last result says."""
        record, result = self._end(trial), trial.last_result or {}
        record.status = "FINISHED" if result.get("figures") else "KILLED"
        record.figures = result.get("figures", {})
        record.folds = result.get("folds", [])
        record.diverged = result.get("diverged", False)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note that the trial has failed; its run says how."""
        self._end(trial).status = "FAILED"

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Keep the terminal's line up to date."""
        best = self.best
        self._progress.show(best.figures[self._score] if best else None)

    def on_experiment_end(self, trials: list[TuneTrial], **info: Any) -> None:
        """Write the last line of progress."""
        best = self.best
        self._progress.show(best.figures[self._score] if best else None, last=True)

    @property
    def best(self) -> TrialRecord | None:
        """The trial with the best validation score among those that ran to their end and did not diverge."""
        ranked = self.ranked
        return ranked[0] if ranked else None

    @property
    def ranked(self) -> list[TrialRecord]:
        """Those trials, best first."""
        able = [record for record in self.trials.values() if record.status == "FINISHED" and not record.diverged]
        return sorted(able, key=lambda record: record.figures[self._score], reverse=better(self._task, 1.0, than=0.0))

    def _end(self, trial: TuneTrial) -> TrialRecord:
        self.last_end = time.time()
        self._progress.trial_ended()
        return self.trials.setdefault(trial.trial_id, TrialRecord(trial.trial_id, dict(trial.config)))


def run_study(run: RecordedRun, settings: StudySettings) -> None:
    """Search the grid, refit the best model, and leave everything in the study's run and its children.

    Raises:
        UserError: the settings do not fit the dataset, or no trial came to a usable end.
    """
    stages = Stages()
    table = datasets.load(settings.dataset)
    algorithms = algorithms_for(table.task, settings.algorithm)
    with ExitStack() as stack:
        # This thread must outlive the study: the kernel ends Ray's processes with the thread that started them.
        executor = stack.enter_context(ThreadPoolExecutor(1, "ray-start"))
        ray_up: Future[None] = executor.submit(workers.start, settings.cpus)
        stack.callback(workers.stop)
        stages.end("start")
        request = Request(settings.dataset, settings.folds, settings.seed)
        data, prepare_run_id, reused = obtain(run, table, request, ray_up.result)
        run.client.set_tag(run.run_id, "sysmetrics.prepare_run_id", prepare_run_id)
        summary.log_dataset(run, table)
        click.echo(f"Data: {summary.data_line(data, prepare_run_id, reused)}")
        stages.end("data")
        configs = grid(settings, data, algorithms)
        ray_up.result()
        cpus = min(settings.cpus or workers.usable_cpus(), len(configs))
        expected = forecast.study_seconds(configs, data, cpus)
        click.echo(
            f"Search: {len(configs)} trials of {settings.folds} folds on {cpus} CPU cores, about {duration(expected)}"
        )
        stages.end("forecast")
        record = search(run, settings, data, configs, cpus)
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
    click.echo(f"Time: first trial after {first:.1f} s; {stages}")


def algorithms_for(task: Task, asked: str) -> tuple[str, ...]:
    """The algorithms to search: those named, or all that fit the task.

    Raises:
        UserError: one of them is unknown or does not fit the task.
    """
    fitting = tuple(name for name, algorithm in ALGORITHMS.items() if algorithm.task == task)
    if asked == AUTO:
        return fitting
    names = tuple(dict.fromkeys(name.strip() for name in asked.split(",")))
    wrong = [name for name in names if name not in fitting]
    if wrong:
        raise UserError(
            f"algorithm={asked}: {wrong[0]} does not fit a {task} dataset, where {' or '.join(fitting)} does; "
            f"choose from these, or leave it out for {AUTO}"
            if wrong[0] in ALGORITHMS
            else f"algorithm={asked}: {wrong[0]} is not known; {', '.join(ALGORITHMS)} and {AUTO} are allowed, "
            f"of which {' and '.join(fitting)} fit a {task} dataset; choose from these"
        )
    return names


def grid(settings: StudySettings, data: Prepared, algorithms: tuple[str, ...]) -> list[Config]:
    """All configurations, in the order in which they are tried.

    Raises:
        UserError: a batch is larger than the smallest fold's training part.
    """
    rows = min(len(fit) for fit, _ in data.split.folds)
    sizes = settings.batch_sizes or tuple(2**i for i in range(1, rows.bit_length()))
    if max(sizes) > rows:
        raise UserError(
            f"batch_sizes={','.join(map(str, sizes))}: {max(sizes)} rows are more than the {rows} that a fold trains "
            f"on; the largest batch can be {rows}"
        )
    fixed = {
        key: getattr(settings, key) for key in ("dataset", "folds", "seed", "max_steps", "max_epochs", "report_every")
    }
    return [
        dict(zip(SEARCHED, values, strict=True)) | fixed
        for values in itertools.product(algorithms, sizes, settings.learning_rates, settings.alphas)
    ]


def search(run: RecordedRun, settings: StudySettings, data: Prepared, configs: list[Config], cpus: int) -> Record:
    """Run one trial per configuration and return what came of them. Ray must be running."""
    varied = [key for key in SEARCHED if len({config[key] for config in configs}) > 1] or list(SEARCHED)
    record = Record(data.task, Progress(len(configs), f"val_{score_name(data.task)}"))
    callback = SystemMetricsCallback(
        experiment_id=run.experiment_id,
        parent_run_id=run.run_id,
        tags={key: tag for key, tag in run.tags.items() if key in INHERITED},
        run_name=lambda trial: " ".join(f"{key}={trial.config[key]}" for key in varied),
    )
    trainable = tune.with_parameters(Trial, data=data, barrier=workers.barrier(cpus))
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        try:
            tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                param_space={**configs[0], **{key: tune.grid_search(_values(configs, key)) for key in SEARCHED}},
                tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=None),
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


def _command_start() -> float:
    """When the user pressed return: the start of ``mlflow run`` if that is what started this process."""
    process = psutil.Process()
    parent = process.parent()
    by_mlflow = parent is not None and any("mlflow" in part for part in parent.cmdline()[:3])
    return (parent if by_mlflow and parent else process).create_time()
