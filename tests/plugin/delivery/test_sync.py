"""`sync` on a real store: what is delivered of the journals in a folder, what stays, and what it says."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from tracking_server import free_port

from mlflow_sysmetrics.delivery.journal import Journal
from mlflow_sysmetrics.delivery.operations import Batch, File, Point, Status
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.delivery.sync import Delivered, deliver
from mlflow_sysmetrics.tags import STOP_REASON, STOPPED_BY

LOSS = [Batch(4_100, [Point("loss", 1.0 / (1 + step), 4_100 + step, step)]) for step in range(3)]


def leave(folder, run_id, uri, operations, name="a.jsonl"):
    """Leave a journal."""
    journal = Journal(folder / name, {"tracking_uri": uri, "run_id": run_id})
    journal.append(operations)
    journal.close()
    return folder / name


@pytest.fixture
def run_id(client):
    """A run that goes on since 4 s."""
    return str(client.create_run("0", 4_000).info.run_id)


def test_journals_are_delivered_once_and_removed(client, run_id, tmp_path):
    """Also one of which the store has a part, or one that comes back from a backup."""
    samples = [Batch(4_000, [Point("system/x", 1.0, 4_000 + 100 * step)]) for step in range(3)]
    operations = [*LOSS, *samples, Batch(4_000, tags={"a": "b"})]
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


THEN = {
    "ended before": (lambda client, run: client.set_terminated(run, "FAILED", 4_500), "KILLED", 5_000, "limit"),
    "runs": (lambda client, run: None, "KILLED", 5_000, "limit"),
    "ended later": (lambda client, run: client.set_terminated(run, "FINISHED", 6_000), "FINISHED", 6_000, None),
}


@pytest.mark.parametrize("then", THEN)
def test_last_end_of_a_run_counts(then, client, run_id, tmp_path):
    """A run that went on and has ended later gets only points and tags that it lacks."""
    happened, status, end_ms, reason = THEN[then]
    client.log_metric(run_id, "loss", 7.0, 4_100, 1)
    client.set_tag(run_id, "a", "new")
    if then == "ended before":
        client.set_tag(run_id, STOPPED_BY, "limits")
    happened(client, run_id)
    left = [
        Status("RUNNING", 4_600, {}),
        *LOSS,
        Batch(4_700, tags={"a": "old", "b": "old"}),
        Status("KILLED", 5_000, {STOP_REASON: "limit"}),
    ]
    leave(tmp_path, run_id, client.tracking_uri, left)
    assert not deliver(tmp_path).left
    run = client.get_run(run_id)
    assert (run.info.status, run.info.end_time, run.data.tags.get(STOP_REASON)) == (status, end_ms, reason)
    assert STOPPED_BY not in run.data.tags
    assert (run.data.tags["a"], run.data.tags["b"]) == ("new" if reason is None else "old", "old")
    history = [(point.step, point.value) for point in client.get_metric_history(run_id, "loss")]
    assert sorted(history) == [(0, 1.0), (1, 0.5), (1, 7.0), (2, 1 / 3)]


@pytest.mark.parametrize("gone", ["deleted", "unknown", "away"])
def test_journal_waits_for_its_run(gone, client, run_id, tmp_path):
    """The answer names the file, which the user may remove, and says why."""
    if gone == "deleted":
        client.delete_run(run_id)
    uri = client.tracking_uri if gone != "away" else f"http://127.0.0.1:{free_port()}"
    path = leave(tmp_path, run_id if gone != "unknown" else "0" * 32, uri, LOSS)
    before = path.read_bytes()
    (said,) = deliver(tmp_path).left
    assert path.read_bytes().rstrip() == before.rstrip()
    assert said.startswith(f"{path} waits: ")
    if gone == "away":
        assert deliver(tmp_path, client.tracking_uri).points == 3


def test_database_that_is_not_there_is_not_made(run_id, tmp_path):
    """Its disk may not be mounted: what waits for it has to stay."""
    database = tmp_path / "disk" / "mlflow.db"
    database.parent.mkdir()
    path = leave(tmp_path, run_id, f"sqlite:///{database}", LOSS)
    assert deliver(tmp_path).left == [f"{path} waits: there is no {database}"]
    assert not list(database.parent.iterdir())
    assert path.exists()


class LateFiles(Store):
    """A store that takes files only from the second attempt on."""

    attempts = 0

    def write_file(self, run_id, path, text):
        LateFiles.attempts += 1
        if LateFiles.attempts == 1:
            raise TimeoutError("no answer within 60 s")
        super().write_file(run_id, path, text)


def test_file_that_is_late_waits_and_the_rest_arrives(client, run_id, tmp_path, monkeypatch):
    """As the end of the run, which comes after it."""
    monkeypatch.setattr("mlflow_sysmetrics.delivery.sync.Store", LateFiles)
    end = Status("FINISHED", 5_000, {})
    leave(tmp_path, run_id, client.tracking_uri, [File("a.json", "{}"), *LOSS, end])
    (said,) = deliver(tmp_path).left
    assert said.endswith("waits: no answer within 60 s")
    assert client.get_run(run_id).info.status == "FINISHED"
    assert not deliver(tmp_path).left
    assert [file.path for file in client.list_artifacts(run_id)] == ["a.json"]


def test_what_is_not_a_journal_costs_only_itself(client, run_id, tmp_path):
    """It stays untouched; lines that cannot be read are counted."""
    odd = Batch(4_100, [Point("odd@", 1.0, 4_100, 0)])
    good = leave(tmp_path, run_id, client.tracking_uri, [*LOSS, odd], "c.jsonl")
    with good.open("ab") as file:
        file.write(b'["OfALaterVersion",5]\ncos\nsystem\n[1,2')
    (tmp_path / "a.jsonl").write_text("dear diary\n")
    (tmp_path / "b.jsonl").write_text('["mlflow_sysmetrics 4", {}]\n["Batch",7,[1]]\n')
    (tmp_path / "d.jsonl").symlink_to("nowhere")
    (tmp_path / "e.jsonl").touch()
    for path in (tmp_path / "b.jsonl", tmp_path / "e.jsonl"):
        path.chmod(0o600)
    open_journal = Journal(tmp_path / "f.jsonl", {"tracking_uri": client.tracking_uri, "run_id": run_id})
    delivered = deliver(tmp_path, client.tracking_uri)
    open_journal.close()
    assert (delivered.points, delivered.skipped, delivered.in_use) == (3, 4, 1)
    assert [Path(said.partition(" ")[0]).name for said in delivered.left] == ["a.jsonl", "b.jsonl", "d.jsonl"]
    assert not good.exists()


def test_login_is_that_of_mlflows_settings(tmp_path, monkeypatch):
    """Journals hold none."""
    leave(tmp_path, "r", "http://there", LOSS)
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "http://me:hush42@there")
    connect = Mock(side_effect=ConnectionError("away"))
    monkeypatch.setattr("mlflow_sysmetrics.delivery.sync.Store", connect)
    deliver(tmp_path)
    assert connect.call_args.args[0] == "http://me:hush42@there"
