"""How reports write configurations, metrics' values and lists: numbers with no more digits than they have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from entrypoints.limits.costs import USUAL_NOISE
from entrypoints.limits.noise import SMALL_MB, is_memory
from entrypoints.trials.frame import configurations

BY_A_TENTH = 0.05  # from this noise on a figure differs by about a tenth from run to run: two digits say all


def configuration(trial: pd.Series[Any], names: Sequence[str]) -> str:
    """What one trial had chosen: see ``frame.configurations``."""
    return configurations(trial.to_frame().T, names).iloc[0]


def value(metric: str, measured: float) -> str:
    """A metric's value as it is read: as many digits as it has from run to run."""
    if is_memory(metric) and measured < SMALL_MB:
        return f"below {SMALL_MB}"
    noise = USUAL_NOISE.get(metric, 0.0)
    if not noise:
        return digits(measured, 4)
    return digits(measured, 2 if noise >= BY_A_TENTH else 3)


def digits(number: float, count: int = 2) -> str:
    """A number rounded to this many digits; a dash where it is unknown."""
    if not math.isfinite(number):
        return "-"
    return f"{float(f'{number:.{count}g}'):.{max(count, 6)}g}"


def with_interval(number: float, low: float, high: float, unit: str = "", *, count: int = 2, prefix: str = "") -> str:
    """Such as ``5 MB (4.8 to 5.2)``; without an interval whose ends are written like the number."""
    ends = [prefix + digits(end, count) for end in sorted((low, high))]
    middle = prefix + digits(number, count)
    said = f"{middle} {unit}".rstrip()
    if set(ends) == {middle}:
        return said
    return f"{said} ({' to '.join(ends)})"


def within(number: float, low: float, high: float) -> tuple[str, str]:
    """A number and its interval, such as ``0.66`` and ``0.61 to 0.71``, with no more digits than the interval leaves.

    Half the width is written as 3 to 29 of the last digit.
    """
    decimals = math.ceil(-math.log10((high - low) / 6))
    middle, *ends = (f"{round(each, decimals):.{max(decimals, 0)}f}" for each in (number, low, high))
    return middle, " to ".join(ends)


def percent(value: float) -> str:
    """A percentage as it is read: whole from 1 on."""
    return f"{value:.0f} %" if abs(value) >= 1 or value == 0 else f"{value:.1f} %"


def joined(words: Iterable[str]) -> str:
    """Words with commas and an `and`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def quoted(names: Iterable[str]) -> str:
    """Names of metrics or hyperparameters, each as code, with commas and an `and`."""
    return joined(f"`{name}`" for name in names)
