"""A dataset as the input of a study's run."""

import json
from unittest.mock import DEFAULT, Mock

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from entrypoints.datasets import known
from entrypoints.datasets.dataset_input import log_dataset
from entrypoints.datasets.tables import Table


def _input(client, table):
    """The dataset in the run of a study that has recorded it."""
    with mlflow.start_run() as active:
        log_dataset(table)
    (recorded,) = client.get_run(active.info.run_id).inputs.dataset_inputs
    return recorded.dataset


def test_dataset_that_another_study_records_at_the_same_time_is_recorded(store_in_use, monkeypatch):
    """MLflow refuses the second of two equal ones, with an error of its database, and takes it at the next attempt."""
    refused = MlflowException("UniqueViolation: duplicate key value violates unique constraint dataset_pk")
    monkeypatch.setattr(mlflow, "log_input", Mock(wraps=mlflow.log_input, side_effect=[refused, DEFAULT]))
    assert _input(store_in_use, known.load("red_wine")).name == "red_wine"


def test_dataset_of_more_columns_than_mlflow_lists_is_recorded_without_the_list(store_in_use, capsys):
    """With its name, digest, size and target; the terminal says what is not there."""
    wide = pd.DataFrame(np.zeros((3, 2_001)), columns=[f"{'measurement ' * 40}{place}" for place in range(2_001)])
    table = Table("wide", wide.assign(y=[1.0, 2.0, 3.0]), "y", "regression", None)
    dataset = _input(store_in_use, table)
    assert [each["name"] for each in json.loads(dataset.schema)["mlflow_colspec"]] == ["y"]
    assert dataset.digest == table.digest[:36]
    assert json.loads(dataset.profile)["num_rows"] == 3
    assert "The dataset's 2002 columns are too many for MLflow's record of its schema" in capsys.readouterr().out
