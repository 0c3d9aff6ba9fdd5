"""A table in a CSV or Parquet file of any country: a study reads rows so, and so does what judges a model by rows."""

from __future__ import annotations

import contextlib
import csv
import gzip
import re
import warnings
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pandas.api.types import is_numeric_dtype

PARQUET = (".parquet", ".pq")
_MAY_BE_CODE = re.compile(rb"""(^|[,;\t" ])0\d""")
_NUMBER = re.compile(r"[-+]?(0|[1-9]\d*|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?([eE][-+]?\d+)?")  # 1.702,41
# Before 3.1 pandas' own parser is off in the last bit; since then it is exact, and the option deprecated.
EXACT: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__ < "3.1" else {}


class CsvFile(NamedTuple):
    """What is known of a CSV file before it is read.

    Attributes:
        has_codes: whether numbers in it may have leading zeros.
        rows: how many, at most: text may have several lines.
    """

    path: Path
    encoding: str
    separator: str
    header: list[str]
    has_codes: bool
    rows: int


def read_table(path: str) -> pd.DataFrame:
    """The rows of a CSV or Parquet file, with numbers where decimal commas are and no comma separates.

    Raises ValueError, OSError, EOFError or pandas' ParserWarning for a file that is not one.
    """
    if path.lower().endswith(PARQUET):
        return pd.read_parquet(path)
    file = look_through(Path(path))
    frame = read_csv(file)
    _read_numbers(frame, file.separator)
    return frame


def look_through(path: Path) -> CsvFile:
    """See how a CSV file is written: UTF-8 or cp1252, with commas, semicolons or tabs, whichever make most columns."""
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
    headers = {separator: _header(path, encoding, separator) for separator in ",;\t"}
    separator = max(headers, key=lambda each: len(headers[each]))
    header = headers[separator]
    if not any(field.strip() for field in header):
        raise ValueError("the first line holds no column names")
    return CsvFile(path, encoding, separator, header, has_codes, rows)


def read_csv(file: CsvFile) -> pd.DataFrame:
    """Its columns. Empty cells, ``?`` and what pandas takes for missing (NA, NaN, null ...) are missing.

    Codes with leading zeros are text, and so are numbers such as 1.702, which may be thousands. Columns without a name
    are called as pandas calls them, ``Unnamed: 0``. Raises ParserWarning where rows are longer than the header.
    """
    read: Any = partial(
        pd.read_csv,
        file.path,
        sep=file.separator,
        header=0,
        names=list(range(len(file.header))),  # pandas would rename columns that share a name
        index_col=False,
        low_memory=False,
        na_values=["?"],
        skipinitialspace=True,
        encoding=file.encoding,
        **EXACT,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header would be cut
        frame: pd.DataFrame = read()
        doubtful = []
        for place in frame:
            if frame[place].dtype.kind not in "iuf":
                continue
            may_be_code = file.has_codes and not (frame[place] % 1).any()
            if may_be_code or _may_be_thousands(frame[place]):
                doubtful.append(place)
        if doubtful:
            for place, column in read(usecols=doubtful, dtype=str).items():
                if _are_codes_or_thousands(column.dropna().str):
                    frame[place] = column
    frame.columns = pd.Index([field.strip() or f"Unnamed: {place}" for place, field in enumerate(file.header)])
    return frame


def _read_numbers(frame: pd.DataFrame, separator: str) -> None:
    """Make numbers of the columns of text in which all cells are. One column with decimal commas tells of all."""
    found = {}
    decimal = "."
    for place, (_, column) in enumerate(frame.items()):
        texts = column.dropna().astype(str).str
        if not is_numeric_dtype(column) and texts.fullmatch(_NUMBER).all():
            found[place] = column
            if separator != "," and texts.contains(",").any():
                decimal = ","
    for place, column in found.items():
        if decimal == ",":
            column = column.str.replace(".", "").str.replace(",", ".")
        with contextlib.suppress(ValueError):  # 1,702 in a file of decimal points
            frame.isetitem(place, pd.to_numeric(column).to_numpy())


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
