"""A dataset as the input of a run, and in one line."""

from __future__ import annotations

import warnings

import click
import mlflow
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from entrypoints.datasets.splits import Split, copied_percent
from entrypoints.datasets.tables import Table
from entrypoints.errors import say
from entrypoints.mlflow_io import log_tables
from entrypoints.runs import RecordedRun

SCHEMA_CHARACTERS = 1_048_575  # the most that MLflow stores
DIGEST_CHARACTERS = 36  # likewise
MATTERING_PERCENT = 1.0  # of rows that are copies


def log_dataset(run: RecordedRun, table: Table) -> None:
    """Record the dataset as an input of a run, with the schema of its columns if MLflow can store it.

    A table among its artifacts, columns.json, says how each column of the user's file is treated.
    """
    source = f"https://www.openml.org/d/{table.openml_id}" if table.openml_id else "file"
    digest = table.digest[:DIGEST_CHARACTERS]  # MLflow's own is of numbers alone, and of the first 10,000 rows
    about = {"source": source, "targets": table.target, "name": table.name, "digest": digest}
    warnings.filterwarnings("ignore", "The specified dataset source can be interpreted")  # as MLflow says of any path
    dataset = from_pandas(table.frame, **about)
    if len(dataset.to_dict()["schema"]) > SCHEMA_CHARACTERS:
        click.echo(f"The dataset's {table.frame.shape[1]} columns are too many for MLflow's record of its schema")
        dataset = from_pandas(table.frame[[table.target]], **about)
    try:
        mlflow.log_input(dataset, context="training")
    except MlflowException:
        # Of two studies that record the same dataset at once MLflow refuses one, and finds it there the next time.
        mlflow.log_input(dataset, context="training")
    rows = [dict(zip(("column", "read as", "details"), each, strict=True)) for each in table.treatment]
    log_tables(run.client, run.run_id, {"columns.json": rows})


def record_duplicates(run: RecordedRun, table: Table, split: Split) -> None:
    """Record the share of rows that are exact copies, and of test rows that are trained on; say so if it matters."""
    copies = 100 * table.duplicate_rows / len(table.frame)
    in_training = copied_percent(table, split)
    figures = {"duplicate_rows_percent": copies, "test_rows_in_training_percent": in_training}
    run.client.log_batch(run.run_id, metrics=[Metric(name, value, 0, 0) for name, value in figures.items()])
    sentence = of_duplicates(copies, in_training)
    if sentence:
        say(sentence)


def of_duplicates(copies: float, in_training: float) -> str:
    """What exact copies of rows mean for the scores; empty where they are too few to matter.

    Args:
        copies: the percentage of rows that equal an earlier one.
        in_training: the percentage of test rows that equal a row of the training part.
    """
    if copies <= MATTERING_PERCENT:
        return ""
    are = f"Duplicates: {copies:.3g} % of the rows are exact copies of others"
    if not in_training:
        return f"{are}; none is both in the test and in the training part"
    return (
        f"{are}, and {in_training:.3g} % of the test rows are in the training part too: models that memorise rows "
        "(forests, boosting, nearest neighbours) look better than they are on new ones; duplicates=together keeps "
        "copies in one part"
    )


def data_line(table: Table, split: Split, prepare_run_id: str, reused: bool) -> str:
    """The dataset in one line."""
    target = f"{table.target} ({table.task})"
    sizes = f"{len(split.train)} training and {len(split.test)} test rows, {len(table.feature_names)} features"
    return f"{table.name}, {target}, {sizes}, prepared {'before ' if reused else ''}in run {prepare_run_id}"
