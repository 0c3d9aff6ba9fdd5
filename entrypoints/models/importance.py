"""Which columns of the user's file a model predicts from: scikit-learn's permutation importance on the test part."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.base import BaseEstimator, is_classifier
from sklearn.inspection import permutation_importance
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.tables import Table
from entrypoints.models.best_model import BestModel
from entrypoints.models.scores import Score

STRONGEST, REPEATS = 10, 20  # so many columns are shuffled so often
MAX_ROWS, MIN_ROWS = 1_000, 50  # of the test part
SECONDS = 5.0  # for all; a slow model gets fewer rows
BY_CHANCE = 0.01  # of tables whose columns tell nothing one is said to matter
CORRELATED = 0.8  # from this rank correlation on


def importance(best: BestModel, data: Prepared, table: Table, score: Score, seed: int) -> list[dict[str, Any]]:
    """The ten strongest columns, the strongest first; empty where the score is not defined on shuffled rows.

    A column is one of the user's file, whose features are shuffled together.

    Args:
        best: a trained model.
        data: made of ``table``, on which it was trained.
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
    features = {column.name: [table.feature_names.index(each) for each in column.names] for column in table.columns}

    def worse(columns: list[str], repeats: int, seed: int) -> NDArray[np.float64]:
        """By how much the score gets worse, (columns, repeats), where each of these columns is shuffled."""
        model = _OfRows(best, data.X[rows], [features[name] for name in columns])
        unshuffled = np.tile(np.arange(len(rows))[:, np.newaxis], len(columns))
        result = permutation_importance(
            model, unshuffled, data.y[rows], scoring=score.scorer, n_repeats=repeats, random_state=seed
        )
        importances: NDArray[np.float64] = result.importances
        return importances

    try:
        began = time.perf_counter()
        worse(names[:1], 1, seed)
        seconds = (len(names) + STRONGEST * REPEATS) * (time.perf_counter() - began) / 2  # which scores twice
        if seconds > SECONDS:
            rows = rows[: max(MIN_ROWS, int(len(rows) * SECONDS / seconds))]
        first = worse(names, 1, seed)[:, 0]
        strongest = [names[i] for i in np.argsort(-first, kind="stable")[:STRONGEST]]
        again = worse(strongest, REPEATS, seed + 1)
    except ValueError:  # such as the logarithm of a negative prediction
        return []
    found: pd.DataFrame = pd.DataFrame({"column": strongest, "importance": again.mean(axis=1)})
    found["spread"] = again.std(axis=1, ddof=1)
    # The score of the rows as they are is one more draw where a column tells nothing.
    least = stats.t.isf(BY_CHANCE / len(names), REPEATS - 1) * np.sqrt(1 + 1 / REPEATS)
    found["matters"] = found["importance"] > least * found["spread"]
    found = found.join(_alike(table, rows), on="column")
    found = found.assign(score=score.name, rows=len(rows), repeats=REPEATS)
    rows_found: list[dict[str, Any]] = found.sort_values("importance", ascending=False, kind="stable").to_dict(
        "records"
    )
    return rows_found


class _OfRows(BaseEstimator):  # type: ignore[misc]
    """A model that is told of each column which row its value comes from, so that all features of a column move."""

    def __init__(self, best: BestModel, features: NDArray[Any], places: list[list[int]]) -> None:
        self.best = best
        self.features = features
        self.places = places

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.best.estimator)

    @property
    def classes_(self) -> NDArray[Any]:
        classes: NDArray[Any] = self.best.estimator.classes_
        return classes

    def fit(self, X: Any, y: Any) -> _OfRows:  # scikit-learn asks whether there is one
        return self

    def predict(self, X: NDArray[np.int64]) -> NDArray[Any]:
        predicted: NDArray[Any] = self.best.estimator.predict(self._shuffled(X))
        if is_classifier(self.best.estimator):
            return predicted
        scaling = self.best.preprocessing.scaling
        return predicted * scaling.y_scale + scaling.y_mean

    @available_if(lambda self: hasattr(self.best.estimator, "predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(self.best.estimator.predict_proba(self._shuffled(X)))

    @available_if(lambda self: hasattr(self.best.estimator, "decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(self.best.estimator.decision_function(self._shuffled(X)))

    def _shuffled(self, X: NDArray[np.int64]) -> NDArray[np.float64]:
        shuffled = self.features.copy()
        for rows, places in zip(X.T, self.places, strict=True):
            shuffled[:, places] = self.features[rows][:, places]
        return self.best.preprocessing.transform(shuffled)


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
        i = int(np.abs(own).argmax())
        if abs(own[i]) >= CORRELATED:
            found[name] = names[i], float(own[i])
    alike: pd.DataFrame = pd.DataFrame.from_dict(found, orient="index", columns=["like", "correlation"])
    return alike
