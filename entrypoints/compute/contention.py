"""How long this thread was ready to run but had to wait for a CPU core."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

_SCHEDSTAT = "/proc/thread-self/schedstat"  # Linux: time on a core and time waiting for one in ns, and how often


class CoreWait:
    """A clock of this waiting time, for the thread that creates it. It stays at 0 where the OS does not report it.

    Args:
        read: returns the content of a thread's schedstat file (Linux); by default of the calling thread's.
    """

    def __init__(self, read: Callable[[], bytes] | None = None) -> None:
        self._read = read or self._open()

    def __call__(self) -> float:
        """Seconds waited since the thread began."""
        try:
            return int(self._read().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def _open(self) -> Callable[[], bytes]:
        try:
            number = os.open(_SCHEDSTAT, os.O_RDONLY)
        except OSError:
            return lambda: b""
        weakref.finalize(self, os.close, number)  # it stays open until then: opening costs more than reading
        return lambda: os.pread(number, 64, 0)


def own_share(elapsed_s: float, waited_s: float) -> float:
    """The share of the elapsed time in which the thread did not wait for a core."""
    return min(1.0, max(0.0, 1.0 - waited_s / elapsed_s)) if elapsed_s > 0 else 1.0
