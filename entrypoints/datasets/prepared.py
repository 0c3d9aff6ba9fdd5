"""A dataset made ready for a study: its split, and the preprocessing of each fold. Trials work on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.datasets.preprocessing import Preprocessing, fit_preprocessing
from entrypoints.datasets.splits import Split, make_split
from entrypoints.datasets.tables import Table, Task


@dataclass(frozen=True)
class Request:
    """The settings of a prepare run: runs with equal settings hold equal artifacts."""

    dataset: str
    max_rows: int | None
    folds: int
    seed: int


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table, its split and the preprocessing of each fold.

    ``X`` (rows, features) holds raw values: uint8 or float64, a category as its place in ``categories``, NaN for
    missing. ``y`` (rows,) is the raw target, or for classification each label's place in ``classes``; ``class_values``
    are those of the table.
    ``preprocessings`` has one entry per fold, fitted on that fold's training rows alone.
    """

    name: str
    task: Task
    feature_names: tuple[str, ...]
    target: str
    classes: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    class_values: Mapping[str, Any]
    digest: str
    X: NDArray[Any]
    y: NDArray[Any]
    split: Split
    preprocessings: tuple[Preprocessing, ...]

    def fit_preprocessing(self, rows: NDArray[np.int64]) -> Preprocessing:
        """The preprocessing fitted on these rows and no others."""
        return _fit(self.X, self.y, rows, self.task, self.feature_names, self.categories)

    def frame(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """The raw feature columns of these rows: float64, and text with NaN for missing where categorical."""
        frame: pd.DataFrame = pd.DataFrame(self.X[rows].astype(np.float64), columns=list(self.feature_names))
        for name, texts in self.categories.items():
            codes = frame[name].fillna(len(texts)).astype(int)
            frame[name] = np.array([*texts, np.nan], dtype=object)[codes]
        return frame


def prepared(table: Table, split: Split) -> Prepared:
    """Fit the preprocessing of each fold of a table's split."""
    X, labels, names = table.X, table.y, table.feature_names
    y = np.searchsorted(np.array(table.classes), labels) if table.classes else labels
    fitted = tuple(_fit(X, y, fit, table.task, names, table.categories) for fit, _ in split.folds)
    return Prepared(
        table.name,
        table.task,
        names,
        table.target,
        table.classes,
        table.categories,
        table.class_values,
        table.digest,
        X,
        y,
        split,
        fitted,
    )


def _fit(
    X: NDArray[Any],
    y: NDArray[Any],
    rows: NDArray[np.int64],
    task: Task,
    names: tuple[str, ...],
    categories: dict[str, tuple[str, ...]],
) -> Preprocessing:
    categorical = tuple(place for place, name in enumerate(names) if name in categories)
    return fit_preprocessing(X, y if task == "regression" else None, rows, categorical)


def split_for(table: Table, request: Request) -> Split:
    """Split a table as a request asks.

    Raises:
        UserError: the table cannot be split as requested.
    """
    return make_split(table.y, stratify=table.task == "classification", folds=request.folds, seed=request.seed)
