"""Ten estimators on two tables, 12 trials each: are the models scikit-learn's, what do they cost, is that foreseen?

Each row runs in a process of its own: each configuration on all folds to its end, as a trial trains, reports and scores
it, and the same fits by hand, each scored once on its held-out rows and the test part. `refit`: whether the best one,
trained on the whole training part, predicts as by hand, bit for bit. `folds`: of how many models both accuracies are
those by hand. `train s` is the time inside training calls, `peak MB` of the process, with the models of all folds.

Last, forecast / measured training time after a share of the steps, by what limits act on; a fit in one step has none.
AutoGluon's table of this form is of memory, before 776 fits: https://github.com/autogluon/autogluon/pull/5757

    python benchmarks/estimators.py [--rows 20000] [--folds 3]
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
import warnings
from functools import partial
from itertools import product

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

SHARES = (10, 25, 50)  # of the steps, after which the final training time is forecast
_TREES = {"n_estimators": [30, 60], "max_features": ["sqrt", 0.5], "max_depth": [5, 10, None]}
_RATES = {"learning_rate": [0.03, 0.1, 0.3]}
_HALF = {"subsample": [0.5], "n_estimators": [50, 100]}  # random numbers are drawn for each tree
ESTIMATORS = {
    "logistic": {"batch_size": [32, 128], "learning_rate": [0.1, 0.01, 0.001], "alpha": [0.001, 0.01]},
    "mlp": {
        "batch_size": [32, 128],
        "hidden_layer_sizes": [[32], [64, 64]],
        "learning_rate_init": [0.01, 0.003, 0.001],
    },
    "sklearn.linear_model.LogisticRegression": {"C": [0.01, 0.1, 1, 10, 100, 1000], "class_weight": [None, "balanced"]},
    "forest": _TREES,
    "extra_trees": _TREES,
    "sklearn.ensemble.GradientBoostingClassifier": _RATES | _HALF | {"max_depth": [3, 5], "max_features": ["sqrt"]},
    "boosting": _RATES | {"max_iter": [50, 100], "max_leaf_nodes": [7, 31]},
    "xgboost": _RATES | _HALF | {"max_depth": [3, 6]},
    "lightgbm": _RATES | _HALF | {"subsample_freq": [1], "num_leaves": [7, 31]},
    "sklearn.svm.SVC": {"kernel": ["rbf", "poly"], "C": [0.1, 1, 10], "gamma": ["scale", 0.02]},
}


def main():
    """Print a row for each estimator and table, then the forecasts on both tables together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="of the made table")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("TABLE", "ESTIMATOR"), help="that row alone, as JSON")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_row(*given.one, given.rows, given.folds)))
        return
    forecasts = []
    for i, (table, name) in enumerate(product(("diabetes", "made"), ESTIMATORS)):
        line = [sys.executable, __file__, "--one", table, name, "--rows", str(given.rows), "--folds", str(given.folds)]
        row, own = json.loads(subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout)
        if not i:
            print(f"{'table':8} {'estimator':26}", *(f"{column:>8}" for column in row))
        short = name.rpartition(".")[2]
        texts = (value if isinstance(value, str) else f"{value:.3f}" for value in row.values())
        print(f"{table:8} {short:26}", *(f"{text:>8}" for text in texts), flush=True)
        forecasts += [(whose, f"{share} %", ratio) for whose in (short, "all") for share, ratio in own]
    by = ["estimator", "after"]
    of_each = pd.DataFrame(forecasts, columns=[*by, "ratio"]).groupby(by)["ratio"]
    shown = of_each.describe().drop(columns=["mean", "std"])
    shown["% below 1"] = of_each.agg(lambda ratios: 100 * (ratios < 1).mean())
    shown["% within 10 %"] = of_each.agg(lambda ratios: 100 * (abs(ratios - 1) <= 0.1).mean())
    shown["% within 25 %"] = of_each.agg(lambda ratios: 100 * (abs(ratios - 1) <= 0.25).mean())
    print(f"\n{shown.round(2).to_string()}")


def _row(table, name, rows, folds):
    """What is shown of these trials, and their forecasts: after which share of the steps, and the ratio."""
    warnings.simplefilter("ignore")
    from entrypoints.compute import memory
    from entrypoints.datasets import known
    from entrypoints.datasets.prepared import prepared
    from entrypoints.datasets.splits import make_split
    from entrypoints.models import best_model
    from entrypoints.models.algorithms import find
    from entrypoints.models.configuration import Configuration
    from mlflow_sysmetrics import measure

    found = known.load("diabetes") if table == "diabetes" else _made(rows)
    data = prepared(found, make_split(found, folds=folds, seed=0))
    algorithm, configurations = find(name, "classification"), []
    for values in product(*ESTIMATORS[name].values()):
        own = dict(zip(ESTIMATORS[name], values, strict=True))
        configurations.append(Configuration({"algorithm": name, **own}, algorithm.by_batch, 0))
    few = data.preprocessings[0].transform(data.X[:200])
    algorithm.learner(configurations[-1].hyperparameters, 2, 0).step(few, data.y[:200])  # its library is imported
    gc.collect()
    gc.freeze()  # as in the process of a trial, which measures memory at each point

    costs = np.zeros((2, len(configurations), 3))  # of trials and by hand: CPU seconds, those of training, peak MB
    forecasts = []
    accuracies, equal = [], 0
    for number, configuration in enumerate(configurations):
        sides = partial(_trial, configuration, data, forecasts), partial(_by_hand, configuration, data, algorithm)
        scores = [[], []]
        for side in (0, 1) if number % 2 else (1, 0):
            memory.release()
            with measure() as measured:
                began = time.process_time()
                scores[side], training_s = sides[side]()
                cpu_s = time.process_time() - began
            costs[side, number] = cpu_s, training_s, measured.summary["peak_memory_mb"]
        equal += sum(np.allclose(*pair, rtol=0, atol=1e-12) for pair in zip(*scores, strict=True))
        accuracies.append(np.mean(scores[0], axis=0)[0])
    chosen = configurations[int(np.argmax(accuracies))]
    scaler, model, _ = _fit(algorithm, chosen, data, data.split.train, folds)
    best, test = best_model.refit(chosen, data), found.frame.iloc[data.split.test, :-1].astype(float)
    rows = best.preprocessing.transform(data.X[data.split.test])
    how = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
    off = abs(getattr(best.estimator, how)(rows) - getattr(model, how)(scaler.transform(test))).max()
    (cpu_s, hand_s), (training_s, fits_s), _ = costs.sum(axis=1).T
    row = {"best": max(accuracies), "refit": f"{off:.0e}" if off else "equal", "folds": f"{equal}/{folds * 12}"}
    row |= {"CPU s": cpu_s, "hand s": hand_s, "ratio": cpu_s / hand_s}
    row |= {"train s": training_s, "fits s": fits_s, "ratio ": training_s / fits_s}
    return row | dict(zip(("peak MB", "hand MB"), costs[:, :, 2].max(axis=1), strict=True)), forecasts


def _trial(configuration, data, forecasts):
    """The accuracies of each fold on its held-out rows and the test part, and the seconds of training of all."""
    from entrypoints.limits.extrapolation import Extrapolation
    from entrypoints.models.cross_validation import training_of

    training = training_of(configuration, data)
    expected = Extrapolation(by_fold=configuration.batch_size is None)
    totals_s = {}
    while not training.ended:
        steps, took_s = training.step_number, training.training_time_s
        training.advance()
        for _ in range(training.step_number - steps):  # as the limits of a study follow it
            expected.add((training.training_time_s - took_s) / (training.step_number - steps))
        for share in SHARES:
            if share / 100 * training.steps <= training.step_number < training.steps:
                totals_s.setdefault(share, expected.roughly_at(training.steps) or float("nan"))
        if training.report_due:
            training.report()
    rows = training.fold_figures()
    training.final_figures()
    training.times()
    training.model_memory()
    forecasts += [(share, total_s / training.training_time_s) for share, total_s in totals_s.items()]
    return [(row["val_accuracy"], row["test_accuracy"]) for row in rows], training.training_time_s * len(rows)


def _by_hand(configuration, data, algorithm):
    """The same by hand."""
    scores, fits_s = [], 0.0
    for number, (fit, held_out) in enumerate(data.split.folds):
        scaler, model, took_s = _fit(algorithm, configuration, data, fit, number)
        fits_s += took_s
        scores.append(
            [model.score(scaler.transform(data.X[part]), data.y[part]) for part in (held_out, data.split.test)]
        )
    return scores, fits_s


def _fit(algorithm, configuration, data, rows, number):
    """A scaler and a model of these rows, and the CPU seconds of the model's own training."""
    from sklearn.preprocessing import StandardScaler

    from entrypoints.models.fold import batches

    scaler = StandardScaler().fit(data.X[rows])
    X, y = scaler.transform(data.X[rows]), data.y[rows]
    model, took_s = algorithm.learner(configuration.hyperparameters, 2, configuration.seed).estimator, 0.0
    if configuration.batch_size is None:
        began = time.process_time()
        model.fit(X, y)
        return scaler, model, time.process_time() - began
    order = batches(np.arange(len(rows)), configuration.batch_size, (configuration.seed, number))
    for step in range(configuration.steps(len(rows))):
        batch = next(order)
        began = time.process_time()
        model.partial_fit(X[batch], y[batch], **({} if step else {"classes": [0, 1]}))
        took_s += time.process_time() - began
    return scaler, model, took_s


def _made(rows):
    from sklearn.datasets import make_classification

    from entrypoints.datasets.tables import Table

    X, y = make_classification(rows, 20, n_informative=8, flip_y=0.1, random_state=0)
    frame = pd.DataFrame(X, columns=[f"x{column}" for column in range(20)]).assign(y=y.astype(str))
    return Table("made", frame, "y", "classification", None)


if __name__ == "__main__":
    main()
