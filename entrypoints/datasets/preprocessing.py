"""What a fold's training rows say about its features: how to fill, encode and scale them, batch by batch.

It is scikit-learn's ``SimpleImputer``, ``StandardScaler``, ``OneHotEncoder`` and ``TargetEncoder``, reduced to a few
array operations: a ``ColumnTransformer`` takes milliseconds a call, which neither a training step of a tenth of that
nor a served row can wait for. A test holds both equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from entrypoints.datasets.splits import Rows
from entrypoints.datasets.sysmetrics_rows import (
    MAX_ONE_HOT,
    NEW_CODE,
    NO_CODE,
    Preprocessing,
    Scaling,
    codes_of,
)

FLAGGED = 0.01  # of a column's values; from this share of missing ones on, that one is missing may mean something
PARTS = 5  # of the rows to train on: each is encoded by the targets of the others, as scikit-learn does by default
CHUNK_CELLS = 2**20  # 8 MiB of float64 at a time


def fit_preprocessing(
    X: NDArray[Any],
    y: NDArray[Any],
    rows: Rows,
    categorical: tuple[int, ...],
    *,
    n_classes: int = 0,
    parts: NDArray[np.uint8] | None = None,
) -> Preprocessing:
    """Fit the preprocessing on ``X[rows]`` and ``y[rows]``: for regression the target's scaling, too.

    Args:
        X: raw values (all rows, columns) of any numeric dtype; a category is its code, and what is missing is NaN.
        y: the raw target (all rows,), or each row's class by number.
        rows: the rows that may be looked at.
        categorical: the positions of the categorical columns.
        n_classes: the number of classes; 0 for regression.
        parts: (all rows,) of ``parts_of``; needed where a category has more than 30 values.
    """
    numeric = np.setdiff1d(np.arange(X.shape[1]), categorical) if categorical else None
    scaling = Scaling(*_mean_and_scale(X, rows, numeric))
    if not n_classes:
        y_mean, y_scale = _mean_and_scale(y[:, np.newaxis], rows)
        scaling = Scaling(scaling.mean, scaling.scale, float(y_mean[0]), float(y_scale[0]))
    encoded = []
    target_encoded = []
    for i in categorical:
        n_codes = int(np.nanmax(X[:, i])) + 1
        if n_codes > MAX_ONE_HOT and parts is not None:
            codes = codes_of(X[rows, i]).astype(np.intp)
            target_encoded.append((i, _target_encoded(codes, n_codes, _targets(y[rows], n_classes), parts[rows])))
            continue
        found = np.unique(codes_of(X[rows, i]))
        encoded.append((i, np.roll(found, -1) if found[0] == NO_CODE else found))  # scikit-learn has missing last
    has_missing = X.dtype.kind == "f" and any(np.isnan(chunk).any() for chunk in _chunks(X, None, numeric))
    flagged = _often_missing(X, rows, numeric) if has_missing else ()
    return Preprocessing(scaling, numeric, tuple(encoded), has_missing, tuple(target_encoded), flagged)


def _often_missing(X: NDArray[Any], rows: Rows, columns: NDArray[np.int64] | None) -> tuple[int, ...]:
    """The places among these columns of those that lack more than 1 % of their values."""
    missing = sum(np.isnan(chunk).sum(axis=0) for chunk in _chunks(X, rows, columns))
    return tuple(np.flatnonzero(missing > FLAGGED * len(rows)).tolist())


def parts_of(y: NDArray[Any], groups: NDArray[Any] | None) -> NDArray[np.uint8]:
    """(all rows,) which part each row is in, from 1 on.

    Targets are alike in all parts, and rows of one group are in one part.
    """
    random = np.random.default_rng(0)
    units, of_rows = np.unique(np.arange(len(y)) if groups is None else groups, return_inverse=True)
    means = np.bincount(of_rows, y) / np.bincount(of_rows)
    order = np.lexsort((random.permutation(len(units)), means))
    each_of_all = np.tile(np.arange(1, 1 + PARTS, dtype=np.uint8), (len(units) // PARTS + 1, 1))
    of_units = np.empty(len(units), dtype=np.uint8)
    of_units[order] = random.permuted(each_of_all, axis=1).ravel()[: len(units)]  # of the five next to each other
    return of_units[of_rows]


def _targets(y: NDArray[Any], n_classes: int) -> NDArray[np.float64]:
    """(rows, outputs): the number; whether it is the second of two classes; whether it is each of more classes."""
    if not n_classes:
        return np.asarray(y[:, np.newaxis], dtype=np.float64)
    is_class = np.asarray(y[:, np.newaxis] == np.arange(n_classes), dtype=np.float64)
    return is_class[:, 1:] if n_classes == 2 else is_class


def _target_encoded(
    codes: NDArray[np.intp], n_codes: int, targets: NDArray[np.float64], parts: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """What each code becomes, as of ``Preprocessing.target_encoded``, scaled by what the fitted rows become."""
    size = n_codes + int(-NEW_CODE)
    codes = codes % size  # those of new and of missing values are counted from the end
    values = np.empty((1 + PARTS, size, targets.shape[1]))
    for part in range(1 + PARTS):
        others = parts != part
        if not others.any():  # all rows are of one group
            others = parts == part
        values[part] = _shrunk_means(codes[others], size, targets[others])
    found = values[parts, codes]
    scale = found.std(axis=0)
    scale[scale <= np.finfo(np.float64).eps * np.abs(found).max(axis=0)] = 1.0  # all are equal, but for rounding
    values -= found.mean(axis=0)
    values /= scale
    return values


def _shrunk_means(codes: NDArray[np.intp], size: int, targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """(size, outputs) of each code the mean of its rows' targets, as scikit-learn's ``TargetEncoder`` has it.

    The fewer rows a code has, and the more these differ, the nearer it is to the mean of all rows; without any it is
    that (Micci-Barreca, 2001, equations 5 and 6).
    """
    counts = np.bincount(codes, minlength=size)
    shrunk = np.empty((size, targets.shape[1]))
    for i, y in enumerate(targets.T):
        of_all = counts * y.var()
        with np.errstate(invalid="ignore"):  # 0 / 0 where there are no rows, or all targets are equal
            means = np.bincount(codes, y, size) / counts
            within = np.bincount(codes, (y - means[codes]) ** 2, size) / counts
            weights = of_all / (of_all + within)
            shrunk[:, i] = np.where(np.isnan(weights), y.mean(), weights * means + (1 - weights) * y.mean())
    return shrunk


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
