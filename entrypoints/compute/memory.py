"""The memory of this process: what is free given back, and how far a call raises it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

_CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"  # proc(5), clear_refs


def release() -> None:
    """Give free memory back to the OS, so that what comes is seen as growth, and was not there before."""
    gc.collect()
    trim()


def trim() -> None:
    """Give back what is free already. A libc keeps the more, the more it was given back before: an earlier trial."""
    with contextlib.suppress(AttributeError, OSError):  # not every libc has it
        psutil.heap_trim()


class Raised(NamedTuple):
    """By how many megabytes a call has raised the memory of this process: at its peak, and by what it has left."""

    peak_mb: float
    kept_mb: float


def raised(call: Callable[[], None]) -> Raised | None:
    """Make a call; return by how much this process was larger at its peak than before, and after it.

    Linux's own high-water mark (VmHWM) is reset before and read after, so that not even a short peak is missed. None
    where there is none. What the call raises, it raises.
    """
    if _high_water_kb(reset=True) is None:
        call()
        return None
    release()
    before_kb = _high_water_kb(reset=True)
    call()
    peak_kb = _high_water_kb()
    release()
    after_kb = _high_water_kb(reset=True)
    if before_kb is None or peak_kb is None or after_kb is None:
        return None
    return Raised((peak_kb - before_kb) * 1024 / 1e6, (after_kb - before_kb) * 1024 / 1e6)


def _high_water_kb(*, reset: bool = False) -> int | None:
    try:
        if reset:
            _CLEAR_REFS.write_text(_RESET_PEAK)
        with STATUS.open() as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)
    except OSError:
        return None
