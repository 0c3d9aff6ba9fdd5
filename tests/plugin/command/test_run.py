"""A command with a run around it, in a real store: which run it is, what the command is told, how the run ends."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
from commands import store_uri, wait_until
from mlflow import MlflowClient
from mlflow.entities import Run
from tracking_server import free_port

from mlflow_sysmetrics.command.outside import Settings
from mlflow_sysmetrics.command.passthrough import NOT_EXECUTABLE, NOT_FOUND, Ended
from mlflow_sysmetrics.command.run import NoRunError, run_command

LIMIT_S = 30.0
PROCESS_METRICS = ("cpu_percent", "memory_mb", "rss_mb", "threads", "page_faults_per_s", "context_switches_per_s")
# Computes for some time in itself and in a child, and writes what it was told of its run.
BUSY = """
import os, subprocess, sys, time
end = time.time() + float(sys.argv[1])
child = subprocess.Popen([sys.executable, "-c", f"import time\\nwhile time.time() < {end}: pass"])
while time.time() < end: pass
child.wait()
told = [os.environ.get(f"MLFLOW_{name}", "") for name in ("RUN_ID", "EXPERIMENT_ID", "TRACKING_URI", "EXPERIMENT_NAME")]
open(sys.argv[2], "w").write("\\n".join(told))
"""
Wrap = Callable[..., Ended]


@pytest.fixture
def client(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """A store of the test's own, which MLflow uses, and a folder of its own for what waits."""
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(empty_store / "spool"))
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(store_uri(empty_store))
    yield MlflowClient(store_uri(empty_store))
    mlflow.set_tracking_uri(before)


@pytest.fixture
def wrap() -> Wrap:
    """Run a command to its end in this process's environment."""
    return lambda *command, **options: run_command(command, os.environ, Settings(), **options)


def the_run(client: MlflowClient, experiment_id: str = "0") -> Run:
    """The only run of an experiment."""
    (run,) = client.search_runs([experiment_id])
    return run


def peak(client: MlflowClient, name: str) -> float:
    """The largest value of a system metric of the only run, over its whole series."""
    points = client.get_metric_history(the_run(client).info.run_id, f"system/process_{name}_max")
    return max(point.value for point in points)


def cpu_of_children_s() -> float:
    """What this process's ended children have used, as the kernel tells their parent."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_short_command_leaves_a_point_of_each_metric_and_its_figures(
    client: MlflowClient, wrap: Wrap, tmp_path: Path
) -> None:
    """A program of 0.3 s that knows nothing of MLflow has a run of its own; its CPU time is what its parent is told."""
    before_s = cpu_of_children_s()
    assert wrap(sys.executable, "-c", BUSY, "0.3", str(tmp_path / "told"), run_name="short") == Ended(0)
    run, used_s = the_run(client), cpu_of_children_s() - before_s
    print(f"CPU: {run.data.metrics['cpu_seconds']:.3f} s logged, {used_s:.3f} s by getrusage")
    assert run.data.metrics["cpu_seconds"] == pytest.approx(used_s, rel=0.02, abs=0.05)  # ticks, and before it is read
    assert run.data.metrics["elapsed_s"] < 5
    assert run.data.metrics["peak_memory_mb"] >= run.data.metrics["memory_growth_mb"] > 0
    assert (run.info.run_name, run.info.status) == ("short", "FINISHED")
    missing = [name for name in PROCESS_METRICS if f"system/process_{name}" not in run.data.metrics]
    assert missing == []
    assert peak(client, "cpu_percent") > 5  # 200 on two idle cores


def test_processes_below_the_command_count(client: MlflowClient, wrap: Wrap) -> None:
    """What is read is the command's whole tree, which is looked for once a second."""
    wrap("sh", "-c", "sleep 1.5 & wait")
    assert peak(client, "threads") == 2


def test_command_is_told_its_run(
    client: MlflowClient, wrap: Wrap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So what it logs with mlflow is in the same run, the same experiment, and the same store, whatever was set."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "daily")
    wrap(sys.executable, "-c", BUSY, "0", str(tmp_path / "told"), experiment_name="nightly")
    experiment = client.get_experiment_by_name("nightly")
    assert experiment
    run = the_run(client, experiment.experiment_id)
    told = (tmp_path / "told").read_text().split("\n")
    assert told == [run.info.run_id, experiment.experiment_id, client.tracking_uri, "nightly"]
    assert "MLFLOW_RUN_ID" not in os.environ


def test_command_may_go_elsewhere(
    client: MlflowClient, wrap: Wrap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store's address is relative, the command is told one that is right in any working folder."""
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    wrap("sh", "-c", f"cd / && {sys.executable} -c '{BUSY}' 0 {tmp_path}/told")
    assert (tmp_path / "told").read_text().split("\n") == [the_run(client).info.run_id, "0", client.tracking_uri, ""]


def test_run_tells_what_was_run(client: MlflowClient, wrap: Wrap, tmp_path: Path) -> None:
    """The UI's column Source shows the script, not this wrapper, and no arguments, which may be secrets."""
    (tmp_path / "train.py").write_text("")
    wrap(sys.executable, str(tmp_path / "train.py"), "--token", "secret")
    assert the_run(client).data.tags["mlflow.source.name"] == str(tmp_path / "train.py")


def test_source_is_never_a_text_of_commands(client: MlflowClient, wrap: Wrap) -> None:
    """Whoever may read the run's tags would read what is written in it."""
    wrap("bash", "-c", "export TOKEN=hush42; true ./train.sh")
    assert the_run(client).data.tags["mlflow.source.name"] == "bash"


def test_source_may_be_beside_a_long_text(client: MlflowClient, wrap: Wrap) -> None:
    """A word longer than the names of files ends nothing."""
    assert wrap("bash", "-c", f": {'x' * 5000}.sh") == Ended(0)


def test_run_of_the_environment_is_used_and_left_open(
    client: MlflowClient, wrap: Wrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that somebody else made is theirs to end, however the command ended."""
    run_id = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert wrap("sh", "-c", "sleep 0.3; exit 4") == Ended(4)
    run = the_run(client)
    assert (run.info.run_id, run.info.status) == (run_id, "RUNNING")
    assert run.data.metrics["system/process_memory_mb"] > 0


@pytest.mark.parametrize(
    ("script", "ended", "status"),
    [
        ("exit 3", Ended(3), "FAILED"),
        ("kill -SEGV $$", Ended(-signal.SIGSEGV), "FAILED"),
        ("kill -KILL $$", Ended(-signal.SIGKILL), "KILLED"),
    ],
)
def test_new_run_ends_as_the_command_did(
    client: MlflowClient, wrap: Wrap, script: str, ended: Ended, status: str
) -> None:
    """And the end is handed to the caller as it was."""
    assert wrap("sh", "-c", script) == ended
    assert the_run(client).info.status == status


def test_signal_ends_the_command_and_marks_its_run(client: MlflowClient, tmp_path: Path) -> None:
    """SIGTERM for this process is the command's: it says goodbye in its own way, and the run is KILLED."""
    script = f"trap 'echo bye > {tmp_path}/bye; exit 5' TERM; touch {tmp_path}/up; while :; do sleep 0.05; done"

    def send() -> None:
        wait_until((tmp_path / "up").exists, LIMIT_S, "the command's start", every_s=0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    sender = threading.Thread(target=send)
    sender.start()
    ended = run_command(["sh", "-c", script], os.environ, Settings())
    sender.join()
    assert ended == Ended(5, told=True)
    assert (tmp_path / "bye").read_text() == "bye\n"
    assert the_run(client).info.status == "KILLED"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("exit_code", "status"), [(0, "KILLED"), (1, "FAILED")], ids=["success-keeps-it", "error-does-not"]
)
def test_end_that_the_command_gave_its_run(
    client: MlflowClient, wrap: Wrap, tmp_path: Path, exit_code: int, status: str
) -> None:
    """A program that ends its run by itself knows best, unless it has failed afterwards."""
    command = f"while [ ! -e {tmp_path}/ended ]; do sleep 0.02; done; exit {exit_code}"

    def end_run() -> None:
        wait_until(lambda: client.search_runs(["0"]), LIMIT_S, "the run")
        client.set_terminated(the_run(client).info.run_id, "KILLED")
        (tmp_path / "ended").touch()

    ender = threading.Thread(target=end_run)
    ender.start()
    wrap("sh", "-c", command)
    ender.join()
    assert the_run(client).info.status == status


@pytest.mark.parametrize(
    ("mode", "code"), [(None, NOT_FOUND), (0o644, NOT_EXECUTABLE)], ids=["not-there", "not-executable"]
)
def test_command_that_cannot_start_fails_as_in_a_shell(
    client: MlflowClient, wrap: Wrap, tmp_path: Path, mode: int | None, code: int
) -> None:
    """With a shell's exit code, and a run that says FAILED."""
    file = tmp_path / "command"
    if mode is not None:
        file.touch(mode)
    assert wrap(str(file)) == Ended(code)
    assert the_run(client).info.status == "FAILED"


def test_run_that_does_not_exist_is_said_before_anything_starts(
    client: MlflowClient, wrap: Wrap, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One sentence names the run, and the command is not started."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(NoRunError, match="0" * 32):
        wrap("touch", str(tmp_path / "started"))
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:hush42@127.0.0.1:{port}",
        "nothing://me:hush42@there",
        "http://me:p[hush42@a",
        "mysql://me:p@hush42@a/b",
    ],
)
def test_store_that_cannot_be_used_is_said_without_its_password(
    client: MlflowClient, wrap: Wrap, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    """What a terminal shows, others may see."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(uri.format(port=free_port()))
    with pytest.raises(NoRunError, match="there is no run for the command") as error:
        wrap("true")
    assert "hush42" not in str(error.value)


@pytest.mark.parametrize("uri", ["nothing://there", "sqlite:////dev/null/mlflow.db"])
def test_store_that_cannot_be_used_is_said_in_one_sentence(
    client: MlflowClient, wrap: Wrap, tmp_path: Path, uri: str
) -> None:
    """Whatever MLflow or a database raises for its address; the command is not started."""
    mlflow.set_tracking_uri(uri)
    with pytest.raises(NoRunError, match=uri) as error:
        wrap("touch", str(tmp_path / "started"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "started").exists()
