"""What a sink could not write: on disk, and from there into a real store, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import store_uri
from mlflow import MlflowClient

from mlflow_sysmetrics.leftovers import keep
from mlflow_sysmetrics.points import Point
from mlflow_sysmetrics.spool import Header
from mlflow_sysmetrics.sync import Delivered, deliver

WAITING = [Point("loss", 1.0 / step, 1000 + step, step) for step in range(1, 4)]


@pytest.fixture
def client(empty_store: Path) -> MlflowClient:
    """Of an empty store."""
    return MlflowClient(store_uri(empty_store))


def test_run_that_was_left_open_is_completed(client: MlflowClient, tmp_path: Path) -> None:
    """Its points, tags, parameters, and how and when it ended; the file is gone then."""
    run_id = client.create_run("0").info.run_id
    header = Header(run_id, client.tracking_uri, {"a": "b"}, {"alpha": "0.1"}, "KILLED", 5_000)
    assert keep([(header, WAITING)], tmp_path) == 1
    assert deliver(tmp_path) == Delivered(runs=1, points=3)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.end_time) == ("KILLED", 5_000)
    assert run.data.params == {"alpha": "0.1"}
    assert run.data.tags["a"] == "b"
    assert len(client.get_metric_history(run_id, "loss")) == 3
    assert list(tmp_path.glob("*.jsonl")) == []


def test_run_that_was_never_created_is_created_once(client: MlflowClient, tmp_path: Path) -> None:
    """Also if an attempt to deliver it has ended right after its creation."""
    tags = {"sysmetrics.trial_id": "t1"}
    header = Header("", client.tracking_uri, tags, {}, "FINISHED", 9_000, "0", 4_000, "trial 1")
    client.create_run("0", 4_000, tags, "trial 1")
    assert keep([(header, WAITING)], tmp_path) == 1
    assert deliver(tmp_path) == Delivered(runs=1, points=3)
    (run,) = client.search_runs(["0"])
    assert (run.info.run_name, run.info.status, run.info.start_time) == ("trial 1", "FINISHED", 4_000)
    assert run.data.metrics == {"loss": pytest.approx(1 / 3)}


def test_run_whose_end_alone_is_missing_stays_until_the_store_takes_it(client: MlflowClient, tmp_path: Path) -> None:
    """A spool without points is no empty one."""
    run_id = client.create_run("0").info.run_id
    header = Header(run_id, client.tracking_uri, status="FINISHED", end_ms=7_000)
    assert keep([(header, [])], tmp_path) == 1
    assert len(deliver(tmp_path, "http://127.0.0.1:9").left) == 1
    assert client.get_run(run_id).info.status == "RUNNING"
    assert deliver(tmp_path) == Delivered(runs=1)
    assert client.get_run(run_id).info.status == "FINISHED"


def test_place_that_cannot_be_written_costs_no_exception(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It says what is lost."""
    (tmp_path / "file").write_text("")
    header = Header("abc", "sqlite:///x.db", name="trial 1")
    assert keep([(header, WAITING)], tmp_path / "file" / "below") == 0
    assert "trial 1 is lost" in caplog.text
