"""The prepare entry point: a dataset, split and stored in a run."""

from pathlib import Path

import pandas as pd
import pytest
from commands import invoke
from mlflow.artifacts import download_artifacts

from entrypoints.datasets import known
from entrypoints.datasets.splits import make_split
from entrypoints.mlflow_io import load_json, load_rows
from entrypoints.prepare import prepare


def test_prepare_leaves_a_finished_run_that_holds_and_says_what_a_study_needs(store_in_use):
    """The request, sizes and digest, in one line of output, too; the table and the split to the last bit."""
    command = invoke(prepare, dataset="diabetes", folds="4", seed="7")
    assert command.exit_code == 0, command.output
    assert command.stdout == "Data: diabetes, class (classification), 537 training and 231 test rows, 8 features\n"
    (run,) = store_in_use.search_runs(["0"])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "prepare diabetes")
    assert run.data.params.items() >= {"target": "auto", "max_rows": "all", "folds": "4", "seed": "7"}.items()
    sizes = {"rows": 768, "features": 8, "train_rows": 537, "test_rows": 231, "duplicate_rows_percent": 0}
    assert run.data.metrics.items() >= sizes.items()
    table = known.load("diabetes")
    assert run.data.tags["sysmetrics.digest"] == table.digest
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == ["diabetes"]
    split = load_json(store_in_use, run.info.run_id, "split.json")
    assert split == make_split(table, folds=4, seed=7).to_json()
    stored = Path(download_artifacts(run_id=run.info.run_id))
    pd.testing.assert_frame_equal(pd.read_parquet(stored / "table.parquet"), table.frame)


def test_prepare_takes_the_rows_that_are_asked_for_and_counts_the_duplicates(store_in_use):
    """Of a file in the user's folder: a sample of the table, and how many of its rows equal an earlier one.

    A table in the run says how each column is read.
    """
    file = Path("own.csv")
    file.write_text("a,b,y\n" + "".join(f"{number % 15},x,{number % 2}\n" for number in range(90)))
    command = invoke(prepare, dataset=str(file), target="y", drop="b", max_rows="60", folds="2")
    assert command.exit_code == 0, command.output
    (run,) = store_in_use.search_runs(["0"])
    assert run.data.metrics["rows"] == 60
    table = known.load(str(file.absolute()), target="y", max_rows=60)
    assert run.data.tags["sysmetrics.digest"] == table.digest
    rows = load_rows(store_in_use, run.info.run_id, "columns.json")
    assert [[*row.values()] for row in rows] == [["a", "numbers", ""], ["b", "left out", "drop"], ["y", "target", ""]]
    percent = run.data.metrics["duplicate_rows_percent"]
    assert percent == pytest.approx(table.frame.duplicated().sum() / 0.6)
    in_training = run.data.metrics["test_rows_in_training_percent"]
    says = f"Duplicates: {percent:.3g} % of the rows are exact copies of others, and {in_training:.3g} % of the test"
    assert says in command.stdout
