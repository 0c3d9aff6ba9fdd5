"""What a time limit does to trainings of LightGBM and XGBoost, and what their callback costs.

    python benchmarks/doors_boosters.py [--seconds 20] [--limit 2] [--repeats 5]

Each training is given as many iterations as take these seconds, and the limit. Printed are the seconds and the
iteration at its end, the status of its run, and whether the model predicts. Then short trainings in turn with the
callback and without: the medians of their CPU seconds, and the points of a curve.
"""

import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import lightgbm  # noqa: E402
import mlflow  # noqa: E402
import numpy as np  # noqa: E402
import xgboost  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import make_classification  # noqa: E402

from mlflow_sysmetrics.lightgbm import SystemMetricsCallback as LightgbmCallback  # noqa: E402
from mlflow_sysmetrics.xgboost import SystemMetricsCallback as XgboostCallback  # noqa: E402

X, y = make_classification(20_000, 30, n_informative=15, random_state=0)
LGB, XGB = {"verbose": -1, "objective": "binary", "num_threads": 1}, {"objective": "binary:logistic", "nthread": 1}
Train = Callable[[Any, int], Any]


class Times(xgboost.callback.TrainingCallback):
    """A callback of XGBoost that keeps when each iteration was done."""

    def __init__(self):
        self.seconds, self.began = list[float](), time.perf_counter()

    def after_iteration(self, model=None, epoch=0, evals_log=None):
        self.seconds.append(time.perf_counter() - self.began)
        return False

    def __deepcopy__(self, memo):
        return self


def lightgbm_train(callback, rounds, **more):
    stops = [lightgbm.early_stopping(rounds, verbose=False)] if more else []
    data = lightgbm.Dataset(X, y)
    return lightgbm.train(LGB, data, rounds, [data.create_valid(X[::9], y[::9])], callbacks=[callback, *stops]).predict(
        X
    )


def lightgbm_cv(callback, rounds):
    answer = lightgbm.cv(LGB, lightgbm.Dataset(X, y), rounds, nfold=2, callbacks=[callback], return_cvbooster=True)
    return answer["cvbooster"].boosters[0].predict(X)


def lightgbm_classifier(callback, rounds):
    return (
        lightgbm.LGBMClassifier(n_estimators=rounds, n_jobs=1, verbose=-1)
        .fit(X, y, callbacks=[callback])
        .predict_proba(X)
    )


def xgboost_train(callback, rounds, **more):
    stops = {"early_stopping_rounds": rounds} if more else {}
    data, valid = xgboost.DMatrix(X, y), xgboost.DMatrix(X[::9], y[::9])
    about = {"evals": [(valid, "valid")], "verbose_eval": False, **stops}
    return xgboost.train(XGB, data, rounds, callbacks=[callback], **about).predict(data)


def xgboost_cv(callback, rounds):
    return xgboost.cv(XGB, xgboost.DMatrix(X, y), rounds, nfold=2, callbacks=[callback])["test-logloss-mean"]


def xgboost_classifier(callback, rounds):
    model = clone(xgboost.XGBClassifier(n_estimators=rounds, n_jobs=1, callbacks=[callback]))
    return pickle.loads(pickle.dumps(model.fit(X, y))).predict_proba(X)


TRAININGS = {
    LightgbmCallback: (lightgbm_train, lightgbm_cv, lightgbm_classifier),
    XgboostCallback: (xgboost_train, xgboost_cv, xgboost_classifier),
}


def times(train, rounds):
    """When each iteration of a training is done, without us."""
    kept = Times()
    of_lightgbm = train.__name__.startswith("lightgbm")
    train((lambda env: kept.after_iteration() and None) if of_lightgbm else kept, rounds)
    return kept.seconds


def rounds_of(train, seconds):
    """How many iterations take these seconds."""
    first_s, *_, last_s = times(train, 60)
    return round(59 * seconds / (last_s - first_s))


def cpu_seconds(train, callback, rounds):
    """What a training takes of the processor."""
    began = time.process_time()
    train(callback, rounds)
    return time.process_time() - began


@click.command(help=__doc__)
@click.option("--seconds", default=20.0, show_default=True)
@click.option("--limit", default=2.0, show_default=True)
@click.option("--repeats", default=5, show_default=True)
def main(seconds, limit, repeats):
    """Print a line for each."""
    with tempfile.TemporaryDirectory(prefix="doors-") as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        for callback, trains in TRAININGS.items():
            for train in trains:
                rounds = rounds_of(train, seconds)
                for more in ({}, {"early_stopping": True}) if train is trains[0] else ({},):
                    ended(callback, train, rounds, limit, more)
            overhead(callback, trains[0], rounds_of(trains[0], seconds / 10), repeats)


def overhead(callback, train, rounds, repeats):
    """Train in turn without the callback and with it, and print the difference."""
    plain, measured = [], []
    for _ in range(repeats):
        plain.append(cpu_seconds(train, Times() if callback is XgboostCallback else (lambda env: None), rounds))
        with mlflow.start_run() as run:
            measured.append(cpu_seconds(train, callback(), rounds))
    time.sleep(5)  # until it is delivered
    points = len(mlflow.MlflowClient().get_metric_history(run.info.run_id, "step_time_ms"))
    without_s, with_s = median(plain), median(measured)
    click.echo(
        f"{train.__name__}, {rounds} iterations: {without_s:.2f} CPU s without the callback, {with_s:.2f} with it "
        f"({with_s / without_s - 1:+.1%}), {points} points"
    )


def ended(callback, train, rounds, limit_s, more):
    """Train under the limit, and print how that ended."""
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:  # of a new store, MLflow itself makes the tables here
        began = time.perf_counter()
        predicted = train(callback(f"elapsed_s<={limit_s}"), rounds, **more)
        took_s = time.perf_counter() - began
    reason, found = "", run
    while not reason and time.perf_counter() - began < 60:  # delivered after the metrics
        time.sleep(0.2)
        found = client.get_run(run.info.run_id)
        reason = found.data.tags.get("sysmetrics.stop_reason", "")
    done = found.data.metrics.get("steps", 0)
    fine = "predicts" if np.isfinite(np.asarray(predicted)).all() else "does not predict"
    name = f"{train.__name__}{' with early stopping' if more else ''}"
    click.echo(f"{name}: {took_s:.2f} s, {done:.0f} of {rounds} iterations, {fine}, {found.info.status}: {reason}")


if __name__ == "__main__":
    main()
