"""Whether a column tells the target alone, as one does that is only known once the target is.

A small tree on each column is held against a model that ignores all columns, by the share of its errors that are left,
whatever the study's score is. Each class counts as much as another, however rare. Of numbers it is the root mean square
error of their ranks, since a few large values would else decide; or that of a straight line, which needs few rows.
A leak leaves few errors and all other columns most; a strong predictor leaves more, or is not alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.splits import Rows
from entrypoints.datasets.tables import Table
from entrypoints.models import losses
from entrypoints.models.scores import Score

MAX_LEFT = 0.15  # of the errors, by a leak
OTHERS_LEFT, TIMES = 0.25, 2.5  # by each other column at least, and so many times as much as by the leak
LEAKS_SHARE = 0.1  # of the columns, or one: where more of them tell the target alone, it is easy to tell
MIN_LEAF = 5  # rows in a leaf of a tree on numbers
MAX_ROWS, MAX_CELLS, MAX_COLUMNS = 10_000, 3_000_000, 1_000  # that are looked at; wider tables are not

Folds = list[tuple[Rows, Rows]]
Columns = dict[str, list[int]]  # of a file, the places of the features that each has become


def sentence(data: Prepared, table: Table, score: Score, seed: int) -> str:
    """The columns that may be leaks, with their scores, and what to do about them; empty where there are none.

    Only the training part is looked at, by the folds of the study.

    Args:
        data: made of ``table``.
        table: of whose columns, as they are in the user's file, each is tried.
        score: of the study.
        seed: draws the rows of a large table.
    """
    if not 2 <= len(table.columns) <= MAX_COLUMNS:
        return ""
    folds = _drawn(data, len(table.columns), seed)
    places = {name: place for place, name in enumerate(table.feature_names)}
    columns = {column.name: [places[name] for name in column.names] for column in table.columns}
    left_by = _wrong_left if data.n_classes else _distance_left
    left = {name: left_by(data, folds, own) for name, own in columns.items()}
    leaks = _far_below_the_others(left)
    if not leaks:
        return ""
    names, scores = ", ".join(leaks), _scores(data, score, folds, columns, leaks)
    predict, is_it = ("predicts", "is it") if len(leaks) == 1 else ("each predict", "are they")
    drop = ",".join(leaks)
    return f"{names} {predict} {table.target} alone{scores}: {is_it} known when you predict? -P drop={drop}"


def _drawn(data: Prepared, columns: int, seed: int) -> Folds:
    """The folds; of a large table with rows that are drawn at random."""
    train, rows = data.split.train, min(MAX_ROWS, MAX_CELLS // columns)
    kept = np.zeros(len(data.X), dtype=bool)
    kept[np.random.default_rng(seed).permutation(train)[:rows]] = True
    return [(fit[kept[fit]], held_out[kept[held_out]]) for fit, held_out in data.split.folds]


def _far_below_the_others(left: dict[str, float]) -> list[str]:
    """The columns that may be leaks, by what errors each leaves."""
    leaks = [name for name in left if left[name] <= MAX_LEFT]
    if not 1 <= len(leaks) <= max(1, LEAKS_SHARE * len(left)):
        return []
    least_of_others = min(left[name] for name in left if name not in leaks)
    most = max(left[name] for name in leaks)
    return leaks if least_of_others >= max(OTHERS_LEFT, TIMES * most) else []


def _wrong_left(data: Prepared, folds: Folds, places: list[int]) -> float:
    """The share of wrong predictions, mean over classes, relative to that of a model that ignores all columns."""
    wrong = np.zeros(data.n_classes)
    tree = DecisionTreeClassifier(**_of_tree(data, places), class_weight="balanced")
    for held_out, predicted in _predicted(data, data.y, folds, places, tree):
        y = data.y[held_out]
        wrong += np.bincount(y[predicted != y], minlength=data.n_classes)
    rows = np.bincount(np.concatenate([data.y[held_out] for _, held_out in folds]), minlength=data.n_classes)
    shares = wrong[rows > 0] / rows[rows > 0]
    return float(shares.mean() / (1 - 1 / data.n_classes))


def _distance_left(data: Prepared, folds: Folds, places: list[int]) -> float:
    """The root mean square error relative to that of a model that ignores all columns."""
    tree = DecisionTreeRegressor(**_of_tree(data, places))
    line = make_pipeline(SimpleImputer(keep_empty_features=True), LinearRegression())
    found = []
    for target, model in ((rankdata(data.y), tree), (data.y, line)):
        errors = without = 0.0
        for (fit, _), (held_out, predicted) in zip(folds, _predicted(data, target, folds, places, model), strict=True):
            errors += np.square(predicted - target[held_out]).sum()
            without += np.square(target[fit].mean() - target[held_out]).sum()
        found.append(float(np.sqrt(errors / without)))
    return min(found)


def _scores(data: Prepared, score: Score, folds: Folds, columns: Columns, leaks: list[str]) -> str:
    """What the leaks score and the best other column, in brackets; empty where that is not defined on a sample."""
    scores = {name: fmean(_score(data, score, fold, own) for fold in folds) for name, own in columns.items()}
    if not np.isfinite(list(scores.values())).all():
        return ""
    others = [value for name, value in scores.items() if name not in leaks]
    best = max(others) if score.higher_is_better else min(others)
    reached = " and ".join(f"{scores[name]:.4g}" for name in leaks)
    return f" ({score.name} {reached}, the best other column {best:.4g})"


def _score(data: Prepared, score: Score, fold: tuple[Rows, Rows], places: list[int]) -> float:
    """That of a tree on one column, on the held-out rows of a fold."""
    fit, held_out = fold
    X, rows, y = data.X[fit][:, places], data.X[held_out][:, places], data.y[held_out]
    if not data.n_classes:
        outputs = DecisionTreeRegressor(**_of_tree(data, places)).fit(X, data.y[fit]).predict(rows)
        return score.of(outputs, y, losses.squared_error)
    tree = DecisionTreeClassifier(**_of_tree(data, places)).fit(X, data.y[fit])
    shares = np.zeros((len(held_out), data.n_classes))
    shares[:, tree.classes_] = tree.predict_proba(rows)
    return score.of(shares, y, losses.log_loss)


def _of_tree(data: Prepared, places: list[int]) -> dict[str, Any]:
    is_category = places[0] in data.categorical
    return {"min_samples_leaf": 1 if is_category else MIN_LEAF, "random_state": 0}


def _predicted(
    data: Prepared, target: NDArray[Any], folds: Folds, places: list[int], model: Any
) -> Iterator[tuple[Rows, NDArray[Any]]]:
    """The held-out rows of each fold, and what a model on some features predicts of them."""
    for fit, held_out in folds:
        model.fit(data.X[fit][:, places], target[fit])
        yield held_out, model.predict(data.X[held_out][:, places])
