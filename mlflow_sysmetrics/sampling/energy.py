"""The group `energy`: the power that the processor packages draw, from their own counters (Linux powercap, RAPL).

Documentation/power/powercap/powercap.rst. Most kernels let only root read them, and most virtual machines have none.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mlflow_sysmetrics.sampling.files import MIN_SPAN_S, read_file, read_number

_MIN_S = 0.1  # counters move in steps
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
        self._counted = [zone for zone, kind in self._kinds.items() if kind != "psys"]  # which has the packages in it
        self._clock, self._lock = clock, threading.Lock()  # a counter that is read out of turn seems to have wrapped
        self._at = self._figures_at = clock()
        self._before = self._totals()
        self._since = dict.fromkeys(self._kinds, 0.0)  # joules since the last figures; NaN where that is not known
        self._joules = 0.0 if self._counted and self._before.keys() >= set(self._counted) else math.nan

    @property
    def joules(self) -> float | None:
        """What the processor packages and their memory have drawn since construction; None where that is not known."""
        with self._lock:
            self._count()
            return self._joules if math.isfinite(self._joules) else None

    def __call__(self) -> dict[str, float]:
        """Take one reading."""
        with self._lock:
            self._count()
            span = self._at - self._figures_at
            if span < MIN_SPAN_S:
                return {}
            watts = {zone: joules / span for zone, joules in self._since.items()}
            self._since, self._figures_at = dict.fromkeys(self._kinds, 0.0), self._at
        values: dict[str, float] = {}
        for zone, kind in self._kinds.items():
            values[kind] = values.get(kind, 0.0) + (watts[zone] if watts[zone] <= _MAX_W else math.nan)
        return {f"energy_{kind}_w": value for kind, value in values.items() if math.isfinite(value)}

    def _count(self) -> None:
        """Add what the counters have grown by. Joules are unknown for good once a counter is gone or was reset."""
        now, totals = self._clock(), self._totals()
        for zone in self._kinds:
            grown = (totals.get(zone, math.nan) - self._before.get(zone, math.nan)) / 1e6
            if grown < 0:
                grown += self._wraps_at.get(zone, math.nan) / 1e6
            if not 0 <= grown <= _MAX_W * max(now - self._at, _MIN_S):
                grown = math.nan
            self._since[zone] += grown
            if zone in self._counted:
                self._joules += grown
        self._at, self._before = now, totals

    def _totals(self) -> dict[str, float]:
        """Microjoules, by zone."""
        readings = {zone: read_number(f"{zone}/energy_uj") for zone in self._kinds}
        return {zone: total for zone, total in readings.items() if total is not None}


def _kind(zone: str) -> str | None:
    """What a zone counts: package, dram or psys. None for parts of a package (core, uncore) and for what is unknown."""
    name = read_file(f"{zone}/name").decode(errors="replace").strip().partition("-")[0]
    return name if name in ("package", "dram", "psys") else None
