"""A dataset made ready for a study: its split, and the preprocessing of each fold. Trials work on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.datasets.preprocessing import Preprocessing, fit_preprocessing
from entrypoints.datasets.splits import Split
from entrypoints.datasets.sysmetrics_raw_rows import Column
from entrypoints.datasets.tables import Table, Task


@dataclass(frozen=True)
class Request:
    """The settings of a prepare run: runs with equal settings hold equal artifacts."""

    dataset: str
    max_rows: int | None
    folds: int
    seed: int
    group: str | None = None
    time: str | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table, its split and the preprocessing of each fold.

    ``X`` (rows, features) holds raw values: uint8 or float64, a category as its place in ``categories``, NaN for
    missing. ``y`` (rows,) is the raw target, or for classification each row's place in ``classes``, which are the
    classes as the user's file spells them. ``preprocessings`` has one entry per fold, fitted on that fold's training
    rows alone. ``columns`` and ``examples`` are those of the table.
    """

    name: str
    task: Task
    feature_names: tuple[str, ...]
    target: str
    classes: tuple[Any, ...]
    categories: dict[str, tuple[str, ...]]
    digest: str
    X: NDArray[Any]
    y: NDArray[Any]
    split: Split
    preprocessings: tuple[Preprocessing, ...]
    columns: tuple[Column, ...]
    examples: pd.DataFrame

    def fit_preprocessing(self, rows: NDArray[np.int64]) -> Preprocessing:
        """The preprocessing fitted on these rows and no others."""
        categorical = tuple(place for place, name in enumerate(self.feature_names) if name in self.categories)
        return fit_preprocessing(self.X, self.y if self.task == "regression" else None, rows, categorical)

    def frame(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """The raw feature columns of these rows: float64, and text with NaN for missing where categorical."""
        frame: pd.DataFrame = pd.DataFrame(self.X[rows].astype(np.float64), columns=list(self.feature_names))
        for name, texts in self.categories.items():
            codes = frame[name].fillna(len(texts)).astype(int)
            frame[name] = np.array([*texts, np.nan], dtype=object)[codes]
        return frame


def prepared(table: Table, split: Split) -> Prepared:
    """Fit the preprocessing of each fold of a table's split."""
    y = np.searchsorted(table.classes, table.y) if table.classes else table.y
    data = Prepared(
        name=table.name,
        task=table.task,
        feature_names=table.feature_names,
        target=table.target,
        classes=tuple(table.class_values.get(label, label) for label in table.classes),
        categories=table.categories,
        digest=table.digest,
        X=table.X,
        y=y,
        split=split,
        preprocessings=(),
        columns=table.columns,
        examples=table.examples,
    )
    return replace(data, preprocessings=tuple(data.fit_preprocessing(fit) for fit, _ in split.folds))
