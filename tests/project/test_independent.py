"""What is logged, held against a second reader of the same processes, by code of its own and five times as often."""

import os
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager, suppress
from itertools import count, pairwise
from pathlib import Path
from time import time

import numpy as np
import psutil
import pytest
from commands import ROOT, Command, children, clean_environment, runs_of_kind, store_uri, typed
from mlflow import MlflowClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,  # a process that waits for a core reads its figure late
    pytest.mark.skipif(sys.platform != "linux", reason="the second reader reads /proc"),
]
EVERY_S, LOOK_EVERY = 0.02, 10
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
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
STUDY = {
    "dataset": "red_wine", "algorithm": "stepping.Stepping", "space": "{held_mb: 30, batch_size: 32}",
    "folds": "2", "length": "400 steps",
}  # fmt: skip


def read(pid):
    """Unix time, CPU seconds (user and system, without ended children), and MB (resident - shared)."""
    began = time()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    if time() - began > 0.005:
        raise ValueError("held up meanwhile")
    return began, (int(fields[11]) + int(fields[12])) / TICKS, (resident - shared) * PAGE / 1e6


@contextmanager
def read_from_outside(root):
    """Read a process and all below it meanwhile; what is given tells of a process its times, CPU seconds and MB."""
    found, ended = defaultdict(list), threading.Event()

    def read_all():
        pids = [root]
        for number in count():
            if ended.wait(EVERY_S):
                return
            if number % LOOK_EVERY == 0:
                with suppress(psutil.Error):
                    pids = [root, *(each.pid for each in psutil.Process(root).children(recursive=True))]
            for pid in pids:
                with suppress(OSError, ValueError):  # it has ended
                    found[pid].append(read(pid))

    reader = threading.Thread(target=read_all)
    reader.start()
    try:
        yield lambda pid: np.array(found[pid]).T
    finally:
        ended.set()
        reader.join()


def test_trial_logs_what_another_reads(tmp_path):
    """Each interval's CPU within 3 points or 2 ticks, memory within 1 % at reports and peak, CPU seconds within 2 %."""
    (tmp_path / "stepping.py").write_text(ESTIMATOR)
    env = clean_environment(MLFLOW_TRACKING_URI=store_uri(tmp_path), PYTHONPATH=str(ROOT))
    line = [sys.executable, "-m", "entrypoints.tune", *typed(STUDY)]
    command = Command(line, cwd=tmp_path, output=tmp_path / "output", env=env)
    with read_from_outside(command.process.pid) as readings:
        finished = command.wait()
    assert finished.exit_code == 0, finished.stderr
    client = MlflowClient(store_uri(tmp_path))
    (study,) = runs_of_kind(client, "study")
    (trial,) = children(client, study, "trial")
    times, cpu_seconds, memory_mb = readings(int(trial.data.tags["sysmetrics.pid"]))

    def curve(name):
        points = sorted(client.get_metric_history(trial.info.run_id, name), key=lambda point: point.step)
        return [(point.timestamp / 1e3, point.value) for point in points]

    def cpu_s(start, end):
        return float(np.diff(np.interp([start, end], times, cpu_seconds))[0])

    (ended, elapsed_s), memory = curve("elapsed_s")[0], curve("memory_mb")
    for (start, _), (end, percent) in pairwise([memory[0], *curve("cpu_percent")]):
        read = 100 * cpu_s(start, end) / (end - start)
        near = max(3, 100 * 2 / TICKS / (end - start))  # the second reader sees whole ticks at both ends
        assert percent == pytest.approx(read, abs=near)
    for at, logged_mb in memory[1:]:
        after = int(np.searchsorted(times, at, side="right"))
        near = memory_mb[after - 2 : after + 2]
        assert 0.99 * min(near) <= logged_mb <= 1.01 * max(near)
    began, last = np.searchsorted(times, [ended - elapsed_s, ended])
    assert trial.data.metrics["cpu_seconds"] == pytest.approx(cpu_s(ended - elapsed_s, ended), rel=0.02)
    assert trial.data.metrics["peak_memory_mb"] == pytest.approx(max(memory_mb[began:last]), rel=0.01)
