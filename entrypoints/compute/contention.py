"""How long this thread was ready to run but had to wait for a CPU core."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress

_SCHEDSTAT = "/proc/thread-self/schedstat"  # Linux: time on a core and time waiting for one in ns, and how often


class CoreWait:
    """A clock of this waiting time, for the thread that creates it. It stays at 0 where the OS does not report it."""

    def __init__(self) -> None:
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(_SCHEDSTAT, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)  # it stays open until then: opening costs more than reading

    def __call__(self) -> float:
        """Seconds waited since the thread began."""
        return 0.0 if self._file is None else int(os.pread(self._file, 64, 0).split()[1]) / 1e9


def own_share(elapsed_s: float, waited_s: float) -> float:
    """The share of the elapsed time in which the thread did not wait for a core."""
    return min(1.0, max(0.0, 1.0 - waited_s / elapsed_s)) if elapsed_s > 0 else 1.0
