"""A dataset in MLflow: prepared, as artifacts of a run that are found again, and as the input of a study's run."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import DEFAULT, Mock

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from stored_studies import experiment_id

from entrypoints.datasets import known
from entrypoints.datasets.dataset_input import log_dataset
from entrypoints.datasets.prepared import Request
from entrypoints.datasets.splits import make_split
from entrypoints.datasets.stored import obtain
from entrypoints.datasets.tables import Table
from entrypoints.runs import RecordedRun


@pytest.fixture
def parent(client: MlflowClient) -> RecordedRun:
    """A study's run."""
    return RecordedRun.of(client, client.create_run(experiment_id(client), tags={"sysmetrics.kind": "study"}))


def _obtained(study: RecordedRun, table: Table, request: Request) -> tuple[str, bool]:
    return obtain(study, table, make_split(table, folds=request.folds, seed=request.seed), request)


def test_prepare_run_holds_the_table_as_parquet_its_split_and_what_identifies_it(parent: RecordedRun) -> None:
    """Artifacts that other tools can read, and the request beside them."""
    table = known.load("diabetes")
    run_id, _ = _obtained(parent, table, Request("diabetes", None, 4, 1))
    folder = Path(download_artifacts(run_id=run_id, tracking_uri=parent.client.tracking_uri))
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "table.parquet"), table.frame)
    assert json.loads((folder / "split.json").read_text()) == make_split(table, folds=4, seed=1).to_json()
    asked = {"dataset": "diabetes", "max_rows": "all", "folds": "4", "seed": "1"}
    run = parent.client.get_run(run_id)
    assert run.data.params == asked | {"group": "none", "time": "none", "duplicates": "keep"}
    assert run.data.tags["sysmetrics.digest"] == table.digest


def test_obtain_prepares_once_and_then_finds_what_was_prepared(
    parent: RecordedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first study has a nested prepare run; the second one finds it, and leaves no copy of the table behind.

    Other rows are a content of their own, other folds another split.
    """
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    table, request = known.load("red_wine"), Request("red_wine", None, 3, 0)
    run_id, reused = _obtained(parent, table, request)
    assert not reused
    run = parent.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert run.data.tags["sysmetrics.kind"] == "prepare"
    fewer, of_fewer = known.load("red_wine", max_rows=400), Request("red_wine", 400, 3, 0)
    assert not _obtained(parent, fewer, of_fewer)[1]
    for changes in ({"folds": 4}, {"seed": 1}, {"duplicates": "together"}):
        assert not _obtained(parent, table, replace(request, **changes))[1]
    assert _obtained(parent, table, request) == (run_id, True)
    assert _obtained(parent, fewer, of_fewer)[1]
    assert [*temporary.iterdir()] == []
    parent.client.set_terminated(run_id, "FAILED")  # as where it was interrupted
    assert not _obtained(parent, table, request)[1]


def _input(client: MlflowClient, table: Table) -> Any:
    """The dataset in the run of a study that has recorded it."""
    with mlflow.start_run() as active:
        log_dataset(RecordedRun.of(client, active), table)
    (recorded,) = client.get_run(active.info.run_id).inputs.dataset_inputs
    return recorded.dataset


def test_dataset_that_another_study_records_at_the_same_time_is_recorded(
    store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow refuses the second of two equal ones, with an error of its database, and takes it at the next attempt."""
    refused = MlflowException("UniqueViolation: duplicate key value violates unique constraint dataset_pk")
    monkeypatch.setattr(mlflow, "log_input", Mock(wraps=mlflow.log_input, side_effect=[refused, DEFAULT]))
    assert _input(store_in_use, known.load("red_wine")).name == "red_wine"


def test_dataset_of_more_columns_than_mlflow_lists_is_recorded_without_the_list(
    store_in_use: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its name, digest, size and target; the terminal says what is not there."""
    wide = pd.DataFrame(np.zeros((3, 2_001)), columns=[f"{'measurement ' * 40}{place}" for place in range(2_001)])
    table = Table("wide", wide.assign(y=[1.0, 2.0, 3.0]), "y", "regression", None)
    dataset = _input(store_in_use, table)
    assert [each["name"] for each in json.loads(dataset.schema)["mlflow_colspec"]] == ["y"]
    assert (dataset.digest, json.loads(dataset.profile)["num_rows"]) == (table.digest[:36], 3)
    assert "The dataset's 2002 columns are too many for MLflow's record of its schema" in capsys.readouterr().out
