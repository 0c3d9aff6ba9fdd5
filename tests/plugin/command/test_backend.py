"""The project backend: as ``local`` in all that can be seen, with the project's own cost in its run besides."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.cli
import psutil
import pytest
from click.testing import CliRunner
from commands import ROOT, Command, clean_environment, store_uri, wait_until
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import ExecutionException

from mlflow_sysmetrics.sampling import MEMORY_DEFINITION, find_folders

pytestmark = pytest.mark.slow  # real runs, each of seconds

LIMIT_S = 60.0
PLAIN_PROJECT = ROOT / "tests" / "support" / "plain_project"
BACKENDS = ["local", "system-metrics"]
QUOTE = "it's 5 o'clock"
HARD_TO_QUOTE = [f'two words; {QUOTE}, say "hello" & b; c | d > e $HOME `id` \\n * Ünïcode', QUOTE, ""]
PROJECT = """
name: small
entry_points:
  main:
    parameters: {seconds: {type: float, default: 0.3}, text: {type: str, default: x}, code: {type: int, default: 0}}
    command: "python job.py {seconds} {text} {code}"
"""
JOB = """
import json, os, sys, time
end = time.time() + float(sys.argv[1])
with open(os.environ["JOB_OUTPUT"] + ".part", "w") as file:
    json.dump([os.getpid(), *sys.argv[2:]], file)
os.replace(os.environ["JOB_OUTPUT"] + ".part", os.environ["JOB_OUTPUT"])
while time.time() < end: pass
sys.exit(int(sys.argv[3]))
"""


@dataclass(frozen=True)
class Place:
    """A project that takes a moment, a store, and a Python that has the backend installed."""

    project: Path
    client: MlflowClient
    python_path: str

    @property
    def output(self) -> list[Any]:
        """What the project's process wrote: its id and its arguments."""
        found: list[Any] = json.loads((self.project / "output").read_text())
        return found

    def environment(self) -> dict[str, str]:
        """For another process: what this one has."""
        spool = os.environ["MLFLOW_SYSMETRICS_SPOOL"]
        return clean_environment(
            PYTHONPATH=self.python_path, MLFLOW_TRACKING_URI=self.client.tracking_uri, MLFLOW_SYSMETRICS_SPOOL=spool,
            JOB_OUTPUT=str(self.project / "output"),
        )  # fmt: skip

    def run(self) -> Run:
        """The only run."""
        (run,) = self.client.search_runs(["0"])
        return run

    def peak(self, name: str) -> float:
        """The largest value of a system metric of the only run, over its whole series; 0 without any."""
        points = self.client.get_metric_history(self.run().info.run_id, f"system/process_{name}_max")
        return max((point.value for point in points), default=0.0)


@pytest.fixture
def place(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Everything of the test's own."""
    project = empty_store / "project"
    project.mkdir()
    (project / "MLproject").write_text(PROJECT)
    (project / "job.py").write_text(JOB)
    path = str(ROOT)
    for name, value in (
        ("PYTHONPATH", path),
        ("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"),
        ("MLFLOW_SYSMETRICS_SPOOL", str(empty_store / "spool")),
        ("JOB_OUTPUT", str(project / "output")),
    ):
        monkeypatch.setenv(name, value)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(store_uri(empty_store))
    yield Place(project, MlflowClient(store_uri(empty_store)), path)
    mlflow.set_tracking_uri(before)


def mlflow_run(place: Place, backend: str, *options: str, **params: object) -> int:
    """The exit code of ``mlflow run`` on the project, in this process."""
    given = [part for name, value in params.items() for part in ("-P", f"{name}={value}")]
    arguments = ["run", str(place.project), "--env-manager", "local", "--backend", backend, *options, *given]
    return CliRunner().invoke(mlflow.cli.cli, arguments).exit_code


def system_metrics(run: Run) -> set[str]:
    """The names of the system metrics that a run has."""
    return {name for name in run.data.metrics if name.startswith("system/process_")}


def test_run_has_the_series_of_the_project(place: Place) -> None:
    """Of its processes alone, not of ``mlflow run``, which takes far more memory than this project."""
    assert mlflow_run(place, "system-metrics", seconds=1.5) == 0
    assert 1 < place.peak("memory_mb") < 50
    assert place.peak("cpu_percent") > 10  # 100 on an idle machine
    assert place.run().data.metrics["peak_memory_mb"] == place.peak("memory_mb")
    assert place.run().data.tags["sysmetrics.memory_definition"] == MEMORY_DEFINITION


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("code", "exit_code", "status"), [(0, 0, "FINISHED"), (7, 1, "FAILED")], ids=["good", "failing"]
)
def test_command_waits_and_tells_the_end(
    place: Place, backend: str, code: int, exit_code: int, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    """``mlflow run`` returns when the project has ended, with its exit code and last line, and its run is marked."""
    logging.getLogger("mlflow").addHandler(caplog.handler)
    try:
        assert mlflow_run(place, backend, "--run-name", "mine", code=code) == exit_code
    finally:
        logging.getLogger("mlflow").removeHandler(caplog.handler)
    run = place.run()
    assert (run.info.run_name, run.info.status) == ("mine", status)
    assert run.data.tags["mlflow.project.backend"] == backend
    assert run.data.tags["mlflow.project.entryPoint"] == "main"
    assert ("failed" if code else "succeeded") in caplog.messages[-1]
    assert bool(system_metrics(run)) == (backend != "local")


@pytest.mark.parametrize("text", HARD_TO_QUOTE)
def test_parameters_arrive_as_with_local(place: Place, text: str) -> None:
    """Whatever is in a value, the project and its run get from both backends the same."""
    got = []
    for backend in BACKENDS:
        assert mlflow_run(place, backend, seconds=0, text=text) == 0
        got.append(place.output[1:])
    assert got == [[text, "0"]] * 2
    first, second = place.client.search_runs(["0"])
    assert first.data.params == second.data.params


@pytest.mark.parametrize("backend", BACKENDS)
def test_run_of_an_id_is_used(place: Place, backend: str) -> None:
    """``--run-id`` goes on in the run that is there."""
    run_id = place.client.create_run("0").info.run_id
    assert mlflow_run(place, backend, "--run-id", run_id) == 0
    assert (place.run().info.run_id, place.run().info.status) == (run_id, "FINISHED")


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"interval_s": 0}, "interval_s=0"),
        ({"groups": "disk"}, "groups='disk'"),
        ({"groups": ["gpu", "x"]}, "gpu,x"),
        ({"groups": 5}, "groups='5'"),
    ],
    ids=["interval", "group", "list-of-groups", "number-of-groups"],
)
def test_wrong_configuration_is_said_before_anything_starts(place: Place, config: dict[str, Any], wrong: str) -> None:
    """One sentence names the value, and there is no run."""
    with pytest.raises(ExecutionException, match=wrong):
        mlflow.projects.run(  # type: ignore[no-untyped-call]
            str(place.project), backend="system-metrics", backend_config=config, env_manager="local"
        )
    assert place.client.search_runs(["0"]) == []


def test_configuration_chooses_interval_and_groups(place: Place) -> None:
    """With ``container`` alone, where there is one, there are its metrics and none of the process."""
    if not find_folders():
        pytest.skip("the tests run in no control group of version 2")
    config = json.dumps({"interval_s": 0.05, "groups": "container"})
    assert mlflow_run(place, "system-metrics", "--backend-config", config, seconds=1) == 0
    assert {name.split("_")[0] for name in place.run().data.metrics if "/" in name} == {"system/container"}


@pytest.mark.parametrize("started", ["on the command line", "in Python"])
def test_project_is_ended_at_its_limit(place: Place, started: str) -> None:
    """Its run is KILLED, and says why, as does the error."""
    config = {"criteria": "elapsed_s<=1.5"}
    if started == "in Python":
        with pytest.raises(ExecutionException, match=r"was ended: elapsed_s 1\.\d+ > 1.5"):
            mlflow.projects.run(  # type: ignore[no-untyped-call]
                str(place.project), parameters={"seconds": 60}, backend="system-metrics", backend_config=config,
                env_manager="local",
            )  # fmt: skip
    else:
        assert mlflow_run(place, "system-metrics", "--backend-config", json.dumps(config), seconds=60) == 1
    run = place.run()
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stop_reason"].startswith("elapsed_s 1.")
    assert run.data.metrics["elapsed_s"] < 20


@pytest.mark.parametrize("backend", BACKENDS)
def test_failure_raises_in_python(place: Place, backend: str) -> None:
    """As documented of ``mlflow.projects.run``."""
    with pytest.raises(ExecutionException, match="failed"):
        mlflow.projects.run(  # type: ignore[no-untyped-call]
            str(place.project), parameters={"code": 3}, backend=backend, env_manager="local"
        )
    assert place.run().info.status == "FAILED"


@pytest.mark.parametrize("backend", BACKENDS)
def test_asynchronous_run_returns_at_once_and_is_marked(place: Place, backend: str) -> None:
    """The project runs on its own, is watched where it runs, and its end can be awaited."""
    submitted = mlflow.projects.run(  # type: ignore[no-untyped-call]
        str(place.project), parameters={"seconds": 1, "text": QUOTE}, backend=backend,
        env_manager="local", synchronous=False,
    )  # fmt: skip
    assert submitted.get_status() == "RUNNING"
    assert submitted.wait()
    run = place.run()
    assert (run.info.run_id, run.info.status) == (submitted.run_id, "FINISHED")
    assert place.output[1:] == [QUOTE, "0"]
    assert run.data.tags["mlflow.project.backend"] == backend
    assert bool(system_metrics(run)) == (backend != "local")
    assert place.peak("memory_mb") < 50


def wait_for_series(place: Place, backend: str) -> None:
    """Wait for the first metrics of a run that has any."""
    if backend != "local":
        wait_until(lambda: system_metrics(place.run()), LIMIT_S, "the first series")


def wait_until_idle(pid: int) -> None:
    """Wait until the main thread of a process has used no CPU time for half a second."""
    seen: list[tuple[float, float]] = []

    def is_idle() -> bool:
        seen.extend(
            (thread.user_time, thread.system_time) for thread in psutil.Process(pid).threads() if thread.id == pid
        )
        return len(seen) > 1 and seen[-1] == seen[-2]

    wait_until(is_idle, LIMIT_S, "the process's main thread has nothing to do", every_s=0.5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_asynchronous_run_can_be_cancelled(place: Place, backend: str) -> None:
    """Its processes end, and what was measured until then is in the run."""
    submitted = mlflow.projects.run(  # type: ignore[no-untyped-call]
        str(place.project), parameters={"seconds": 60}, backend=backend, env_manager="local", synchronous=False
    )
    wait_until((place.project / "output").exists, LIMIT_S, "the project's start")
    wait_for_series(place, backend)
    submitted.cancel()
    assert submitted.get_status() == "FAILED"
    wait_until(lambda: not psutil.pid_exists(place.output[0]), LIMIT_S, "the end of the project's process")
    assert bool(system_metrics(place.run())) == (backend != "local")


@pytest.mark.parametrize("backend", BACKENDS)
def test_interrupt_ends_project_and_run(place: Place, backend: str) -> None:
    """Ctrl-C ends the project, and its run is FAILED, which is MLflow's word for it."""
    command = Command(
        [sys.executable, "-m", "mlflow", "run", str(place.project), "-b", backend, "--env-manager", "local",
         "-P", "seconds=60"],
        cwd=place.project, output=place.project / "printed", env=place.environment(),
    )  # fmt: skip
    try:
        wait_until((place.project / "output").exists, LIMIT_S, "the project's start")
        wait_for_series(place, backend)
        wait_until_idle(command.process.pid)  # MLflow marks a run only once it has begun to wait for it
        command.signal(signal.SIGINT, group=True)
        ended = command.wait(LIMIT_S)
    finally:
        command.kill()
    assert ended.exit_code == 1
    assert "interrupted, cancelling run" in ended.stderr
    assert not psutil.pid_exists(place.output[0])
    assert place.run().info.status == "FAILED"
    assert bool(system_metrics(place.run())) == (backend != "local")


@pytest.mark.parametrize("manager", ["local", pytest.param("uv", marks=pytest.mark.slow)])
def test_project_that_knows_nothing_of_us_is_watched(place: Place, manager: str) -> None:
    """In the environment at hand, and in one of its own, where this package is not even installed."""
    text = "".join(file.read_text() for file in PLAIN_PROJECT.iterdir() if file.is_file())
    assert "sysmetrics" not in text
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "run", str(PLAIN_PROJECT), "-b", "system-metrics", "--env-manager", manager,
         "-P", f"note={QUOTE}"],
        cwd=place.project, env=place.environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = place.run()
    assert (run.info.status, run.data.tags["note"]) == ("FINISHED", QUOTE)
    assert len(place.client.get_metric_history(run.info.run_id, "r2")) == 20
    assert len(place.client.get_metric_history(run.info.run_id, "system/process_memory_mb")) > 1
    assert place.peak("memory_mb") > 100
