"""The data of a study in its run: the table as an input, its split, sizes and copied rows; and in one line."""

from __future__ import annotations

import warnings

import click
import mlflow
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException

from entrypoints.datasets.splits import Split, copied_percent
from entrypoints.datasets.tables import Table
from entrypoints.errors import say
from entrypoints.mlflow_io import log_tables
from entrypoints.runs import RecordedRun
from entrypoints.tags import DIGEST

SCHEMA_CHARACTERS = 1_048_575  # the most that MLflow stores
DIGEST_CHARACTERS = 36  # likewise
MATTERING_PERCENT = 1.0  # of rows that are copies
TREATMENT = ("column", "read as", "details")


def record_data(run: RecordedRun, table: Table, split: Split) -> float:
    """Record what a run works on, say it, and return the percentage of rows that are exact copies of others.

    Its artifacts are columns.json, a table of how each column of the user's file is treated, and split.json, the row
    numbers of each part.
    """
    log_dataset(table)
    columns = [dict(zip(TREATMENT, column, strict=True)) for column in table.treatment]
    log_tables(run.client, run.run_id, {"columns.json": columns})
    run.client.log_dict(run.run_id, split.to_json(), "split.json")
    copies = 100 * table.duplicate_rows / len(table.frame)
    in_training = copied_percent(table, split)
    figures = {
        "rows": len(table.frame),
        "features": len(table.feature_names),
        "train_rows": len(split.train),
        "test_rows": len(split.test),
        "duplicate_rows_percent": copies,
        "test_rows_in_training_percent": in_training,
    }
    metrics = [Metric(name, float(value), 0, 0) for name, value in figures.items()]
    run.client.log_batch(run.run_id, metrics=metrics, tags=[RunTag(DIGEST, table.digest)])
    target = f"{table.target} ({table.task})"
    sizes = f"{len(split.train)} training and {len(split.test)} test rows, {len(table.feature_names)} features"
    say(f"Data: {table.name}, {target}, {sizes}")
    sentence = of_duplicates(copies, in_training)
    if sentence:
        say(sentence)
    return copies


def log_dataset(table: Table) -> None:
    """Record the dataset as an input of the active run, with the schema of its columns if MLflow can store it."""
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
