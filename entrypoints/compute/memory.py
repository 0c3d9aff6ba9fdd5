"""The memory of this process: what is free given back, and how far a call raises it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from pathlib import Path

import psutil

_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"  # proc(5), clear_refs


def release() -> None:
    """Give free memory back to the OS, so that what comes is seen as growth, and was not there before."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # not every libc has it
        psutil.heap_trim()


def raised_mb(call: Callable[[], None]) -> float | None:
    """Make a call; return by how many megabytes this process was larger at its peak than before.

    Linux's own high-water mark (VmHWM) is reset before and read after, so that not even a short peak is missed. None
    where there is none. What the call raises, it raises.
    """
    release()
    before_kb = _high_water_kb(reset=True)
    call()
    after_kb = None if before_kb is None else _high_water_kb()
    return None if before_kb is None or after_kb is None else (after_kb - before_kb) * 1024 / 1e6


def _high_water_kb(*, reset: bool = False) -> int | None:
    try:
        if reset:
            _CLEAR_REFS.write_text(_RESET_PEAK)
        with _STATUS.open() as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)
    except OSError:
        return None
