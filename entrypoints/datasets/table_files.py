"""A path -> the frame of a CSV or Parquet file."""

from __future__ import annotations

import csv
import gzip
import os
import re
import warnings
import zlib
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entrypoints.datasets import table_size
from entrypoints.datasets.parquet_files import ParquetFiles
from entrypoints.datasets.sysmetrics_raw_rows import is_numeric
from entrypoints.errors import UserError
from entrypoints.text import Echo, one_line

_SUFFIX = re.compile(r"\.(csv|csv\.gz|parquet|pq)$", re.IGNORECASE)
_THOUSANDS = r"[-+]?[1-9]\d{0,2}(\.\d{3})?"
_MAY_BE_CODE = re.compile(rb"""(^|[,;\t" ])0\d""")
# Before 3.1 pandas' own parser is off in the last bit; since then it is exact, and the option deprecated.
EXACT: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__ < "3.1" else {}
BROKEN = (OSError, EOFError, ValueError, zlib.error, csv.Error, pd.errors.ParserWarning)  # what a damaged file raises
FIRST_ROWS = 10_000
LARGE_BYTES = 10_000_000  # of a CSV file; a smaller one fits anyway
POINTER_BYTES = 8  # of each cell, which pandas keeps while it reads the text
CONVERT = "write it as a Parquet file, and choose max_rows={}, of which only these rows are read"


def is_path(name: str) -> bool:
    """Whether a dataset's name is meant as a path: it has a folder or a suffix, or is there."""
    return bool(name) and (os.sep in name or Path(name).suffix != "" or Path(name).exists())


def read(
    name: str, *, echo: Echo, max_rows: int | None = None, target: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return the columns of a CSV or Parquet file, with their names as they are, repeated ones too.

    Of a Parquet file, or a folder of such files, no more than ``max_rows`` rows are held in memory and returned: random
    ones with a value of the target, see ``ParquetFiles.draw``. CSV files are returned as a whole.

    CSV has one header line, is UTF-8 or cp1252, and is separated by commas, semicolons or tabs, whichever the header
    has most of. Empty cells, ``?`` and what pandas takes for missing (NA, NaN, null ...) are missing. Codes with
    leading zeros are text, and so are numbers such as 1.702, which may be thousands. A first column without a name that
    numbers the rows is left out. ``echo`` gets a line if it is, and for cp1252. The ``attrs`` are what ``clean`` wants
    to know.

    Raises:
        UserError: the file is missing, unreadable, empty or too large, or a class would be lost.
    """
    path = Path(name)
    suffix = _SUFFIX.search(path.name)
    if not path.exists():
        raise UserError(f"dataset={name}: no such file ({path.absolute()}); give the path of a CSV or Parquet file")
    if not suffix and path.is_file():
        raise UserError(
            f"dataset={name}: a file named .csv, .csv.gz, .parquet, .pq is allowed; convert it to one of these"
        )
    kind = "CSV" if suffix and "csv" in suffix[1].lower() else "Parquet"
    try:
        try:
            if kind == "CSV":
                frame = _read_csv(path, name, "utf-8-sig")
            else:
                frame = _read_parquet(path, name, max_rows, target, seed)
        except UnicodeDecodeError:
            frame = _read_csv(path, name, "cp1252")
            echo(f"dataset={name}: not UTF-8, so read as cp1252 (Windows); save it as UTF-8 if letters are wrong")
    except UnicodeError as error:
        raise UserError(f"dataset={name}: this is text neither in UTF-8 nor in cp1252; save it as UTF-8") from error
    except BROKEN as error:
        raise UserError(
            f"dataset={name}: not readable as {kind} ({one_line(error)}); fix it or export it again"
        ) from error
    frame = _without_row_numbers(frame, name, echo)
    frame.attrs = {"name": path.name[: suffix.start()] if suffix else path.name, "from_text": kind == "CSV"}
    return frame


def _read_parquet(path: Path, name: str, max_rows: int | None, target: str | None, seed: int) -> pd.DataFrame:
    files = ParquetFiles(path)
    rows, what = files.rows, f"its {files.rows:,} rows"
    if max_rows is not None and max_rows < rows:
        rows, what = max_rows, f"{max_rows:,} of {what}"
    table_size.check(f"dataset={name}: {what}", files.first_rows(), rows, advice="choose max_rows={}")
    return files.read() if max_rows is None else files.draw(max_rows, target, seed)


def _read_csv(path: Path, name: str, encoding: str) -> pd.DataFrame:
    with _opened(path) as file:
        first = file.readline()
        has_codes = any(map(_MAY_BE_CODE.search, file))
    if b"\0" in first:
        raise UnicodeError("UTF-16")
    text = first.decode(encoding)
    separator = max(",;\t", key=text.count)
    header = [field.strip() for field in next(csv.reader([text], delimiter=separator, skipinitialspace=True), [])]
    if not any(header):
        raise ValueError("the first line holds no column names")

    def read(**more: Any) -> pd.DataFrame:
        frame: pd.DataFrame = pd.read_csv(
            path,
            sep=separator,
            header=0,
            names=list(range(len(header))),  # pandas would rename columns that share a name
            index_col=False,
            low_memory=False,
            na_values=["?"],
            skipinitialspace=True,
            encoding=encoding,
            **EXACT,
            **more,
        )
        return frame

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header would be cut
        if path.stat().st_size > LARGE_BYTES:
            rows, row_bytes = _about(path)
            what, parser_bytes = f"dataset={name}: its about {rows:,} rows", row_bytes + POINTER_BYTES * len(header)
            table_size.check(what, read(nrows=FIRST_ROWS), rows, advice=CONVERT, parser_bytes=parser_bytes)
        frame = read()
        numeric = [each for each in frame if is_numeric(frame[each].dtype)]
        whole = [each for each in numeric if has_codes and not (frame[each] % 1).any()]
        doubtful = whole + [each for each in numeric if _may_be_thousands(frame[each])]
        if doubtful:
            for each, values in read(usecols=doubtful, dtype=str).items():
                known = values.dropna().str
                are_codes = known.match(r"0\d").any() and known.fullmatch(r"\d+").all()
                if are_codes or (each not in whole and known.fullmatch(_THOUSANDS).all()):
                    frame[each] = values
    frame.columns = pd.Index(header)
    return frame


def _may_be_thousands(numbers: pd.Series[Any]) -> bool:
    """Whether most have three decimals and none more: 1.702 may be 1702."""
    fractions = numbers[numbers % 1 > 0]
    return bool((fractions.round(2) != fractions).mean() > 0.5 and (fractions.round(3) == fractions).all())


def _opened(path: Path) -> Any:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def _about(path: Path) -> tuple[int, float]:
    """About how many rows a CSV file has, and how many bytes each: as in its first rows."""
    with _opened(path) as file:
        sizes = [len(line) for line in islice(file, FIRST_ROWS)]
        packed: Any = getattr(file, "fileobj", None)
        read_bytes = packed.tell() if packed else sum(sizes)
    rows = len(sizes) * path.stat().st_size / read_bytes
    return int(float(f"{rows:.2g}")), sum(sizes) / len(sizes)


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
