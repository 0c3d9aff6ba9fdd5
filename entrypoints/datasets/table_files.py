"""A path -> the frame of a CSV or Parquet file."""

from __future__ import annotations

import csv
import gzip
import os
import re
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entrypoints.errors import UserError
from entrypoints.text import Echo, one_line

_SUFFIX = re.compile(r"\.(csv|csv\.gz|parquet|pq)$", re.IGNORECASE)
# Before 3.1 pandas' own parser is off in the last bit; since then it is exact, and the option deprecated.
EXACT: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__ < "3.1" else {}
BROKEN = (OSError, EOFError, ValueError, zlib.error, csv.Error, pd.errors.ParserWarning)  # what a damaged file raises


def is_path(name: str) -> bool:
    """Whether a dataset's name is meant as a path: it has a folder or a suffix, or is there."""
    return bool(name) and (os.sep in name or Path(name).suffix != "" or Path(name).exists())


def read(name: str, *, echo: Echo) -> pd.DataFrame:
    """Return the columns of a CSV or Parquet file, with their names as they are, repeated ones too.

    CSV has one header line, is UTF-8, and is separated by commas, semicolons or tabs, whichever the header has most
    of. Empty cells, ``?`` and what pandas takes for missing (NA, NaN, null ...) are missing. A first column without a
    name that numbers the rows is left out, with a line to ``echo``. The ``attrs`` are what ``clean`` wants to know.

    Raises:
        UserError: the file is missing, unreadable or empty.
    """
    path = Path(name)
    suffix = _SUFFIX.search(path.name)
    if not path.is_file():
        raise UserError(f"dataset={name}: no such file ({path.absolute()}); give the path of a CSV or Parquet file")
    if not suffix:
        raise UserError(
            f"dataset={name}: a file named .csv, .csv.gz, .parquet, .pq is allowed; convert it to one of these"
        )
    kind = "CSV" if "csv" in suffix[1].lower() else "Parquet"
    try:
        frame = _read_csv(path) if kind == "CSV" else pd.read_parquet(path).reset_index(drop=True)
    except UnicodeDecodeError as error:
        raise UserError(f"dataset={name}: this is not text in UTF-8; save it as UTF-8") from error
    except BROKEN as error:
        raise UserError(
            f"dataset={name}: not readable as {kind} ({one_line(error)}); fix it or export it again"
        ) from error
    frame = _without_row_numbers(frame, name, echo)
    frame.attrs = {"name": path.name[: suffix.start()], "source": "file", "licence": "not stated"}
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if packed else path.open("rb") as file:
        first = file.readline().decode("utf-8-sig")
    separator = max(",;\t", key=first.count)
    header = [field.strip() for field in next(csv.reader([first], delimiter=separator, skipinitialspace=True), [])]
    if not any(header):
        raise ValueError("the first line holds no column names")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header would be cut
        frame: pd.DataFrame = pd.read_csv(
            path,
            sep=separator,
            header=0,
            names=list(range(len(header))),  # pandas would rename columns that share a name
            index_col=False,
            low_memory=False,
            na_values=["?"],
            skipinitialspace=True,
            encoding="utf-8-sig",
            **EXACT,
        )
    frame.columns = pd.Index(header)
    return frame


def _without_row_numbers(frame: pd.DataFrame, name: str, echo: Echo) -> pd.DataFrame:
    """Without the column that ``DataFrame.to_csv`` writes unless told not to."""
    if frame.shape[1] < 2 or str(frame.columns[0]) not in ("", "Unnamed: 0"):
        return frame
    first = pd.to_numeric(frame.iloc[:, 0], errors="coerce").to_numpy(dtype=np.float64)
    if not any(np.array_equal(first, np.arange(len(frame)) + start) for start in (0, 1)):
        return frame
    echo(f"dataset={name}: the first column has no name and numbers the rows: left out")
    rest: pd.DataFrame = frame.iloc[:, 1:]
    return rest
