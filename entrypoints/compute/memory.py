"""The memory of this process: return free memory to the OS, and measure how much a call adds."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import NamedTuple

from mlflow_sysmetrics.recording import Host
from mlflow_sysmetrics.sampling import own_high_water_mb, reset_peak_rss, trim_heap


def release() -> None:
    """Return free memory to the OS, so that later allocations show as growth."""
    gc.collect()
    trim_heap()


class Raised(NamedTuple):
    """The megabytes that a call added to this process: at its peak, and after it."""

    peak_mb: float
    kept_mb: float


def raised(call: Callable[[], None]) -> Raised | None:
    """Call a function and return how much memory it added to this process, at its peak and afterwards.

    Linux's own high-water mark (VmHWM) is reset before and read after, so even a short peak counts. None where it
    cannot be reset. Exceptions of the call pass through.
    """
    if not reset_peak_rss():
        call()
        return None
    before_mb = _released_mb()
    call()
    peak_mb = own_high_water_mb()
    return Raised(peak_mb - before_mb, _released_mb() - before_mb)


def half_mb() -> float:
    """Half of the memory that this machine, or its container, has: a table may take one, and all trials the other."""
    return 0.5 * float(Host().memory_limit_mb())


def _released_mb() -> float:
    """What this process holds once its free memory is returned."""
    release()
    reset_peak_rss()
    return own_high_water_mb()
