"""How right predictions of costs are: predicted / measured, and how many costs lie in the interval, by dataset.

    python benchmarks/calibration.py [--mnist mnist_784.npz] [--max-trials 8] [--store sqlite:///mlflow.db]

It runs full studies by `tune` of red_wine, diabetes, MLPClassifier on diabetes and, where its table is given, MNIST:
594 trials, 522 without MNIST, in a few minutes. Each trial is predicted before its first step from those that had
ended, by the history that trials under limits ask, and held against what it cost. With --store nothing is run: every
full study in that store is read. Its aim: a median within 0.95 to 1.05, and 93 % inside.
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mlflow import MlflowClient  # noqa: E402

from entrypoints.limits.cost_history import PREDICTED, CostHistory  # noqa: E402
from entrypoints.limits.costs import metrics  # noqa: E402
from entrypoints.limits.grammar import Limits  # noqa: E402
from entrypoints.mlflow_io import figures_of, search_runs  # noqa: E402
from entrypoints.models.configuration import Configuration  # noqa: E402
from entrypoints.models.trial_record import Trial  # noqa: E402
from entrypoints.option_types import LENGTH  # noqa: E402
from entrypoints.settings import SHARED  # noqa: E402
from entrypoints.tags import DIVERGED, ROLE, STUDY_LIMITS  # noqa: E402
from mlflow_sysmetrics.tags import KIND  # noqa: E402
from mlflow_sysmetrics.ui import trials_of  # noqa: E402

MEDIAN, INSIDE_PERCENT = (0.95, 1.05), 93.0
MNIST_ROWS = 10_000
STUDIES = {
    "red_wine": {
        "dataset": "red_wine",
        "space": "{learning_rate: [0.01, 0.003, 0.001, 0.0003, 0.0001], alpha: [0.001, 0.01, 0.1, 1]}",
        "length": "300 steps",
    },
    "diabetes": {"dataset": "diabetes", "length": "300 steps"},
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
        "length": "200 steps",
    },
    "mnist": {"target": "class", "space": "{batch_size: [16, 64, 256]}", "folds": "3", "length": "100 steps"},
}


@click.command(help=__doc__)
@click.option(
    "--mnist",
    type=click.Path(exists=True, resolve_path=True),
    help="MNIST as .npz (X, y), or .parquet with words in its column class.",
)
@click.option("--max-trials", default=0, show_default=True, help="Trials of each study at most; 0: all.")
@click.option("--store", help="Read the full studies in this tracking URI instead of running some.")
def main(mnist, max_trials, store):
    """Run or read the studies, and print the table."""
    if store:
        report(read(MlflowClient(store)))
        return
    with tempfile.TemporaryDirectory(prefix="calibration-") as folder:
        report(ran(Path(folder), mnist, max_trials))


def read(client):
    """Every full study in a store."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    for run in client.search_runs(experiments, f"tags.`{KIND}` = 'study'", max_results=1000):
        if STUDY_LIMITS not in run.data.tags and run.info.status == "FINISHED":
            yield client, run


def ran(folder, mnist, max_trials):
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
        yield client, newest


def table(mnist, folder):
    """MNIST's table as a file that a study reads; of an .npz as many rows at random as the study takes."""
    if mnist.suffix != ".npz":
        return str(mnist)
    arrays = np.load(mnist)
    rows = np.random.default_rng(0).choice(len(arrays["y"]), MNIST_ROWS, replace=False)
    frame = pd.DataFrame(arrays["X"][rows], columns=[f"pixel{number}" for number in range(1, 785)])
    file = folder / "mnist.parquet"
    frame.assign(**{"class": [f"digit {digit}" for digit in arrays["y"][rows]]}).to_parquet(file, index=False)
    return str(file)


def report(studies):
    """Print the table of each study, and of all together."""
    tables = []
    for client, study in studies:
        tables.append(predictions(client, study))
        click.echo(f"\n{study.info.run_name}")
        show(tables[-1])
    click.echo("\nall")
    show(pd.concat(tables))


def predictions(client, study):
    """What each trial was predicted to cost before its first step, from those that had ended, and what it cost.

    Those that diverged are learned from, as in a study under limits, but not judged. Memory below 0.1 MB has no ratio.
    """
    rows = int(study.data.metrics["train_rows"])
    limits = Limits.parse(", ".join(f"{name}<=1" for name in PREDICTED), metrics("val_rmse", False))
    history = CostHistory(rows - rows // int(study.data.params["folds"]), limits)
    found = search_runs(client, study.info.experiment_id, trials_of(study.info.run_id), "ASC")
    runs = [run for run in found if ROLE not in run.data.tags]
    ended = sorted((run for run in runs if run.info.status == "FINISHED"), key=lambda run: run.info.end_time)
    found = []
    for run in runs:
        while ended and ended[0].info.end_time <= run.info.start_time:
            other, figures = ended[0], figures_of(ended.pop(0))
            diverged = {DIVERGED: other.data.tags.get(DIVERGED, "false")}
            history.record(Trial("", configuration(other), "FINISHED", figures, diverged))
        if run.data.tags.get(DIVERGED) != "true":
            measured = figures_of(run)
            (outlook,) = history.outlooks([configuration(run)])
            for metric, prediction in outlook.predictions.items():
                if metric in measured:
                    value, by_chance = measured[metric], metric.endswith("_mb") and prediction.value < 0.1
                    row = {"metric": metric, "inside": prediction.low <= value <= prediction.high}
                    found.append(row | {"ratio": np.nan if by_chance or not value else prediction.value / value})
    return pd.DataFrame(found, columns=["metric", "inside", "ratio"])


def configuration(run):
    """What a trial trained; its run holds the text of each value."""
    params = dict(run.data.params)
    shared = {name: params.pop(name, "none") for name in SHARED}
    length = LENGTH.parse(shared["length"])
    searched = {name: _parsed(text) for name, text in params.items()}
    return Configuration(searched, by_batch=True, seed=0, length=length)


def _parsed(text):
    """A hyperparameter's value: what Python writes so, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def show(found):
    """Print a line for each metric."""
    click.echo(f"  {'metric':18} {'n':>5} {'median':>7} {'5 %':>6} {'95 %':>6} {'inside':>7}  aim")
    for metric, own in found.groupby("metric", sort=False):
        low, middle, high = own["ratio"].quantile([0.05, 0.5, 0.95])
        inside = 100 * own["inside"].mean()
        met = inside >= INSIDE_PERCENT and not (middle < MEDIAN[0] or middle > MEDIAN[1])
        click.echo(
            f"  {metric:18} {len(own):5d} {middle:7.3f} {low:6.3f} {high:6.3f} {inside:5.1f} %  "
            f"{'met' if met else 'MISSED'}"
        )


if __name__ == "__main__":
    main()
