"""The figures of a program are in its run however it ends: against what the kernel says of the ended process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from commands import clean_environment, store_uri
from mlflow import MlflowClient
from tracking_server import free_port

from mlflow_sysmetrics.command.supervisor import Settings
from mlflow_sysmetrics.command.passthrough import Ended
from mlflow_sysmetrics.command.run import run_command
from mlflow_sysmetrics.delivery import deliver
from mlflow_sysmetrics.logger import SystemMetricsLogger

LIMIT_S = 60.0
TAKEN_MB = 100
FIGURES = {
    *("elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "memory_growth_mb", "read_mb", "write_mb"),
}
# Takes memory, works, says what it has used, and ends as it is told to.
PROGRAM = f"""
import json, os, re, signal, sys, time
ending, busy_s, told = sys.argv[1:]
before_s = time.process_time()
taken = b"x" * {TAKEN_MB}_000_000
while time.process_time() < before_s + float(busy_s): pass
highest_kb = int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
cpu_s = time.process_time()
said = {{"cpu_s": cpu_s, "since_s": cpu_s - before_s, "hwm_mb": highest_kb * 1.024e-3}}
open(told, "w").write(json.dumps(said))
if ending == "raises": raise RuntimeError("no")
if ending == "exits": sys.exit(3)
if ending == "SIGTERM": os.kill(os.getpid(), signal.SIGTERM)
if ending == "SIGKILL": os.kill(os.getpid(), signal.SIGKILL)
"""
RECORDED = f"""
from mlflow_sysmetrics import SystemMetricsLogger
logger = SystemMetricsLogger().start()
{PROGRAM}
"""
CODES = {"returns": 0, "raises": 1, "exits": 3, "SIGTERM": -15, "SIGKILL": -9}


def end(folder: Path, ending: str, **more: str) -> tuple[int, dict[str, Any]]:
    """Run the program that records itself, with its store and spools in this folder: its exit code, what it has said.

    It is busy for longer than a second.
    """
    told = folder / "told"
    given = {"MLFLOW_TRACKING_URI": store_uri(folder), "MLFLOW_SYSMETRICS_SPOOL": str(folder / "spools"), **more}
    line = [sys.executable, "-c", RECORDED, ending, "1.5", str(told)]
    done = subprocess.run(line, env=clean_environment(**given), cwd=folder, timeout=LIMIT_S, capture_output=True)
    return done.returncode, json.loads(told.read_text())


@pytest.fixture
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test has a folder of its own for what waits."""
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(tmp_path / "spools"))


@pytest.mark.parametrize(
    "ending", [pytest.param(each, marks=[] if each == "SIGKILL" else pytest.mark.slow) for each in CODES]
)
@pytest.mark.usefixtures("spools")
def test_figures_of_a_command_are_there_however_it_ends(
    store_in_use: MlflowClient, tmp_path: Path, ending: str
) -> None:
    """From outside: to the last tick of its CPU time."""
    line = [sys.executable, "-c", PROGRAM, ending, "0.5", str(tmp_path / "told")]
    assert run_command(line, os.environ, Settings()) == Ended(CODES[ending])
    told = json.loads((tmp_path / "told").read_text())
    (run,) = store_in_use.search_runs(["0"])
    metrics = run.data.metrics
    assert metrics.keys() >= FIGURES
    assert metrics["cpu_seconds"] == pytest.approx(told["cpu_s"], rel=0.02, abs=0.03)
    assert TAKEN_MB < metrics["peak_memory_mb"] <= 1.02 * told["hwm_mb"]
    assert metrics["elapsed_s"] > 0.5
    assert ("sysmetrics.cause_of_death" in run.data.tags) == (ending == "SIGKILL")
    if ending == "SIGKILL":
        assert run.data.tags.get("sysmetrics.killed_for_memory", "false") == "false"


@pytest.mark.slow  # by default test_logger kills a fork
@pytest.mark.parametrize("ending", CODES)
def test_figures_of_a_logger_are_there_however_its_program_ends(empty_store: Path, ending: str) -> None:
    """From within. What dies of a signal has written its figures each second: `sync` delivers the last of them."""
    client = MlflowClient(store_uri(empty_store))
    run_id = client.create_run("0").info.run_id
    code, told = end(empty_store, ending, MLFLOW_RUN_ID=run_id)
    assert code == CODES[ending]
    killed = code < 0
    if killed:
        assert not deliver(empty_store / "spools").left
    metrics = client.get_run(run_id).data.metrics
    assert metrics.keys() >= FIGURES
    if killed:
        assert told["since_s"] - 1.3 < metrics["cpu_seconds"] < told["since_s"] + 0.1
    else:
        assert metrics["cpu_seconds"] == pytest.approx(told["since_s"], rel=0.1)  # and what delivers
    assert TAKEN_MB < metrics["peak_memory_mb"] <= 1.02 * told["hwm_mb"]


@pytest.mark.slow
def test_figures_wait_while_the_store_is_away(empty_store: Path) -> None:
    """Those of the end, in the spool."""
    client = MlflowClient(store_uri(empty_store))
    run_id = client.create_run("0").info.run_id
    away = f"http://127.0.0.1:{free_port()}"
    code, told = end(empty_store, "returns", MLFLOW_RUN_ID=run_id, MLFLOW_TRACKING_URI=away)
    assert code == 0
    assert not deliver(empty_store / "spools", client.tracking_uri).left
    metrics = client.get_run(run_id).data.metrics
    assert metrics.keys() >= FIGURES
    assert metrics["cpu_seconds"] >= told["since_s"] * 0.98


@pytest.mark.usefixtures("spools")
def test_names_that_the_program_has_logged_are_left_alone(store_in_use: MlflowClient) -> None:
    """Its own `elapsed_s` is its own; the rest is ours."""
    with mlflow.start_run() as run, SystemMetricsLogger():
        mlflow.log_metric("elapsed_s", 12345.0)
    metrics = store_in_use.get_run(run.info.run_id).data.metrics
    assert metrics["elapsed_s"] == 12345.0
    assert metrics["peak_memory_mb"] > 0
