"""The run that a command opens: which it is, who else can write into it, and what if the store refuses its end."""

import os
import sqlite3
from pathlib import Path

import pytest
from cases import cases
from mlflow import MlflowClient

from entrypoints.errors import UserError
from entrypoints.runs.recorded import recorded_command, recorded_run
from mlflow_sysmetrics.delivery.sync import deliver


@pytest.fixture
def database(store_in_use, tmp_path, monkeypatch):
    """MLflow's current store, a file; spools are in a folder of their own."""
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(tmp_path / "spools"))
    return Path(store_in_use.tracking_uri.removeprefix("sqlite:///"))


def execute(database, statement):
    """Run a statement of SQL."""
    connection = sqlite3.connect(database)
    with connection:
        connection.execute(statement)
    connection.close()


def command(database, error):
    """A command in the middle of which the database stops to take changes of runs."""
    with recorded_run("study", "tune", {}):
        execute(database, "CREATE TRIGGER full BEFORE UPDATE ON runs BEGIN SELECT no_such_column_is_there; END")
        if error is not None:
            raise error


@cases("error", {"finished": None, "failed": OSError("No space left on device")})
def test_end_that_the_store_does_not_take_is_a_sentence_and_left_for_sync(error, database, tmp_path):
    """The run does not stay RUNNING for ever, and the user reads what to do."""
    with pytest.raises(UserError, match=r"no_such_column_is_there.*sync") as told:
        command(database, error)
    assert "\n" not in told.value.message
    execute(database, "DROP TRIGGER full")
    client = MlflowClient()
    (run,) = client.search_runs(["0"])
    assert run.info.status == "RUNNING"
    assert deliver(tmp_path / "spools").runs == {run.info.run_id}
    ended = client.get_run(run.info.run_id)
    assert ended.info.status == ("FINISHED" if error is None else "FAILED")
    assert ("sysmetrics.error" in ended.data.tags) == (error is not None)


def test_run_of_mlflow_run_is_opened_once_and_no_process_started_meanwhile_finds_it(store_in_use, monkeypatch):
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
