"""What a fold's training rows say about its features: how to fill, encode and scale them, batch by batch.

It is scikit-learn's ``SimpleImputer``, ``StandardScaler`` and ``OneHotEncoder``, reduced to a few array operations: a
``ColumnTransformer`` takes milliseconds a call, which neither a training step of a tenth of that nor a served row can
wait for. A test holds both equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from entrypoints.datasets.splits import Rows
from entrypoints.datasets.sysmetrics_rows import NO_CODE, Preprocessing, Scaling, codes_of

CHUNK_CELLS = 2**20  # 8 MiB of float64 at a time


def fit_preprocessing(
    X: NDArray[Any], y: NDArray[Any] | None, rows: Rows, categorical: tuple[int, ...]
) -> Preprocessing:
    """Fit the preprocessing on ``X[rows]``, and for regression the target's scaling on ``y[rows]``.

    Args:
        X: raw values (all rows, columns) of any numeric dtype; a category is its code, and what is missing is NaN.
        y: the raw target (all rows,), or None for classification.
        rows: the rows that may be looked at.
        categorical: the positions of the categorical columns.
    """
    numeric = np.setdiff1d(np.arange(X.shape[1]), categorical) if categorical else None
    scaling = Scaling(*_mean_and_scale(X, rows, numeric))
    if y is not None:
        y_mean, y_scale = _mean_and_scale(y[:, np.newaxis], rows)
        scaling = Scaling(scaling.mean, scaling.scale, float(y_mean[0]), float(y_scale[0]))
    encoded = tuple((i, np.unique(codes_of(X[rows, i]))) for i in categorical)
    # In scikit-learn's order, which has missing last.
    encoded = tuple((i, np.roll(codes, -1) if codes[0] == NO_CODE else codes) for i, codes in encoded)
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
