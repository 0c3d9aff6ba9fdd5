"""What a study says and records before its first trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from commands import in_use
from mlflow.exceptions import MlflowException
from reference import bundled
from study_settings import study_settings

from entrypoints.datasets import known
from entrypoints.datasets.tables import Table
from entrypoints.runs import RecordedRun
from entrypoints.search import beginning


def _logged(empty_store: Path, table: Table) -> Any:
    """The dataset in the run of a study that has recorded it."""
    with in_use(empty_store) as client, mlflow.start_run() as active:
        beginning.log_dataset(RecordedRun.of(client, active), table)
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
    """With its name, digest and size; the terminal says what is not there."""
    wide = pd.DataFrame(np.zeros((3, 2_001)), columns=[f"{'measurement ' * 40}{place}" for place in range(2_001)])
    dataset = _logged(empty_store, Table("wide", wide.assign(y=[1.0, 2.0, 3.0]), "y", "regression", "f", None, "none"))
    assert (dataset.schema, json.loads(dataset.profile)["num_rows"]) == (None, 3)
    assert "The dataset's 2002 columns are too many for MLflow's record of its schema" in capsys.readouterr().out


def test_data_line_says_what_the_study_trains_on() -> None:
    """Name, target, rows, features, and the run that holds them."""
    table, split = known.load("red_wine"), bundled("red_wine").split
    line = beginning.data_line(table, split, "run1", reused=False)
    assert line == "red_wine, quality (regression), 1119 training and 480 test rows, 11 features, prepared in run run1"
    assert beginning.data_line(table, split, "run1", reused=True).endswith("prepared before in run run1")


def test_long_study_is_told_how_to_shorten_it() -> None:
    """In hours, with each parameter that helps, and how many trials an hour holds."""
    text = beginning.how_to_shorten(study_settings(folds=4), trials=200, expected_s=5 * 3600.0 + 120, cpus=2)
    assert text.startswith("This study takes about 5 h 2 min on 2 CPU cores and starts now.")
    assert "max_trials (about 39 of the 200 take an hour), max_rows, folds (now 4), max_steps, max_epochs, or" in text
    assert "max_trials (about 1 of the 3 take" in beginning.how_to_shorten(study_settings(), 3, 40 * 3600.0, 1)
