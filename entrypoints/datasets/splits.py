"""The 70/30 split, the folds, and the normalisation fitted on each fold's own training part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler

from entrypoints.errors import UserError

TEST_FRACTION = 0.3
CHUNK_CELLS = 2**20  # 8 MiB of float64 at a time

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the table: the training and the test part, and (fit, validation) rows for every fold.

    The folds divide the training part. All rows are in the shuffled order of the training part.
    """

    train: Rows
    test: Rows
    folds: tuple[tuple[Rows, Rows], ...]

    @property
    def fit_rows(self) -> int:
        """How many rows the largest fold is trained on."""
        return max(len(fit) for fit, _ in self.folds)

    @property
    def max_batch_size(self) -> int:
        """How many rows a batch can have at most: as many as the smallest fold is trained on."""
        return min(len(fit) for fit, _ in self.folds)

    def to_json(self) -> dict[str, list[Any]]:
        """Return plain lists under sorted keys; of a fold only its validation rows, since it is fitted on the rest."""
        return {
            "folds": [validation.tolist() for _, validation in self.folds],
            "test": self.test.tolist(),
            "train": self.train.tolist(),
        }


def make_split(y: NDArray[Any], *, stratify: bool, folds: int, seed: int) -> Split:
    """Split the rows of ``y`` (rows,) in two, then the training part into folds; the same seed gives the same split.

    With ``stratify``, every part holds the classes in the table's proportions. Raises UserError where the arguments
    or the classes of the table do not allow it.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"seed={seed}: a whole number from 0 to {2**32 - 1} is allowed; choose one of these")
    test_rows = math.ceil(len(y) * TEST_FRACTION)
    _check_folds(folds, training_rows=len(y) - test_rows)
    if stratify:
        _check_classes(y, "table", folds)
        _check_parts(smaller_part=min(test_rows, len(y) - test_rows), classes=len(np.unique(y)))
    train, test = train_test_split(
        np.arange(len(y), dtype=np.int64), test_size=test_rows, random_state=seed, stratify=y if stratify else None
    )
    if stratify:
        _check_classes(y[train], "training part", folds)
    splitter = (StratifiedKFold if stratify else KFold)(n_splits=folds, shuffle=True, random_state=seed)
    # The splitter numbers the rows it is given: translate to rows of the table.
    return Split(train, test, tuple((train[fit], train[val]) for fit, val in splitter.split(train, y[train])))


def _check_folds(folds: int, training_rows: int) -> None:
    if not 2 <= folds <= training_rows:
        allowed = f"a whole number from 2 to {training_rows}, the training rows, is allowed"
        advice = "raise folds" if folds < 2 else "lower folds or use a table with more rows"
        raise UserError(f"folds={folds}: {allowed}; {advice}")


def _check_classes(labels: NDArray[Any], part: str, folds: int) -> None:
    classes, rows = np.unique(labels, return_counts=True)
    rarest = int(np.argmin(rows))
    if rows[rarest] < folds:
        raise UserError(
            f"folds={folds}: class {classes[rarest]} has only {rows[rarest]} of the rows in the {part}, and every "
            "class needs one for each fold; lower folds, or merge or drop the class"
        )


def _check_parts(smaller_part: int, classes: int) -> None:
    if smaller_part < classes:
        raise UserError(
            f"the target has {classes} classes, and the smaller part of the split would have {smaller_part} rows, "
            "where at least one for each class is needed; use more rows, or merge or drop classes"
        )


@dataclass(frozen=True, eq=False)
class Scaling:
    """Means and standard deviations to normalise with: ``mean`` and ``scale`` (features,), and those of the target.

    A constant column has scale 1. Class labels stay as they are: ``y_mean`` 0 and ``y_scale`` 1.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    y_mean: float = 0.0
    y_scale: float = 1.0

    def transform(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return ``X`` (rows, features) normalised, as a new C-contiguous float64 array."""
        out: NDArray[np.float64] = np.subtract(X, self.mean, dtype=np.float64, order="C")
        out /= self.scale
        return out

    def transform_target(self, y: NDArray[Any]) -> NDArray[np.float64]:
        """Return the target ``y`` (rows,) normalised."""
        z: NDArray[np.float64] = (np.asarray(y, dtype=np.float64) - self.y_mean) / self.y_scale
        return z


def fit_scaling(X: NDArray[Any], y: NDArray[Any] | None, rows: Rows, *, chunk_cells: int = CHUNK_CELLS) -> Scaling:
    """Return the mean and population standard deviation of ``X[rows]``, and of ``y[rows]`` for regression.

    No other row is read. ``X`` (rows, features) may have any numeric dtype; ``y`` is None for classification.
    At most ``chunk_cells`` values are converted to float64 at a time.
    """
    mean, scale = _mean_and_scale(X, rows, chunk_cells)
    if y is None:
        return Scaling(mean, scale)
    y_mean, y_scale = _mean_and_scale(y[:, np.newaxis], rows, chunk_cells)
    return Scaling(mean, scale, float(y_mean[0]), float(y_scale[0]))


def _mean_and_scale(X: NDArray[Any], rows: Rows, chunk_cells: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """scikit-learn's own, chunk by chunk.

    A missing value counts as one at the mean of those that are there, as after mean imputation; a column without any
    value has mean 0.
    """
    scaler = StandardScaler()
    step = max(1, chunk_cells // max(1, X.shape[1]))
    with np.errstate(invalid="ignore"):  # of a column without any value
        for start in range(0, len(rows), step):
            scaler.partial_fit(X[rows[start : start + step]].astype(np.float64))
        deviation = np.sqrt(scaler.var_)
    constant = scaler.scale_ != deviation  # its deviation is 0 but for rounding, and scikit-learn has put 1
    deviation *= np.sqrt(scaler.n_samples_seen_ / len(rows))
    return np.nan_to_num(scaler.mean_), np.where(constant, 1.0, deviation)
