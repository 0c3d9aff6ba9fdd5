"""Limits and the stop button of `mlflow-sysmetrics run` and of the backend: a real store, real programs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from commands import clean_environment, store_uri, the_run, wait_until
from mlflow import MlflowClient

from mlflow_sysmetrics.command import outside
from mlflow_sysmetrics.command.cli import main
from mlflow_sysmetrics.command.outside import Settings
from mlflow_sysmetrics.command.passthrough import STOPPED, Ended
from mlflow_sysmetrics.command.run import run_command

LIMIT_S = 60.0
# Takes 100 MB a second up to 600 MB, in itself and in a child that ignores SIGTERM, and says when it has begun.
CHILD = "import signal, time; signal.signal(15, signal.SIG_IGN); print('', flush=True); time.sleep(60)"
GROWING = f"""
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE)
child.stdout.readline()
open(sys.argv[1], "w").write(f"{{os.getpid()}} {{child.pid}}")
kept = []
for _ in range(120):
    kept.append(b"x" * 5_000_000)
    time.sleep(0.05)
"""
QUIET = "import sys, time; open(sys.argv[1], 'w').write('here'); time.sleep(60)"


def command(folder: Path, *options: str, source: str) -> subprocess.Popen[bytes]:
    """Start `mlflow-sysmetrics run` on a program, whose store is in the folder and which writes the file `told`."""
    line = [sys.executable, "-m", "mlflow_sysmetrics.command.cli", "run", *options, "--"]
    given = {"MLFLOW_TRACKING_URI": store_uri(folder), "MLFLOW_SYSMETRICS_SPOOL": str(folder / "spools")}
    return subprocess.Popen(
        [*line, sys.executable, "-c", source, str(folder / "told")], env=clean_environment(**given), cwd=folder
    )


@pytest.mark.slow
def test_program_that_grows_is_ended_at_its_limit(empty_store: Path) -> None:
    """Within 5 %, with its whole tree, also a child that ignores SIGTERM; the run and the exit code say so."""
    started = command(empty_store, "--criteria", "peak_memory_mb<=300", source=GROWING)
    assert started.wait(LIMIT_S) == 124
    run = the_run(empty_store)
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stopped_by"] == "criteria"
    assert run.data.tags["sysmetrics.stop_reason"].startswith("peak_memory_mb 3")
    assert "sysmetrics.cause_of_death" not in run.data.tags
    assert 300 < run.data.metrics["peak_memory_mb"] < 315
    pids = map(int, (empty_store / "told").read_text().split())
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)


@pytest.mark.slow
def test_program_within_its_limits_is_not_touched(empty_store: Path) -> None:
    """Its exit code and its run are as without any."""
    source = "import sys; open(sys.argv[1], 'w'); sys.exit(3)"
    started = command(empty_store, "--criteria", "peak_memory_mb<=3000, elapsed_s<=600", source=source)
    assert started.wait(LIMIT_S) == 3
    run = the_run(empty_store)
    assert run.info.status == "FAILED"
    assert not any(name.startswith("sysmetrics.stop") for name in run.data.tags)


def test_program_is_ended_by_the_tag_of_its_run(
    store_in_use: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As somebody sets it in the UI. Here the store is asked more often."""
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(tmp_path / "spools"))
    monkeypatch.setattr(outside, "StopButton", partial(outside.StopButton, every_s=0.1))
    told = tmp_path / "told"

    def set_tag() -> None:
        wait_until(told.exists, LIMIT_S, "the program", every_s=0.01)
        store_in_use.set_tag(the_run(tmp_path).info.run_id, "sysmetrics.stop", "enough")

    thread = threading.Thread(target=set_tag)
    thread.start()
    assert run_command([sys.executable, "-c", QUIET, str(told)], os.environ, Settings()) == Ended(STOPPED, told=True)
    thread.join(LIMIT_S)
    run = the_run(tmp_path)
    assert STOPPED == 124
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stopped_by"] == "person"
    assert run.data.tags["sysmetrics.stop_reason"] == "the tag sysmetrics.stop was set to 'enough'"
    assert run.data.metrics["elapsed_s"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--criteria", "peak_memory<=3"], "the closest is peak_memory_mb"),
        (["--criteria", "elapsed_s<=2x median"], "write a number"),
        (["--criteria", "peak_memory_mb<=3", "--groups", "container"], "needs the group process"),
    ],
)
def test_wrong_limit_is_said_before_anything_starts(
    store_in_use: MlflowClient, tmp_path: Path, options: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence, and no run is made."""
    for name in ("MLFLOW_LOGGING_LEVEL", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # the command sets them
    done = CliRunner().invoke(main, ["run", *options, "--", "touch", str(tmp_path / "x")])
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)
    assert said in done.output.splitlines()[-1]
    assert not (tmp_path / "x").exists()
    assert store_in_use.search_runs(["0"]) == []


@pytest.mark.slow
def test_script_marks_its_phases(empty_store: Path) -> None:
    """In a shell, without a line of Python: what each cost, and the figure, are in the run."""
    phase = f"{sys.executable} -m mlflow_sysmetrics.command.cli phase"
    work = f"{sys.executable} -c 'import time\nwhile time.process_time() < 1: pass'"
    script = f"{phase} load; sleep 0.5; {phase} train; {work}; {phase} --end"
    line = [sys.executable, "-m", "mlflow_sysmetrics.command.cli", "run", "--", "sh", "-c", script]
    given = {"MLFLOW_TRACKING_URI": store_uri(empty_store), "MLFLOW_SYSMETRICS_SPOOL": str(empty_store / "spools")}
    assert subprocess.run(line, env=clean_environment(**given), cwd=empty_store, timeout=LIMIT_S).returncode == 0
    run = the_run(empty_store)
    metrics = run.data.metrics
    assert metrics["phase/load/elapsed_s"] > 0.4
    assert metrics["phase/train/elapsed_s"] > 0.9
    assert metrics["phase/train/cpu_seconds"] > 0.9 > metrics["phase/load/cpu_seconds"]
    assert metrics["phase/train/peak_memory_mb"] > 1
    client = MlflowClient(store_uri(empty_store))
    assert "phases.png" in [each.path for each in client.list_artifacts(run.info.run_id)]


def test_phase_outside_a_recording_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in one sentence, with what to do."""
    monkeypatch.delenv("MLFLOW_SYSMETRICS_PHASES", raising=False)
    for arguments, said in (["load"], "mlflow-sysmetrics run -- ./script.sh"), ([], "give the name"):
        done = CliRunner().invoke(main, ["phase", *arguments])
        assert type(done.exception) is SystemExit
        assert done.exit_code != 0
        assert said in done.output
