"""The project backend: as ``local`` in all that can be seen, with the project's own cost in its run besides."""

from __future__ import annotations

import json
import logging
import os
import re
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
from commands import ROOT, Command, clean_environment, in_use, wait_until
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import ExecutionException

LIMIT_S = 300.0
PLAIN_PROJECT = ROOT / "tests" / "support" / "plain_project"
NAME = "system-metrics"
QUOTE = "it's 5 o'clock"
HARD_TO_QUOTE = f'two words; {QUOTE}, say "hello" & b; c | d > e $HOME `id` \\n * Ünïcode'
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
JOB_WITH_RUNS = """
import mlflow
with mlflow.start_run(): mlflow.log_metric("loss", 0.5)
for name in ("one", "two"):
    with mlflow.start_run(run_name=name): pass
"""


@dataclass(frozen=True)
class Place:
    """A project that takes a moment, and a store in use."""

    project: Path
    client: MlflowClient

    @property
    def output(self) -> list[Any]:
        """What the project's process wrote: its id and its arguments."""
        found: list[Any] = json.loads((self.project / "output").read_text())
        return found

    def environment(self) -> dict[str, str]:
        """For another process: what this one has."""
        given = {name: os.environ[name] for name in ("PYTHONPATH", "MLFLOW_SYSMETRICS_SPOOL", "JOB_OUTPUT")}
        return clean_environment(MLFLOW_TRACKING_URI=self.client.tracking_uri, **given)

    def run(self) -> Run:
        """The only run."""
        (run,) = self.client.search_runs(["0"])
        return run


@pytest.fixture
def place(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Everything of the test's own."""
    project = empty_store / "project"
    project.mkdir()
    (project / "MLproject").write_text(PROJECT)
    (project / "job.py").write_text(JOB)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for name, value in {"PYTHONPATH": str(ROOT), "PATH": path, "JOB_OUTPUT": str(project / "output")}.items():
        monkeypatch.setenv(name, value)
    with in_use(empty_store) as client:
        yield Place(project, client)


def mlflow_run(place: Place, *options: str, **params: object) -> int:
    """The exit code of ``mlflow run`` on the project, in this process."""
    given = [part for name, value in params.items() for part in ("-P", f"{name}={value}")]
    arguments = ["run", str(place.project), "--env-manager", "local", "--backend", NAME, *options, *given]
    return CliRunner().invoke(mlflow.cli.cli, arguments).exit_code


def run_in_python(place: Place, **options: Any) -> Any:
    """Run the project by MLflow's function."""
    return mlflow.projects.run(str(place.project), backend=NAME, env_manager="local", **options)  # type: ignore[no-untyped-call]


def system_metrics(run: Run) -> set[str]:
    """The names of the system metrics that a run has."""
    return {name for name in run.data.metrics if name.startswith("system/process_")}


@pytest.mark.parametrize(
    ("code", "exit_code", "status"), [(0, 0, "FINISHED"), (7, 1, "FAILED")], ids=["good", "failing"]
)
def test_command_waits_and_tells_the_end(
    place: Place, code: int, exit_code: int, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    """``mlflow run`` returns when the project has ended, with its exit code and last line, and its run is marked.

    Parameters arrive whatever is in them.
    """
    logging.getLogger("mlflow").addHandler(caplog.handler)
    try:
        assert mlflow_run(place, "--run-name", "mine", code=code, text=HARD_TO_QUOTE) == exit_code
    finally:
        logging.getLogger("mlflow").removeHandler(caplog.handler)
    run = place.run()
    assert place.output[1:] == [HARD_TO_QUOTE, str(code)]
    assert (run.info.run_name, run.info.status) == ("mine", status)
    assert run.data.tags["mlflow.project.backend"] == NAME
    assert run.data.tags["mlflow.project.entryPoint"] == "main"
    assert ("failed" if code else "succeeded") in caplog.messages[-1]
    assert system_metrics(run)
    assert 1 < run.data.metrics["peak_memory_mb"] < 50  # of the project alone: `mlflow run` takes far more


def test_run_of_an_id_is_used_and_runs_that_the_project_opens_besides_are_below_it(place: Place) -> None:
    """``--run-id`` goes on in the run that is there. Each has its own summary."""
    (place.project / "job.py").write_text(JOB_WITH_RUNS)
    run_id = place.client.create_run("0").info.run_id
    assert mlflow_run(place, "--run-id", run_id) == 0
    runs = {run.info.run_name: run for run in place.client.search_runs(["0"])}
    own = place.client.get_run(run_id)
    assert (len(runs), own.info.status) == (3, "FINISHED")
    for name in ("one", "two"):
        assert runs[name].data.tags["mlflow.parentRunId"] == own.info.run_id
        assert 0 < runs[name].data.metrics["elapsed_s"] < own.data.metrics["elapsed_s"] / 2
    assert own.data.metrics["loss"] == 0.5


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"backend_config": {"groups": "gpu,x"}}, "gpu,x"),
        ({"synchronous": False}, r"synchronous=False: .* backend local"),
    ],
    ids=["list of groups", "asynchronous"],
)
def test_what_cannot_be_is_said_before_anything_starts(place: Place, options: dict[str, Any], wrong: str) -> None:
    """One sentence names the value, and there is no run."""
    with pytest.raises(ExecutionException, match=wrong):
        run_in_python(place, **options)
    assert place.client.search_runs(["0"]) == []


def test_configuration_chooses_the_groups(place: Place) -> None:
    """Without the group of the process there is nothing of it but the time. MLflow or its user may wait again."""
    submitted = run_in_python(place, backend_config={"groups": "container"})
    assert submitted.wait()
    submitted.cancel()
    assert (submitted.wait(), place.run().info.status) == (True, "FINISHED")
    metrics = place.run().data.metrics
    assert system_metrics(place.run()) == set()
    assert "elapsed_s" in metrics
    assert "cpu_seconds" not in metrics


def test_project_is_ended_at_its_limit(place: Place) -> None:
    """The run is KILLED, and says why, as does the error."""
    reason = r"elapsed_s [\d.]+ > 1.5"
    with pytest.raises(ExecutionException, match=f"was ended: {reason}"):
        run_in_python(place, parameters={"seconds": 60}, backend_config={"limits": "elapsed_s<=1.5"})
    run = place.run()
    assert run.info.status == "KILLED"
    assert re.fullmatch(reason, run.data.tags["sysmetrics.stop_reason"])
    assert run.data.metrics["elapsed_s"] < 20


def test_interrupt_ends_project_and_run(place: Place) -> None:
    """Ctrl-C ends the project, and its run is FAILED, which is MLflow's word for it."""
    line = ["run", str(place.project), "-b", NAME, "--env-manager", "local", "-P", "seconds=60"]
    output, environment = place.project / "printed", place.environment()
    command = Command([sys.executable, "-m", "mlflow", *line], cwd=place.project, output=output, env=environment)
    try:
        wait_until(lambda: any(map(system_metrics, place.client.search_runs(["0"]))), LIMIT_S, "the first series")
        command.signal(signal.SIGINT, group=True)
        ended = command.wait(LIMIT_S)
    finally:
        command.kill()
    assert ended.exit_code == 1
    assert "interrupted, cancelling run" in ended.stderr
    assert not psutil.pid_exists(place.output[0])
    assert place.run().info.status == "FAILED"
    assert system_metrics(place.run())


@pytest.mark.slow
def test_project_that_knows_nothing_of_us_is_measured(place: Place) -> None:
    """In an environment of its own, where this package is not even installed."""
    text = "".join(file.read_text() for file in PLAIN_PROJECT.iterdir() if file.is_file())
    assert "sysmetrics" not in text
    line = ["run", str(PLAIN_PROJECT), "-b", NAME, "--env-manager", "uv", "-P", f"note={QUOTE}"]
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", *line],
        cwd=place.project, env=place.environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = place.run()
    assert (run.info.status, run.data.tags["note"]) == ("FINISHED", QUOTE)
    assert len(place.client.get_metric_history(run.info.run_id, "r2")) == 20
    assert len(place.client.get_metric_history(run.info.run_id, "system/process_memory_mb")) > 1
    assert run.data.metrics["peak_memory_mb"] > 100
