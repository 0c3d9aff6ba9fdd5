"""Whether the column that a model relies on most tells the target alone, as one does that is only known with it.

A small tree on this column is held against a model that ignores all columns, by the share of its errors that are left,
whatever the study's score is. Each class counts as much as another, however rare. Of numbers it is the root mean square
error of their ranks, since a few large values would else decide. A leak leaves few errors, and the model needs no other
column as much; a strong predictor leaves more, or is not alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import balanced_accuracy_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from entrypoints.datasets.tables import Table
from entrypoints.models.trained import Model

MAX_LEFT = 0.15  # of the errors, by a leak
MAX_NEXT = 0.5  # of a leak's importance, by the next column
MIN_LEAF = 5  # rows in a leaf of a tree on numbers
MAX_ROWS = 1_000  # to fit the tree on, and to judge it by


def sentence(
    trained: Model, table: Table, importance: Sequence[Mapping[str, Any]], baseline: Sequence[float], seed: int
) -> str:
    """The column that may be a leak, with its score, and what to do about it; empty if there is none.

    Args:
        trained: a model, on the training part alone.
        table: of its dataset.
        importance: of its columns, the strongest first.
        baseline: the score of a model that ignores all columns, on each fold.
        seed: draws the rows of a large table.
    """
    if len(importance) < 2:
        return ""
    first, second = importance[:2]
    if second["importance"] > MAX_NEXT * first["importance"]:
        return ""
    data, score = trained.data, trained.score
    name = first["column"]
    features = table.positions[name]
    random = np.random.default_rng(seed)
    fit = random.permutation(data.split.train)[:MAX_ROWS]
    test = random.permutation(data.split.test)[:MAX_ROWS]
    tree = _tree(bool(data.n_classes), is_category=features[0] in data.categorical)
    values = data.X[:, features]
    tree.fit(values[fit], data.y[fit])
    X = values[test]
    left = _left_of_classes if data.n_classes else _left_of_numbers
    if not left(data.y[test], tree.predict(X)) <= MAX_LEFT:  # NaN, too
        return ""
    try:
        reached = score.scorer(tree, X, data.y[test])
    except ValueError:  # such as of a class that the tree was not fitted on
        return ""
    if not score.higher_is_better:
        reached = -reached
    told = f"{score.name} {reached:.4g}, ignoring all columns {fmean(baseline):.4g}"
    return f"{name} predicts {table.target} alone ({told}): is it known when you predict? -P drop={name}"


def _tree(is_classification: bool, is_category: bool) -> Any:
    min_leaf = 1 if is_category else MIN_LEAF
    if is_classification:
        return DecisionTreeClassifier(min_samples_leaf=min_leaf, class_weight="balanced", random_state=0)
    return DecisionTreeRegressor(min_samples_leaf=min_leaf, random_state=0)


def _left_of_classes(y: NDArray[Any], predicted: NDArray[Any]) -> float:
    classes = len(np.unique(y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a class was predicted that these rows lack
        accuracy = balanced_accuracy_score(y, predicted)
    return float((1 - accuracy) / (1 - 1 / max(2, classes)))


def _left_of_numbers(y: NDArray[Any], predicted: NDArray[Any]) -> float:
    ranks = rankdata(y)
    errors = rankdata(predicted) - ranks
    return float(np.sqrt(np.mean(errors**2)) / ranks.std())
