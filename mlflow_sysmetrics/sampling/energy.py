"""The group `energy`: the power that the processor packages draw, from their own counters (Linux powercap, RAPL).

Documentation/power/powercap/powercap.rst. Most kernels let only root read them, and most virtual machines have none.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mlflow_sysmetrics.sampling.files import Rates, read_file, read_number

_LEAST_S = 0.1  # counters move in steps
_MAX_W = 5000.0  # no part of a machine draws more: a counter that says so was reset, it did not wrap


class EnergySampler:
    """Each call returns `energy_package_w`, `energy_dram_w` and `energy_psys_w`, as far as the machine counts them.

    They are watts, means since the last such figures, over the whole machine: all packages (each with its cores), all
    memory, and the whole board. The first call after construction has them if 10 ms have passed. A sum of which one
    part cannot be read is absent.
    """

    def __init__(self, *, root: str = "/", clock: Callable[[], float] = time.monotonic) -> None:
        folder = Path(root) / "sys/class/powercap"
        # intel-rapl is AMD's too. intel-rapl-mmio counts the same packages again.
        paths = sorted(folder.glob("intel-rapl:*")) if folder.is_dir() else []
        self._kinds = {str(path): kind for path in paths if (kind := _kind(str(path)))}
        ranges = {zone: read_number(f"{zone}/max_energy_range_uj") for zone in self._kinds}
        self._wraps_at = {zone: number for zone, number in ranges.items() if number}
        self._rates = Rates[str](clock)
        self._clock, self._lock = clock, threading.Lock()
        self._at, self._before, self._joules = clock(), self._totals(), 0.0
        counted = [zone for zone, kind in self._kinds.items() if kind != "psys"]
        self._is_whole = bool(counted) and self._before.keys() >= set(counted)
        self._rates(self._before)

    @property
    def joules(self) -> float | None:
        """What the processor packages and their memory have drawn since construction; None where that is not known."""
        with self._lock:
            self._count(self._totals())
            return self._joules if self._is_whole else None

    def __call__(self) -> dict[str, float]:
        """Take one reading."""
        totals = self._totals()
        with self._lock:
            self._count(totals)
        watts = {zone: rate / 1e6 for zone, rate in self._rates(totals, self._wraps_at).items()}
        values: dict[str, float] = {}
        unknown = set()
        for zone, kind in self._kinds.items():
            if zone not in watts or watts[zone] > _MAX_W:
                unknown.add(kind)
            else:
                values[kind] = values.get(kind, 0.0) + watts[zone]
        return {f"energy_{kind}_w": value for kind, value in values.items() if kind not in unknown}

    def _count(self, totals: Mapping[str, float]) -> None:
        """Add what the counters have grown by. A counter that is gone or was reset makes the sum unknown for good."""
        now = self._clock()
        for zone, before in self._before.items():
            if self._kinds[zone] == "psys":  # has the packages in it
                continue
            grown = (totals.get(zone, math.nan) - before) / 1e6
            if grown < 0:
                grown += self._wraps_at.get(zone, math.nan) / 1e6
            self._is_whole &= 0 <= grown <= _MAX_W * max(now - self._at, _LEAST_S)
            self._joules += grown
        self._at, self._before = now, {**self._before, **totals}

    def _totals(self) -> dict[str, float]:
        """Microjoules, by zone."""
        readings = {zone: read_number(f"{zone}/energy_uj") for zone in self._kinds}
        return {zone: total for zone, total in readings.items() if total is not None}


def _kind(zone: str) -> str | None:
    """What a zone counts: package, dram or psys. None for parts of a package (core, uncore) and for what is unknown."""
    name = read_file(f"{zone}/name").decode(errors="replace").strip().partition("-")[0]
    return name if name in ("package", "dram", "psys") else None
