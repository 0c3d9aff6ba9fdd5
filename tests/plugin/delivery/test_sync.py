"""`sync` on a real store: what is delivered of the journals in a folder, what stays, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from mlflow import MlflowClient
from tracking_server import free_port

from mlflow_sysmetrics.delivery.journal import Journal
from mlflow_sysmetrics.delivery.operations import End, Operation, Points, Reopen, Tags
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.delivery.sync import Delivered, deliver
from mlflow_sysmetrics.delivery.writer import Writer
from mlflow_sysmetrics.tags import BY_EXPERIMENT_END, STOP_REASON, STOPPED_BY

LOSS: list[Operation] = [Points(4_100 + step, step, {"loss": 1.0 / (1 + step)}) for step in range(3)]


class Away(Store):
    """A store that does not answer."""

    def create_run(self, *arguments: Any) -> str:
        raise ConnectionError("away")

    run_with_key = create_run


def leave(folder: Path, run_id: str, uri: str, operations: list[Operation], name: str = "a.jsonl") -> Path:
    """Leave a journal."""
    journal = Journal(folder / name, {"tracking_uri": uri, "run_id": run_id})
    journal.append(operations)
    journal.close()
    return folder / name


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    """A run that goes on since 4 s."""
    return str(client.create_run("0", 4_000).info.run_id)


def test_journals_are_delivered_once_and_removed(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    """Also one of which the store has a part, or one that comes back from a backup."""
    samples = [Points(4_000 + 100 * step, None, {"system/x": 1.0}) for step in range(3)]
    operations = [*LOSS, *samples, Tags({"a": "b"})]
    path = leave(tmp_path, run_id, client.tracking_uri, operations)
    content = path.read_bytes()
    client.log_metric(run_id, "loss", 1.0, 4_100, 0)
    assert deliver(tmp_path) == Delivered(points=5, runs={run_id})
    path.write_bytes(content)
    path.chmod(0o600)
    assert not deliver(tmp_path).left
    assert deliver(tmp_path) == deliver(tmp_path / "nothing") == Delivered()
    for name in ("loss", "system/x"):
        assert [point.step for point in client.get_metric_history(run_id, name)] == [0, 1, 2]
    assert client.get_run(run_id).data.tags["a"] == "b"
    assert not list(tmp_path.glob("*.jsonl"))


THEN: dict[str, Any] = {
    "older end": (lambda client, run: client.set_terminated(run, "FAILED", 4_500), "KILLED", 5_000, "limit"),
    "swept up": (lambda client, run: client.set_terminated(run, "KILLED", 6_000), "KILLED", 5_000, "limit"),
    "later end": (lambda client, run: client.set_terminated(run, "FINISHED", 6_000), "FINISHED", 6_000, None),
    "goes on": (lambda client, run: client.log_metric(run, "x", 1.0, 5_500), "RUNNING", None, None),
}


@pytest.mark.parametrize("then", THEN)
def test_last_end_of_a_run_counts(then: str, client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    """One that only swept up what was still open does not. A run that went on gets points and tags that it lacks."""
    happened, status, end_ms, reason = THEN[then]
    client.log_metric(run_id, "loss", 7.0, 4_100, 1)
    client.set_tag(run_id, "a", "new")
    if then == "swept up":
        client.set_tag(run_id, STOPPED_BY, BY_EXPERIMENT_END)
    happened(client, run_id)
    end = End("KILLED", 5_000, {STOP_REASON: "limit"})
    superseded = status != "KILLED"
    left = [Reopen(), *LOSS, Tags({"a": "old", "b": "old"}), end]
    leave(tmp_path, run_id, client.tracking_uri, left)
    assert not deliver(tmp_path).left
    run = client.get_run(run_id)
    assert (run.info.status, run.info.end_time, run.data.tags.get(STOP_REASON)) == (status, end_ms, reason)
    assert STOPPED_BY not in run.data.tags
    assert (run.data.tags["a"], run.data.tags["b"]) == ("new" if superseded else "old", "old")
    history = [(point.step, point.value) for point in client.get_metric_history(run_id, "loss")]
    assert sorted(history) == [(0, 1.0), (1, 0.5), (1, 7.0), (2, 1 / 3)]


def test_end_keeps_the_tags_that_came_just_before_it(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    """As of a program that a limit has ended; what an earlier end has said is gone."""
    client.set_tag(run_id, STOPPED_BY, BY_EXPERIMENT_END)
    end: list[Operation] = [Tags({STOP_REASON: "limit"}), End("KILLED", 5_000, {})]
    leave(tmp_path, run_id, client.tracking_uri, end)
    assert not deliver(tmp_path).left
    tags = client.get_run(run_id).data.tags
    assert (tags.get(STOP_REASON), STOPPED_BY in tags) == ("limit", False)


@pytest.mark.parametrize("gone", ["deleted", "unknown", "away"])
def test_journal_waits_for_its_run_unless_it_is_discarded(
    gone: str, client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    """A deleted run may be restored, and a store come back. Only what no store will ever take is discarded."""
    if gone == "deleted":
        client.delete_run(run_id)
    uri = client.tracking_uri if gone != "away" else f"http://127.0.0.1:{free_port()}"
    path = leave(tmp_path, run_id if gone != "unknown" else "0" * 32, uri, LOSS)
    before = path.read_bytes()
    (said,) = deliver(tmp_path).left
    assert path.read_bytes().rstrip() == before.rstrip()
    assert ("sync --discard" in said) == (gone != "away")
    if gone == "deleted":
        client.restore_run(run_id)
        assert deliver(tmp_path, discard=True).points == 3
    else:
        delivered = deliver(tmp_path, discard=True)
        assert (delivered.discarded, len(delivered.left)) == ((0, 1) if gone == "away" else (1, 0))
    assert path.exists() == (gone == "away")
    if gone == "away":
        assert deliver(tmp_path, client.tracking_uri).points == 3


def test_runs_of_a_deleted_experiment_are_discarded(client: MlflowClient) -> None:
    """Those that were still to be created there, with those below them; not before they are asked for."""
    gone = client.create_experiment("gone")
    client.delete_experiment(gone)
    writer = Writer(Away(client.tracking_uri))
    study = writer.create(gone)
    writer.close([study, writer.create(gone, parent=study)], 0.0)
    assert ["sync --discard" in said for said in deliver().left] == [True, False]
    assert (deliver(discard=True).discarded, deliver()) == (2, Delivered())


def test_what_is_not_a_journal_costs_only_itself(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    """It stays untouched; values that MLflow refuses, and lines that cannot be read, are counted."""
    odd = Points(4_100, 0, {"odd@": 1.0})
    good = leave(tmp_path, run_id, client.tracking_uri, [*LOSS, odd], "c.jsonl")
    with good.open("ab") as file:
        file.write(b'["OfALaterVersion",5]\ncos\nsystem\n[1,2')
    (tmp_path / "a.jsonl").write_text("dear diary\n")
    (tmp_path / "b.jsonl").write_text('["mlflow_sysmetrics 3", {}]\n["Points",7]\n')
    (tmp_path / "d.jsonl").symlink_to("nowhere")
    (tmp_path / "e.jsonl").touch()
    for path in (tmp_path / "b.jsonl", tmp_path / "e.jsonl"):
        path.chmod(0o600)
    open_journal = Journal(tmp_path / "f.jsonl", {"tracking_uri": client.tracking_uri, "run_id": run_id})
    delivered = deliver(tmp_path, client.tracking_uri)
    open_journal.close()
    assert (delivered.points, delivered.refused, delivered.skipped, delivered.in_use) == (3, 1, 4, 1)
    assert [said.partition(" ")[0] for said in delivered.left] == ["a.jsonl", "b.jsonl", "d.jsonl"]
    assert not good.exists()


def test_login_is_that_of_mlflows_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals hold none."""
    leave(tmp_path, "r", "http://there", LOSS)
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "http://me:hush42@there")
    connect = Mock(side_effect=ConnectionError("away"))
    deliver(tmp_path, connect=connect)
    assert connect.call_args.args[0] == "http://me:hush42@there"
