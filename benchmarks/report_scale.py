"""What a report on large studies takes: wall time, and the memory of all of its processes together.

    python benchmarks/report_scale.py [--trials 5000] [--studies 1] [--other <path of another checkout>]

It fills a new SQLite store with a study of that many trials, as `tune` and the callback leave them, straight through
MLflow's tables, since no figure of these trials matters: curves of five points, two samples of the process, folds.
Several studies are of as many datasets. It then runs the command on them and prints both figures, and the targets; with
another checkout also that one's `report` on the same store, one after the other, twice, and the ratios of the better
runs of each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param, RunTag  # noqa: E402
from mlflow.store.tracking.dbmodels import models  # noqa: E402
from sqlalchemy import create_engine, insert  # noqa: E402

TARGETS = "60 s and 600 MB for 5000 trials, 90 s for four studies of 1000"
STEPS, FOLDS, ROWS = (100, 200, 300, 400, 500), 10, 1119
SHARED = {"dataset": "red_wine", "target": "auto", "max_rows": "all", "folds": FOLDS, "seed": 0}
SHARED |= {"length": f"{STEPS[-1]} steps"}
SAMPLED = ("cpu_percent", "memory_mb", "rss_mb", "threads")
SAMPLED += ("read_mb_per_s", "write_mb_per_s", "page_faults_per_s")
STUDY_KEY = "0123456789abcdef"
CHUNK = 100  # trials in one transaction


@dataclass(frozen=True)
class Trial:
    """One trial: what it chose, its points (metric, step, ms since its start, value), and its folds' scores."""

    number: int
    chosen: dict[str, Any]
    points: list[tuple[str, int, int, float]]
    folds: list[float]
    diverged: bool

    @property
    def trial_id(self):
        """As Tune numbers them."""
        return f"scale_{self.number:05d}"

    @property
    def run_id(self):
        """As MLflow's ids look."""
        return f"{self.number:032x}"

    @property
    def figures(self):
        """The last value of each metric."""
        return {name: value for name, _, _, value in self.points}


def grid(alphas):
    """Ten batch sizes by ten learning rates by this number of alphas."""
    rates = [float(f"{rate:.3g}") for rate in np.geomspace(1e-4, 0.1, 10)]
    return [
        (2**exponent, rate, float(f"{alpha:.3g}"))
        for exponent in range(1, 11)
        for rate in rates
        for alpha in np.geomspace(1e-5, 0.1, alphas)
    ]


def synthetic(number, chosen, random):
    """A trial whose score and costs depend on what it chose, with noise. Its number is its id in the store."""
    batch_size, rate, alpha = chosen
    step_ms = (0.1 + batch_size / 5000) * random.lognormal(0, 0.05)
    score = 0.65 + 0.05 * abs(np.log10(rate) + 2.5) + 0.01 * random.normal()
    memory_mb = 200 + batch_size / 100 + random.normal()
    last, points = 0, []
    for i, step in enumerate(STEPS, 1):
        last = int(step * step_ms * FOLDS)
        val_rmse = score * (1 + 0.3 / i**2)
        curve = {"train_loss": val_rmse**2 * 1.4, "val_loss": val_rmse**2 * 1.5, "val_rmse": val_rmse}
        curve |= {"step_time_ms": step_ms * random.lognormal(0, 0.02), "training_time_s": step * step_ms / 1e3}
        curve |= {"cpu_percent": 95 - random.gamma(2), "memory_mb": memory_mb + i / 50}
        points += [(name, step, last, value) for name, value in curve.items()]
    once = {"test_loss": score**2 * 1.5, "test_rmse": score * 0.98, "elapsed_s": last / 1e3 + 0.1}
    once |= {"mean_step_time_ms": step_ms, "mean_cpu_percent": 93.0, "cpu_seconds": 0.93 * last / 1e3}
    once |= {"peak_memory_mb": memory_mb + 1, "memory_growth_mb": 1.0}
    once |= {"inference_latency_ms": random.lognormal(-3, 0.1), "model_size_kb": 0.8}
    points += [(name, 0, last, value) for name, value in once.items()]
    for sample in (1, 2):
        at, readings = last * sample // 2, dict.fromkeys(SAMPLED, 1.0) | {"cpu_percent": 95.0, "memory_mb": memory_mb}
        for name, value in readings.items():
            points += [(f"system/process_{name}{end}", sample, at, value) for end in ("", "_max")]
    folds = [score + 0.02 * random.normal() for _ in range(FOLDS)]
    values = {"algorithm": "linear", "batch_size": batch_size, "learning_rate": rate, "alpha": alpha}
    return Trial(number, values, points, folds, diverged=bool(rate > 0.05 and random.random() < 0.5))


def fill(uri, count, dataset="red_wine", first=0):
    """Write a study of ``count`` trials into a store, numbered from ``first`` on, and return the id of its run."""
    client = MlflowClient(uri)
    now = int(time.time() * 1000)
    run_id = str(client.create_run("0", run_name=f"tune {dataset}", start_time=now).info.run_id)
    random = np.random.default_rng(first)
    cells = grid(max(10, -(-count // 100)))
    chosen = random.permutation(len(cells))[:count]
    trials = [synthetic(first + number, cells[i], random) for number, i in enumerate(chosen)]
    engine = create_engine(uri)
    for start in range(0, count, CHUNK):
        chunk = trials[start : start + CHUNK]
        with engine.begin() as connection:
            for table, rows in rows_of(chunk, run_id, now).items():
                connection.execute(insert(table), rows)
    engine.dispose()
    client.log_table(run_id, pd.DataFrame(_trial_rows(trials)), "trials.json")
    client.log_table(run_id, pd.DataFrame(_fold_rows(trials)), "folds.json")
    own = {"kind": "study", "dataset": dataset, "study_key": f"{STUDY_KEY}{dataset}"}
    own |= {"searched": '["algorithm", "batch_size", "learning_rate", "alpha"]'}
    own |= {"score": '{"score": "val_rmse", "higher_is_better": false, "baseline": null}'}
    tags = [RunTag(f"sysmetrics.{name}", value) for name, value in own.items()]
    params = [Param(name, str(value)) for name, value in SHARED.items()]
    client.log_batch(
        run_id, [Metric("search_time_s", count / 2, now, 0), Metric("train_rows", ROWS, now, 0)], params, tags
    )
    client.set_terminated(run_id)
    return run_id


def rows_of(trials, study, now):
    """The rows of MLflow's tables for these trials."""
    rows = {
        table: [] for table in (models.SqlRun, models.SqlTag, models.SqlParam, models.SqlMetric, models.SqlLatestMetric)
    }
    for trial in trials:
        start, key = now + trial.number * 500, {"run_uuid": trial.run_id}
        name = " ".join(f"{name}={value}" for name, value in trial.chosen.items())
        rows[models.SqlRun].append(
            {**key, "name": name, "status": "FINISHED", "start_time": start, "end_time": start + 900}
            | {"experiment_id": 0, "lifecycle_stage": "active", "artifact_uri": "", "source_type": "LOCAL"}
            | {"source_name": "", "source_version": "", "entry_point_name": "", "user_id": ""}
        )
        own = {"kind": "trial", "trial_id": trial.trial_id, "diverged": str(trial.diverged).lower()}
        tags = {f"sysmetrics.{tag}": value for tag, value in own.items()}
        tags |= {"mlflow.parentRunId": study, "mlflow.runName": name}
        rows[models.SqlTag] += [{**key, "key": tag, "value": value} for tag, value in tags.items()]
        params = {name: str(value) for name, value in (trial.chosen | SHARED).items()}
        rows[models.SqlParam] += [{**key, "key": param, "value": value} for param, value in params.items()]
        points = list(_points(trial, start))
        rows[models.SqlMetric] += points
        rows[models.SqlLatestMetric] += {point["key"]: point for point in points}.values()
    return rows


def _points(trial, start):
    for name, step, after, value in trial.points:
        where = {"run_uuid": trial.run_id, "key": name, "step": step, "timestamp": start + after}
        yield where | {"value": float(value), "is_nan": False}


def _trial_rows(trials):
    return [
        {"trial_id": trial.trial_id, "run_id": trial.run_id, "status": "FINISHED", "diverged": trial.diverged}
        | trial.chosen
        | SHARED
        | {name: value for name, value in trial.figures.items() if not name.startswith("system/")}
        for trial in trials
    ]


def _fold_rows(trials):
    return [
        {"trial_id": trial.trial_id, "fold": fold, "val_loss": score**2 * 1.5, "val_rmse": score}
        | {"test_loss": score**2 * 1.5, "test_rmse": score, "training_time_s": trial.figures["training_time_s"]}
        for trial in trials
        if not trial.diverged
        for fold, score in enumerate(trial.folds)
    ]


def measured(run_ids, uri, checkout):
    """Run the ``report`` of a checkout; its wall seconds, the memory of its processes together in MB, its exit code."""
    began, peak = time.monotonic(), 0
    command = [sys.executable, "-m", "entrypoints.report", "--study", run_ids]
    process = subprocess.Popen(command, env=os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(checkout)})
    tree = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peak = max(peak, sum(each.memory_info().rss for each in [tree, *tree.children(recursive=True)]))
        except psutil.Error:  # one of them has just ended
            continue
        time.sleep(0.05)
    return time.monotonic() - began, peak / 1e6, process.returncode


@click.command(help=__doc__)
@click.option("--trials", default=5000, show_default=True, help="Trials of each study.")
@click.option("--studies", default=1, show_default=True, help="Studies, each of a dataset of its own.")
@click.option(
    "--other", type=click.Path(exists=True, path_type=Path), help="Another checkout to measure beside this one."
)
def main(trials, studies, other):
    """Fill a store, report on it, and print what that took."""
    with tempfile.TemporaryDirectory(prefix="report-scale-") as name:
        folder, began = Path(name), time.monotonic()
        os.chdir(folder)  # where MLflow puts artifacts by default
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        run_ids = ",".join(fill(uri, trials, f"dataset{number}", number * trials) for number in range(studies))
        click.echo(f"{studies} x {trials} trials, written in {time.monotonic() - began:.1f} s")
        sides = [ROOT] if other is None else [ROOT, other.resolve()] * 2
        runs = [(side, *measured(run_ids, uri, side)) for side in sides]
        os.chdir(ROOT)
    for side, wall_s, peak_mb, code in runs:
        click.echo(
            f"{side}: {studies} x {trials} trials in {wall_s:.1f} s, peak RSS {peak_mb:.0f} MB, exit code {code}"
        )
    click.echo(f"targets: {TARGETS}")
    if other is not None:
        best = [tuple(min(run[i] for run in runs[side::2]) for i in (1, 2)) for side in (0, 1)]
        time_ratio, memory_ratio = (one / another for one, another in zip(*best, strict=True))
        click.echo(
            f"this one takes {time_ratio:.2f} times as long as the other, and {memory_ratio:.2f} times the memory"
        )
    sys.exit(max(code for *_, code in runs))


if __name__ == "__main__":
    main()
