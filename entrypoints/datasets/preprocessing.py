"""What a fold's training rows say about its features: how to fill, encode and scale them, batch by batch.

It is scikit-learn's ``SimpleImputer``, ``StandardScaler`` and ``OneHotEncoder``, reduced to a few array operations: a
``ColumnTransformer`` takes milliseconds a call, which a training step of a tenth of that cannot wait for. The model
that a study logs holds scikit-learn's own, and a test holds both equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from entrypoints.datasets.splits import Rows

CHUNK_CELLS = 2**20  # 8 MiB of float64 at a time
_MISSING = -1.0


@dataclass(frozen=True, eq=False)
class Scaling:
    """Means and standard deviations: ``mean`` and ``scale`` of the numeric columns (columns,), and the target's.

    A constant column has scale 1. Class labels stay as they are: ``y_mean`` 0 and ``y_scale`` 1.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    y_mean: float = 0.0
    y_scale: float = 1.0

    def transform_target(self, y: NDArray[Any]) -> NDArray[np.float64]:
        """Return the target ``y`` (rows,) normalised."""
        z: NDArray[np.float64] = (np.asarray(y, dtype=np.float64) - self.y_mean) / self.y_scale
        return z


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
        numbers = X if self.numeric is None else X[:, self.numeric]
        out: NDArray[np.float64] = np.subtract(numbers, self.scaling.mean, dtype=np.float64, order="C")
        out /= self.scaling.scale
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
        X: raw values (all rows, columns) of any numeric dtype; a category is its code, and what is missing is NaN.
        y: the raw target (all rows,), or None for classification.
        rows: the rows that may be looked at.
        categorical: the places of the categorical columns.
    """
    numeric = np.setdiff1d(np.arange(X.shape[1]), categorical) if categorical else None
    scaling = Scaling(*_mean_and_scale(X, rows, numeric))
    if y is not None:
        y_mean, y_scale = _mean_and_scale(y[:, np.newaxis], rows)
        scaling = Scaling(scaling.mean, scaling.scale, float(y_mean[0]), float(y_scale[0]))
    encoded = tuple((place, np.unique(_codes(X[rows, place]))) for place in categorical)
    # In scikit-learn's order, which has missing last.
    encoded = tuple((place, np.roll(codes, -1) if codes[0] == _MISSING else codes) for place, codes in encoded)
    has_missing = X.dtype.kind == "f" and any(np.isnan(chunk).any() for chunk in _chunks(X, None, numeric))
    return Preprocessing(scaling, numeric, encoded, has_missing)


def _chunks(X: NDArray[Any], rows: Rows | None, columns: NDArray[np.int64] | None) -> Iterator[NDArray[np.float64]]:
    """These rows and columns, or all, a part at a time: a large table is never copied as a whole."""
    step = max(1, CHUNK_CELLS // (X.shape[1] if columns is None else max(1, len(columns))))
    for start in range(0, len(X) if rows is None else len(rows), step):
        part = slice(start, start + step)
        chunk = X[part if rows is None else rows[part]]
        yield (chunk if columns is None else chunk[:, columns]).astype(np.float64)


def _mean_and_scale(
    X: NDArray[Any], rows: Rows, columns: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """scikit-learn's own mean and population standard deviation of ``X[rows]``; no other row is read.

    A missing value counts as one at the mean of those that are there, as after mean imputation; a column without any
    value has mean 0.
    """
    if columns is not None and not len(columns):
        return np.zeros(0), np.ones(0)
    scaler = StandardScaler()
    with np.errstate(invalid="ignore"):  # of a column without any value
        for chunk in _chunks(X, rows, columns):
            scaler.partial_fit(chunk)
        deviation = np.sqrt(scaler.var_)
    constant = scaler.scale_ != deviation  # its deviation is 0 but for rounding, and scikit-learn has put 1
    deviation *= np.sqrt(scaler.n_samples_seen_ / len(rows))
    return np.nan_to_num(scaler.mean_), np.where(constant, 1.0, deviation)


def _codes(column: NDArray[np.float64]) -> NDArray[np.float64]:
    codes: NDArray[np.float64] = np.nan_to_num(column, nan=_MISSING)
    return codes


def transformer(numeric: list[str], categorical: list[str]) -> ColumnTransformer:
    """The same preprocessing as scikit-learn's own, unfitted, for a frame with these columns."""
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer([("numeric", fill_and_scale(), numeric), ("categorical", encode, categorical)])


def fill_and_scale() -> Pipeline:
    """What ``transformer`` does to numeric columns, unfitted: the mean for what is missing, then standardised."""
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
