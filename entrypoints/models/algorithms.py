"""A name -> an algorithm: built in, by a short name, or by an import path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, NamedTuple

from entrypoints.datasets.tables import Task
from entrypoints.errors import UserError
from entrypoints.models.estimators import Estimator, estimator
from entrypoints.models.learners import ALGORITHMS, SGD
from entrypoints.options.kinds import AUTO
from entrypoints.options.search_space import Space

Algorithm = SGD | Estimator

# A model that ignores all features: it predicts the mean of the target, or the shares of its classes.
CONSTANT: dict[Task, str] = {
    "regression": "sklearn.dummy.DummyRegressor",
    "classification": "sklearn.dummy.DummyClassifier",
}


class Named(NamedTuple):
    """An estimator with a short name.

    Attributes:
        paths: its import path by task.
        grid: the values that a grid tries where the user gives none.
        wide: those that a search that learns looks among; empty: those of the grid.
        usual: what is given to its constructor unless the user gives another value.
        keeps_missing: whether it learns from missing numbers as they are, and is better so; else they become the mean,
            and a column says where.
    """

    paths: Mapping[Task, str]
    grid: Space
    wide: Space = {}  # noqa: RUF012 (nobody changes it)
    usual: Mapping[str, Any] = {}
    keeps_missing: bool = False


def _both(path: str) -> dict[Task, str]:
    """The import paths of a library whose names end in Regressor or Classifier."""
    return {"regression": f"{path}Regressor", "classification": f"{path}Classifier"}


_OF_FORESTS: Space = {
    "n_estimators": [100],
    "max_features": ["sqrt", 0.5, 1.0],
    "min_samples_leaf": [1, 5, 20],
}
_WIDE_OF_FORESTS: Space = {
    "n_estimators": [100],
    "max_features": {"uniform": [0.2, 1.0]},
    "min_samples_leaf": [1, 2, 5, 10, 20],
}
NAMED: dict[str, Named] = {
    "ridge": Named(
        {"regression": "sklearn.linear_model.Ridge"},
        {"alpha": [0.1, 1.0, 10.0, 100.0]},
        {"alpha": {"loguniform": [0.01, 1000.0]}},
    ),
    "logistic_regression": Named(
        {"classification": "sklearn.linear_model.LogisticRegression"},
        {"C": [0.01, 0.1, 1.0, 10.0]},
        {"C": {"loguniform": [0.001, 100.0]}},
        {"max_iter": 1000},
    ),
    "mlp": Named(
        _both("sklearn.neural_network.MLP"),
        {
            "batch_size": [16, 64, 256],
            "hidden_layer_sizes": [[32], [128], [64, 64]],
            "learning_rate_init": [0.01, 0.001],
        },
    ),
    "forest": Named(_both("sklearn.ensemble.RandomForest"), _OF_FORESTS, _WIDE_OF_FORESTS, keeps_missing=True),
    "extra_trees": Named(_both("sklearn.ensemble.ExtraTrees"), _OF_FORESTS, _WIDE_OF_FORESTS, keeps_missing=True),
    "boosting": Named(
        _both("sklearn.ensemble.HistGradientBoosting"),
        {"max_iter": [50, 200], "learning_rate": [0.03, 0.1, 0.3], "max_leaf_nodes": [7, 31]},
        {
            "max_iter": {"integers": [50, 500]},
            "learning_rate": {"loguniform": [0.02, 0.3]},
            "max_leaf_nodes": [3, 5, 7, 15, 31],
            "min_samples_leaf": [5, 10, 20, 40, 80],
            "l2_regularization": [0.0, 0.1, 1.0, 10.0],
            "max_features": {"uniform": [0.3, 1.0]},
        },
    ),
    "xgboost": Named(
        _both("xgboost.XGB"),
        {"n_estimators": [50, 200], "learning_rate": [0.03, 0.1, 0.3], "max_depth": [3, 6]},
        {
            "n_estimators": {"integers": [50, 500]},
            "learning_rate": {"loguniform": [0.02, 0.3]},
            "max_depth": [2, 3, 4, 6, 8],
            "min_child_weight": {"loguniform": [0.5, 50.0]},
            "reg_lambda": {"loguniform": [0.01, 10.0]},
            "colsample_bytree": {"uniform": [0.3, 1.0]},
        },
    ),
    "lightgbm": Named(
        _both("lightgbm.LGBM"),
        {"n_estimators": [50, 200], "learning_rate": [0.03, 0.1, 0.3], "num_leaves": [7, 31]},
        {
            "n_estimators": {"integers": [50, 500]},
            "learning_rate": {"loguniform": [0.02, 0.3]},
            "num_leaves": [3, 5, 7, 15, 31, 63],
            "min_child_samples": [3, 5, 10, 20, 40, 80],
            "reg_lambda": {"loguniform": [0.01, 10.0]},
            "colsample_bytree": {"uniform": [0.3, 1.0]},
            "subsample": {"uniform": [0.5, 1.0]},
            "subsample_freq": [1],
        },
    ),
    "catboost": Named(
        _both("catboost.CatBoost"),
        {"iterations": [100, 300], "learning_rate": [0.03, 0.1, 0.3], "depth": [4, 6]},
        {
            "iterations": {"integers": [100, 1000]},
            "learning_rate": {"loguniform": [0.02, 0.2]},
            "depth": [2, 3, 4, 5, 6, 8],
            "l2_leaf_reg": {"loguniform": [1.0, 30.0]},
            "rsm": {"uniform": [0.3, 1.0]},
        },
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
        named = NAMED[name]
        path = named.paths.get(task) or next(iter(named.paths.values()))
        library = path.partition(".")[0]
        if not find_spec(library):
            raise UserError(f"algorithm={name}: {library} is not installed; run pip install {library}, or leave it out")
        return replace(
            estimator(path),
            name=name,
            grid=named.grid,
            wide=named.wide or named.grid,
            usual=named.usual,
            keeps_missing=named.keeps_missing,
        )
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
            named = (each for each in NAMED if task in NAMED[each].paths)
            fit = ", ".join([*(each.name for each in fitting), *named])
            raise UserError(
                f"algorithm={asked}: {algorithm.name} does not fit a {task} dataset, where {fit} do; choose from "
                f"these, or leave it out for {AUTO}"
            )
    return tuple(found)
