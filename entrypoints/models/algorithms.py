"""A name -> an algorithm: built in, by a short name, or by an import path."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from entrypoints.datasets.tables import Task
from entrypoints.errors import UserError
from entrypoints.models.estimators import Estimator, estimator
from entrypoints.models.learners import ALGORITHMS, SGD
from entrypoints.option_types import AUTO
from entrypoints.search_space import Space

Algorithm = SGD | Estimator

# A model that ignores all features: it predicts the mean of the target, or the shares of its classes.
CONSTANT: dict[Task, str] = {
    "regression": "sklearn.dummy.DummyRegressor",
    "classification": "sklearn.dummy.DummyClassifier",
}

# Import paths, without Classifier or Regressor at their ends, and the values that are tried where the user gives none.
_OF_FORESTS: Space = {
    "n_estimators": [100],
    "max_features": ["sqrt", 0.5, 1.0],
    "min_samples_leaf": [1, 5, 20],
}
NAMED: dict[str, tuple[str, Space]] = {
    "mlp": (
        "sklearn.neural_network.MLP",
        {
            "batch_size": [16, 64, 256],
            "hidden_layer_sizes": [[32], [128], [64, 64]],
            "learning_rate_init": [0.01, 0.001],
        },
    ),
    "forest": ("sklearn.ensemble.RandomForest", _OF_FORESTS),
    "extra_trees": ("sklearn.ensemble.ExtraTrees", _OF_FORESTS),
    "boosting": (
        "sklearn.ensemble.HistGradientBoosting",
        {"max_iter": [50, 200], "learning_rate": [0.03, 0.1, 0.3], "max_leaf_nodes": [7, 31]},
    ),
    "xgboost": (
        "xgboost.XGB",
        {"n_estimators": [50, 200], "learning_rate": [0.03, 0.1, 0.3], "max_depth": [3, 6]},
    ),
    "lightgbm": (
        "lightgbm.LGBM",
        {"n_estimators": [50, 200], "learning_rate": [0.03, 0.1, 0.3], "num_leaves": [7, 31]},
    ),
}


def find(name: str, task: Task) -> Algorithm:
    """The algorithm of that name; of a short one the estimator that fits the task.

    Raises:
        UserError: unknown algorithm, or its library is missing.
    """
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    if name in NAMED:
        path, defaults = NAMED[name]
        library = path.partition(".")[0]
        if not find_spec(library):
            raise UserError(f"algorithm={name}: {library} is not installed; run pip install {library}, or leave it out")
        found = estimator(path + ("Regressor" if task == "regression" else "Classifier"))
        return replace(found, name=name, defaults=defaults)
    if "." in name:
        return estimator(name)
    raise UserError(
        f"algorithm={name}: unknown algorithm; use {', '.join([*ALGORITHMS, *NAMED])}, or the import path of a "
        f"scikit-learn classifier or regressor, such as sklearn.svm.SVC, or {AUTO} alone for "
        f"{', '.join(ALGORITHMS)}, as far as they fit"
    )


def find_all(task: Task, asked: str) -> tuple[Algorithm, ...]:
    """The algorithms that a text names, separated by commas; ``auto`` stands for the built-in ones that fit the task.

    Raises:
        UserError: one of them is unknown or does not fit the task.
    """
    fitting = tuple(algorithm for algorithm in ALGORITHMS.values() if algorithm.task == task)
    if asked == AUTO:
        return fitting
    found = [find(name, task) for name in dict.fromkeys(name.strip() for name in asked.split(","))]
    for algorithm in found:
        if algorithm.task != task:
            fit = ", ".join([*(each.name for each in fitting), *NAMED])
            raise UserError(
                f"algorithm={asked}: {algorithm.name} does not fit a {task} dataset, where {fit} do; choose from "
                f"these, or leave it out for {AUTO}"
            )
    return tuple(found)
