"""The levels of a hyperparameter that is a number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.reporting.words import number

MANY = 12  # a number with more values than these is cut into quartiles


def is_number(column: pd.Series[Any]) -> bool:
    """Whether a column holds numbers; truth values are words."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def number_levels(numbers: NDArray[np.float64]) -> tuple[NDArray[np.int64], list[str]]:
    """Of each number the place of its level, -1 of NaN, and the levels in rising order as they are written."""
    codes, values = pd.factorize(numbers, sort=True)
    if len(values) <= MANY:
        return np.asarray(codes, dtype=np.int64), [_text(value) for value in values]
    quartiles = np.asarray(pd.qcut(numbers, 4, labels=False, duplicates="drop"), dtype=float)
    codes = np.where(np.isnan(quartiles), -1, quartiles).astype(np.int64)
    parts = [numbers[codes == code] for code in range(int(np.max(codes)) + 1)]
    return codes, [f"{number(part.min())} to {number(part.max())}" for part in parts]


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:g}"
