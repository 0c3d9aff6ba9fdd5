"""`sync` on a real store: what is delivered of the journals in a folder, what stays, and what it says."""

from pathlib import Path

import pytest
from cases import cases
from servers import free_port

from mlflow_sysmetrics.delivery.journal import Journal
from mlflow_sysmetrics.delivery.operations import Batch, Point, Status
from mlflow_sysmetrics.delivery.sync import Delivered, deliver
from mlflow_sysmetrics.recording.tags import STOP_REASON

LOSS = [Batch(4_100, [Point("loss", 1.0 / (1 + step), 4_100 + step, step)]) for step in range(3)]


def leave(folder, run_id, uri, *operations, name="a.jsonl"):
    """Leave a journal."""
    journal = Journal(folder / name, {"tracking_uri": uri, "run_id": run_id})
    journal.append(operations)
    journal.close()
    return folder / name


@pytest.fixture
def run_id(client):
    """A run that goes on since 4 s."""
    return client.create_run("0", 4_000).info.run_id


def test_journals_are_delivered_once_and_removed(client, run_id, tmp_path):
    """Also one of which the store has a part, or one that comes back from a backup."""
    client.log_metric(run_id, "loss", 1.0, 4_100, 0)
    for _ in range(2):
        leave(tmp_path, run_id, client.tracking_uri, *LOSS, Batch(4_000, [Point("system/x", 1.0, 4_200)]))
        assert deliver(tmp_path).runs == {run_id}
    assert deliver(tmp_path) == deliver(tmp_path / "nothing") == Delivered()
    for name, steps in {"loss": [0, 1, 2], "system/x": [2]}.items():
        assert sorted(point.step for point in client.get_metric_history(run_id, name)) == steps


def test_run_that_has_ended_later_keeps_its_end(client, run_id, tmp_path):
    """It went on elsewhere."""
    client.log_metric(run_id, "loss", 7.0, 4_100, 1)
    client.set_terminated(run_id, "FINISHED", 6_000)
    tags = Batch(4_700, tags={"a": "old"})
    end = Status("KILLED", 5_000, {STOP_REASON: "limit"})
    leave(tmp_path, run_id, client.tracking_uri, Status("RUNNING", 4_600, {}), *LOSS, tags, end)
    assert not deliver(tmp_path).left
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.end_time == 6_000
    assert run.data.tags["a"] == "old"
    assert STOP_REASON not in run.data.tags
    history = [(point.step, point.value) for point in client.get_metric_history(run_id, "loss")]
    assert sorted(history) == [(0, 1.0), (1, 0.5), (1, 7.0), (2, 1 / 3)]


@cases("is_away", [True, False])
def test_journal_waits_for_its_run(is_away, client, run_id, tmp_path):
    """Whose store is away, or which was deleted. The answer names the file, which the user may remove, and says why."""
    client.delete_run(run_id)
    uri = f"http://127.0.0.1:{free_port()}" if is_away else client.tracking_uri
    path = leave(tmp_path, run_id, uri, *LOSS)
    (said,) = deliver(tmp_path).left
    assert said.startswith(f"{path} waits: ")
    client.restore_run(run_id)
    assert deliver(tmp_path, client.tracking_uri).points == 3


def test_database_that_is_not_there_is_not_made(run_id, tmp_path):
    """Its disk may not be mounted: what waits for it has to stay."""
    database = tmp_path / "mlflow2.db"
    path = leave(tmp_path, run_id, f"sqlite:///{database}", *LOSS)
    assert deliver(tmp_path).left == [f"{path} waits: there is no {database}"]
    assert path.exists()
    assert not database.exists()


def test_what_is_not_a_journal_costs_only_itself(client, run_id, tmp_path):
    """It stays untouched; lines that cannot be read are counted."""
    odd = Batch(4_100, [Point("odd@", 1.0, 4_100, 0)])
    good = leave(tmp_path, run_id, client.tracking_uri, *LOSS, odd, name="c.jsonl")
    with good.open("ab") as file:
        file.write(b'["OfALaterVersion",5]\ncos\nsystem\n[1,2')
    (tmp_path / "a.jsonl").write_text("dear diary\n")
    (tmp_path / "b.jsonl").write_text('["mlflow_sysmetrics 4", {}]\n["Batch",7,[1]]\n')
    (tmp_path / "d.jsonl").symlink_to("nowhere")
    (tmp_path / "e.jsonl").touch()
    for name in "abe":
        (tmp_path / f"{name}.jsonl").chmod(0o600)
    open_journal = Journal(tmp_path / "f.jsonl", {"tracking_uri": client.tracking_uri, "run_id": run_id})
    delivered = deliver(tmp_path, client.tracking_uri)
    open_journal.close()
    assert delivered.points == 3
    assert delivered.skipped == 4
    assert delivered.in_use == 1
    assert [Path(said.partition(" ")[0]).stem for said in delivered.left] == ["a", "b", "d"]
    assert not good.exists()
