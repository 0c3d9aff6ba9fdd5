"""The run that a command opens: which it is, and who else can write into it."""

from __future__ import annotations

import os

import pytest
from mlflow import MlflowClient

from entrypoints.runs import recorded_command


def test_run_of_mlflow_run_is_opened_once_and_no_process_started_meanwhile_finds_it(
    store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts before it is opened; what trials log by themselves does not belong there."""
    given = store_in_use.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    with recorded_command("study", "tune", {"folds": 3}) as command:
        before = os.environ.get("MLFLOW_RUN_ID")
        opened = [command.open().run_id for _ in range(2)]
        after = os.environ.get("MLFLOW_RUN_ID")
    assert (before, opened, after) == (None, [given, given], None)
    (run,) = store_in_use.search_runs(["0"])
    assert (run.info.status, run.data.params, run.data.tags["sysmetrics.kind"]) == ("FINISHED", {"folds": "3"}, "study")
