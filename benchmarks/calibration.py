"""How right predictions of costs are: predicted / measured, and how many costs lie in the interval, by dataset.

    python benchmarks/calibration.py [--mnist mnist_784.npz] [--max-trials 8] [--store sqlite:///mlflow.db]

It runs full studies by `tune` of red_wine, diabetes, MLPClassifier on diabetes and, where its table is given, MNIST:
594 trials, 522 without MNIST, in a few minutes. Each trial is predicted before its first step from those that had
ended, by the ledger that trials under limits ask, and held against what it cost. With --store nothing is run: every
full study in that store is read. Its aim: a median within 0.95 to 1.05, and 93 % inside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from entrypoints.reporting.savings import rules  # noqa: E402
from entrypoints.reporting.savings.calibration import calibration, predictions  # noqa: E402
from entrypoints.reporting.studies import Study, study_of  # noqa: E402
from entrypoints.tags import CRITERIA  # noqa: E402
from mlflow_sysmetrics.tags import KIND  # noqa: E402

MEDIAN, INSIDE_PERCENT = (0.95, 1.05), 93.0
MANY = 100_000  # trials: all are read and predicted
MNIST_ROWS = 10_000
STUDIES: dict[str, dict[str, str]] = {
    "red_wine": {
        "dataset": "red_wine",
        "space": "{learning_rate: [0.01, 0.003, 0.001, 0.0003, 0.0001], alpha: [0.001, 0.01, 0.1, 1]}",
        "max_steps": "300",
    },
    "diabetes": {"dataset": "diabetes", "max_steps": "300"},
    "MLPClassifier": {
        "dataset": "diabetes",
        "algorithm": "sklearn.neural_network.MLPClassifier",
        "space": json.dumps(
            {
                "batch_size": [16, 32, 64, 128, 256],
                "hidden_layer_sizes": [[16], [64], [256], [64, 64], [256, 256]],
                "learning_rate_init": [0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001],
            }
        ),
        "folds": "3",
        "max_steps": "200",
    },
    "mnist": {"target": "class", "space": "{batch_size: [16, 64, 256]}", "folds": "3", "max_steps": "100"},
}


@click.command(help=__doc__)
@click.option(
    "--mnist",
    type=click.Path(exists=True, resolve_path=True),
    help="MNIST as .npz (X, y), or .parquet with words in its column class.",
)
@click.option("--max-trials", default=0, show_default=True, help="Trials of each study at most; 0: all.")
@click.option("--store", help="Read the full studies in this tracking URI instead of running some.")
def main(mnist: str | None, max_trials: int, store: str | None) -> None:
    """Run or read the studies, and print the table."""
    if store:
        report(read(MlflowClient(store)))
        return
    with tempfile.TemporaryDirectory(prefix="calibration-") as folder:
        report(ran(Path(folder), mnist, max_trials))


def read(client: MlflowClient) -> Iterator[tuple[str, MlflowClient, Study]]:
    """Every full study in a store, by the name of its run."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    for run in client.search_runs(experiments, f"tags.`{KIND}` = 'study'", max_results=1000):
        if CRITERIA not in run.data.tags and run.info.status == "FINISHED":
            yield str(run.info.run_name), client, study_of(client, run)


def ran(folder: Path, mnist: str | None, max_trials: int) -> Iterator[tuple[str, MlflowClient, Study]]:
    """Each study, once it has run."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    for name, params in STUDIES.items():
        if name == "mnist":
            if mnist is None:
                click.echo("mnist: skipped, since --mnist names no table of it")
                continue
            params = params | {"dataset": table(Path(mnist), folder), "max_rows": str(MNIST_ROWS)}
        line = [sys.executable, "-m", "entrypoints.tune"]
        given = params | ({"max_trials": str(max_trials)} if max_trials else {})
        line += [part for option, value in given.items() for part in (f"--{option}", value)]
        env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise click.ClickException(f"{' '.join(line)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        (newest,) = client.search_runs(["0"], f"tags.`{KIND}` = 'study'", max_results=1)
        yield name, client, study_of(client, newest)


def table(mnist: Path, folder: Path) -> str:
    """MNIST's table as a file that a study reads; of an .npz as many rows at random as the study takes."""
    if mnist.suffix != ".npz":
        return str(mnist)
    arrays = np.load(mnist)
    rows = np.random.default_rng(0).choice(len(arrays["y"]), MNIST_ROWS, replace=False)
    frame = pd.DataFrame(arrays["X"][rows], columns=[f"pixel{number}" for number in range(1, 785)])
    file = folder / "mnist.parquet"
    frame.assign(**{"class": [f"digit {digit}" for digit in arrays["y"][rows]]}).to_parquet(file, index=False)
    return str(file)


def report(studies: Iterator[tuple[str, MlflowClient, Study]]) -> None:
    """Print the table of each study, and of all together."""
    together: list[dict[str, Any]] = []
    trials = 0
    for name, client, study in studies:
        full = rules.full_of(client, study, MANY)
        found = predictions(full.courses, full.rows, MANY) if full else []
        own = {row["run_id"] for row in found}
        click.echo(f"\n{name}: {len(study.trials)} trials, {len(own)} of them predicted")
        show(found)
        together += found
        trials += len(own)
    click.echo(f"\nall: {trials} trials predicted")
    show(together)


def show(found: list[dict[str, Any]]) -> None:
    """Print a line for each metric."""
    rows = calibration(found)
    if not rows:
        click.echo("  nothing could be predicted: too few trials")
        return
    click.echo(
        f"  {'metric':18} {'n':>5} {'ratios':>6} {'median':>7} {'5 %':>6} {'95 %':>6} {'inside':>7} {'below':>6}  aim"
    )
    for row in rows:
        known = row["median_ratio"] == row["median_ratio"]
        met = row["coverage_percent"] >= INSIDE_PERCENT
        met = met and (not known or MEDIAN[0] <= row["median_ratio"] <= MEDIAN[1])
        ratios = [f"{row[name]:.3f}" if known else "-" for name in ("median_ratio", "low_ratio", "high_ratio")]
        click.echo(
            f"  {row['metric']:18} {row['trials']:5d} {row['ratios']:6d} {ratios[0]:>7} {ratios[1]:>6} {ratios[2]:>6} "
            f"{row['coverage_percent']:5.1f} % {row['below_percent']:4.1f} %  {'met' if met else 'MISSED'}"
        )


if __name__ == "__main__":
    main()
