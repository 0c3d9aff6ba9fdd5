"""Which columns of the user's file a model predicts from: scikit-learn's permutation importance on the test part."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.inspection import permutation_importance
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from entrypoints.datasets.sysmetrics_rows import RawRows
from entrypoints.datasets.tables import Table
from entrypoints.models.trained import Model

STRONGEST, REPEATS = 10, 20  # how many columns are shuffled, and how often
MAX_ROWS, MIN_ROWS = 1_000, 50  # of the test part
SECONDS = 5.0  # for all; a slow model gets fewer rows
BY_CHANCE = 0.01  # of tables whose columns tell nothing one is said to matter
CORRELATED = 0.8  # from this rank correlation on


def importance(trained: Model, table: Table, seed: int) -> list[dict[str, Any]]:
    """The ten strongest columns, the strongest first; empty where the score is not defined on shuffled rows.

    A column is one of the user's file, whose features are shuffled together.

    Args:
        trained: a model, on the training part alone.
        table: of its dataset, whose columns count.
        seed: draws the rows and shuffles them.

    Returns:
        A row a column: column; importance: by how much the score gets worse where the column is shuffled, mean over
        repeats; spread: their standard deviation; matters: whether that is more than shuffling makes of a column that
        tells nothing, in 99 of 100 tables of as many columns; like and correlation: the column of numbers that is most
        correlated with it, from a rank correlation of 0.8 on; score, rows and repeats.
    """
    data, score = trained.data, trained.score
    rows = np.random.default_rng(seed).permutation(data.split.test)[:MAX_ROWS]
    names = list(table.positions)

    def worse(columns: list[str], repeats: int, seed: int) -> NDArray[np.float64]:
        """By how much the score gets worse, (columns, repeats), where each of these columns is shuffled."""
        model = _OfRows(trained, rows, [table.positions[name] for name in columns])
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
    # The score of the rows as they are is one more draw where a column tells nothing.
    least = stats.t.isf(BY_CHANCE / len(names), REPEATS - 1) * np.sqrt(1 + 1 / REPEATS)
    numeric = [name for name in names if name in table.feature_names and name not in table.categories]
    ranks = table.frame[numeric].iloc[rows].rank()
    found: list[dict[str, Any]] = []
    for name, drops in zip(strongest, again, strict=True):
        like, correlation = _alike(name, ranks)
        row = {
            "column": name,
            "importance": float(drops.mean()),
            "spread": float(drops.std(ddof=1)),
            "matters": bool(drops.mean() > least * drops.std(ddof=1)),
            "like": like,
            "correlation": correlation,
            "score": score.name,
            "rows": len(rows),
            "repeats": REPEATS,
        }
        found.append(row)
    return sorted(found, key=lambda row: -row["importance"])


class _OfRows(RawRows):
    """A model that is told of each column which row its value comes from, so that all features of a column move."""

    def __init__(self, trained: Model, rows: NDArray[np.int64], columns: list[list[int]]) -> None:
        estimator, n_classes = trained.learner.estimator, trained.data.n_classes
        super().__init__(estimator, trained.preprocessing, [], {}, {i: i for i in range(n_classes)})
        self.unshuffled = trained.data.X[rows]
        self.columns_features = columns

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)

    def fit(self, X: Any, y: Any) -> _OfRows:  # scikit-learn asks whether there is one
        return self

    @available_if(lambda self: hasattr(self.estimator, "decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(self.estimator.decision_function(self.features(X)))

    def features(self, rows: Any) -> NDArray[np.float64]:
        shuffled = self.unshuffled.copy()
        for of_column, features in zip(rows.T, self.columns_features, strict=True):
            shuffled[:, features] = self.unshuffled[of_column][:, features]
        return self.preprocessing.transform(shuffled)


def _alike(name: str, ranks: pd.DataFrame) -> tuple[str | None, float | None]:
    """The column of numbers or dates that is most correlated with this one, and how, from 0.8 on."""
    if name not in ranks or ranks.shape[1] < 2:
        return None, None
    correlations = ranks.drop(columns=name).corrwith(ranks[name])
    strongest = correlations.abs()
    if not strongest.max() >= CORRELATED:  # NaN of columns that are constant on these rows
        return None, None
    like = str(strongest.idxmax())
    return like, float(correlations[like])
