"""Tables in CSV files."""

from __future__ import annotations

import csv
import gzip
import re
import warnings
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from entrypoints.datasets.sources import Wanted, check_size, reading
from entrypoints.datasets.sysmetrics_rows import is_numeric
from entrypoints.errors import UserError
from entrypoints.text import listed, shorten

_SUFFIX = re.compile(r"\.csv(\.gz)?$", re.IGNORECASE)
_MAY_BE_CODE = re.compile(rb"""(^|[,;\t" ])0\d""")
# Before 3.1 pandas' own parser is off in the last bit; since then it is exact, and the option deprecated.
EXACT: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__ < "3.1" else {}
CONVERT = "write it as a Parquet file, and choose max_rows={}, of which only these rows are read"


def matches(name: str) -> bool:
    """Whether it is the path of a CSV file, packed or not."""
    return _SUFFIX.search(name) is not None


def read(name: str, wanted: Wanted) -> pd.DataFrame:
    """The columns of the whole file.

    CSV has one header line, is UTF-8 or cp1252, and is separated by commas, semicolons or tabs, whichever the header
    has most of. Empty cells, ``?`` and what pandas takes for missing (NA, NaN, null ...) are missing. Codes with
    leading zeros are text, and so are numbers such as 1.702, which may be thousands. Columns without a name are called
    as pandas calls them, ``Unnamed: 0``. There is a line for cp1252.
    """
    with reading(name, wanted, "CSV") as path:
        frame = _read(path, wanted)
        frame.attrs |= {"name": _SUFFIX.sub("", path.name), "from_text": True}
        return frame


def _read(path: Path, wanted: Wanted) -> pd.DataFrame:
    found = _looked_through(path)
    headers = {separator: _header(path, found.encoding, separator) for separator in ",;\t"}
    separator = max(headers, key=lambda each: len(headers[each]))
    header = headers[separator]
    if not any(field.strip() for field in header):
        raise ValueError("the first line holds no column names")
    check_size(f"{wanted.what}: its about", found.rows, len(header), CONVERT)
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
        try:
            frame: pd.DataFrame = read()
        except pd.errors.ParserWarning:
            raise UserError(
                f"{wanted.what}: its first line names {len(header)} columns ({shorten(listed(header), 80)}), and lines "
                "below have more cells; let the file begin with a line of all column names, without a title or comment"
            ) from None
        numeric = [i for i in frame if is_numeric(frame[i].dtype)]
        doubtful = [i for i in numeric if _may_be_thousands(frame[i]) or (found.has_codes and not (frame[i] % 1).any())]
        if doubtful:
            for i, column in read(usecols=doubtful, dtype=str).items():
                if _are_codes_or_thousands(column.dropna().str):
                    frame[i] = column
    if found.encoding == "cp1252":
        wanted.echo(f"{wanted.what}: not UTF-8, so read as cp1252 (Windows); save it as UTF-8 if letters are wrong")
    frame.columns = pd.Index([field.strip() or f"Unnamed: {i}" for i, field in enumerate(header)])
    return frame


class _Text(NamedTuple):
    """What is known of a CSV file before it is read.

    Attributes:
        has_codes: whether numbers in it may have leading zeros.
        rows: how many, at most: text may have several lines.
    """

    encoding: str
    has_codes: bool
    rows: int


def _looked_through(path: Path) -> _Text:
    rows = -1  # of the header
    encoding = "utf-8-sig"
    has_codes = False
    with _opened(path) as file:
        for line in file:
            rows += 1
            has_codes = has_codes or _MAY_BE_CODE.search(line) is not None
            if b"\0" in line:
                raise UnicodeError("UTF-16")
            try:
                line.decode()
            except UnicodeDecodeError:
                encoding = "cp1252"
    return _Text(encoding, has_codes, rows)


def _header(path: Path, encoding: str, separator: str) -> list[str]:
    """The first line's fields; of several lines, if there are line breaks in quotes."""
    with _opened(path) as file, TextIOWrapper(file, encoding, newline="") as text:
        return next(csv.reader(text, delimiter=separator, skipinitialspace=True), [])


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
