"""The leak in wave_energy: its target, the power of a farm, is the sum of 16 of its columns."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from entrypoints.datasets.sysmetrics_raw_rows import numbers
from entrypoints.text import listed

COLUMNS = 49
CONVERTERS = 16
MIN_CORRELATION = 0.9
MAX_DIFFERENCE = 0.05  # of the median row, between the sum and the target, relative to the target
_POWER = re.compile(r"(?:.*[_. ])?(?:p|power|energy)[_. ]?\d+", re.IGNORECASE)


def without_converters(frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """Return the table without the power of each single converter, which a model would only have to add up.

    These are the numbered columns named p, power or energy. Raises ValueError, saying what differs, unless the table
    has 49 columns, exactly 16 of these, and their sum tracks the target.
    """
    if target is None or target not in frame.columns:
        raise ValueError(f"the target {target} is not among the columns {listed(map(str, frame.columns))}")
    if frame.shape[1] != COLUMNS:
        raise ValueError(f"{frame.shape[1]} columns found, {COLUMNS} expected")
    power = [str(name) for name in frame.columns if _POWER.fullmatch(str(name)) and name != target]
    if len(power) != CONVERTERS:
        found = listed(power) or "none"
        raise ValueError(f"{len(power)} columns with the power of one converter found ({found}), {CONVERTERS} expected")
    total, y = sum(numbers(frame[name]) for name in power), numbers(frame[target])
    difference = float(np.median(np.abs(total - y) / np.abs(y)))
    correlation = float(np.corrcoef(total, y)[0, 1])
    # Written so that NaN is refused.
    if not (difference <= MAX_DIFFERENCE and correlation >= MIN_CORRELATION):
        raise ValueError(
            f"the sum of the columns with one converter's power should track the target {target}, but differs by "
            f"{difference:.1%} in the median and has correlation {correlation:.2f}"
        )
    kept: pd.DataFrame = frame.drop(columns=power)
    return kept
