"""A path -> the frame of a CSV or Parquet file."""

from __future__ import annotations

import csv
import gzip
import os
import re
import warnings
import zlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from entrypoints.datasets import table_size
from entrypoints.datasets.parquet_files import ParquetFiles
from entrypoints.datasets.sysmetrics_raw_rows import is_numeric
from entrypoints.errors import UserError
from entrypoints.text import Echo, one_line

_SUFFIX = re.compile(r"\.(csv|csv\.gz|parquet|pq)$", re.IGNORECASE)
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
    leading zeros are text, and so are numbers such as 1.702, which may be thousands. Columns without a name are called
    as pandas calls them, ``Unnamed: 0``. ``echo`` gets a line for cp1252. The ``attrs`` are what ``clean`` wants to
    know.

    Raises:
        UserError: the file is missing, unreadable, empty or too large.
    """
    path = Path(name)
    what = f"dataset={name}"
    suffix = _SUFFIX.search(path.name)
    if not path.exists():
        raise UserError(f"{what}: no such file ({path.absolute()}); give the path of a CSV or Parquet file")
    if not suffix and path.is_file():
        raise UserError(f"{what}: a file named .csv, .csv.gz, .parquet, .pq is allowed; convert it to one of these")
    kind = "CSV" if suffix and "csv" in suffix[1].lower() else "Parquet"
    try:
        is_csv = kind == "CSV"
        frame = _read_csv(path, what, echo) if is_csv else _read_parquet(path, what, max_rows, target, seed)
    except UnicodeError as error:
        raise UserError(f"{what}: this is text neither in UTF-8 nor in cp1252; save it as UTF-8") from error
    except BROKEN as error:
        raise UserError(f"{what}: not readable as {kind} ({one_line(error)}); fix it or export it again") from error
    frame.attrs |= {"name": path.name[: suffix.start()] if suffix else path.name, "from_text": is_csv}
    return frame


def _read_parquet(path: Path, what: str, max_rows: int | None, target: str | None, seed: int) -> pd.DataFrame:
    files = ParquetFiles(path)
    rows = files.rows if max_rows is None else min(max_rows, files.rows)
    of = f"its {files.rows:,} rows" if rows == files.rows else f"{rows:,} of its {files.rows:,} rows"
    table_size.check(f"{what}: {of}", files.first_rows(), rows, advice="choose max_rows={}")
    return files.read() if rows == files.rows else files.draw(rows, target, seed)


def _read_csv(path: Path, what: str, echo: Echo) -> pd.DataFrame:
    with _opened(path) as file:
        first = file.readline()
    if b"\0" in first:
        raise UnicodeError("UTF-16")
    found = _looked_through(path)
    text = first.decode(found.encoding)
    separator = max(",;\t", key=text.count)
    header = next(csv.reader([text], delimiter=separator, skipinitialspace=True), [])
    if not any(field.strip() for field in header):
        raise ValueError("the first line holds no column names")
    read: Any = partial(
        pd.read_csv,
        path,
        sep=separator,
        header=0,
        names=list(range(len(header))),  # pandas would rename columns that share a name
        index_col=False,
        low_memory=False,
        na_values=["?"],
        skipinitialspace=True,
        encoding=found.encoding,
        **EXACT,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header would be cut
        if path.stat().st_size > LARGE_BYTES:
            of = f"{what}: its about {found.rows:,} rows"
            parser_bytes = found.row_bytes + POINTER_BYTES * len(header)
            table_size.check(of, read(nrows=FIRST_ROWS), found.rows, advice=CONVERT, parser_bytes=parser_bytes)
        frame: pd.DataFrame = read()
        numeric = [i for i in frame if is_numeric(frame[i].dtype)]
        doubtful = [i for i in numeric if _may_be_thousands(frame[i]) or (found.has_codes and not (frame[i] % 1).any())]
        if doubtful:
            for i, column in read(usecols=doubtful, dtype=str).items():
                if _are_codes_or_thousands(column.dropna().str):
                    frame[i] = column
    if found.encoding == "cp1252":
        echo(f"{what}: not UTF-8, so read as cp1252 (Windows); save it as UTF-8 if letters are wrong")
    frame.columns = pd.Index([field.strip() or f"Unnamed: {i}" for i, field in enumerate(header)])
    return frame


class _Text(NamedTuple):
    """What is known of a CSV file before it is read.

    Attributes:
        has_codes: whether numbers in it may have leading zeros.
        rows: how many, at most: text may have several lines.
        row_bytes: of each, unpacked.
    """

    encoding: str
    has_codes: bool
    rows: int
    row_bytes: float


def _looked_through(path: Path) -> _Text:
    """Raises ValueError if some lines are UTF-8 and others are not."""
    number = size = utf_8 = others = 0  # the last two are the first such line
    has_codes = False
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            size += len(line)
            has_codes = has_codes or _MAY_BE_CODE.search(line) is not None
            if line.isascii():
                continue
            try:
                line.decode()
                utf_8 = utf_8 or number
            except UnicodeDecodeError:
                others = others or number
    if utf_8 and others:
        raise ValueError(f"line {others} is not UTF-8, and line {utf_8} is")
    return _Text("cp1252" if others else "utf-8-sig", has_codes, number - 1, size / max(1, number))


def _may_be_thousands(numbers: pd.Series[Any]) -> bool:
    """Whether most have three decimals and none more: 1.702 may be 1702."""
    fractions = numbers[numbers % 1 > 0]
    return bool((fractions.round(2) != fractions).mean() > 0.5 and (fractions.round(3) == fractions).all())


def _are_codes_or_thousands(texts: Any) -> bool:
    if texts.isdecimal().all():
        return bool(texts.match(r"0\d").any())
    has_points = texts.contains(".", regex=False).any()
    return bool(has_points and texts.fullmatch(r"[-+]?[1-9]\d{0,2}(\.\d{3})?").all())


def _opened(path: Path) -> Any:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")
