"""Ten estimators on two tables: is the best model that of scikit-learn's own fit, and what does a trial cost?

Each row runs in a process of its own: one configuration on all folds to its end, as a trial trains, reports and scores
it; the same fits by hand, each scored once on its held-out rows and on the test part; and the refitted model beside
one by hand, both on the test part. The peak is that of the process with the models of all folds. The last columns say
by how many per cent a forecast of the training time is off, after that share of the steps.

    python benchmarks/estimators.py [--rows 20000] [--folds 4]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402

SHARES = (10, 25, 50)  # of the steps, after which the final training time is forecast
ESTIMATORS: dict[str, dict[str, Any]] = {
    "logistic": {"batch_size": 64, "learning_rate": 0.01, "alpha": 0.001},
    "mlp": {"batch_size": 64, "hidden_layer_sizes": [64]},
    "sklearn.linear_model.LogisticRegression": {},
    "forest": {},
    "extra_trees": {},
    "sklearn.ensemble.GradientBoostingClassifier": {"subsample": 0.5, "max_features": 0.5},
    "boosting": {},
    "xgboost": {"subsample": 0.5},
    "lightgbm": {"subsample": 0.5, "subsample_freq": 1},
    "sklearn.svm.SVC": {},
}


def main() -> None:
    """Print a row for each estimator and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="of the made table")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--one", nargs=2, metavar=("TABLE", "ESTIMATOR"), help="that row alone, as JSON")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_row(*given.one, given.rows, given.folds)))
        return
    print(
        f"{'table':9} {'estimator':27} {'points':>6} {'accuracy':>8} {'equal':>6} {'CPU s':>7} {'by hand':>7}", end=""
    )
    print(f" {'ratio':>5} {'fits':>7} {'training':>8} {'peak MB':>7} {'model MB':>8} {'size kB':>8}", end="")
    print("".join(f" {f'@{share}%':>5}" for share in SHARES))
    for table in ("diabetes", "made"):
        for name in ESTIMATORS:
            line = [sys.executable, __file__, "--one", table, name]
            line += ["--rows", str(given.rows), "--folds", str(given.folds)]
            row = json.loads(subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout)
            short, ratio = name.rpartition(".")[2], row["trial_s"] / row["hand_s"]
            print(
                f"{table:9} {short:27} {row['points']:6} {row['accuracy']:8.4f} {row['equal']:>6}",
                f"{row['trial_s']:7.2f} {row['hand_s']:7.2f} {ratio:5.2f} {row['fits_s']:7.2f}",
                f"{row['training_s']:8.2f} {row['peak_mb']:7.0f} {row['model_mb']:8.1f} {row['size_kb']:8.0f}",
                *(f"{error:+5.0f}" for error in row["forecasts"]),
                flush=True,
            )


def _row(table: str, name: str, rows: int, folds: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    from entrypoints.datasets import known
    from entrypoints.datasets.prepared import prepared
    from entrypoints.datasets.splits import make_split
    from entrypoints.models import best_model
    from entrypoints.models.algorithms import find
    from entrypoints.models.configuration import Configuration
    from entrypoints.models.cross_validation import TURN_STEPS, CrossValidation
    from mlflow_sysmetrics.limits import Extrapolation

    found = known.load("diabetes") if table == "diabetes" else _made(rows)
    data = prepared(found, make_split(found, folds=folds, seed=0))
    algorithm, own = find(name, "classification"), dict(ESTIMATORS[name])
    batch_size, iterations = own.pop("batch_size", None), algorithm.learner(own, 2, 0).iterations or 1
    configuration = Configuration(name, batch_size, own, 0, max_steps=1500, max_epochs=10, iterations=iterations)
    algorithm.learner(own, 2, 0).step(data.X[:200].astype(float), data.y[:200])  # its library is imported

    gc.collect()
    gc.freeze()  # as in the process of a trial, which measures memory at each point
    began, points = time.process_time(), []
    training, expected = CrossValidation(configuration, data), Extrapolation()
    forecasts: dict[int, float] = {}
    while not training.ended:
        steps, took_s = training.step_number, training.training_time_s
        training.step(turn=TURN_STEPS)
        for _ in range(training.step_number - steps):  # as the limits of a study follow it
            expected.add((training.training_time_s - took_s) / (training.step_number - steps))
        for share in SHARES:
            if training.step_number >= share / 100 * training.steps:
                forecasts.setdefault(share, expected.roughly_at(training.steps) or float("nan"))
        if training.report_due:
            points.append(training.report())
    figures = training.final_figures(training.fold_figures()) | training.times() | training.model_memory()
    trial_s, peak_mb = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6

    began, fits_s, test = time.process_time(), 0.0, data.split.test
    for number, (fit, held_out) in enumerate(data.split.folds):
        scaler, model, took_s = _by_hand(algorithm, configuration, data, fit, number)
        fits_s += took_s
        for part in (held_out, test):
            model.score(scaler.transform(data.X[part]), data.y[part])
    hand_s = time.process_time() - began
    scaler, model, _ = _by_hand(algorithm, configuration, data, data.split.train, folds)
    best = best_model.refit(configuration, data).pipeline
    how = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
    ours, by_hand = getattr(best, how)(data.frame(test)), getattr(model, how)(scaler.transform(data.X[test]))
    return {
        **{"points": len(points), "accuracy": points[-1]["val_accuracy"], "trial_s": trial_s, "hand_s": hand_s},
        **{"equal": "yes" if (ours == by_hand).all() else f"{abs(ours - by_hand).max():.0e}", "fits_s": fits_s},
        **{"training_s": figures["training_time_s"] * folds, "peak_mb": peak_mb, "size_kb": figures["model_size_kb"]},
        "model_mb": figures.get("model_memory_mb", float("nan")),
        "forecasts": [100 * (forecasts[share] / training.training_time_s - 1) for share in SHARES],
    }


def _by_hand(algorithm: Any, configuration: Any, data: Any, rows: Any, number: int) -> tuple[Any, Any, float]:
    """A scaler and a model of these rows, and the CPU seconds of the model's own training."""
    from sklearn.preprocessing import StandardScaler

    from entrypoints.models.cross_validation import batches

    scaler = StandardScaler().fit(data.X[rows])
    X, y = scaler.transform(data.X[rows]), data.y[rows]
    model, took_s = algorithm.learner(configuration.hyperparameters, 2, configuration.seed).estimator, 0.0
    if configuration.batch_size is None:
        began = time.process_time()
        model.fit(X, y)
        return scaler, model, time.process_time() - began
    order = batches(np.arange(len(rows)), configuration.batch_size, (configuration.seed, number))
    for _ in range(configuration.steps(len(rows))):
        batch = next(order)
        began = time.process_time()
        model.partial_fit(X[batch], y[batch], classes=[0, 1])
        took_s += time.process_time() - began
    return scaler, model, took_s


def _made(rows: int) -> Any:
    import pandas as pd
    from sklearn.datasets import make_classification

    from entrypoints.datasets.tables import Table

    X, y = make_classification(rows, 20, n_informative=8, flip_y=0.1, random_state=0)
    frame = pd.DataFrame(X, columns=[f"x{column}" for column in range(20)]).assign(y=y.astype(str))
    return Table("made", frame, "y", "classification", "made here", None, "none")


if __name__ == "__main__":
    main()
