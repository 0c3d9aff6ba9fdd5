"""A dataset as the input of a run, and in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from commands import in_use
from mlflow.data.pandas_dataset import from_pandas
from mlflow.exceptions import MlflowException
from reference import bundled

from entrypoints.datasets import known
from entrypoints.datasets.dataset_input import data_line, log_dataset
from entrypoints.datasets.tables import Table
from entrypoints.runs import RecordedRun


def _logged(empty_store: Path, table: Table) -> Any:
    """The dataset in the run of a study that has recorded it."""
    with in_use(empty_store) as client, mlflow.start_run() as active:
        log_dataset(RecordedRun.of(client, active), table)
        (recorded,) = client.get_run(active.info.run_id).inputs.dataset_inputs
    return recorded.dataset


def test_dataset_that_another_study_records_at_the_same_time_is_recorded(
    empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow refuses the second of two equal ones, with an error of its database, and takes it at the next attempt."""
    refused = [MlflowException("UniqueViolation: duplicate key value violates unique constraint dataset_pk")]
    log_input = mlflow.log_input

    def refuse_once(*args: Any, **kwargs: Any) -> None:
        if refused:
            raise refused.pop()
        log_input(*args, **kwargs)

    monkeypatch.setattr(mlflow, "log_input", refuse_once)
    assert _logged(empty_store, known.load("red_wine")).name == "red_wine"


def test_dataset_of_more_columns_than_mlflow_lists_is_recorded_without_the_list(
    empty_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its name, digest, size and target; the terminal says what is not there."""
    wide = pd.DataFrame(np.zeros((3, 2_001)), columns=[f"{'measurement ' * 40}{place}" for place in range(2_001)])
    table = Table("wide", wide.assign(y=[1.0, 2.0, 3.0]), "y", "regression", "f", None, "none")
    dataset = _logged(empty_store, table)
    assert [each["name"] for each in json.loads(dataset.schema)["mlflow_colspec"]] == ["y"]
    assert (dataset.digest, json.loads(dataset.profile)["num_rows"]) == (from_pandas(table.frame).digest, 3)
    assert "The dataset's 2002 columns are too many for MLflow's record of its schema" in capsys.readouterr().out


def test_data_line_says_what_the_study_trains_on() -> None:
    """Name, target, rows, features, and the run that holds them."""
    table, split = known.load("red_wine"), bundled("red_wine").split
    line = data_line(table, split, "run1", reused=False)
    assert line == "red_wine, quality (regression), 1119 training and 480 test rows, 11 features, prepared in run run1"
    assert data_line(table, split, "run1", reused=True).endswith("prepared before in run run1")
