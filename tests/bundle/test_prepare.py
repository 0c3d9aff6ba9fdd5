"""The prepare entry point: a dataset, split and stored in a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from commands import copy_store, in_use, runs_of_kind, store_uri
from mlflow import MlflowClient
from mlflow.entities import Run

from entrypoints.datasets import known
from entrypoints.datasets.prepared import Request
from entrypoints.datasets.splits import make_split
from entrypoints.datasets.stored import check, find
from entrypoints.prepare import prepare


def made(folder: Path, **options: str) -> Result:
    """What the command prints in this process; its store is the one in a folder, where it is typed."""
    with in_use(folder):
        return CliRunner().invoke(prepare, [part for name in options for part in (f"--{name}", options[name])])


@pytest.fixture(scope="module")
def folder(new_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command runs and its store is."""
    return copy_store(new_store, tmp_path_factory.mktemp("prepare"))


@pytest.fixture(scope="module")
def command(folder: Path) -> Result:
    """The command on the classification dataset."""
    return made(folder, dataset="diabetes", folds="4", seed="7")


@pytest.fixture(scope="module")
def client(command: Result, folder: Path) -> MlflowClient:
    """The store, when the command has ended."""
    return MlflowClient(store_uri(folder))


@pytest.fixture(scope="module")
def run(client: MlflowClient) -> Run:
    """The command's run."""
    (run,) = runs_of_kind(client, "prepare")
    return run


def test_prepare_is_a_finished_run_of_its_own(command: Result, client: MlflowClient, run: Run) -> None:
    """It is the only one, and has the request as parameters."""
    assert (command.exit_code, run.info.status, run.info.run_name) == (0, "FINISHED", "prepare diabetes")
    assert len(client.search_runs(["0"])) == 1
    assert run.data.params == {"dataset": "diabetes", "target": "auto", "max_rows": "all", "folds": "4", "seed": "7"}


def test_prepare_tells_what_it_has_made_and_where(command: Result, run: Run) -> None:
    """Its one line of output has the sizes and the run's id."""
    expected = "Data: diabetes, class (classification), 537 training and 231 test rows, 8 features, prepared in run "
    assert command.stdout == f"{expected}{run.info.run_id}\n"


def test_prepare_records_sizes_source_and_digest(run: Run) -> None:
    """What a study needs to find the data again, and what a person wants to see of it."""
    sizes = {"rows": 768, "features": 8, "train_rows": 537, "test_rows": 231, "duplicate_rows": 0}
    assert {name: run.data.metrics[name] for name in sizes} == sizes
    assert run.data.tags["sysmetrics.digest"] == known.load("diabetes").digest
    assert run.data.tags["sysmetrics.data_source"] == "bundled"
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == ["diabetes"]


def test_prepare_run_holds_the_table_and_the_split_of_a_study(client: MlflowClient, run: Run) -> None:
    """To the last bit; not those of another seed."""
    table = known.load("diabetes")
    split, other = (make_split(table, folds=4, seed=seed) for seed in (7, 8))
    check(client, run.info.run_id, table, split)
    with pytest.raises(RuntimeError, match="are not what this study asks for"):
        check(client, run.info.run_id, table, other)


@pytest.mark.parametrize("name", ["diabetes", "the same, as a file"], ids=["same", "other name"])
def test_prepared_data_is_found_for_the_same_request(client: MlflowClient, run: Run, name: str) -> None:
    """A study with the same content, folds and seed finds this run, whatever it calls the dataset."""
    found = find(client, "0", Request(name, None, 4, 7), known.load("diabetes").digest)
    assert found is not None
    assert found.info.run_id == run.info.run_id


def test_prepare_takes_the_rows_that_are_asked_for_and_counts_the_duplicates(empty_store: Path) -> None:
    """Of a file in the user's folder: a sample of the table, and how many of its rows equal an earlier one."""
    (empty_store / "own.csv").write_text("a,b,y\n" + "".join(f"{number % 15},x,{number % 2}\n" for number in range(90)))
    command = made(empty_store, dataset="own.csv", target="y", max_rows="60", folds="2")
    assert command.exit_code == 0, command.output
    client = MlflowClient(store_uri(empty_store))
    (run,) = runs_of_kind(client, "prepare")
    assert run.data.metrics["rows"] == 60
    table = known.load(str(empty_store / "own.csv"), target="y").sample(60, 0)
    check(client, run.info.run_id, table, make_split(table, folds=2, seed=0))
    rows = [*table.frame.itertuples(index=False, name=None)]
    # Fifteen values of a, each with both labels: at most thirty rows differ.
    assert run.data.metrics["duplicate_rows"] == 60 - len(set(rows)) >= 30
