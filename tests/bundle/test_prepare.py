"""The prepare entry point: a dataset, split and stored in a run."""

from pathlib import Path

import pandas as pd
import pytest
from commands import in_use, invoke, store_uri, the_run
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from entrypoints.datasets import known
from entrypoints.datasets.splits import make_split
from entrypoints.mlflow_io import load_json, load_rows
from entrypoints.prepare import prepare


def made(folder, **options):
    """What the command prints in this process; its store is the one in a folder, where it is typed."""
    with in_use(folder):
        return invoke(prepare, **options)


def test_prepare_leaves_a_finished_run_that_holds_and_says_what_a_study_needs(empty_store):
    """The request, sizes and digest, in one line of output, too; the table and the split to the last bit."""
    command = made(empty_store, dataset="diabetes", folds="4", seed="7")
    client = MlflowClient(store_uri(empty_store))
    run = the_run(empty_store)
    assert (command.exit_code, run.info.status, run.info.run_name) == (0, "FINISHED", "prepare diabetes")
    assert command.stdout == "Data: diabetes, class (classification), 537 training and 231 test rows, 8 features\n"
    assert run.data.params.items() >= {"target": "auto", "max_rows": "all", "folds": "4", "seed": "7"}.items()
    sizes = {"rows": 768, "features": 8, "train_rows": 537, "test_rows": 231, "duplicate_rows_percent": 0}
    assert run.data.metrics.items() >= sizes.items()
    table = known.load("diabetes")
    assert run.data.tags["sysmetrics.digest"] == table.digest
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == ["diabetes"]
    assert load_json(client, run.info.run_id, "split.json") == make_split(table, folds=4, seed=7).to_json()
    stored = Path(download_artifacts(run_id=run.info.run_id, tracking_uri=store_uri(empty_store)))
    pd.testing.assert_frame_equal(pd.read_parquet(stored / "table.parquet"), table.frame)


def test_prepare_takes_the_rows_that_are_asked_for_and_counts_the_duplicates(empty_store):
    """Of a file in the user's folder: a sample of the table, and how many of its rows equal an earlier one.

    A table in the run says how each column is read.
    """
    (empty_store / "own.csv").write_text("a,b,y\n" + "".join(f"{number % 15},x,{number % 2}\n" for number in range(90)))
    command = made(empty_store, dataset="own.csv", target="y", drop="b", max_rows="60", folds="2")
    assert command.exit_code == 0, command.output
    run = the_run(empty_store)
    assert run.data.metrics["rows"] == 60
    table = known.load(str(empty_store / "own.csv"), target="y", max_rows=60)
    assert run.data.tags["sysmetrics.digest"] == table.digest
    rows = load_rows(MlflowClient(store_uri(empty_store)), run.info.run_id, "columns.json")
    assert [[*row.values()] for row in rows] == [["a", "numbers", ""], ["b", "left out", "drop"], ["y", "target", ""]]
    # Fifteen values of a, each with both labels: at most thirty rows differ.
    percent = run.data.metrics["duplicate_rows_percent"]
    assert percent == pytest.approx(table.frame.duplicated().sum() / 0.6)
    assert percent >= 50
    in_training = run.data.metrics["test_rows_in_training_percent"]
    says = f"Duplicates: {percent:.3g} % of the rows are exact copies of others, and {in_training:.3g} % of the test"
    assert says in command.stdout
