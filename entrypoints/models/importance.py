"""Which columns of the user's file a model predicts from: scikit-learn's permutation importance on the test part."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.inspection import permutation_importance
from sklearn.utils.metaestimators import available_if

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.tables import Table
from entrypoints.models.scores import Score

STRONGEST, REPEATS = 10, 20  # so many columns are shuffled so often
MAX_ROWS, MIN_ROWS = 1_000, 50  # of the test part
SECONDS = 5.0  # for all; a slow model gets fewer rows
BY_CHANCE = 0.01  # of tables whose columns tell nothing one is said to matter
CORRELATED = 0.8  # from this rank correlation on


def importance(pipeline: Any, data: Prepared, table: Table, score: Score, seed: int) -> list[dict[str, Any]]:
    """The ten strongest columns, the strongest first; empty where the score is not defined on shuffled rows.

    A column is one of the user's file, whose features are shuffled together.

    Args:
        pipeline: a fitted model on the features of ``table``.
        data: made of ``table``.
        table: whose columns count.
        score: by which the model is judged.
        seed: draws the rows and shuffles them.

    Returns:
        A row a column: column; importance: by how much the score gets worse where the column is shuffled, mean over
        repeats; spread: their standard deviation; matters: whether that is more than shuffling makes of a column that
        tells nothing, in 99 of 100 tables of as many columns; like and correlation: the column of numbers that is most
        correlated with it, from a rank correlation of 0.8 on; score, rows and repeats.
    """
    rows = np.random.default_rng(seed).permutation(data.split.test)[:MAX_ROWS]
    names = [column.name for column in table.columns]
    model = _of_rows(pipeline, table, rows, data.n_classes)
    try:
        began = time.perf_counter()
        score.scorer(model, _unshuffled(names, len(rows)), data.y[rows])
        seconds = (len(names) + STRONGEST * REPEATS) * (time.perf_counter() - began)
        if seconds > SECONDS:
            rows = rows[: max(MIN_ROWS, int(len(rows) * SECONDS / seconds))]
            model = _of_rows(pipeline, table, rows, data.n_classes)
        first = _worse(model, names, data.y[rows], score, 1, seed)
        strongest = [names[place] for place in np.argsort(-first[:, 0], kind="stable")[:STRONGEST]]
        worse = _worse(model, strongest, data.y[rows], score, REPEATS, seed + 1)
    except ValueError:  # such as the logarithm of a negative prediction
        return []
    found: pd.DataFrame = pd.DataFrame({"column": strongest, "importance": worse.mean(axis=1)})
    found["spread"] = worse.std(axis=1, ddof=1)
    # The score of the rows as they are is one more draw where a column tells nothing.
    least = stats.t.isf(BY_CHANCE / len(names), REPEATS - 1) * np.sqrt(1 + 1 / REPEATS)
    found["matters"] = found["importance"] > least * found["spread"]
    found = found.join(_alike(table, rows), on="column")
    found = found.assign(score=score.name, rows=len(rows), repeats=REPEATS)
    rows_found: list[dict[str, Any]] = found.sort_values("importance", ascending=False, kind="stable").to_dict(
        "records"
    )
    return rows_found


def _worse(model: Any, names: list[str], y: NDArray[Any], score: Score, repeats: int, seed: int) -> NDArray[np.float64]:
    """By how much the score gets worse, (columns, repeats), where each of these columns is shuffled."""
    X = _unshuffled(names, len(y))
    result = permutation_importance(model, X, y, scoring=score.scorer, n_repeats=repeats, random_state=seed)
    worse: NDArray[np.float64] = result.importances
    return worse


def _unshuffled(names: list[str], rows: int) -> pd.DataFrame:
    """Of each column, which row its value comes from."""
    frame: pd.DataFrame = pd.DataFrame(dict.fromkeys(names, np.arange(rows)))
    return frame


class _OfRows(BaseEstimator):  # type: ignore[misc]
    """A model that is told of each column which row its value comes from, so that all features of a column move."""

    def __init__(self, pipeline: Any, features: pd.DataFrame, columns: dict[str, list[str]], n_classes: int) -> None:
        self.pipeline = pipeline
        self.features = features
        self.columns = columns
        self.n_classes = n_classes

    def fit(self, X: Any, y: Any) -> _OfRows:  # scikit-learn asks whether there is one
        return self

    def predict(self, X: pd.DataFrame) -> NDArray[Any]:
        return np.asarray(self.pipeline.predict(self._shuffled(X)))

    @available_if(lambda self: hasattr(self.pipeline, "predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: pd.DataFrame) -> NDArray[Any]:
        return np.asarray(self.pipeline.predict_proba(self._shuffled(X)))

    @available_if(lambda self: hasattr(self.pipeline, "decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: pd.DataFrame) -> NDArray[Any]:
        return np.asarray(self.pipeline.decision_function(self._shuffled(X)))

    def _shuffled(self, X: pd.DataFrame) -> pd.DataFrame:
        found: pd.DataFrame = self.features.copy()
        for name in map(str, X):
            rows = X[name].to_numpy()
            if (rows[1:] < rows[:-1]).any():
                for feature in self.columns[name]:
                    found[feature] = self.features[feature].to_numpy()[rows]
        return found


class _Regressor(RegressorMixin, _OfRows):  # type: ignore[misc]
    pass


class _Classifier(ClassifierMixin, _OfRows):  # type: ignore[misc]
    @property
    def classes_(self) -> NDArray[np.int64]:
        return np.arange(self.n_classes)


def _of_rows(pipeline: Any, table: Table, rows: NDArray[np.int64], n_classes: int) -> _OfRows:
    columns = {column.name: column.names for column in table.columns}
    made = _Classifier if n_classes else _Regressor
    return made(pipeline, table.features(rows), columns, n_classes)


def _alike(table: Table, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Of each column of numbers or dates the one that is most correlated with it, and how, from 0.8 on."""
    names = [column.name for column in table.columns if column.name not in table.categories]
    ranks = table.frame[names].iloc[rows].astype(float).rank()
    ranks = ranks.fillna(ranks.mean())
    found: dict[str, tuple[str, float]] = {}
    with np.errstate(invalid="ignore"):  # of a column that is constant on these rows
        correlations = np.nan_to_num(np.corrcoef(ranks.to_numpy(), rowvar=False).reshape(len(names), len(names)))
    np.fill_diagonal(correlations, 0.0)
    for name, own in zip(names, correlations, strict=True):
        place = int(np.abs(own).argmax())
        if abs(own[place]) >= CORRELATED:
            found[name] = names[place], float(own[place])
    alike: pd.DataFrame = pd.DataFrame.from_dict(found, orient="index", columns=["like", "correlation"])
    return alike
