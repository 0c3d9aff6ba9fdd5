"""The prepare entry point: a dataset, split and stored in a run."""

from pathlib import Path

import numpy as np
import pandas as pd
from cases import cases
from commands import invoke
from mlflow.artifacts import download_artifacts

from entrypoints.datasets import known
from entrypoints.datasets.splits import make_split
from entrypoints.prepare import prepare
from entrypoints.runs.mlflow_io import load_json, load_rows


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


def test_prepare_takes_the_rows_that_are_asked_for(store_in_use):
    """Of a file in the user's folder: a sample of the table.

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


WITH_COPIES = pd.DataFrame({"a": np.arange(80) % 64 * 0.1, "g": np.arange(80), "y": np.arange(80) % 64 * 0.7})
FEW_VALUES = pd.DataFrame({"a": np.arange(80) % 5, "g": np.arange(80), "y": np.arange(80) % 2})
ARE_COPIES = "Duplicates: 20 % of the rows are exact copies of others"


@cases(
    "table, options, says, is_apart",
    {
        "by default": (WITH_COPIES, {}, f"{ARE_COPIES}: all copies of a row stay in one part and one fold;", True),
        "kept": (WITH_COPIES, {"duplicates": "keep"}, "; duplicates=together keeps copies in one part", False),
        "by group": (WITH_COPIES, {"group": "g"}, "on new ones; leave them out of the file", False),
        "by time": (WITH_COPIES, {"time": "g"}, "on new ones; leave them out of the file", False),
        "by chance": (FEW_VALUES, {}, "", False),
    },
)
def test_copies_of_rows_of_a_users_table_stay_on_one_side_and_a_line_says_so(
    table, options, says, is_apart, store_in_use
):
    """Unless a column says how rows are split, or rows are equal since their columns have few values."""
    table.to_csv("own.csv", index=False)
    command = invoke(prepare, dataset="own.csv", target="y", folds="2", drop="g", **options)
    assert command.exit_code == 0, command.output
    assert says in command.stdout
    assert bool(says) is ("Duplicates" in command.stdout)
    (run,) = store_in_use.search_runs(["0"])
    assert (run.data.metrics["test_rows_in_training_percent"] == 0) is is_apart
    assert run.data.tags.get("sysmetrics.copies", "") in command.stdout
    assert ("sysmetrics.copies" in run.data.tags) is (bool(says) and not is_apart)
