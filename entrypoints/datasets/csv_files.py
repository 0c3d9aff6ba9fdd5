"""Tables in CSV files."""

from __future__ import annotations

import re

import pandas as pd

from entrypoints.datasets.sources import Asked, check_size, reading
from entrypoints.errors import UserError
from entrypoints.text import Echo, listed, shorten
from mlflow_gate.table_files import look_through, read_csv

_SUFFIX = re.compile(r"\.csv(\.gz)?$", re.IGNORECASE)
CONVERT = "write it as a Parquet file, and choose max_rows={}, of which only these rows are read"


def matches(name: str) -> bool:
    """Whether it is the path of a CSV file, packed or not."""
    return _SUFFIX.search(name) is not None


def read(asked: Asked, echo: Echo) -> pd.DataFrame:
    """The columns of the whole file, with decimal commas as text. There is a line for cp1252."""
    with reading(asked, "CSV") as path:
        file = look_through(path)
        check_size(f"{asked.what}: its about", file.rows, len(file.header), CONVERT)
        try:
            frame = read_csv(file)
        except pd.errors.ParserWarning:
            header = file.header
            raise UserError(
                f"{asked.what}: its first line names {len(header)} columns ({shorten(listed(header), 80)}), and lines "
                "below have more cells; let the file begin with a line of all column names, without a title or comment"
            ) from None
        if file.encoding == "cp1252":
            echo(f"{asked.what}: not UTF-8, so read as cp1252 (Windows); save it as UTF-8 if letters are wrong")
        frame.attrs |= {"name": _SUFFIX.sub("", path.name), "from_text": True}
        return frame
