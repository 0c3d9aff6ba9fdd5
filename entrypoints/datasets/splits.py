"""The 70/30 split of a table, and the folds of its training part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from entrypoints.datasets.tables import Table
from entrypoints.errors import UserError

TEST_FRACTION = 0.3

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


def make_split(table: Table, *, folds: int, seed: int) -> Split:
    """Split the rows of a table in two, then the training part into folds; the same seed gives the same split.

    Every part holds the classes in the table's proportions.

    Raises:
        UserError: the arguments or the classes of the table do not allow it.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"seed={seed}: a whole number from 0 to {2**32 - 1} is allowed; choose one of these")
    y, stratify = table.y, table.task == "classification"
    test_rows = math.ceil(len(y) * TEST_FRACTION)
    _check_folds(folds, training_rows=len(y) - test_rows)
    if stratify:
        _check_classes(y, "table", folds)
        if test_rows < len(table.classes):
            raise UserError(
                f"the target has {len(table.classes)} classes, and the test part of the table would have {test_rows} "
                "rows, where at least one for each class is needed; use more rows, or merge or drop classes"
            )
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
