"""What is logged, held against a second program that reads the same processes from outside by code of its own."""

from __future__ import annotations

import os
import resource
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from commands import Command, clean_environment, store_uri
from mlflow import MlflowClient
from outside_reader import read_from_outside

from mlflow_sysmetrics.command.run import run_command
from mlflow_sysmetrics.command.supervisor import Settings

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the second program reads /proc")
# Works and waits in turn, takes 60 MB, and lets them go half way.
PROGRAM = """
import time
held = None
for part in range(8):
    held = b"x" * 60_000_000 if part == 2 else held if part < 5 else None
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    time.sleep(0.05)
"""
# A step works for 8 ms and waits for twice as long, or not at all; from step 60 to 140 it holds 30 MB.
ESTIMATOR = """
import time
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

class Stepping(RegressorMixin, BaseEstimator):
    def __init__(self, held_mb=30):
        self.held_mb = held_mb

    def fit(self, X, y):
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        self.step_ = getattr(self, "step_", 0) + 1
        if self.step_ in (60, 140):
            self.held_ = np.ones(self.held_mb * 125_000) if self.step_ == 60 else None
        end = time.thread_time() + 0.008
        while time.thread_time() < end:
            pass
        time.sleep(0.016 * (self.step_ // 100 % 2))
        return self

    def predict(self, X):
        return np.zeros(len(X))
"""


def show(what: str, logged: float, outside: float) -> None:
    """One line of the comparison."""
    print(f"{what:34} {logged:9.3f} logged {outside:9.3f} from outside {100 * (logged / outside - 1):+6.2f} %")


def test_plain_run_logs_what_a_second_program_reads(
    store_in_use: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CPU time as the kernel tells the parent, and the peak of memory as it is read five times as often."""
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(tmp_path / "spool"))
    with read_from_outside(os.getpid(), tmp_path / "readings.txt") as reader:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_command([sys.executable, "-c", PROGRAM], os.environ, Settings())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (run,) = store_in_use.search_runs(["0"])
    figures, outside = run.data.metrics, reader.of(int(run.data.tags["sysmetrics.pid"]))
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak_mb = max(row[2] for row in outside.rows)
    show("cpu_seconds", figures["cpu_seconds"], cpu_s)
    show("peak_memory_mb", figures["peak_memory_mb"], peak_mb)
    assert figures["cpu_seconds"] == pytest.approx(cpu_s, rel=0.02, abs=0.03)  # ticks
    assert figures["peak_memory_mb"] == pytest.approx(peak_mb, rel=0.01)


@pytest.mark.slow
def test_trial_logs_what_a_second_program_reads(tmp_path: Path) -> None:
    """Each interval's CPU within 3 points, memory at each report and at its peak within 1 %, CPU seconds within 2 %."""
    (tmp_path / "stepping.py").write_text(ESTIMATOR)
    params = {
        "dataset": "red_wine", "algorithm": "stepping.Stepping", "space": "{held_mb: 30, batch_size: 32}",
        "folds": 2, "max_steps": 400, "report_every": 50,
    }  # fmt: skip
    arguments = [sys.executable, "-m", "entrypoints.tune"]
    arguments += [part for name, value in params.items() for part in (f"--{name}", str(value))]
    uri = store_uri(tmp_path)
    environment = clean_environment(MLFLOW_TRACKING_URI=uri, PYTHONPATH=str(ROOT))
    command = Command(arguments, cwd=tmp_path, output=tmp_path / "output", env=environment)
    with read_from_outside(command.process.pid, tmp_path / "readings.txt") as reader:
        finished = command.wait()
    assert finished.exit_code == 0, finished.stderr
    client = MlflowClient(uri)
    (trial,) = client.search_runs(["0"], "tags.`sysmetrics.kind` = 'trial'")
    figures, outside = trial.data.metrics, reader.of(int(trial.data.tags["sysmetrics.pid"]))

    def curve(name: str) -> list[tuple[float, float]]:
        points = sorted(client.get_metric_history(trial.info.run_id, name), key=lambda point: point.step)
        return [(point.timestamp / 1e3, point.value) for point in points]

    (ended, elapsed_s), memory = curve("elapsed_s")[0], curve("memory_mb")
    began = ended - elapsed_s
    wrong = []
    for (start, _), (end, percent) in pairwise([memory[0], *curve("cpu_percent")]):
        read = 100 * outside.cpu_s(start, end) / (end - start)
        show(f"cpu_percent, {end - start:.1f} s", percent, read)
        wrong += [f"cpu_percent {percent} {read}"] if abs(percent - read) > 3 else []
    for at, memory_mb in memory[1:]:
        near = outside.memory_mb(at)
        show("memory_mb", memory_mb, min(near, key=lambda read: abs(read - memory_mb)))
        wrong += [] if 0.99 * min(near) <= memory_mb <= 1.01 * max(near) else [f"memory_mb {memory_mb} {near}"]
    cpu_s, peak_mb = outside.cpu_s(began, ended), outside.peak_mb(began, ended)
    show("cpu_seconds", figures["cpu_seconds"], cpu_s)
    show("peak_memory_mb", figures["peak_memory_mb"], peak_mb)
    assert wrong == []
    assert figures["cpu_seconds"] == pytest.approx(cpu_s, rel=0.02)
    assert figures["peak_memory_mb"] == pytest.approx(peak_mb, rel=0.01)
