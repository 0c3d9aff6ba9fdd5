"""What a fold's training rows say about its features: how to fill, encode and scale them, batch by batch.

It is scikit-learn's ``SimpleImputer``, ``StandardScaler`` and ``OneHotEncoder``, reduced to a few array operations: a
``ColumnTransformer`` takes milliseconds a call, which a training step of a tenth of that cannot wait for. The model
that a study logs holds scikit-learn's own, and a test holds both equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from entrypoints.datasets.splits import Rows, Scaling, fit_scaling

_MISSING = -1.0


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """The preprocessing that is fitted on one set of rows.

    Attributes:
        scaling: of the numeric columns and of the target; a missing number becomes the mean.
        numeric: the places of the numeric columns; None if all are.
        encoded: for each categorical column its place and the codes that get a column of their own, which are those of
            the fitted rows (-1 for missing). Another code becomes zeros.
        has_missing: whether a number can be missing.
    """

    scaling: Scaling
    numeric: NDArray[np.int64] | None
    encoded: tuple[tuple[int, NDArray[np.float64]], ...]
    has_missing: bool

    def transform(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return raw rows ``X`` (rows, columns) as (rows, outputs): scaled numbers, then a column per category."""
        out = self.scaling.transform(X if self.numeric is None else X[:, self.numeric])
        if self.has_missing:
            np.nan_to_num(out, copy=False, nan=0.0)  # the mean, once scaled
        if not self.encoded:
            return out
        return np.hstack([out, *(_codes(X[:, place])[:, None] == codes for place, codes in self.encoded)])


def fit_preprocessing(
    X: NDArray[Any], y: NDArray[Any] | None, rows: Rows, categorical: tuple[int, ...]
) -> Preprocessing:
    """Fit the preprocessing on ``X[rows]``, and for regression the target's scaling on ``y[rows]``.

    Args:
        X: raw values (all rows, columns); a category is its code, and what is missing is NaN.
        y: the raw target (all rows,), or None for classification.
        rows: the rows that may be looked at.
        categorical: the places of the categorical columns.
    """
    if not categorical:
        return Preprocessing(fit_scaling(X, y, rows), None, (), _has_missing(X))
    numeric = np.setdiff1d(np.arange(X.shape[1]), categorical)
    numbers = X[:, numeric]
    encoded = tuple((place, np.unique(_codes(X[rows, place]))) for place in categorical)
    # In scikit-learn's order, which has missing last.
    encoded = tuple((place, np.roll(codes, -1) if codes[0] == _MISSING else codes) for place, codes in encoded)
    return Preprocessing(fit_scaling(numbers, y, rows), numeric, encoded, _has_missing(numbers))


def transformer(numeric: list[str], categorical: list[str]) -> ColumnTransformer:
    """The same preprocessing as scikit-learn's own, unfitted, for a frame with these columns."""
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer([("numeric", fill_and_scale(), numeric), ("categorical", encode, categorical)])


def fill_and_scale() -> Pipeline:
    """What ``transformer`` does to numeric columns, unfitted: the mean for what is missing, then standardised."""
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())


def _codes(column: NDArray[np.float64]) -> NDArray[np.float64]:
    codes: NDArray[np.float64] = np.nan_to_num(column, nan=_MISSING)
    return codes


def _has_missing(X: NDArray[Any]) -> bool:
    return X.dtype.kind == "f" and bool(np.isnan(X).any())
