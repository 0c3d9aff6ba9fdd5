"""What a time limit does to trainings of LightGBM and XGBoost, and how well their time is foreseen.

    python benchmarks/doors_boosters.py [--seconds 20] [--limit 2] [--repeats 20]

Each training is given as many iterations as take these seconds, and the limit. Printed are the seconds and the
iteration at its end, and whether the model predicts. Then one of each library without a limit: how far off the first
forecast was, and how far those at later iterations. Then short trainings without a limit: how many were ever
foreseen to take longer than they did, so that a limit just above that would have ended them wrongly.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
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

from mlflow_sysmetrics.boosters import PREDICT_AFTER_S, at_least  # noqa: E402
from mlflow_sysmetrics.lightgbm import Costs as LightgbmCosts  # noqa: E402
from mlflow_sysmetrics.limits import Extrapolation  # noqa: E402
from mlflow_sysmetrics.xgboost import Costs as XgboostCosts  # noqa: E402

X, y = make_classification(20_000, 30, n_informative=15, random_state=0)
LGB, XGB = {"verbose": -1, "objective": "binary", "num_threads": 1}, {"objective": "binary:logistic", "nthread": 1}
Train = Callable[[Any, int], Any]


class Times(xgboost.callback.TrainingCallback):
    """A callback of XGBoost that keeps when each iteration was done."""

    def __init__(self) -> None:
        self.seconds, self.began = list[float](), time.perf_counter()

    def after_iteration(self, model: Any = None, epoch: int = 0, evals_log: Any = None) -> bool:
        self.seconds.append(time.perf_counter() - self.began)
        return False

    def __deepcopy__(self, memo: Any) -> Times:
        return self


def lightgbm_train(costs: Any, rounds: int, **more: Any) -> Any:
    stops = [lightgbm.early_stopping(rounds, verbose=False)] if more else []
    data = lightgbm.Dataset(X, y)
    return lightgbm.train(LGB, data, rounds, [data.create_valid(X[::9], y[::9])], callbacks=[costs, *stops]).predict(X)


def lightgbm_cv(costs: Any, rounds: int) -> Any:
    answer = lightgbm.cv(LGB, lightgbm.Dataset(X, y), rounds, nfold=2, callbacks=[costs], return_cvbooster=True)
    return answer["cvbooster"].boosters[0].predict(X)


def lightgbm_classifier(costs: Any, rounds: int) -> Any:
    return (
        lightgbm.LGBMClassifier(n_estimators=rounds, n_jobs=1, verbose=-1).fit(X, y, callbacks=[costs]).predict_proba(X)
    )


def xgboost_train(costs: Any, rounds: int, **more: Any) -> Any:
    stops = {"early_stopping_rounds": rounds} if more else {}
    data, valid = xgboost.DMatrix(X, y), xgboost.DMatrix(X[::9], y[::9])
    about = {"evals": [(valid, "valid")], "verbose_eval": False, **stops}
    return xgboost.train(XGB, data, rounds, callbacks=[costs], **about).predict(data)


def xgboost_cv(costs: Any, rounds: int) -> Any:
    return xgboost.cv(XGB, xgboost.DMatrix(X, y), rounds, nfold=2, callbacks=[costs])["test-logloss-mean"]


def xgboost_classifier(costs: Any, rounds: int) -> Any:
    model = clone(xgboost.XGBClassifier(n_estimators=rounds, n_jobs=1, callbacks=[costs]))
    return pickle.loads(pickle.dumps(model.fit(X, y))).predict_proba(X)


TRAININGS = {
    LightgbmCosts: (lightgbm_train, lightgbm_cv, lightgbm_classifier),
    XgboostCosts: (xgboost_train, xgboost_cv, xgboost_classifier),
}


def times(train: Train, rounds: int) -> list[float]:
    """When each iteration of a training is done, without us."""
    kept = Times()
    of_lightgbm = train.__name__.startswith("lightgbm")
    train((lambda env: kept.after_iteration() and None) if of_lightgbm else kept, rounds)
    return kept.seconds


def rounds_of(train: Train, seconds: float) -> int:
    """How many iterations take these seconds."""
    first_s, *_, last_s = times(train, 60)
    return round(59 * seconds / (last_s - first_s))


def forecasts(seconds: list[float]) -> dict[int, tuple[float, float]]:
    """By iteration, the forecast of the last one's time, and what counts of it, as shares of the true one."""
    total, found = Extrapolation(block_steps=1), {}
    for done, at_s in enumerate(seconds[:-1], 1):
        total.add(at_s - total.total)
        if at_s >= PREDICT_AFTER_S and (known := total.at(len(seconds))) is not None:
            found[done] = known.value / seconds[-1], at_least(total, len(seconds)) / seconds[-1]
    return found


@click.command(help=__doc__)
@click.option("--seconds", default=20.0, show_default=True)
@click.option("--limit", default=2.0, show_default=True)
@click.option("--repeats", default=20, show_default=True)
def main(seconds: float, limit: float, repeats: int) -> None:
    """Print a line for each."""
    with tempfile.TemporaryDirectory(prefix="doors-") as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        for costs, trains in TRAININGS.items():
            for train in trains:
                rounds = rounds_of(train, seconds)
                for more in ({}, {"early_stopping": True}) if train is trains[0] else ({},):
                    ended(costs, train, rounds, limit, more)
            train, rounds = trains[0], rounds_of(trains[0], seconds)
            told = forecasts(times(train, rounds))
            at = {min(told), *(round(rounds * share) for share in (0.05, 0.1, 0.25, 0.5, 0.75))} & told.keys()
            said = ", ".join(f"{done}: {told[done][0]:.2f} (at least {told[done][1]:.2f})" for done in sorted(at))
            click.echo(f"{train.__name__}, {rounds} iterations, forecast over truth at iteration {said}")
            short = [forecasts(times(train, rounds // 10)) for _ in range(repeats)]
            wrong = sum(any(low > 1 for _, low in each.values()) for each in short)
            click.echo(
                f"{train.__name__}, {rounds // 10} iterations: in {wrong} of {repeats} it is foreseen to take longer"
            )


def ended(costs: Any, train: Train, rounds: int, limit_s: float, more: dict[str, bool]) -> None:
    """Train under the limit, and print how that ended."""
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:  # of a new store, MLflow itself makes the tables here
        began = time.perf_counter()
        predicted = train(costs(f"elapsed_s<={limit_s}"), rounds, **more)
        took_s = time.perf_counter() - began
    reason, data = "", run.data
    while not reason and time.perf_counter() - began < 60:  # delivered after the metrics
        time.sleep(0.2)
        data = client.get_run(run.info.run_id).data
        reason = data.tags.get("sysmetrics.stop_reason", "")
    done = data.metrics.get("steps", 0)
    fine = "predicts" if np.isfinite(np.asarray(predicted)).all() else "does not predict"
    name = f"{train.__name__}{' with early stopping' if more else ''}"
    click.echo(f"{name}: {took_s:.2f} s, {done:.0f} of {rounds} iterations, {fine}: {reason}")


if __name__ == "__main__":
    main()
