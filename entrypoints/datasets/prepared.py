"""A table made ready for trials: arrays, the split, and the preprocessing of each fold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrypoints.datasets.preprocessing import fit_preprocessing, parts_of
from entrypoints.datasets.splits import Split
from entrypoints.datasets.sysmetrics_rows import Preprocessing
from entrypoints.datasets.tables import Table, Task


@dataclass(frozen=True, eq=False)
class Prepared:
    """What trials need of a table and its split, as arrays.

    Attributes:
        task: of the table.
        n_classes: the number of classes; 0 for regression.
        X: (rows, features) raw values: uint8 or float64, a category as its position in the table's categories, NaN for
            missing.
        y: (rows,) the raw target, or for classification each row's position in the table's classes.
        categorical: the positions of the categorical features.
        split: of the rows.
        parts: (rows,) of the table, by whose other parts the targets of a row's categories are told.
        positive: of two classes the number of the one that scores are of.
        preprocessings: one per fold, fitted on that fold's training rows alone.
    """

    task: Task
    n_classes: int
    X: NDArray[Any]
    y: NDArray[Any]
    categorical: tuple[int, ...]
    split: Split
    parts: NDArray[np.uint8]
    positive: int = 1
    preprocessings: tuple[Preprocessing, ...] = ()

    def fit_preprocessing(self, rows: NDArray[np.integer[Any]]) -> Preprocessing:
        """The preprocessing fitted on these rows and no others."""
        return fit_preprocessing(self.X, self.y, rows, self.categorical, n_classes=self.n_classes, parts=self.parts)


def prepared(table: Table, split: Split) -> Prepared:
    """Fit the preprocessing of each fold of a table's split."""
    classes = table.classes
    y = np.searchsorted(classes, table.y) if classes else table.y
    categorical = tuple(position for position, name in enumerate(table.feature_names) if name in table.categories)
    parts = parts_of(y, split.groups)
    data = Prepared(table.task, len(classes), table.X, y, categorical, split, parts, table.positive)
    return replace(data, preprocessings=tuple(data.fit_preprocessing(fit) for fit, _ in split.folds))
