"""Tests of mlflow_sysmetrics.delivery.sync: what is delivered of the spools in a folder, and what stays."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from commands import store_uri
from mlflow import MlflowClient
from tracking_server import free_port

from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.spool import Header, SpoolFile, spool_path
from mlflow_sysmetrics.delivery.sync import Delivered, deliver

PREFIX = "system/"


@pytest.fixture
def uri(empty_store: Path) -> str:
    """The address of an empty store."""
    return store_uri(empty_store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for spools that does not exist yet."""
    return tmp_path / "spools"


def new_run(uri: str) -> str:
    return str(MlflowClient(uri).create_run("0").info.run_id)


def leave(folder: Path, run_id: str, uri: str, steps: range, name: str = "system/x") -> Path:
    """Leave a spool with a point per step."""
    header = Header(run_id, uri, {"sysmetrics.node": "here"})
    path = spool_path(folder, header, PREFIX)
    spool = SpoolFile.create(path, header)
    spool.append([Point(name, float(step), 1000 + step, step) for step in steps])
    spool.close()
    return path


def steps(uri: str, run_id: str) -> list[int]:
    return sorted(point.step for point in MlflowClient(uri).get_metric_history(run_id, "system/x"))


def test_spools_are_delivered_once_and_removed(uri: str, folder: Path) -> None:
    """Points and tags of several runs are in the store; a second time there is nothing to do."""
    runs = [new_run(uri) for _ in range(2)]
    for run_id in runs:
        leave(folder, run_id, uri, range(1500))
    assert deliver(folder) == Delivered(runs=2, points=3000)
    assert deliver(folder) == Delivered()
    assert list(folder.iterdir()) == []
    for run_id in runs:
        assert steps(uri, run_id) == list(range(1500))
        assert MlflowClient(uri).get_run(run_id).data.tags["sysmetrics.node"] == "here"


def test_points_that_the_store_has_are_not_doubled(uri: str, folder: Path) -> None:
    """A spool of which a part arrived before its answer got lost, and one that comes back from a backup."""
    run_id = new_run(uri)
    path = leave(folder, run_id, uri, range(10))
    content = path.read_bytes()
    for steps_before in (range(4), range(10)):
        if not path.exists():
            path.write_bytes(content)
            path.chmod(0o600)
        for step in steps_before:
            MlflowClient(uri).log_metric(run_id, "system/x", float(step), timestamp=1000 + step, step=step)
        assert deliver(folder).points == 10
        assert steps(uri, run_id) == list(range(10))


def test_spools_wait_while_the_store_is_away(uri: str, folder: Path) -> None:
    """They stay whole, the answer says why, and a later time delivers them, also to another address of the store."""
    run_id = new_run(uri)
    path = leave(folder, run_id, f"http://127.0.0.1:{free_port()}", range(5))
    before = path.read_bytes()
    answer = deliver(folder)
    assert (answer.runs, answer.points) == (0, 0)
    assert [run_id in sentence for sentence in answer.left] == [True]
    assert path.read_bytes() == before
    assert deliver(folder, uri) == Delivered(runs=1, points=5)
    assert steps(uri, run_id) == list(range(5))


def test_spools_of_running_loggers_are_left_alone(uri: str, folder: Path) -> None:
    """They deliver their own."""
    run_id = new_run(uri)
    spool = SpoolFile.open(leave(folder, run_id, uri, range(5)))
    assert deliver(folder) == Delivered(in_use=1)
    spool.close()
    assert deliver(folder).points == 5


@pytest.mark.parametrize("deleted", [True, False], ids=["deleted", "unknown"])
def test_spools_of_runs_that_are_gone_stay(deleted: bool, uri: str, folder: Path) -> None:
    """A deleted run may be restored: its points are not given up one by one, and then they arrive."""
    run_id = new_run(uri) if deleted else "0" * 32
    leave(folder, run_id, uri, range(5))
    if deleted:
        MlflowClient(uri).delete_run(run_id)
    answer = deliver(folder)
    assert (answer.runs, answer.refused, len(answer.left)) == (0, 0, 1)
    assert "deleted" in answer.left[0] if deleted else "not found" in answer.left[0]
    if deleted:
        MlflowClient(uri).restore_run(run_id)
        assert deliver(folder) == Delivered(runs=1, points=5)


def test_damaged_and_foreign_files_cost_only_themselves(uri: str, folder: Path) -> None:
    """Broken lines are counted, what is not a spool or is writable by others stays untouched, the rest is delivered."""
    run_id = new_run(uri)
    good = leave(folder, run_id, uri, range(5))
    with good.open("ab") as file:
        file.write(b"cos\nsystem\n[1,2")
    (folder / "a.jsonl").write_text("dear diary\n")
    (folder / "b.jsonl").write_bytes(good.read_bytes())
    (folder / "b.jsonl").chmod(0o666)
    (folder / "c.jsonl").symlink_to(good)
    (folder / "d.txt").write_text("not looked at")
    answer = deliver(folder)
    assert (answer.runs, answer.points, answer.skipped, len(answer.left)) == (1, 5, 3, 3)
    assert steps(uri, run_id) == list(range(5))
    assert sorted(path.name for path in folder.iterdir()) == ["a.jsonl", "b.jsonl", "c.jsonl", "d.txt"]


def test_an_empty_file_is_nothing_to_deliver(folder: Path) -> None:
    """Its logger was ended before it could write, or is about to: nobody has to do anything."""
    folder.mkdir()
    (folder / "a.jsonl").touch(0o600)
    assert deliver(folder) == Delivered()


def test_points_that_mlflow_refuses_are_counted(uri: str, folder: Path) -> None:
    """A name with a forbidden character cannot ever be delivered, and does not keep the spool."""
    run_id = new_run(uri)
    leave(folder, run_id, uri, range(2), name="system/x@")
    assert deliver(folder) == Delivered(runs=1, refused=2)


def test_a_password_is_taken_from_the_current_address(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A spool holds none; where MLflow's own setting is the same address with one, that is used."""
    port = free_port()
    asked: list[str] = []
    leave(folder, "a" * 32, f"http://127.0.0.1:{port}", range(1))

    class Asked:
        def __init__(self, uri: str, timeout_s: float) -> None:
            asked.append(uri)

        def log_batch(self, *arguments: object) -> None: ...

    monkeypatch.setattr("mlflow_sysmetrics.delivery.sync.Store", Asked)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"http://me:secret@127.0.0.1:{port}")
    try:
        assert deliver(folder).runs == 1
    finally:
        mlflow.set_tracking_uri(before)
    assert asked == [f"http://me:secret@127.0.0.1:{port}"]


def test_what_stays_is_told_without_a_password(folder: Path) -> None:
    """MLflow's message holds the address that was asked."""
    leave(folder, "a" * 32, "http://there", range(1))
    (said,) = deliver(folder, f"http://me:hush42@127.0.0.1:{free_port()}").left
    assert "hush42" not in said
    assert "API request to http://127.0.0.1" in said


def test_no_folder_is_nothing_to_deliver(folder: Path) -> None:
    """Nobody has left anything yet."""
    assert deliver(folder) == Delivered()


def test_the_answer_reads_as_sentences() -> None:
    """What the command line prints; zeros are not worth a line."""
    assert str(Delivered()) == "Delivered 0 points of 0 runs."
    assert str(Delivered(1, 16, 1, 2, 3, ("a.jsonl waits.",))).splitlines() == [
        "Delivered 16 points of 1 run.",
        "MLflow refused 1 point.",
        "Skipped 2 unreadable lines.",
        "Left alone 3 files of loggers that are still running.",
        "a.jsonl waits.",
    ]


def kill_with(folder: Path, run_id: str, uri: str, last: dict[str, float], *, delivered: int = 0) -> None:
    """Leave the spool of a logger that was killed, after this number of its three points had been delivered."""
    header = Header(run_id, uri, start_ms=1000)
    spool = SpoolFile.create(spool_path(folder, header, PREFIX), header)
    for step in range(3):
        spool.append([Point("system/x", 1.0, 1000 + step, step)])
        spool.say_last([Point(name, value + step, 1000 + step, 0) for name, value in last.items()])
    if delivered:
        assert len(spool.peek(delivered)) == delivered
        spool.forget()
    spool.close(keep=True)  # as the end of the process does


@pytest.mark.parametrize("delivered", [0, 2, 3], ids=["nothing", "a part", "everything"])
def test_figures_of_a_killed_process_are_delivered(uri: str, folder: Path, delivered: int) -> None:
    """The last that it had, once, whatever of its series the store had by then; those of the program stay."""
    run_id = new_run(uri)
    MlflowClient(uri).log_metric(run_id, "steps", 7.0)
    MlflowClient(uri).log_metric(run_id, "peak_memory_mb", 999.0, timestamp=500)  # of an earlier recording
    kill_with(folder, run_id, uri, {"peak_memory_mb": 100.0, "steps": 3.0}, delivered=delivered)
    assert deliver(folder).left == ()
    metrics = MlflowClient(uri).get_run(run_id).data.metrics
    assert (metrics["peak_memory_mb"], metrics["steps"]) == (102.0, 7.0)
    assert len(MlflowClient(uri).get_metric_history(run_id, "peak_memory_mb")) == 2
    assert steps(uri, run_id) == ([] if delivered == 3 else [0, 1, 2])  # what waits is sent again from its beginning
    assert list(folder.iterdir()) == []
