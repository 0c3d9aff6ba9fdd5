"""A name -> a checked table and where it came from.

What a known dataset must hold is written down here and compared after loading, so a study never runs on other rows
than the ones it names.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.errors import UserError

DATA = Path(__file__).parent / "data"

Task = Literal["regression", "classification"]


@dataclass(frozen=True, eq=False)
class Table:
    """One dataset: the features, then the target as last column, and where they came from.

    ``frame`` has float64 features, and a float64 target (regression) or text labels (classification). Treat it as
    read-only: the digest is computed once. Raises ValueError if the target is not the last column.
    """

    name: str
    frame: pd.DataFrame
    target: str
    task: Task
    source: str
    openml_id: int | None
    licence: str

    def __post_init__(self) -> None:
        columns = [str(column) for column in self.frame.columns]
        if columns[-1:] != [self.target]:
            raise ValueError(f"the target {self.target} must be the last column, of {', '.join(columns)}")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns before the target, in the table's order."""
        return tuple(str(column) for column in self.frame.columns[:-1])

    @property
    def X(self) -> NDArray[np.float64]:  # noqa: N802 - the field's own name
        """A new (rows, features) array, C-contiguous and writable. Take it once: each access copies the table."""
        return np.array(self.frame.iloc[:, :-1], dtype=np.float64, order="C")

    @property
    def y(self) -> NDArray[Any]:
        """A new (rows,) array of the target: float64 in its own units, or class labels as text."""
        if self.task == "classification":
            return _labels(self.frame[self.target])
        return np.array(self.frame[self.target], dtype=np.float64)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted as text; empty for regression."""
        return tuple(np.unique(self.y).tolist()) if self.task == "classification" else ()

    @cached_property
    def digest(self) -> str:
        """The sha256, in hex, of the content: column names, values and the order of both, however they were stored.

        Hashed are, one after the other: the JSON list of the number of rows and the column names; each feature as
        little-endian float64; the target likewise, or as the JSON list of its labels.
        """
        content = hashlib.sha256(json.dumps([len(self.frame), *self.feature_names, self.target]).encode())
        # Column by column: a copy of a whole large table would double what the study needs.
        for column in self.feature_names:
            content.update(self.frame[column].to_numpy(dtype="<f8").tobytes())
        target = self.y
        labels = self.task == "classification"
        content.update(json.dumps(target.tolist()).encode() if labels else target.astype("<f8").tobytes())
        return content.hexdigest()


def _labels(column: pd.Series[Any]) -> NDArray[np.str_]:
    """Labels as text. A class 5 is "5" whether the file format made it an integer, a float, a category or text."""
    values = column.to_numpy()
    if values.dtype.kind == "f" and not np.mod(values, 1).any():
        values = values.astype(np.int64)
    return values.astype(np.str_)


@dataclass(frozen=True)
class Facts:
    """What can be told of a table's content. ``target`` holds the rows of each class, or the target's min and max."""

    columns: tuple[str, ...]
    rows: int
    target: Mapping[str, float]
    digest: str

    @classmethod
    def of(cls, table: Table) -> Facts:
        """Read the facts off a table."""
        y = table.y
        if table.task == "classification":
            labels, counts = np.unique(y, return_counts=True)
            target = dict(zip(labels.tolist(), counts.tolist(), strict=True))
        else:
            target = {"min": float(y.min()), "max": float(y.max())}
        return cls((*table.feature_names, table.target), len(table.frame), target, table.digest)

    def difference(self, expected: Facts) -> str | None:
        """Return the first fact in which the table is not the expected one, in words; None if it is."""
        for field in fields(self):
            found, known = getattr(self, field.name), getattr(expected, field.name)
            if found != known:
                return f"{field.name} {found} found, {known} expected"
        return None


@dataclass(frozen=True)
class _Known:
    task: Task
    openml_id: int
    licence: str
    facts: Facts


_KNOWN: Mapping[str, _Known] = {
    "diabetes": _Known(
        task="classification",
        openml_id=37,
        licence="none stated by the source",
        facts=Facts(
            columns=("preg", "plas", "pres", "skin", "insu", "mass", "pedi", "age", "class"),
            rows=768,
            target={"tested_negative": 500, "tested_positive": 268},
            digest="a93e97d51d3c791bb41f1769f371179a28811e744f7164a735ec1c8d0e45004c",
        ),
    ),
    "red_wine": _Known(
        task="regression",
        openml_id=44972,
        licence="CC BY 4.0",
        facts=Facts(
            columns=(
                "fixed_acidity",
                "volatile_acidity",
                "citric_acid",
                "residual_sugar",
                "chlorides",
                "free_sulfur_dioxide",
                "total_sulfur_dioxide",
                "density",
                "pH",
                "sulphates",
                "alcohol",
                "quality",
            ),
            rows=1599,
            target={"min": 3, "max": 8},
            digest="aac7f095efc699870e1b14aa826ecf0aa3e0c6ff10208e921f4644e9efaee5c8",
        ),
    ),
}


def known() -> tuple[str, ...]:
    """Return the names that ``load`` takes, sorted."""
    return tuple(sorted(_KNOWN))


def load(name: str, *, folder: Path = DATA) -> Table:
    """Return the table of that name, checked against what is known of it.

    ``folder`` holds the bundled files. Raises UserError for an unknown name, and RuntimeError naming the file if a
    bundled one is not what it should be, which no user can have asked for.
    """
    if name not in _KNOWN:
        raise UserError(_unknown(name))
    return _bundled(name, _KNOWN[name], folder / f"{name}.csv.gz")


def _unknown(name: str) -> str:
    closest = difflib.get_close_matches(name.lower(), known(), n=1)
    advice = f"use {closest[0]}, the closest name" if closest else "use one of these names"
    return f"dataset={name}: one of {', '.join(known())} is allowed; {advice}"


def _bundled(name: str, expected: _Known, path: Path) -> Table:
    *features, target = expected.facts.columns
    # pandas' own parser has been off in the last bit, by version and option; Python's float never is.
    converters: dict[str, type] = dict.fromkeys((*features, target), float)
    if expected.task == "classification":
        converters[target] = str
    try:
        frame = pd.read_csv(path, converters=converters)
        table = Table(name, frame, target, expected.task, "bundled", expected.openml_id, expected.licence)
        difference = Facts.of(table).difference(expected.facts)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RuntimeError(f"{path} cannot be read: {error}; restore it from the repository") from error
    if difference:
        raise RuntimeError(f"{path} is not the {name} table: {difference}; restore it from the repository")
    return table
