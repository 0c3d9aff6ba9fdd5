"""The figures of a program are in its run however it ends: against what the kernel says of the ended process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import clean_environment, store_uri
from mlflow import MlflowClient
from tracking_server import free_port

from mlflow_sysmetrics.delivery.sync import deliver

LIMIT_S = 60.0
BUSY_S, TAKEN_MB = 1.5, 100
FIGURES = {
    *("elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "memory_growth_mb", "read_mb", "write_mb"),
}
# Takes memory, works, says what it has used, and ends as it is told to.
PROGRAM = f"""
import json, os, re, signal, sys, time
ending, told = sys.argv[1:]
before_s = time.process_time()
taken = b"x" * {TAKEN_MB}_000_000
while time.process_time() < before_s + {BUSY_S}: pass
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
ENDINGS = [pytest.param(each, marks=[] if each == "SIGKILL" else pytest.mark.slow) for each in CODES]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a program whose store and spools are in this folder."""
    given = {"MLFLOW_TRACKING_URI": store_uri(folder), "MLFLOW_SYSMETRICS_SPOOL": str(folder / "spools"), **more}
    return clean_environment(**given)


def end(folder: Path, line: list[str], env: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Run a program to its end: its exit code, and what it has said."""
    told = folder / "told"
    code = subprocess.run([*line, str(told)], env=env, cwd=folder, timeout=LIMIT_S, capture_output=True).returncode
    return code, json.loads(told.read_text())


@pytest.mark.parametrize("ending", ENDINGS)
def test_figures_of_a_command_are_there_however_it_ends(empty_store: Path, ending: str) -> None:
    """From outside: to the last tick of its CPU time."""
    wrapped = [
        sys.executable,
        "-m",
        "mlflow_sysmetrics.command.cli",
        "run",
        "--",
        sys.executable,
        "-c",
        PROGRAM,
        ending,
    ]
    code, told = end(empty_store, wrapped, environment(empty_store))
    assert code == CODES[ending]
    (run,) = MlflowClient(store_uri(empty_store)).search_runs(["0"])
    metrics = run.data.metrics
    assert metrics.keys() >= FIGURES
    assert metrics["cpu_seconds"] == pytest.approx(told["cpu_s"], rel=0.02, abs=0.03)
    assert TAKEN_MB < metrics["peak_memory_mb"] <= 1.02 * told["hwm_mb"]
    assert metrics["elapsed_s"] > BUSY_S
    assert ("sysmetrics.cause_of_death" in run.data.tags) == (ending == "SIGKILL")
    if ending == "SIGKILL":
        assert run.data.tags.get("sysmetrics.killed_for_memory", "false") == "false"


@pytest.mark.parametrize("ending", ENDINGS)
def test_figures_of_a_logger_are_there_however_its_program_ends(empty_store: Path, ending: str) -> None:
    """From within. What dies of a signal has written its figures each second: `sync` delivers the last of them."""
    client = MlflowClient(store_uri(empty_store))
    run_id = client.create_run("0").info.run_id
    env = environment(empty_store, MLFLOW_RUN_ID=run_id)
    code, told = end(empty_store, [sys.executable, "-c", RECORDED, ending], env)
    assert code == CODES[ending]
    killed = code < 0
    if killed:
        assert deliver(empty_store / "spools").left == ()
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
    env = environment(empty_store, MLFLOW_RUN_ID=run_id, MLFLOW_TRACKING_URI=away)
    code, told = end(empty_store, [sys.executable, "-c", RECORDED, "returns"], env)
    assert code == 0
    assert deliver(empty_store / "spools", client.tracking_uri).left == ()
    metrics = client.get_run(run_id).data.metrics
    assert metrics.keys() >= FIGURES
    assert metrics["cpu_seconds"] >= told["since_s"] * 0.98


def test_names_that_the_program_has_logged_are_left_alone(empty_store: Path) -> None:
    """Its own `elapsed_s` is its own; the rest is ours."""
    source = (
        "import mlflow\n"
        "from mlflow_sysmetrics import SystemMetricsLogger\n"
        "with mlflow.start_run(), SystemMetricsLogger():\n"
        "    mlflow.log_metric('elapsed_s', 12345.0)\n"
    )
    subprocess.run([sys.executable, "-c", source], env=environment(empty_store), cwd=empty_store, check=True)
    (run,) = MlflowClient(store_uri(empty_store)).search_runs(["0"])
    assert run.data.metrics["elapsed_s"] == 12345.0
    assert run.data.metrics["peak_memory_mb"] > 0
