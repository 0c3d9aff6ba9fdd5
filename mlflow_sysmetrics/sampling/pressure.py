"""The group `pressure`: how much of the time tasks of this machine had to wait for what they lacked (Linux 4.20 on).

The kernel's pressure stall information (Documentation/accounting/psi.rst): microseconds in which some or all of the
tasks that had work to do waited for a processor, for memory or for storage.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mlflow_sysmetrics.sampling.files import Rates, read_file

_RESOURCES = ("cpu", "memory", "io")


class PressureSampler:
    """Each call returns `pressure_cpu_percent`, `pressure_memory_percent` and `pressure_io_percent`.

    They are the share of the time since the last such figures in which at least one task waited, over the whole
    machine, also inside a container. `pressure_memory_full_percent` and `pressure_io_full_percent`: in which all did,
    so that nothing was done. The first call after construction has them if 10 ms have passed. {} where the kernel does
    not count, or not for us.
    """

    def __init__(self, *, root: str = "/", clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = f"{root.rstrip('/')}/proc/pressure"
        self._rates = Rates[str](clock)
        self._rates(self._totals())

    def __call__(self) -> dict[str, float]:
        """Take one reading."""
        # Two clocks measure the wait and the time: a machine that waits all the time may seem to wait a little longer.
        return {name: min(100.0, rate / 1e4) for name, rate in self._rates(self._totals()).items()}

    def _totals(self) -> dict[str, float]:
        """Microseconds of waiting since the machine was started."""
        totals = {}
        for resource in _RESOURCES:
            for line in read_file(f"{self._folder}/{resource}").splitlines():
                kind, _, rest = line.partition(b" ")
                microseconds = rest.rpartition(b"total=")[2]
                if not microseconds.isdigit():
                    continue
                if kind == b"some":
                    totals[f"pressure_{resource}_percent"] = float(microseconds)
                elif kind == b"full" and resource != "cpu":  # of the whole machine's processors the kernel says 0
                    totals[f"pressure_{resource}_full_percent"] = float(microseconds)
        return totals
