"""What the parts of a program's time cost: ``with logger.phase("load"):``."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

PREFIX = "phase/"
_MAX_NAME = 100  # of MLflow's 250, with what stands around it
_MAX_STRETCHES = 1000  # for the figure
_REFUSED = re.compile(r"[^\w\-. /]")  # by MLflow, in a metric's name


class Stretch(NamedTuple):
    """One time in a phase, in unix seconds."""

    name: str
    began: float
    ended: float


@dataclass(eq=False)
class _Open:
    name: str
    began: float
    began_unix: float
    cpu_s: float | None
    before_mb: float | None
    peak_mb: float | None = None


@dataclass
class _Sum:
    elapsed_s: float = 0.0
    cpu_s: float | None = 0.0
    before_mb: float | None = None
    peak_mb: float | None = None


class Phases:
    """The phases of a watched process, from any thread. They may be nested, and repeated: then they add up.

    A phase has all its time and that of the phases inside it, CPU time of all threads and of the processes below. Its
    peak is that of the readings in it; one without any has that of the last one before.

    Args:
        clock: seconds that never go back.
        cpu_seconds: what the process and those below it have used so far; None if unknown.
    """

    def __init__(self, clock: Callable[[], float], cpu_seconds: Callable[[], float | None]) -> None:
        self._clock, self._cpu_seconds = clock, cpu_seconds
        self._lock = threading.Lock()
        self._open: list[_Open] = []
        self._sums: dict[str, _Sum] = {}
        self._stretches: list[Stretch] = []
        self._memory_mb: float | None = None
        self._switched: _Open | None = None

    @property
    def is_used(self) -> bool:
        """Whether any phase has begun."""
        return bool(self._open or self._sums)

    def phase(self, name: str) -> Phase:
        """A context manager around a phase. Characters that MLflow refuses in a metric's name become ``_``."""
        return Phase(self, name)

    def begin(self, name: str, ago_s: float = 0.0) -> _Open:
        """A phase begins now, or has begun some time ago."""
        opened = _Open(name, self._clock() - ago_s, time.time() - ago_s, self._cpu_seconds(), self._memory_mb)
        with self._lock:
            self._open.append(opened)
        return opened

    def end(self, opened: _Open, ago_s: float = 0.0) -> None:
        """It ends now, or has ended some time ago. No-op if it was ended before."""
        now, cpu_s = max(opened.began, self._clock() - ago_s), self._cpu_seconds()
        with self._lock:
            if opened not in self._open:
                return
            self._open.remove(opened)
            _add(self._sums.setdefault(opened.name, _Sum()), opened, now, cpu_s)
            if len(self._stretches) < _MAX_STRETCHES:
                self._stretches.append(Stretch(opened.name, opened.began_unix, time.time() - ago_s))

    def switch(self, name: str | None, ago_s: float = 0.0) -> None:
        """End the phase that was begun by this, and begin another; None: no other. For one thread.

        That was `ago_s` seconds ago; CPU time and memory are of now.
        """
        if self._switched is not None:
            self.end(self._switched, ago_s)
        self._switched = None if name is None else self.begin(name, ago_s)

    def close(self) -> None:
        """End the phases that are open: the process is read no more."""
        for opened in list(self._open):
            self.end(opened)

    def see(self, memory_mb: float) -> None:
        """A reading of the process's memory."""
        self._memory_mb = memory_mb
        if not self._open:
            return
        with self._lock:
            for opened in self._open:
                opened.peak_mb = _highest(opened.peak_mb, memory_mb)

    def figures(self) -> dict[str, float]:
        """``phase/<name>/elapsed_s``, ``cpu_seconds`` and ``peak_memory_mb``, of open phases up to now."""
        now, cpu_s = self._clock(), self._cpu_seconds()
        with self._lock:
            sums = {name: _Sum(**vars(each)) for name, each in self._sums.items()}
            for opened in self._open:
                _add(sums.setdefault(opened.name, _Sum()), opened, now, cpu_s)
        figures: dict[str, float | None] = {}
        for name, each in sums.items():
            figures[f"{PREFIX}{name}/elapsed_s"] = each.elapsed_s
            figures[f"{PREFIX}{name}/cpu_seconds"] = each.cpu_s
            figures[f"{PREFIX}{name}/peak_memory_mb"] = each.before_mb if each.peak_mb is None else each.peak_mb
        return {name: value for name, value in figures.items() if value is not None}

    def stretches(self) -> list[Stretch]:
        """When which phase was, in the order of their ends; of open ones up to now."""
        with self._lock:
            return [*self._stretches, *(Stretch(each.name, each.began_unix, time.time()) for each in self._open)]


class Phase:
    """One phase, from ``__enter__`` to ``__exit__``. It counts also if it raises."""

    __slots__ = ("_name", "_opened", "_phases")

    def __init__(self, phases: Phases, name: str) -> None:
        self._phases, self._name = phases, clean_name(name)
        self._opened: list[_Open] = []

    def __enter__(self) -> None:
        self._opened.append(self._phases.begin(self._name))

    def __exit__(self, *exc_info: object) -> None:
        self._phases.end(self._opened.pop())


def clean_name(name: object) -> str:
    """A phase's name as it can stand in that of a metric."""
    parts = _REFUSED.sub("_", str(name))[:_MAX_NAME].split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "_"  # else no path on disk is unique


def _add(total: _Sum, opened: _Open, now: float, cpu_s: float | None) -> None:
    total.elapsed_s += now - opened.began
    if total.cpu_s is None or cpu_s is None or opened.cpu_s is None:
        total.cpu_s = None
    else:
        total.cpu_s += max(0.0, cpu_s - opened.cpu_s)
    total.before_mb = _highest(total.before_mb, opened.before_mb)
    total.peak_mb = _highest(total.peak_mb, opened.peak_mb)


def _highest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)
