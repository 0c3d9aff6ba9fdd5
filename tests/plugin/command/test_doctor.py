"""The doctor: what it finds on this machine with a real store, and what it says where nothing works."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import ViewType
from tracking_server import free_port

from mlflow_sysmetrics.command.cli import main
from mlflow_sysmetrics.command.doctor import Finding, examine


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of spools of the test's own."""
    folder = tmp_path / "spools"
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(folder))
    return folder


def said(what: str) -> Finding:
    """The finding about this."""
    findings = [each for chapter in examine().chapters.values() for each in chapter if each.what.startswith(what)]
    assert len(findings) == 1
    return findings[0]


def test_machine_that_can_record_is_healthy(store_in_use: MlflowClient) -> None:
    """Exit code 0: the process is read, the store takes a batch, and nothing is left of the trial run."""
    result = CliRunner().invoke(main, ["doctor"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "yes  process: process_" in result.output
    assert "100 points take " in result.output
    assert result.output.rstrip().endswith("Recording works here.")
    assert store_in_use.search_runs(["0"]) == []
    (deleted,) = store_in_use.search_runs(["0"], run_view_type=ViewType.DELETED_ONLY)
    assert deleted.info.run_name == "mlflow-sysmetrics doctor"


def test_each_group_is_read_or_says_why_not(store_in_use: MlflowClient) -> None:
    """In words that say what to do, or what is missing."""
    for finding in examine().chapters["What can be read"]:
        assert finding.said
        if not finding.works and finding.what == "gpu":
            assert finding.said in (
                "nvidia-ml-py is not installed; pip install nvidia-ml-py",
                "no NVIDIA driver, or no GPU",
            )


def test_what_waits_is_counted(store_in_use: MlflowClient, spool: Path) -> None:
    """With the command that delivers it."""
    assert said("spool").said.startswith("nothing waits")
    (spool / "a.jsonl").write_text("x" * 500_000)
    assert said("spool").said.startswith("1 files of 0.5 MB")


def test_machine_that_cannot_record_is_told(
    store_in_use: MlflowClient, spool: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 1 where neither a store nor a spool takes anything; the password of the address is not shown."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: f"http://me:secret@127.0.0.1:{free_port()}")
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(tmp_path / "file" / "below"))
    result = CliRunner().invoke(main, ["doctor"], catch_exceptions=False)
    assert result.exit_code == 1
    assert "secret" not in result.output
    assert result.output.rstrip().endswith("Nothing could be recorded here.")


def test_store_that_is_away_is_no_reason_not_to_record(
    store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured waits in the spool."""
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "nowhere://x")
    report = examine()
    (store, spool) = report.chapters["Where it goes"]
    assert (store.works, spool.works, report.can_record) == (False, True, True)
