"""What sampling costs, ours and MLflow's own monitor, measured in one run: `python benchmarks/sampler.py [--quick]`.

- *Cost of a sample*: CPU time of this process (`time.process_time`, all threads) per sample, best of five rounds. Ours
  is a whole `Monitor.read()`: reading, folding, closing windows and draining them, with a clock that moves 0.1 s at
  each reading, so that rates are in it, and twice a second the walk and what changes slowly. MLflow's is what the loop
  of its `SystemMetricsMonitor` does per sample on an SQLite store: collect, ask the store for the run, aggregate,
  publish.
- *Slowdown*: `SGDRegressor.partial_fit` with and without our monitor at ten samples a second, as the median of seven
  pairs. Each pair takes turns, in changing order, so that other load meets both sides: six slices of half a second
  each way. In CPU time of the process (all its threads) and in wall time (what the user waits). Two more sides say
  what to compare that with: a thread that only wakes up ten times a second and reads nothing (the interpreter lock
  changes hands at each wake-up, which is slow where waking a virtual processor is), and training alone again (noise).
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mlflow_sysmetrics import Measurement, measure
from mlflow_sysmetrics.monitor import Monitor
from mlflow_sysmetrics.sampling import Sampler

ROOT = Path(__file__).resolve().parents[1]
SLICES = 6
SLICE_S = 0.5  # as many steps as take about this long


def cpu_us(call, times):
    """CPU microseconds of this process per call: the best of five rounds."""
    rounds = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            call()
        rounds.append((time.process_time() - began) / times * 1e6)
    return min(rounds)


def our_sample(children):
    """Cost of one of our samples, for a tree of this process and that many idle children."""
    argv = [sys.executable, "-c", "print(flush=True); input()"]
    idle = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(children)]
    try:
        for process in idle:
            process.stdout.readline()
        seconds = 0.0
        options = {"interval_s": 0.1, "window_s": 0.5, "on_sample": lambda reading: None, "clock": lambda: seconds}
        monitor = Monitor(Sampler(clock=lambda: seconds), **options)
        monitor.read()

        def sample():
            nonlocal seconds
            seconds += 0.1
            monitor.read()
            monitor.drain()

        return cpu_us(sample, 400)
    finally:
        for process in idle:
            process.communicate(b"\n")


def mlflow_sample():
    """Cost of one sample of MLflow's monitor on an SQLite store: its collection alone, and all that its loop does."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = uri = f"sqlite:///{folder}/mlflow.db"
        import mlflow
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        logging.disable(logging.INFO)  # the migrations of a new database
        client = mlflow.MlflowClient(uri)
        run_id = client.create_run(client.create_experiment("benchmark")).info.run_id
        theirs = SystemMetricsMonitor(run_id, tracking_uri=uri)

        def sample():
            theirs.collect_metrics()
            mlflow.MlflowClient(uri).get_run(run_id)
            theirs.publish_metrics(theirs.aggregate_metrics())

        sample()
        whole = cpu_us(sample, 40)
        theirs.mlflow_logger.flush()
        return cpu_us(theirs.collect_metrics, 400), whole


@contextmanager
def monitored():
    with measure() as measurement:
        yield
    assert measurement.drain()


def waking():
    return Measurement(sample=dict)


def slowdown(pairs):
    """Percent more CPU time and wall time than training alone takes: with each side around it."""
    import numpy as np
    from sklearn.linear_model import SGDRegressor

    generator = np.random.default_rng(0)
    X = generator.normal(size=(64, 11))
    y = X.sum(axis=1)

    def train(steps, around):
        model = SGDRegressor(learning_rate="constant", eta0=0.01, random_state=0)
        cpu, wall = time.process_time(), time.perf_counter()
        with around:
            for _ in range(steps):
                model.partial_fit(X, y)
        return time.process_time() - cpu, time.perf_counter() - wall

    train(500, nullcontext())
    steps = int(1000 * SLICE_S / train(1000, nullcontext())[1])
    sides = {"alone": nullcontext, "monitored": monitored, "waking": waking, "again": nullcontext}
    ratios = {side: [] for side in sides}
    for pair in range(pairs):
        totals = {side: [0.0, 0.0] for side in sides}
        for turn in range(SLICES):
            order = list(sides)[:: (-1) ** turn]
            for side in order[(pair + turn // 2) % 4 :] + order[: (pair + turn // 2) % 4]:
                totals[side] = [sum(x) for x in zip(totals[side], train(steps, sides[side]()), strict=True)]
        for side, (cpu, wall) in totals.items():
            ratios[side].append((cpu / totals["alone"][0], wall / totals["alone"][1]))
    return {side: [100 * median(values) - 100 for values in zip(*own, strict=True)] for side, own in ratios.items()}


def row(what, figure):
    print(f"{what:<62}{figure:>12}", flush=True)


def main(pairs):
    costs = {"one process": our_sample(0), "a tree of 5": our_sample(4)}
    for what, cost in costs.items():
        row(f"CPU of a sample of {what}", f"{cost:.0f} us")
    collect, whole = mlflow_sample()
    row("MLflow's monitor: collect only (machine-wide figures)", f"{collect:.0f} us")
    row("MLflow's monitor: collect, get_run, aggregate, publish", f"{whole:.0f} us")
    for what, cost in costs.items():
        row(f"MLflow's whole loop / ours, {what}", f"{whole / cost:.1f} x")
    percent = slowdown(pairs)
    print(f"SGDRegressor.partial_fit, 10 samples/s, median of {pairs} pairs: more CPU time, more wall time")
    for side, what in (("monitored", "measured"), ("waking", "a thread that only wakes up"), ("again", "noise")):
        row(f"  {what}", "{:+.2f} % {:+.2f} %".format(*percent[side]))


if __name__ == "__main__":
    main(1 if "--quick" in sys.argv else 7)
