"""The doctor: what it finds on this machine with a real store, and what it says where nothing works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner
from commands import store_uri
from mlflow import MlflowClient
from mlflow.entities import ViewType
from tracking_server import free_port

from mlflow_sysmetrics.command.cli import main


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test chooses a store."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


def doctor(uri: str, code: int) -> list[str]:
    """What the command prints about this store."""
    mlflow.set_tracking_uri(uri)
    result = CliRunner().invoke(main, ["doctor"], catch_exceptions=False)
    assert result.exit_code == code
    return result.output.splitlines()


def test_machine_that_can_record_is_healthy(empty_store: Path, journals: Path) -> None:
    """The process is read, the store answers, versions are listed; nothing is written anywhere."""
    uri = store_uri(empty_store)
    said = doctor(uri, 0)
    assert said[0].startswith("yes  process: process_")
    assert f"yes  store {uri}: answers" in said
    assert f"yes  journals in {journals}: nothing waits" in said
    assert "psutil " in said[-2]
    assert said[-1] == "Recording works here."
    assert MlflowClient(uri).search_runs(["0"], run_view_type=ViewType.ALL) == []
    assert not journals.exists()


def test_store_that_cannot_be_asked_is_no_reason_not_to_record(tmp_path: Path, journals: Path) -> None:
    """What waits is counted. A store that is not there is not made: MLflow would make its file and its tables."""
    journals.mkdir()
    (journals / "a.jsonl").touch()
    said = "\n".join(doctor("nowhere://x", 0))
    assert " no  store nowhere://x: unknown kind of store" in said
    assert "1 files of loggers that run, or for `mlflow-sysmetrics sync`" in said
    assert "the first run makes it" in "\n".join(doctor(store_uri(tmp_path), 0))
    assert not (tmp_path / "mlflow.db").exists()


def test_machine_that_cannot_record_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither a store nor a journal takes anything. The password of the address is not shown."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(tmp_path / "file" / "below"))
    said = doctor(f"http://me:secret@127.0.0.1:{free_port()}", 1)
    assert said[-1] == "Nothing could be recorded here."
    assert "secret" not in "\n".join(said)
