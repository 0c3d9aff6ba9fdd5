"""What the callback costs Tune's driver as studies grow. `python benchmarks/scale.py`, three to fifteen minutes.

Synthetic trials of ten reports each, five figures a report, are put through the callback's hooks in the order in which
Tune calls them, into an SQLite store in the same process: the driver's whole cost, the store's included, except Tune's
own loop. Each size runs in a process of its own. Per row: CPU of that process per trial (all threads), growth of its
resident memory over the study, and points per second while the store keeps up (the hooks wait where over 20 runs
wait to be created, as a study of this many short trials would not be produced faster). Beside it Ray's
`MLflowLoggerCallback` with the same trials, at 100; what it would take for 1,000 is extrapolated, and said so.

`python benchmarks/scale.py 100 1000` for other sizes; `--quick` for 20 trials of both.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mlflow_sysmetrics.ray_tune import MEASURES_ITSELF  # noqa: E402

SIZES = (100, 1_000, 10_000)
STOCK = 100
REPORTS, FIGURES = 10, 5
WAITING = 20


class SyntheticActor:
    """An actor of Ray's that never answers."""

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *args: SimpleNamespace(future=Future))


class SyntheticTrial:
    """What a callback sees of a trial of Tune's."""

    status = "RUNNING"

    def __init__(self, number):
        self.trial_id = f"synthetic_{number:05d}"
        self.config = {"learning_rate": 0.1 / (number + 1), "batch_size": 64, "alpha": number}
        self.evaluated_params = self.config
        self.last_result = {}
        self.run_metadata = SimpleNamespace(last_result=self.last_result)
        self.temporary_state = SimpleNamespace(ray_actor=SyntheticActor())
        self.experiment_dir_name = "synthetic"

    def __str__(self):
        return self.trial_id

    def get_trainable_cls(self):
        return SimpleNamespace(**{MEASURES_ITSELF: True})

    def should_stop(self, result):
        return False


def result(trial, number):
    """One of a trial's results, with the bookkeeping that Ray adds."""
    figures = {f"figure_{index}": 1.0 / (number + index + 1) for index in range(FIGURES)}
    ray_own = {"training_iteration": number + 1, "time_total_s": 1.0, "pid": 1, "hostname": "here", "node_ip": "::1"}
    return figures | ray_own | {"config": trial.config, "trial_id": trial.trial_id, "done": False}


def drive(callback, trials, hold):
    """Call the hooks of ``trials`` trials as Tune does."""
    for number in trials:
        trial = SyntheticTrial(number)
        callback.on_trial_start(0, [], trial)
        for report in range(REPORTS):
            callback.on_trial_result(report, [], trial, result(trial, report))
        callback.on_trial_complete(REPORTS, [], trial)
        hold(number)


def measure(side, trials, uri):
    """Drive one callback in this process."""
    import psutil
    from mlflow import MlflowClient

    logging.disable(logging.WARNING)
    client = MlflowClient(uri)
    client.search_experiments()
    callback, hold = (_ours if side == "ours" else _stock)(uri)
    callback.setup()
    drive(callback, range(5), hold)  # imports and first connections are not a trial's cost
    process = psutil.Process()
    before_mb, cpu, wall = process.memory_info().rss / 1e6, time.process_time(), time.perf_counter()
    drive(callback, range(5, 5 + trials), hold)
    callback.on_experiment_end([])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    run = client.search_runs(["0"], "attributes.status = 'FINISHED'", max_results=1)[0]
    assert len(client.get_metric_history(run.info.run_id, "figure_0")) in (0, REPORTS)  # 0: the run around the trials
    return {
        "cpu_ms": 1000 * cpu / trials,
        "growth_mb": process.memory_info().rss / 1e6 - before_mb,
        "wall_s": wall,
        "points_per_s": trials * REPORTS * FIGURES / wall,
    }


def _ours(uri):
    from mlflow_sysmetrics.ray_tune import SystemMetricsCallback

    callback = SystemMetricsCallback(uri, experiment_id="0", close_timeout_s=600.0)

    def hold(number):
        while number >= WAITING and callback.run_id(SyntheticTrial(number - WAITING).trial_id) is None:
            time.sleep(0.002)

    return callback, hold


def _stock(uri):
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return MLflowLoggerCallback(uri, experiment_name="Default"), lambda number: None


def measured(side, trials):
    """The same in a new process, into a new store."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        argv = [sys.executable, __file__, "--measure", side, str(trials), uri]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        return dict(json.loads(done.stdout.splitlines()[-1]))


def row(what, figures):
    costs = f"{figures['cpu_ms']:>9.1f} ms{figures['growth_mb']:>9.0f} MB{figures['wall_s']:>9.1f} s"
    print(f"{what:<42}{costs}{figures['points_per_s']:>10.0f} /s", flush=True)


def main():
    parser = argparse.ArgumentParser(description="What the callback costs Tune's driver as studies grow.")
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of trials")
    parser.add_argument("--measure", nargs=3, metavar=("SIDE", "TRIALS", "URI"), help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="20 trials of both")
    arguments = parser.parse_args()
    if arguments.measure:
        side, trials, uri = arguments.measure
        print(json.dumps(measure(side, int(trials), uri)))
        return
    print(f"{'':<42}{'CPU/trial':>12}{'memory':>12}{'wall':>11}{'points':>13}")
    ours = {}
    sizes = [20] if arguments.quick else arguments.sizes
    for trials in sizes:
        ours[trials] = measured("ours", trials)
        row(f"ours, {trials:,} trials", ours[trials])
    trials = min(STOCK, *sizes)
    stock = measured("stock", trials)
    row(f"MLflowLoggerCallback, {trials} trials", stock)
    per_trial = ours[min(ours)]
    print(f"  CPU, stock / ours: {stock['cpu_ms'] / per_trial['cpu_ms']:.1f} x")
    print(f"  1,000 trials would hold up Tune for {stock['wall_s'] * 1000 / trials / 60:.0f} min (extrapolated)")


if __name__ == "__main__":
    main()
