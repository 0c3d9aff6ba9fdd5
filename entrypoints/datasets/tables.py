"""A checked table: its features, its target, their source, and facts about the content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.datasets.sysmetrics_rows import Column, is_numeric, numbers

Task = Literal["regression", "classification"]
MANY_COPIES = 0.01  # of the rows


@dataclass(frozen=True, eq=False)
class Table:
    """One dataset: the features, then the target as last column, and where they came from.

    ``frame`` has numeric features (float64, or uint8 where every value of the table is a whole number from 0 to 255)
    and categorical ones (text categories), both with missing values, and a complete target: float64 (regression) or
    text labels (classification). ``class_values`` holds the value that stands in the user's file for a label, such as
    5 for "5"; where it has none, the label itself does. ``positive`` is the number of the class that scores are of,
    where there are two. ``groups`` or ``times`` (rows,) say how to split the rows, and are not part of the digest.
    Treat a table as read-only: the digest is computed once.

    ``columns`` are those of the user's file that became features, and how each is read; ``treatment`` is the name of
    each column of the file, what it is read as, and details; ``examples`` are a few rows as the file has them.
    """

    name: str
    frame: pd.DataFrame
    target: str
    task: Task
    openml_id: int | None
    class_values: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    treatment: tuple[tuple[str, str, str], ...] = ()
    examples: pd.DataFrame = field(default_factory=pd.DataFrame)
    groups: NDArray[np.int64] | None = None
    times: NDArray[np.float64] | None = None
    positive: int = 1

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns before the target, in the table's order."""
        return tuple(str(column) for column in self.frame.columns[:-1])

    @cached_property
    def positions(self) -> dict[str, list[int]]:
        """The positions of the features that each column of the user's file has become."""
        of_features = {name: i for i, name in enumerate(self.feature_names)}
        return {column.name: [of_features[name] for name in column.names] for column in self.columns}

    @cached_property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The sorted categories of each categorical feature, in the table's order; numeric features are absent."""
        columns = {name: self.frame[name] for name in self.feature_names}
        return {name: tuple(each.cat.categories) for name, each in columns.items() if not is_numeric(each.dtype)}

    @property
    def X(self) -> NDArray[Any]:  # noqa: N802 - the field's own name
        """A new (rows, features) array, C-contiguous and writable. Take it once: each access copies the table.

        It is uint8 if all features are, else float64: a category is its position in ``categories``, NaN is missing.
        """
        dtypes = set(self.frame.dtypes.iloc[:-1])
        # Column by column: a copy of a whole large table would double what the array takes.
        X = np.empty((len(self.frame), len(self.feature_names)), np.uint8 if dtypes == {np.dtype("u1")} else np.float64)
        for i, name in enumerate(self.feature_names):
            column = self.frame[name]
            if name in self.categories:
                column = column.cat.codes.where(column.notna())  # NaN for -1
            X[:, i] = column
        return X

    @property
    def y(self) -> NDArray[Any]:
        """A new (rows,) array of the target: float64 in its own units, or class labels as text."""
        if self.task == "classification":
            return np.array(self.frame[self.target], dtype=np.str_)
        return np.array(self.frame[self.target], dtype=np.float64)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted as text; empty for regression."""
        return tuple(np.unique(self.y).tolist()) if self.task == "classification" else ()

    @property
    def largest_class(self) -> float:
        """The share of rows that are of the most frequent class."""
        return float(self.frame[self.target].value_counts(normalize=True).iloc[0])

    @property
    def class_names(self) -> tuple[Any, ...]:
        """The classes as the user's file spells them, in their order."""
        return tuple(self.class_values.get(label, label) for label in self.classes)

    @cached_property
    def contents(self) -> NDArray[np.int64]:
        """(rows,) the number of each row's content: rows that are equal, target and missing values included, share one.

        Rows are compared by a 64-bit hash: a comparison of whole rows takes several copies of the table.
        """
        numbers: NDArray[np.int64] = pd.factorize(pd.util.hash_pandas_object(self.frame, index=False))[0]
        return numbers

    @property
    def duplicate_rows(self) -> int:
        """How many rows equal an earlier one."""
        return len(self.frame) - len(np.unique(self.contents))

    @cached_property
    def has_many_copies(self) -> bool:
        """Whether more than 1 % of the rows equal an earlier one, and more than chance explains.

        Chance alone makes rows equal in a table of few different values: as many as if columns were independent.
        """
        rows = len(self.frame)
        share = self.duplicate_rows / rows
        if share <= MANY_COPIES:
            return False
        equal_by_chance = float(rows)  # how many other rows equal a row
        for name in self.frame:
            shares = self.frame[name].value_counts(normalize=True, dropna=False)
            equal_by_chance *= float((shares**2).sum())
        return share > equal_by_chance

    @cached_property
    def digest(self) -> str:
        """The sha256, in hex, of the content: column names, values and the order of both, however they were stored.

        Hashed are, one after the other: the JSON list of the number of rows and the column names; each feature, as
        little-endian float64 (one NaN for missing, no negative zero), or if it is categorical as the JSON list of its
        categories and each row's position in it as little-endian int32 (-1 for missing); the target as float64, or as
        the JSON list of its labels.
        """
        content = hashlib.sha256(json.dumps([len(self.frame), *self.feature_names, self.target]).encode())
        # Column by column: a copy of a whole large table would double what the study needs.
        for name in self.feature_names:
            column = self.frame[name]
            if name in self.categories:
                content.update(json.dumps(self.categories[name]).encode())
                content.update(column.cat.codes.to_numpy("<i4").tobytes())
            else:
                content.update(numbers(column).astype("<f8", copy=False).tobytes())
        target = self.y
        text = self.task == "classification"
        content.update(json.dumps(target.tolist()).encode() if text else (target + 0.0).astype("<f8").tobytes())
        return content.hexdigest()
