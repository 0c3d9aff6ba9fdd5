"""What reports call metrics, and how they write numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import pandas as pd

from entrypoints.limits.costs import USUAL_NOISE
from entrypoints.limits.noise import SMALL_MB, is_memory

BY_A_TENTH = 0.05  # from this noise on a figure differs by about a tenth from run to run: two digits say all
STEP_TIME = "mean_step_time_ms"
PER_ROW_MS = 0.001  # what is less is said of a thousand rows
_NAMES = {
    "train_loss": ("training loss", ""),
    "val_loss": ("validation loss", ""),
    "test_loss": ("test loss", ""),
    "val_rmse": ("validation RMSE", "units of the target"),
    "test_rmse": ("test RMSE", "units of the target"),
    "val_accuracy": ("validation accuracy", "share of rows"),
    "test_accuracy": ("test accuracy", "share of rows"),
    "cpu_percent": ("CPU use", "% of a core"),
    "mean_cpu_percent": ("mean CPU use", "% of a core"),
    "memory_mb": ("memory", "MB, RSS - SHR"),
    "peak_memory_mb": ("peak memory", "MB, RSS - SHR"),
    "peak_rss_mb": ("peak resident memory of one process", "MB, RSS"),
    "memory_growth_mb": ("memory growth", "MB since the start"),
    "mean_step_time_ms": ("mean step time", "ms"),
    "step_time_ms": ("step time", "ms"),
    "training_time_s": ("training time", "s"),
    "elapsed_s": ("elapsed time", "s"),
    "cpu_seconds": ("CPU time", "s"),
    "user_cpu_seconds": ("CPU time of the program", "s"),
    "system_cpu_seconds": ("CPU time of the system", "s"),
    "inference_latency_ms": ("inference latency", "ms per row"),
    "inference_p99_ms": ("inference latency, 99th percentile", "ms per row"),
    "rows_per_s": ("inference throughput", "rows per s"),
    "model_size_kb": ("model size", "kB"),
    "system/process_cpu_percent": ("CPU use", "% of a core"),
    "system/process_memory_mb": ("memory", "MB, RSS - SHR"),
}
_UNITS = {
    "mb_per_s": "MB/s",
    "per_s": "per s",
    "percent": "%",
    "mb": "MB",
    "kb": "kB",
    "gb": "GB",
    "ms": "ms",
    "j": "J",
    "s": "s",
}


def plain(metric: str) -> str:
    """A metric in words, without its unit."""
    return _named(metric)[0]


def unit(metric: str) -> str:
    """What a difference of a metric is counted in: nothing where it has no unit."""
    return _named(metric)[1].split(",")[0]


def short_unit(metric: str) -> str:
    """The unit that follows a number of this metric: empty for scores and shares, ``points`` of a percentage."""
    name = unit(metric).partition(" since")[0]
    return "" if name.startswith(("share", "units")) else "points" if name.startswith("%") else name


def label(metric: str) -> str:
    """A metric in words, with its unit where it has one."""
    words, unit = _named(metric)
    return f"{words} ({unit})" if unit else words


def broken(metric: str) -> str:
    """A metric with its unit, in two lines where one would be longer than a panel is high."""
    whole = label(metric)
    return whole if len(whole) <= 22 else whole.replace(" (", "\n(")


def configuration(trial: pd.Series[Any], names: Iterable[str]) -> str:
    """What a trial had chosen, as users write it; what it does not have is left out.

    Args:
        trial: a row of ``Frame.trials``.
        names: the hyperparameters.
    """
    values = {name: trial[name] for name in names if not pd.isna(trial[name])}
    return ", ".join(f"{name}={level(each)}" for name, each in values.items()) or "the only configuration"


def level(value: object) -> str:
    """A hyperparameter's value, as users write it."""
    return f"{value:.12g}" if isinstance(value, Real) and not isinstance(value, bool) else str(value)


def value(metric: str, measured: float) -> str:
    """A metric's value as it is read: as many digits as it has from run to run."""
    if is_memory(metric) and measured < SMALL_MB:
        return f"below {SMALL_MB}"
    noise = USUAL_NOISE.get(metric, 0.0)
    return digits(measured, 4 if not noise else 2 if noise >= BY_A_TENTH else 3)


def digits(number: float, count: int) -> str:
    """A number rounded to so many digits; a dash where it is unknown."""
    return f"{float(f'{number:.{count}g}'):.{max(count, 6)}g}" if math.isfinite(number) else "-"


def number(value: float) -> str:
    """A number as it is read: four digits at most."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def figure(value: float) -> str:
    """A figure as it was measured: four digits; a dash where it is unknown."""
    return "-" if value != value else f"{value:.4g}"


def is_score(metric: str) -> bool:
    """Whether a metric says what a model has learned, not what it cost."""
    return metric.startswith(("train_", "val_", "test_"))


def percent(value: float) -> str:
    """A percentage as it is read: whole from 1 on."""
    return f"{value:.0f} %" if abs(value) >= 1 or value == 0 else f"{value:.1f} %"


def signed(value: float) -> str:
    """A change in percent, with its sign: whole from 1 on."""
    text = f"{value:+.0f}" if abs(value) >= 1 else f"{value:+.1f}"
    return "0" if float(text) == 0 else text


def between(low: float, high: float) -> str:
    """A range of percentages as it is read."""
    least, most = percent(low), percent(high)
    return least if least == most else f"{least.removesuffix(' %')} to {most}"


def span(counts: Iterable[int]) -> str:
    """The least and the most of some numbers, such as ``10 to 12``; one number where they are equal."""
    known = list(counts)
    return " to ".join(str(count) for count in sorted({min(known), max(known)}))


def share(value: float) -> str:
    """A share of 1 as a percentage."""
    return percent(100 * value)


def law(row: Mapping[str, Any]) -> str:
    """The law of a step's time in words.

    Args:
        row: of the table ``cost_law``.
    """
    call, of_row, of_thousand = (row[name] for name in ("call_ms", "row_ms", "per_1000_rows_ms"))
    per = f"{number(of_row)} ms a row" if of_row >= PER_ROW_MS else f"{number(of_thousand)} ms per 1000 rows"
    if not of_row:
        return f"{number(call)} ms, whatever its rows"
    return f"{number(call)} ms + {per}" if call else per


def listed(words: Sequence[str]) -> str:
    """Words with commas and an `and`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _named(metric: str) -> tuple[str, str]:
    if metric in _NAMES:
        return _NAMES[metric]
    name = re.sub(r"^system/(process_)?", "", metric)
    for ending, unit in _UNITS.items():
        if name.endswith(f"_{ending}"):
            return name.removesuffix(f"_{ending}").replace("_", " "), unit
    return name.replace("_", " "), ""
