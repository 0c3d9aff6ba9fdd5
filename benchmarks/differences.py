"""Whether a difference that is really there is measured, at its size: five of them, and the memory of one model.

    python benchmarks/differences.py [--only leak --only memory] [--copies 12]

Each difference is a hyperparameter of an estimator made for it, and a study of its own: `copies` trials with it and as
many without. It allocates 5 MB, is 20 % slower, idles 30 % of the time, leaks 0.1 MB in 100 steps, or frees its memory
half way. The table has the median of the figure or curve with and without, their difference, and what it has to be.
Beside each study stands what its report says of the hyperparameter. `memory` compares `model_memory_mb` at 2 and 10
folds, and the refit, with a plain process that trains that one model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parent.parent
STEPS, REPORT_EVERY, FOLDS = 300, 15, 2  # about 20 reports
ESTIMATOR = '''
"""One step takes 2 ms of CPU; what differs is asked for by a hyperparameter."""
import time
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


class Differing(RegressorMixin, BaseEstimator):
    def __init__(self, allocate=0, slow=0, idle=0, leak=0, free=0, copy=0):
        self.allocate, self.slow, self.idle, self.leak, self.free, self.copy = allocate, slow, idle, leak, free, copy

    def fit(self, X, y):
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        step = self.step_ = getattr(self, "step_", 0) + 1
        if step == 1:
            self.held_ = np.ones(int((self.allocate + (20 if self.free else 0)) * 125_000))
            self.leaked_ = []
        if self.free and step == int(self.free):
            self.held_ = None
        if self.leak:
            self.leaked_.append(np.ones(int(self.leak * 1250)))  # megabytes in 100 steps
        seconds = 0.002 * (1 + self.slow)
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass
        if self.idle:
            time.sleep(seconds * self.idle / (1 - self.idle))
        return self

    def predict(self, X):
        return np.zeros(len(X))
'''
# What one model takes where nothing else is done. The small one first does what a process does once.
PLAIN = """
import sys
import numpy as np
from sklearn.neural_network import MLPClassifier
from sklearn.linear_model import SGDClassifier
from entrypoints.compute import memory

random = np.random.default_rng(0)
X, y = random.normal(size=(64, 8)), np.arange(64) % 2
models = {"mlp": lambda: MLPClassifier((1024, 1024), random_state=0), "linear": lambda: SGDClassifier(random_state=0)}
make = models[sys.argv[1]]

def train():
    model = make()
    for _ in range(20):
        model.partial_fit(X, y, classes=[0, 1])

if sys.argv[2] == "warm":
    (MLPClassifier((8,)) if sys.argv[1] == "mlp" else make()).partial_fit(X, y, classes=[0, 1])
print(memory.raised(train).peak_mb)
"""


@dataclass(frozen=True)
class Difference:
    """A hyperparameter's two values, and what has to differ between them: of a trial's run, one number."""

    values: tuple[float, float]
    expected: dict[str, tuple[float, float]]  # by how much, and within how much


def curve(client, run, name):
    """The values of a curve, in order."""
    points = client.get_metric_history(run.info.run_id, name)
    return [point.value for point in sorted(points, key=lambda point: point.step)]


def numbers(client, run):
    """The figures of a trial, and of its curves: the course of memory from the first report to the last."""
    memory_mb = curve(client, run, "memory_mb")[1:]  # at step 0 no model has begun
    shares, middle = curve(client, run, "cpu_percent"), len(memory_mb) // 2
    return run.data.metrics | {
        "memory_mb curve, last less first": memory_mb[-1] - memory_mb[0],
        "memory_mb curve, 2nd half less 1st": median(memory_mb[middle:]) - median(memory_mb[:middle]),
        "cpu_percent curve, median": median(shares),
        "step_time_ms curve, median": median(curve(client, run, "step_time_ms")),
    }


LAST_LESS_FIRST, HALVES = "memory_mb curve, last less first", "memory_mb curve, 2nd half less 1st"
LEAK_MB = 0.1 * (STEPS - REPORT_EVERY) / 100 * FOLDS
DIFFERENCES = {
    "allocate": Difference(
        (0, 5), {"model_memory_mb": (5, 0.5), "peak_memory_mb": (5 * FOLDS, 1), "memory_growth_mb": (5 * FOLDS, 1)}
    ),
    "slow": Difference(
        (0, 0.2),
        {
            "mean_step_time_ms": (0.4, 0.12),
            "training_time_s": (0.4e-3 * STEPS, 0.036),
            "cpu_seconds": (0.4e-3 * STEPS * FOLDS, 0.072),
            "step_time_ms curve, median": (0.4, 0.12),
        },
    ),
    "idle": Difference((0, 0.3), {"mean_cpu_percent": (-30, 6), "cpu_percent curve, median": (-30, 6)}),
    "leak": Difference(
        (0, 0.1), {LAST_LESS_FIRST: (LEAK_MB, 0.1), "memory_growth_mb": (0.1 * STEPS / 100 * FOLDS, 0.2)}
    ),
    "free": Difference((2 * STEPS, STEPS / 2), {HALVES: (-20 * FOLDS, 1), "peak_memory_mb": (0, 1)}),
}


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice([*DIFFERENCES, "memory"]), help="These parts alone.")
@click.option("--copies", default=12, show_default=True, help="Trials of each value.")
@click.option("--report/--no-report", default=True, show_default=True, help="Show what the study's report says.")
def main(only, copies, report):
    """Run the studies and print the tables."""
    with tempfile.TemporaryDirectory(prefix="differences-") as folder:
        place = Path(folder)
        (place / "differing.py").write_text(ESTIMATOR)
        run = _runner(place)
        for name, difference in DIFFERENCES.items():
            if not only or name in only:
                _compare(run, name, difference, copies, report)
        if not only or "memory" in only:
            _model_memory(run)


def _runner(place):
    """What runs a command of the bundle in a folder; each has a store of its own there."""

    def run(store, entry, **params):
        uri = f"sqlite:///{place / store}.db"
        line = [sys.executable, "-m", f"entrypoints.{entry}"]
        line += [part for name, value in params.items() for part in (f"--{name}", str(value))]
        env = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(line, cwd=place, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise click.ClickException(f"{' '.join(line)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return MlflowClient(uri)

    return run


def _kind(client, kind):
    found = client.search_runs(["0"], f"tags.`sysmetrics.kind` = '{kind}'", max_results=1000)
    return [run for run in found if "sysmetrics.role" not in run.data.tags]  # the references


def _compare(run, name, difference, copies, report):
    space = {"batch_size": 32, name: list(difference.values), "copy": list(range(copies))}
    client = run(
        name,
        "tune",
        dataset="red_wine",
        algorithm="differing.Differing",
        space=json.dumps(space),
        folds=FOLDS,
        length=f"{STEPS} steps",
    )
    without, with_it = (
        [numbers(client, trial) for trial in _kind(client, "trial") if float(trial.data.params[name]) == value]
        for value in difference.values
    )
    click.echo(f"\n{name}: {difference.values[0]:g} and {difference.values[1]:g}, {copies} trials each")
    click.echo(f"  {'figure':36} {'without':>9} {'with':>9} {'differ by':>9} {'has to':>14}  found")
    for figure, (expected, within) in difference.expected.items():
        before, after = (median(trial[figure] for trial in trials) for trials in (without, with_it))
        found = "yes" if abs(after - before - expected) <= within else "NO"
        click.echo(
            f"  {figure:36} {before:9.4g} {after:9.4g} {after - before:9.4g} {expected:7.3g} +-{within:5.3g}  {found}"
        )
    if report:
        run(name, "report", dataset="red_wine")
        said = list(_sentences(client, name))
        click.echo(
            "  its report says:\n" + "\n".join(f"    {line}" for line in said) if said else "  its report: nothing"
        )


def _sentences(client, name):
    """What the report says of a hyperparameter."""
    for made in _kind(client, "report"):
        for line in made.data.tags.get("mlflow.note.content", "").splitlines():
            if f"`{name}`" in line or f" {name} " in line:
                yield line


def _model_memory(run):
    """`model_memory_mb` against a plain process, of a network of 1024 x 1024 and a linear model."""
    click.echo(f"\nMemory of one model in MB\n  {'model':8} {'where':34} {'MB':>7}")
    models = {
        "mlp": {
            "algorithm": "sklearn.neural_network.MLPClassifier",
            "space": "{batch_size: 64, hidden_layer_sizes: [[1024, 1024]]}",
        },
        "linear": {"algorithm": "logistic", "space": "{batch_size: 64, learning_rate: 0.01, alpha: 0.001}"},
    }
    for model, params in models.items():
        for first in ("cold", "warm"):
            line = [sys.executable, "-c", PLAIN, model, first]
            env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            done = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
            click.echo(f"  {model:8} {f'plain process, {first}':34} {float(done.stdout):7.2f}")
        for folds in (2, 10):
            client = run(f"{model}-{folds}", "tune", dataset="diabetes", folds=folds, length="20 steps", **params)
            (trial,), (study,) = _kind(client, "trial"), _kind(client, "study")
            figures = trial.data.metrics
            click.echo(f"  {model:8} {f'model_memory_mb, {folds} folds':34} {figures['model_memory_mb']:7.2f}")
            click.echo(f"  {model:8} {f'memory_growth_mb, {folds} folds':34} {figures['memory_growth_mb']:7.2f}")
            refit_mb = study.data.metrics["refit_memory_growth_mb"]
            click.echo(f"  {model:8} {f'refit_memory_growth_mb, {folds} folds':34} {refit_mb:7.2f}")


if __name__ == "__main__":
    main()
