"""Whether other programs had the cores while a server was asked (Linux)."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import psutil

_OTHER_CORES = 0.1
_WAITED = 0.05


class Contention(NamedTuple):
    """Of a stretch of time: cores that other programs kept busy, and how long ours waited for one.

    The wait is a part of the time of requests, over all threads, which may wait at once; NaN where it is unknown.
    `is_late` says that the client sent requests later than it should have.
    """

    other_cores: float
    waited: float
    is_late: bool = False

    @property
    def is_busy(self) -> bool:
        """Whether times tell of other programs, too. A model with many threads waits for a core by itself."""
        return self.is_late or (self.other_cores > _OTHER_CORES and not self.waited <= _WAITED)

    def __str__(self) -> str:
        others = f"other programs kept {self.other_cores:.1f} cores busy"
        return f"{others}, and requests were sent too late" if self.is_late else others


class CoreClocks(NamedTuple):
    """Seconds, since some moment, of wall time, of all cores that were busy, and of what ours used and waited."""

    at: float
    busy_s: float
    own_s: float
    waited_s: float

    @classmethod
    def read(cls, pids: Collection[int], cpu_s: float, client_waited_s: float = 0.0) -> CoreClocks:
        """Now. `pids` are processes that have used `cpu_s`; this process is added, and what its threads waited."""
        cores = psutil.cpu_times()
        busy_s = cores.user + cores.nice + cores.system + cores.irq + cores.softirq + cores.steal
        waited_s = client_waited_s + cores.steal  # by other guests of the machine that this one is a guest of
        try:
            for pid in pids:
                waited_s += sum(map(_run_delay_s, Path(f"/proc/{pid}/task").iterdir()))
        except OSError:
            waited_s = math.nan
        return cls(time.monotonic(), busy_s, cpu_s + time.process_time(), waited_s)

    def until(self, later: CoreClocks, requests_s: float, is_late: bool = False) -> Contention:
        """What happened from here to a later reading, in which requests took so long."""
        others_s = (later.busy_s - self.busy_s) - (later.own_s - self.own_s)
        waited = (later.waited_s - self.waited_s) / requests_s if requests_s else math.nan
        return Contention(others_s / (later.at - self.at), waited, is_late)


def thread_waited_s() -> float:
    """How long this thread has waited for a core; NaN where it is unknown."""
    try:
        return _run_delay_s(Path("/proc/thread-self"))
    except OSError:
        return math.nan


def _run_delay_s(thread: Path) -> float:
    return int((thread / "schedstat").read_text().split()[1]) / 1e9
