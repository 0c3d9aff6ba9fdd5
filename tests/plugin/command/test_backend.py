"""The project backend: as ``local`` in all that can be seen, with the project's own cost in its run besides."""

import json
import os
import signal
import sys
from pathlib import Path

import mlflow
import mlflow.cli
import psutil
import pytest
from cases import cases
from click.testing import CliRunner
from commands import ROOT, Command, clean_environment, the_run, wait_until
from mlflow import MlflowClient
from mlflow.exceptions import ExecutionException
from servers import server_here

LIMIT_S = 300.0
NAME = "system-metrics"
HARD_TO_QUOTE = """two words; it's 5 o'clock, say "hello" & b; c | d > e $HOME `id` \\n * Ünïcode"""
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
with open("told.part", "w") as file:
    json.dump([os.getpid(), *sys.argv[2:]], file)
os.replace("told.part", "told")
while time.time() < end: pass
sys.exit(int(sys.argv[3]))
"""
JOB_WITH_RUNS = """
import mlflow
with mlflow.start_run(): mlflow.log_metric("loss", 0.5)
with mlflow.start_run(run_name="other"): pass
"""


@pytest.fixture
def slow_project(store_in_use, tmp_path, monkeypatch):
    """A project that takes a moment, below the folder whose store is used."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "MLproject").write_text(PROJECT)
    (folder / "job.py").write_text(JOB)
    return folder


def mlflow_run(project, *options, code=0):
    """The last line of ``mlflow run``, in this process."""
    line = ["run", str(project), "--env-manager", "local", "--backend", NAME, *options]
    result = CliRunner().invoke(mlflow.cli.cli, line)
    assert result.exit_code == code, result.output
    return result.output.splitlines()[-1]


def run_in_python(project, **options):
    """Run the project by MLflow's function."""
    return mlflow.projects.run(str(project), backend=NAME, env_manager="local", **options)


def told(project):
    """What the project's process wrote: its id and its arguments."""
    return json.loads((project / "told").read_text())


def has_series(run):
    return "system/process_memory_mb" in run.data.metrics


@cases(
    "code, exit_code, status, last", {"good": (0, 0, "FINISHED", "succeeded"), "failing": (7, 1, "FAILED", "failed")}
)
def test_command_waits_and_tells_the_end(slow_project, code, exit_code, status, last):
    """``mlflow run`` returns when the project has ended, with its exit code and last line, and its run is marked.

    Parameters arrive whatever is in them. MLflow names the run of a project that has succeeded.
    """
    options = ("--run-name", "mine", "-P", f"code={code}", "-P", f"text={HARD_TO_QUOTE}")
    assert last in mlflow_run(slow_project, *options, code=exit_code)
    run = the_run(slow_project.parent)
    assert told(slow_project)[1:] == [HARD_TO_QUOTE, str(code)]
    assert run.info.status == status
    assert (run.info.run_name == "mine") == (status == "FINISHED")
    assert run.data.tags["mlflow.project.entryPoint"] == "main"
    assert has_series(run)
    assert 1 < run.data.metrics["peak_memory_mb"] < 50  # of the project alone: `mlflow run` takes far more


def test_runs_that_the_project_opens_besides_its_own_have_their_costs(slow_project, store_in_use):
    """Their parents are untouched; one tag leads from each to the others."""
    (slow_project / "job.py").write_text(JOB_WITH_RUNS)
    with server_here(store_in_use.tracking_uri) as uri:
        MlflowClient(uri).search_experiments()  # the first request to MLflow's server sets the address for its process
        mlflow.set_tracking_uri(uri)
        mlflow_run(slow_project)
    own, other = sorted(store_in_use.search_runs(["0"]), key=lambda run: run.info.run_name == "other")
    assert own.info.status == "FINISHED"
    assert own.data.metrics["loss"] == 0.5
    assert own.data.tags["sysmetrics.program"] == other.data.tags["sysmetrics.program"] == own.info.run_id
    assert "mlflow.parentRunId" not in other.data.tags
    assert 0 < other.data.metrics["elapsed_s"] < own.data.metrics["elapsed_s"] / 2


def test_wrong_limits_are_said_before_anything_starts(slow_project, store_in_use):
    """One sentence names the value, and there is no run."""
    with pytest.raises(ExecutionException, match="memory<=1"):
        run_in_python(slow_project, backend_config={"limits": "memory<=1"})
    assert store_in_use.search_runs(["0"]) == []


def test_project_is_ended_at_its_limit(slow_project):
    """The run is KILLED, and says why, as does the error."""
    with pytest.raises(ExecutionException, match="was ended: elapsed_s "):
        run_in_python(slow_project, parameters={"seconds": 60}, backend_config={"limits": "elapsed_s<=0.5"})
    run = the_run(slow_project.parent)
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stop_reason"].startswith("elapsed_s ")


def test_interrupt_ends_project_and_run(slow_project, store_in_use):
    """Ctrl-C ends the project, and its run is FAILED, which is MLflow's word for it."""
    line = ["mlflow", "run", str(slow_project), "-b", NAME, "--env-manager", "local", "-P", "seconds=600"]
    env = clean_environment(PYTHONPATH=str(ROOT), MLFLOW_TRACKING_URI=store_in_use.tracking_uri)
    command = Command(line, cwd=slow_project, output=slow_project / "printed", env=env, warm=True)
    try:
        wait_until(lambda: any(map(has_series, store_in_use.search_runs(["0"]))), LIMIT_S, "the first series")
        command.signal(signal.SIGINT, group=True)
        ended = command.wait(LIMIT_S)
    finally:
        command.kill()
    assert ended.exit_code == 1
    assert "interrupted, cancelling run" in ended.stderr
    assert not psutil.pid_exists(told(slow_project)[0])
    assert the_run(slow_project.parent).info.status == "FAILED"
