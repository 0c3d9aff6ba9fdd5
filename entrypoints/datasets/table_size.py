"""What a table takes in memory, estimated from its first rows before it is read as a whole."""

from __future__ import annotations

import pandas as pd

from entrypoints.compute import memory
from entrypoints.datasets.sysmetrics_raw_rows import is_numeric
from entrypoints.errors import UserError

_COPIES = 3  # of each value: the table's, the trials', and the one that is made when these get theirs
_READ_TEXTS = 2  # times a file's texts, while they are read
_CLEANED_TEXT = 8  # times one column of them, while it becomes categories or is left out
_ROW_BYTES = 50  # of row numbers, the target, and the hash that finds duplicates


def check(what: str, first: pd.DataFrame, rows: int, *, advice: str, parser_bytes: float = 0.0) -> None:
    """Refuse a table that would take more than half of the memory that this process may use.

    Args:
        what: names the rows in the message.
        first: the first of them.
        rows: how many they are.
        advice: what to do; ``{}`` becomes the number of rows that would fit.
        parser_bytes: as of ``bytes_a_row``.

    Raises:
        UserError: it is too large.
    """
    row_bytes, allowed_mb = bytes_a_row(first, parser_bytes), memory.half_mb()
    needed_mb = rows * row_bytes / 1e6
    if needed_mb <= allowed_mb:
        return
    fitting = f"{allowed_mb * 1e6 / row_bytes:.0f}"
    fitting = fitting[0] + "0" * (len(fitting) - 1)
    raise UserError(
        f"{what} would take about {_gigabytes(needed_mb)} GB here, and {_gigabytes(allowed_mb)} are allowed; "
        f"{advice.format(fitting)}"
    )


def bytes_a_row(first: pd.DataFrame, parser_bytes: float = 0.0) -> float:
    """What a row takes at the peak: while the file is read, while it is cleaned, or with the copy that trials share.

    ``parser_bytes`` is what it takes, besides its values, while the file is read.
    """
    if not len(first):
        return 0.0
    sizes = first.memory_usage(deep=True, index=False).to_numpy() / len(first)
    texts = [size for size, dtype in zip(sizes, first.dtypes, strict=True) if not is_numeric(dtype)]
    # As in Table.X, where all features are whole numbers from 0 to 255; the last column is the target, as a rule.
    value_bytes = 1 if first.iloc[:, :-1].isin(range(256)).to_numpy().all() else 8
    values = value_bytes * len(sizes)
    parsed = sum(sizes) + parser_bytes
    cleaned = sum(sizes) + (_READ_TEXTS - 1) * sum(texts) + _CLEANED_TEXT * max(texts, default=0) + values
    return float(max(parsed, cleaned, _COPIES * values)) + _ROW_BYTES


def _gigabytes(megabytes: float) -> str:
    return f"{megabytes / 1e3:,.0f}" if megabytes >= 10_000 else f"{megabytes / 1e3:.2g}"
