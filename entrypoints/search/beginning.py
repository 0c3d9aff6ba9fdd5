"""What a study says and records before its first trial: its data, how long it takes, and how to shorten that."""

from __future__ import annotations

import math
from collections.abc import Sequence

import click
import mlflow
from mlflow.data.pandas_dataset import from_pandas
from mlflow.exceptions import MlflowException

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.tables import Table
from entrypoints.models.configuration import Configuration
from entrypoints.progress import duration
from entrypoints.runs import RecordedRun
from entrypoints.search.plan import Plan
from entrypoints.tags import DATA_SOURCE

SCHEMA_CHARACTERS = 1_048_575  # the most that MLflow stores
LONG_S = 3600.0  # a study that takes longer is announced with what would shorten it


def log_dataset(run: RecordedRun, table: Table) -> None:
    """Record the dataset as an input of the study's run, with the schema of its columns if MLflow can store it."""
    source = f"https://www.openml.org/d/{table.openml_id}" if table.openml_id else table.source
    about = {"source": source, "targets": table.target, "name": table.name}
    dataset = from_pandas(table.frame, **about)
    if len(dataset.to_dict()["schema"]) > SCHEMA_CHARACTERS:
        click.echo(f"The dataset's {table.frame.shape[1]} columns are too many for MLflow's record of its schema")
        dataset = from_pandas(table.frame[[table.target]], digest=dataset.digest, **about)
    try:
        mlflow.log_input(dataset, context="training")
    except MlflowException:
        # Of two studies that record the same dataset at once MLflow refuses one, and finds it there the next time.
        mlflow.log_input(dataset, context="training")
    run.client.set_tag(run.run_id, DATA_SOURCE, table.source)


def data_line(data: Prepared, prepare_run_id: str, reused: bool) -> str:
    """The dataset in one line."""
    target = f"{data.target} ({data.task})"
    sizes = f"{len(data.split.train)} training and {len(data.split.test)} test rows, {len(data.feature_names)} features"
    return f"{data.name}, {target}, {sizes}, prepared {'before ' if reused else ''}in run {prepare_run_id}"


def announce(plan: Plan, left: Sequence[Configuration], cpus: int, search_s: float) -> None:
    """Say what is about to happen.

    Args:
        plan: of the study.
        left: the trials that are to be run.
        cpus: how many at once.
        search_s: how long they are expected to take in all.
    """
    settings, trials, takes = plan.settings, len(left), duration(search_s)
    within = f", at most {duration(settings.time_limit_s)}" if settings.time_limit_s else ""
    of = f" of {len(plan.trials)}" if trials < len(plan.trials) else ""
    click.echo(f"Search: {trials}{of} trials of {settings.folds} folds on {cpus} CPU cores, about {takes}{within}")
    if min(search_s, settings.time_limit_s or math.inf) > LONG_S:
        within_an_hour = max(1, int(trials * 3600 / search_s))
        click.echo(
            f"This study takes about {takes} on {cpus} CPU cores and starts now. To shorten it, stop it and set "
            f"max_trials (about {within_an_hour} of the {trials} take an hour), max_rows, folds (now {settings.folds}),"
            " max_steps, max_epochs, or time_limit_s (the best by then counts)."
        )
    if plan.stopping:
        click.echo(f"Limits: {plan.stopping.criteria}; they may end the search sooner")
