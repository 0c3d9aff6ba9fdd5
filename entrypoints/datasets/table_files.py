"""A path -> the frame of a CSV or Parquet file."""

from __future__ import annotations

import csv
import gzip
import os
import re
import warnings
import zlib
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from pyarrow.dataset import ParquetFileFormat, ParquetFragmentScanOptions, dataset

from entrypoints.compute import memory
from entrypoints.datasets.random_rows import LOST, drawn
from entrypoints.datasets.sysmetrics_rows import is_numeric
from entrypoints.errors import UserError
from entrypoints.text import Echo, listed, one_line, shorten

_SUFFIX = re.compile(r"\.(csv|csv\.gz|parquet|pq)$", re.IGNORECASE)
_MAY_BE_CODE = re.compile(rb"""(^|[,;\t" ])0\d""")
# Before 3.1 pandas' own parser is off in the last bit; since then it is exact, and the option deprecated.
EXACT: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__ < "3.1" else {}
BROKEN = (OSError, EOFError, ValueError, zlib.error, csv.Error)  # what a damaged file raises
CELL_BYTES = 3 * 8  # the table's, the trials', and those of the copy that is made when these get theirs
# Otherwise pyarrow keeps whole row groups, and many batches.
_STREAMED = ParquetFileFormat(
    default_fragment_scan_options=ParquetFragmentScanOptions(
        use_buffered_stream=True, buffer_size=65_536, pre_buffer=False
    )
)
_LITTLE: dict[str, Any] = {
    "batch_size": 16_384,
    "batch_readahead": 1,
    "fragment_readahead": 1,
    "use_threads": False,
}
CONVERT = "write it as a Parquet file, and choose max_rows={}, of which only these rows are read"


def is_path(name: str) -> bool:
    """Whether a dataset's name is meant as a path: it has a folder or a suffix, or is there."""
    return bool(name) and (os.sep in name or Path(name).suffix != "" or Path(name).exists())


def read(
    name: str, *, echo: Echo, max_rows: int | None = None, target: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return the columns of a CSV or Parquet file, with their names as they are, repeated ones too.

    Of a Parquet file, or a folder of such files, no more than ``max_rows`` rows are held in memory and returned: random
    ones with a value of the target, see ``drawn``. CSV files are returned as a whole.

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
    paths = [path]
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if file.suffix in (".parquet", ".pq"))
    if not paths:
        raise ValueError("the folder holds no file named .parquet or .pq")
    table = dataset([str(file) for file in paths], format=_STREAMED)
    for file, fragment in zip(paths, table.get_fragments(), strict=True):
        if not fragment.physical_schema.equals(table.schema):
            raise ValueError(f"{file.name} has other columns or types than {paths[0].name}")
    rows = table.count_rows()
    names = [name.strip() for name in table.schema.names]
    if max_rows is None or max_rows >= rows:
        _check_size(f"{what}: its", rows, len(names), "choose max_rows={}")
        return _frame(table.to_table())
    _check_size(f"{what}: its", max_rows, len(names), "choose max_rows={}")
    if target not in names:
        return _frame(table.head(0))  # `clean` says which there are
    i = names.index(target)
    positions, lost = drawn(table.to_table(columns=[table.schema.names[i]], **_LITTLE).column(0), max_rows, seed)
    # Of a whole table pyarrow would keep two copies for a while.
    columns = [_frame(table.take(positions, columns=[name], **_LITTLE)) for name in table.schema.names]
    frame = pd.concat(columns, axis="columns")
    frame.attrs = {LOST: lost}
    return frame


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas(split_blocks=True, self_destruct=True)
    pa.default_memory_pool().release_unused()
    frame.index = pd.RangeIndex(len(frame))
    return frame


def _check_size(what: str, rows: int, columns: int, advice: str) -> None:
    """Refuse a table that may take more than half of the memory that this process may use."""
    allowed_mb = memory.half_mb()
    fitting = int(allowed_mb * 1e6 / (CELL_BYTES * columns))
    if rows > fitting:
        raise UserError(
            f"{what} {rows:,} rows of {columns} columns may take {rows * columns * CELL_BYTES / 1e9:.2g} GB here, and "
            f"{allowed_mb / 1e3:.2g} are allowed; {advice.format(fitting)}"
        )


def _read_csv(path: Path, what: str, echo: Echo) -> pd.DataFrame:
    found = _looked_through(path)
    headers = {separator: _header(path, found.encoding, separator) for separator in ",;\t"}
    separator = max(headers, key=lambda each: len(headers[each]))
    header = headers[separator]
    if not any(field.strip() for field in header):
        raise ValueError("the first line holds no column names")
    _check_size(f"{what}: its about", found.rows, len(header), CONVERT)
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
                f"{what}: its first line names {len(header)} columns ({shorten(listed(header), 80)}), and lines below "
                "have more cells; let the file begin with a line of all column names, without a title or comment"
            ) from None
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
