"""What a study says and records before its first trial: its data, how long it takes, and how to shorten that."""

from __future__ import annotations

import math

import click
import mlflow
from mlflow.data.pandas_dataset import PandasDataset, from_pandas
from mlflow.exceptions import MlflowException

from entrypoints.datasets.splits import Split
from entrypoints.datasets.tables import Table
from entrypoints.limits.duration_forecast import Forecast, search_seconds
from entrypoints.progress import duration
from entrypoints.runs import RecordedRun
from entrypoints.search.earlier import Earlier
from entrypoints.search.plan import Plan
from entrypoints.settings import StudySettings
from entrypoints.tags import DATA_SOURCE

INPUT_ATTEMPTS = 3
SCHEMA_CHARACTERS = 1_048_575  # the most that MLflow stores
LONG_S = 3600.0  # a study that takes longer is announced with what would shorten it


class _WithoutSchema(PandasDataset):
    """A table as MLflow records it, but for the list of its columns."""

    @property
    def schema(self) -> None:
        """Nothing."""
        return


def log_dataset(run: RecordedRun, table: Table) -> None:
    """Record the dataset as an input of the study's run, without the schema of columns if that is too long for it."""
    source = f"https://www.openml.org/d/{table.openml_id}" if table.openml_id else table.source
    dataset = from_pandas(table.frame, source=source, targets=table.target, name=table.name)
    if len(dataset.to_dict()["schema"]) > SCHEMA_CHARACTERS:
        click.echo(f"The dataset's {table.frame.shape[1]} columns are too many for MLflow's record of its schema")
        dataset = _WithoutSchema(table.frame, dataset.source, table.target, dataset.name, dataset.digest)
    for attempts_left in reversed(range(INPUT_ATTEMPTS)):
        try:
            mlflow.log_input(dataset, context="training")
            break
        except MlflowException:
            # Of two studies that record the same dataset at once MLflow refuses one, and finds it there the next time.
            if not attempts_left:
                raise
    run.client.set_tag(run.run_id, DATA_SOURCE, table.source)


def data_line(table: Table, split: Split, prepare_run_id: str, reused: bool) -> str:
    """The dataset in one line."""
    target = f"{table.target} ({table.task})"
    sizes = f"{len(split.train)} training and {len(split.test)} test rows, {len(table.feature_names)} features"
    return f"{table.name}, {target}, {sizes}, prepared {'before ' if reused else ''}in run {prepare_run_id}"


def announce(plan: Plan, cpus: int, expected: Forecast, earlier: Earlier) -> None:
    """Say what is about to happen, and for how long."""
    settings, left = plan.settings, {trial.place for trial in earlier.left(plan.trials)}
    expected_s = zip(plan.trials, expected.trials_s, strict=True)
    search_s = search_seconds([trial_s for trial, trial_s in expected_s if trial.place in left], cpus)
    within = f", at most {duration(settings.time_limit_s)}" if settings.time_limit_s else ""
    of = f" of {len(plan.trials)}" if earlier.done else ""
    click.echo(
        f"Search: {len(left)}{of} trials of {settings.folds} folds on {cpus} CPU cores, "
        f"about {duration(search_s)}{within}"
    )
    if search_s > LONG_S and (settings.time_limit_s or math.inf) > LONG_S:
        click.echo(how_to_shorten(settings, len(left), search_s, cpus))
    if plan.rules.stopping:
        click.echo(f"Limits: {plan.rules.stopping.criteria}; they may end the search sooner")


def how_to_shorten(settings: StudySettings, trials: int, expected_s: float, cpus: int) -> str:
    """What to say of a study that takes longer than an hour: how long, and what would shorten it."""
    within_an_hour = max(1, int(trials * 3600 / expected_s))
    return (
        f"This study takes about {duration(expected_s)} on {cpus} CPU cores and starts now. To shorten it, stop it and "
        f"set max_trials (about {within_an_hour} of the {trials} take an hour), max_rows, "
        f"folds (now {settings.folds}), max_steps, max_epochs, or time_limit_s (the best by then counts)."
    )
