"""What sampling costs: ours and MLflow's own monitor, measured in one run. `python benchmarks/sampler.py`, 2-3 minutes.

- *Cost of a sample*: CPU time of this process (`time.process_time`, all threads) per sample, best of five rounds. Ours
  is a whole `Monitor.read()`: reading, folding, closing windows and draining them, with a clock that moves 0.1 s at
  each reading, so that rates are in it, and twice a second the walk and what changes slowly. MLflow's is what the loop
  of its `SystemMetricsMonitor` does per sample on an SQLite store: collect, ask the store for the run, aggregate,
  publish.
- *Import*: what our run-context provider adds to `import mlflow`, in new interpreters. Directly: what MLflow does with
  its entry point (load it, make one), timed in an interpreter that has imported everything else. And as a check the
  whole import with and without that entry point, as the median of pairs in changing order; with without again is noise.
- *Slowdown*: `SGDRegressor.partial_fit` with and without our monitor at ten samples a second, as the median of seven
  pairs. Each pair takes turns, in changing order, so that other load meets both sides: six slices of half a second
  each way. In CPU time of the process (all its threads) and in wall time (what the user waits). Two more sides say
  what to compare that with: a thread that only wakes up ten times a second and reads nothing (the interpreter lock
  changes hands at each wake-up, which is slow where waking a virtual processor is), and training alone again (noise).
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mlflow_sysmetrics import Measurement, measure
from mlflow_sysmetrics.monitor import Monitor
from mlflow_sysmetrics.sampling import Sampler

ROOT = Path(__file__).resolve().parents[1]
PAIRS = 7
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
    """Cost of one of our samples, for a tree of this process and that many idle children, and the names read."""
    argv = [sys.executable, "-c", "print(flush=True); input()"]
    idle = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(children)]
    try:
        for process in idle:
            assert process.stdout is not None
            process.stdout.readline()
        seconds = 0.0
        options = {"interval_s": 0.1, "window_s": 0.5, "on_sample": lambda reading: None, "clock": lambda: seconds}
        monitor = Monitor(Sampler(clock=lambda: seconds), **options)
        monitor.read()
        assert set(monitor.peaks) >= {"process_memory_mb", "process_threads"}

        def sample():
            nonlocal seconds
            seconds += 0.1
            monitor.read()
            monitor.drain()

        cost = cpu_us(sample, 400)
        assert monitor.failures == 0
        assert sum(name.startswith("process_") for name in monitor.peaks) == 7, sorted(monitor.peaks)
        return cost, sorted(monitor.peaks)
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
            assert mlflow.MlflowClient(uri).get_run(run_id).info.status == "RUNNING"
            theirs.publish_metrics(theirs.aggregate_metrics())

        sample()
        whole = cpu_us(sample, 40)
        theirs.mlflow_logger.flush()
        assert client.get_run(run_id).data.metrics
        return cpu_us(theirs.collect_metrics, 400), whole


LOAD_AS_MLFLOW_DOES = """
import importlib.metadata, json, time
wall, cpu = time.perf_counter(), time.process_time()
import mlflow
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
began = time.perf_counter()
importlib.metadata.EntryPoint("host", "mlflow_sysmetrics.host:HostContext", "mlflow.run_context_provider").load()()
print(json.dumps([1000 * wall, 1000 * cpu, 1000 * (time.perf_counter() - began)]))
"""


def import_ms():
    """Milliseconds that the run-context provider adds to `import mlflow`, and what MLflow alone takes."""
    with tempfile.TemporaryDirectory() as folder:
        for side in ("with", "without"):
            # A package of the same name that comes first hides an installed one, and its entry points.
            info = Path(folder, side, "mlflow_sysmetrics_bundle-0.dist-info")
            info.mkdir(parents=True)
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mlflow-sysmetrics-bundle\nVersion: 0\n")
        provider = "sysmetrics-host = mlflow_sysmetrics.host:HostContext"
        entry_points = Path(folder, "with", "mlflow_sysmetrics_bundle-0.dist-info", "entry_points.txt")
        entry_points.write_text(f"[mlflow.run_context_provider]\n{provider}\n")

        def fresh(side):
            environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(folder, side)), str(ROOT)])}
            argv = [sys.executable, "-c", LOAD_AS_MLFLOW_DOES]
            return [float(ms) for ms in json.loads(subprocess.check_output(argv, env=environment, cwd=folder))]

        fresh("with"), fresh("without")  # their files are in the page cache from here on
        sides = {"with": "with", "without": "without", "again": "without"}
        rounds = []
        for turn in range(PAIRS):
            order = [*sides][turn % 3 :] + [*sides][: turn % 3]
            rounds.append({side: fresh(sides[side]) for side in order[:: (-1) ** turn]})
    return {
        "direct": median(times["without"][2] for times in rounds),
        "pairs, wall": median(times["with"][0] - times["without"][0] for times in rounds),
        "noise, wall": median(abs(times["again"][0] - times["without"][0]) for times in rounds),
        "pairs, cpu": median(times["with"][1] - times["without"][1] for times in rounds),
        "noise, cpu": median(abs(times["again"][1] - times["without"][1]) for times in rounds),
        "mlflow": median(times["without"][0] for times in rounds),
    }


@contextmanager
def monitored():
    with measure() as measurement:
        yield
    assert measurement.drain()


def waking():
    return Measurement(sample=dict)


def slowdown():
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
    sides: dict[str, Callable[[], AbstractContextManager[object]]]
    sides = {"alone": nullcontext, "monitored": monitored, "waking": waking, "again": nullcontext}
    ratios = {side: [] for side in sides}
    for pair in range(PAIRS):
        totals = {side: [0.0, 0.0] for side in sides}
        for turn in range(SLICES):
            order = list(sides)[:: (-1) ** turn]
            for side in order[(pair + turn // 2) % 4 :] + order[: (pair + turn // 2) % 4]:
                totals[side] = [sum(x) for x in zip(totals[side], train(steps, sides[side]()), strict=True)]
        for side, (cpu, wall) in totals.items():
            ratios[side].append((cpu / totals["alone"][0], wall / totals["alone"][1]))
    return {
        side: (median(cpu for cpu, _ in pairs) * 100 - 100, median(wall for _, wall in pairs) * 100 - 100)
        for side, pairs in ratios.items()
    }


def row(what, figure, target=""):
    print(f"{what:<62}{figure:>12}   {target}", flush=True)


def main():
    row("CPU per sample", "", "target")
    targets = {"one process": "<= 60 us", "a tree of 5": "<= 250 us"}
    ratios = {"one process": ">= 20 x", "a tree of 5": ">= 8 x"}
    costs = {
        "one process": our_sample(0),
        "a tree of 5": our_sample(4),
    }
    for what, (cost, names) in costs.items():
        row(f"  ours, {what}, {len(names)} metrics", f"{cost:.0f} us", targets.get(what, ""))
    collect, whole = mlflow_sample()
    row("  MLflow's monitor: collect only (machine-wide figures)", f"{collect:.0f} us")
    row("  MLflow's monitor: collect, get_run, aggregate, publish", f"{whole:.0f} us")
    for what, (cost, _) in costs.items():
        row(f"  ratio, MLflow's whole loop / ours, {what}", f"{whole / cost:.1f} x", ratios[what])
    added = import_ms()
    row(f"`import mlflow`, median of {PAIRS} new interpreters", f"{added['mlflow']:.0f} ms")
    row("  added by the run-context provider", f"{added['direct']:.2f} ms", "<= 5 ms")
    for clock, what in (("wall", "wall time"), ("cpu", "CPU time")):
        row(f"  with it less without, {what}, paired", f"{added[f'pairs, {clock}']:+.0f} ms")
        row("    of nothing: the machine's noise", f"{added[f'noise, {clock}']:.0f} ms")
    percent = slowdown()
    row(f"SGDRegressor.partial_fit, 10 samples/s, median of {PAIRS} pairs", "", "")
    for position, what in enumerate(("CPU time of the process", "wall time")):
        row(f"  slowdown, {what}", f"{percent['monitored'][position]:+.2f} %", "<= 5 %")
        row("    of a thread that only wakes up", f"{percent['waking'][position]:+.2f} %")
        row("    of nothing: the machine's noise", f"{percent['again'][position]:+.2f} %")


if __name__ == "__main__":
    main()
