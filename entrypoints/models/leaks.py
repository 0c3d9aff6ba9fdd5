"""Whether a column tells the target alone, as one does that is only known once the target is.

A small tree on each column is held against a model that ignores all columns, by the share of its errors that are left,
whatever the study's score is. Each class counts as much as another, however rare. Of numbers it is the root mean square
error of their ranks, since a few large values would else decide; or that of a straight line, which needs few rows.
A leak leaves few errors and all other columns most; a strong predictor leaves more, or is not alone.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.splits import Rows
from entrypoints.datasets.tables import Table
from entrypoints.models.scores import Score

MAX_LEFT = 0.15  # of the errors, by a leak
OTHERS_LEFT, TIMES = 0.25, 2.5  # by each other column at least, and so many times as much as by the leak
LEAKS_SHARE = 0.1  # of the columns, or one: where more of them tell the target alone, it is easy to tell
MIN_LEAF = 5  # rows in a leaf of a tree on numbers
MAX_ROWS, MAX_CELLS, MAX_COLUMNS = 10_000, 3_000_000, 1_000  # that are looked at; wider tables are not


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
    columns = _Columns(data, _drawn(data, len(table.columns), seed))
    leaks = far_below_the_others({name: columns.left(own) for name, own in table.positions.items()})
    if not leaks:
        return ""
    names = ", ".join(leaks)
    scores = {name: columns.score(own, score) for name, own in table.positions.items()}
    predict, is_it = ("predicts", "is it") if len(leaks) == 1 else ("each predict", "are they")
    drop = ",".join(leaks)
    told = _told(scores, score, leaks)
    return f"{names} {predict} {table.target} alone{told}: {is_it} known when you predict? -P drop={drop}"


def _drawn(data: Prepared, columns: int, seed: int) -> list[tuple[Rows, Rows]]:
    """The folds; of a large table with rows that are drawn at random."""
    train, rows = data.split.train, min(MAX_ROWS, MAX_CELLS // columns)
    kept = np.zeros(len(data.X), dtype=bool)
    kept[np.random.default_rng(seed).permutation(train)[:rows]] = True
    return [(fit[kept[fit]], held_out[kept[held_out]]) for fit, held_out in data.split.folds]


def far_below_the_others(left: dict[str, float]) -> list[str]:
    """The columns that may be leaks, by what errors each leaves."""
    leaks = [name for name in left if left[name] <= MAX_LEFT]
    if not 1 <= len(leaks) <= max(1, LEAKS_SHARE * len(left)):
        return []
    least_of_others = min(left[name] for name in left if name not in leaks)
    most = max(left[name] for name in leaks)
    return leaks if least_of_others >= max(OTHERS_LEFT, TIMES * most) else []


def _told(scores: dict[str, float], score: Score, leaks: list[str]) -> str:
    """What the leaks score and the best other column, in brackets; empty where that is not defined on a sample."""
    if not np.isfinite(list(scores.values())).all():
        return ""
    best = max(value for name, value in scores.items() if name not in leaks)
    sign = 1 if score.higher_is_better else -1
    reached = " and ".join(f"{sign * scores[name]:.4g}" for name in leaks)
    return f" ({score.name} {reached}, the best other column {sign * best:.4g})"


class _Columns:
    """Models on one column, by its features, each fitted and held against other rows on all folds."""

    def __init__(self, data: Prepared, folds: list[tuple[Rows, Rows]]) -> None:
        self.data = data
        self.folds = folds

    def left(self, features: list[int]) -> float:
        """The share of the errors of a model that ignores all columns."""
        if n_classes := self.data.n_classes:
            accuracy = self._mean(self._tree(features, class_weight="balanced"), features, "balanced_accuracy")
            return (1 - accuracy) / (1 - 1 / n_classes)
        line = make_pipeline(SimpleImputer(keep_empty_features=True), LinearRegression())
        of_tree = self._square_left(self._tree(features), features, rankdata(self.data.y))
        of_line = self._square_left(line, features, self.data.y)
        return float(np.sqrt(min(of_tree, of_line)))

    def score(self, features: list[int], score: Score) -> float:
        """That of a tree, higher where it is better."""
        return self._mean(self._tree(features), features, score.scorer)

    def _tree(self, features: list[int], **options: Any) -> Any:
        kind = DecisionTreeClassifier if self.data.n_classes else DecisionTreeRegressor
        is_category = features[0] in self.data.categorical
        return kind(min_samples_leaf=1 if is_category else MIN_LEAF, random_state=0, **options)

    def _square_left(self, model: Any, features: list[int], y: NDArray[np.float64]) -> float:
        rows = np.concatenate([held_out for _, held_out in self.folds])
        return -self._mean(model, features, "neg_mean_squared_error", y) / float(y[rows].var())

    def _mean(self, model: Any, features: list[int], scoring: Any, y: NDArray[Any] | None = None) -> float:
        """Over folds; NaN where the score is not defined on one."""
        y = self.data.y if y is None else y
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a score is not defined, or a class was predicted that a fold lacks
            return float(cross_val_score(model, self.data.X[:, features], y, cv=self.folds, scoring=scoring).mean())
