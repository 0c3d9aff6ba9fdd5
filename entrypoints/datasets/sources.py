"""What sources of tables share: a name that one of them matches -> the columns as they are there."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import pandas as pd

from entrypoints.compute import memory
from entrypoints.datasets.tables import Task
from entrypoints.errors import UserError
from entrypoints.text import Echo, one_line

BROKEN = (OSError, EOFError, ValueError, zlib.error, csv.Error)  # what a damaged file raises
CELL_BYTES = 3 * 8  # the table's, the trials', and those of the copy that is made when these get theirs


class Asked(NamedTuple):
    """What a user says of a table.

    Attributes:
        name: a known dataset, ``openml:<id>``, or the path of a file.
        target: the column to predict; by default the usual one of the table.
        drop: names of columns that are not features, separated by commas.
        group: the column whose equal values are one group of rows; it is not a feature.
        time: the column of numbers or dates that orders the rows. Months, weekdays and hours of dates are features.
        decimal: POINT or COMMA, in columns that can be read in both ways; by default as in the other columns.
        scored: the task of the score. It decides where the target may be read as numbers or as classes.
        max_rows: how many rows are needed at most. A source may give more.
        seed: by which rows are drawn.
    """

    name: str
    target: str | None = None
    drop: str | None = None
    group: str | None = None
    time: str | None = None
    decimal: str | None = None
    scored: Task | None = None
    max_rows: int | None = None
    seed: int = 0

    @property
    def what(self) -> str:
        """The table in messages."""
        return f"dataset={self.name}"

    @property
    def dropped(self) -> list[str]:
        """The columns that are not features."""
        return [name.strip() for name in self.drop.split(",")] if self.drop else []


class Source(Protocol):
    """A module that reads tables of one kind."""

    def matches(self, name: str) -> bool:
        """Whether the name of a dataset is one of its own."""

    def read(self, asked: Asked, echo: Echo) -> pd.DataFrame:
        """The columns, with their names as they are, repeated ones too. The ``attrs`` are what ``clean`` wants to know.

        Raises UserError for what the user can fix. ``echo`` is called with a line for anything that they should know.
        """


@contextmanager
def reading(asked: Asked, kind: str) -> Iterator[Path]:
    """The path of a file to be read. Raises UserError if it is missing, or turns out to be unreadable."""
    path = Path(asked.name)
    if not path.exists():
        raise UserError(f"{asked.what}: no such file ({path.absolute()}); give the path of a CSV or Parquet file")
    try:
        yield path
    except UnicodeError as error:
        raise UserError(f"{asked.what}: this is text neither in UTF-8 nor in cp1252; save it as UTF-8") from error
    except BROKEN as error:
        why = one_line(error)
        raise UserError(f"{asked.what}: not readable as {kind} ({why}); fix it or export it again") from error


def check_size(what: str, rows: int, columns: int, advice: str) -> None:
    """Refuse a table that may take more than half of the memory that this process may use."""
    allowed_mb = memory.half_mb()
    fitting = int(allowed_mb * 1e6 / (CELL_BYTES * columns))
    if rows > fitting:
        raise UserError(
            f"{what} {rows:,} rows of {columns} columns may take {rows * columns * CELL_BYTES / 1e9:.2g} GB here, and "
            f"{allowed_mb / 1e3:.2g} are allowed; {advice.format(fitting)}"
        )
