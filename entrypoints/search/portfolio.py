"""What a search for the best model tries first: the libraries' defaults, then what has won on other tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entrypoints.options.search_space import Space
from entrypoints.search.grid import Choice, drawn

# Defaults are written out, so that the search learns from them. Rates are small, and columns are drawn at random, as in
# the portfolios that others have learned (AutoGluon's `zeroshot`, 2023): without that, boosting overfits small tables.
_BEST: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("ridge", {"alpha": 1.0}),
    ("logistic_regression", {"C": 1.0}),
    ("lightgbm", {"n_estimators": 100, "learning_rate": 0.1, "num_leaves": 31, "min_child_samples": 20}),
    ("boosting", {"max_iter": 100, "learning_rate": 0.1, "max_leaf_nodes": 31, "min_samples_leaf": 20}),
    ("extra_trees", {"max_features": 1.0, "min_samples_leaf": 1}),
    ("catboost", {"iterations": 300, "learning_rate": 0.03, "depth": 6, "l2_leaf_reg": 10.0}),
    ("lightgbm", {"n_estimators": 250, "learning_rate": 0.03, "num_leaves": 15, "colsample_bytree": 0.6}),
    ("boosting", {"max_iter": 300, "learning_rate": 0.04, "max_leaf_nodes": 7, "max_features": 0.5}),
    ("catboost", {}),
    ("ridge", {"alpha": 100.0}),
    ("logistic_regression", {"C": 0.05}),
    ("extra_trees", {"max_features": 0.5, "min_samples_leaf": 2}),
    ("catboost", {"iterations": 300, "learning_rate": 0.06, "depth": 4}),
    ("lightgbm", {"n_estimators": 100, "learning_rate": 0.05, "num_leaves": 3, "min_child_samples": 60}),
    ("boosting", {"max_iter": 100, "learning_rate": 0.04, "max_leaf_nodes": 3, "min_samples_leaf": 60}),
    ("ridge", {"alpha": 10.0}),
    ("logistic_regression", {"C": 0.3}),
    ("extra_trees", {"max_features": 1.0, "min_samples_leaf": 5}),
    ("catboost", {"iterations": 100, "learning_rate": 0.06, "depth": 2}),
)


def portfolio(given: Mapping[str, Space], seed: int) -> list[Choice]:
    """The configurations that come first.

    Args:
        given: the algorithms, with the values that the user gives for each. One of these values of a hyperparameter,
            chosen at random, replaces that of the list.
        seed: makes these random choices repeatable.
    """
    values_of = {name: drawn(space, seed) for name, space in given.items()}
    first: list[Choice] = []
    for name, values in _BEST:
        if name not in given:
            continue
        choice = {"algorithm": name, **values, **next(values_of[name])}
        if choice not in first:
            first.append(choice)
    return first
