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
from entrypoints.runs.mlflow_io import log_tables
from entrypoints.runs.recorded import RecordedRun
from entrypoints.runs.tags import COPIES, DIGEST

SCHEMA_CHARACTERS = 1_048_575  # the most that MLflow stores
DIGEST_CHARACTERS = 36  # likewise
TREATMENT = ("column", "read as", "details")


def record_data(run: RecordedRun, table: Table, split: Split) -> str:
    """Record what a run works on, say it, and return what to beware of: copies of rows in both parts, or nothing.

    Its artifacts are columns.json, a table of how each column of the user's file is treated, and split.json, the row
    numbers of each part. A tag has what is returned.
    """
    log_dataset(table)
    columns = [dict(zip(TREATMENT, column, strict=True)) for column in table.treatment]
    log_tables(run.client, run.run_id, {"columns.json": columns})
    run.client.log_dict(run.run_id, split.to_json(), "split.json")
    in_training = copied_percent(table, split)
    figures = {
        "rows": len(table.frame),
        "features": len(table.feature_names),
        "train_rows": len(split.train),
        "test_rows": len(split.test),
        "duplicate_rows_percent": 100 * table.duplicate_rows / len(table.frame),
        "test_rows_in_training_percent": in_training,
    }
    metrics = [Metric(name, float(value), 0, 0) for name, value in figures.items()]
    tags = [RunTag(DIGEST, table.digest)]
    copies = of_copies(table, split, in_training)
    beware = copies if in_training else ""
    if beware:
        tags.append(RunTag(COPIES, beware))
    run.client.log_batch(run.run_id, metrics=metrics, tags=tags)
    target = f"{table.target} ({table.task})"
    sizes = f"{len(split.train)} training and {len(split.test)} test rows, {len(table.feature_names)} features"
    say(f"Data: {table.name}, {target}, {sizes}")
    if copies:
        say(f"Duplicates: {copies}")
    return beware


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


def of_copies(table: Table, split: Split, in_training: float) -> str:
    """What exact copies of rows mean for the scores, as a sentence; empty if there are few, or as many as by chance.

    Args:
        table: the rows.
        split: of them.
        in_training: the percentage of test rows that equal a row of the training part.
    """
    if not table.has_many_copies:
        return ""
    are = f"{100 * table.duplicate_rows / len(table.frame):.3g} % of the rows are exact copies of others"
    is_by_option = table.groups is not None or table.times is not None
    if split.groups is not None and not is_by_option:
        return f"{are}: all copies of a row stay in one part and one fold; duplicates=keep splits them like other rows"
    if not in_training:
        return f"{are}; none is both in the test and in the training part"
    keeps = "leave them out of the file" if is_by_option else "duplicates=together keeps copies in one part"
    return (
        f"{are}, and {in_training:.3g} % of the test rows are in the training part too: a model that memorises rows "
        f"looks better than it is on new ones; {keeps}"
    )
