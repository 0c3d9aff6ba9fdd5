"""What the parts of a program's time cost: ``with logger.phase("load"):``."""

from __future__ import annotations

import heapq
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

PREFIX = "phase/"
_MAX_NAME = 100  # of MLflow's 250, with what stands around it
_MAX_STRETCHES = 1000  # for the figure: the longest
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


@dataclass
class _Sum:
    elapsed_s: float = 0.0
    cpu_s: float | None = 0.0
    before_mb: float | None = None
    peak_mb: float | None = None
    open: int = 0  # how many of the name are
    first_cpu_s: float | None = None  # of the process when the first of these began

    def count_cpu(self, cpu_s: float | None) -> None:
        """Count what the process has used since the first of the open ones began, once."""
        if self.cpu_s is None or self.first_cpu_s is None or cpu_s is None:
            self.cpu_s = None
        else:
            self.cpu_s += max(0.0, cpu_s - self.first_cpu_s)


class Phases:
    """The phases of a watched process, from any thread. They may be nested, and repeated: then they add up.

    A phase has all its time and that of the phases inside it, CPU time of all threads and of the processes below. Of
    threads that are in it at once the times add up; the CPU time is the process's, and counts once. Its peak is that of
    the readings in it; one without any has that of the last one before.

    Args:
        clock: seconds that never go back.
        cpu_seconds: what the process and those below it have used so far; None if unknown.
    """

    def __init__(self, clock: Callable[[], float], cpu_seconds: Callable[[], float | None]) -> None:
        self._clock, self._cpu_seconds = clock, cpu_seconds
        self._lock = threading.Lock()
        self._open: list[_Open] = []
        self._sums: dict[str, _Sum] = {}
        self._stretches: list[tuple[float, Stretch]] = []  # a heap: the shortest, by its seconds, is first
        self._memory_mb: float | None = None
        self._switched: _Open | None = None

    @property
    def is_used(self) -> bool:
        """Whether any phase has begun."""
        return bool(self._sums)

    def phase(self, name: str) -> Phase:
        """A context manager around a phase. Characters that MLflow refuses in a metric's name become ``_``."""
        return Phase(self, name)

    def begin(self, name: str, at: float | None = None) -> _Open:
        """A phase begins now, or has begun at an earlier moment, in unix seconds."""
        moment, ago_s = _moment(at)
        opened, cpu_s = _Open(name, self._clock() - ago_s, moment), self._cpu_seconds()
        with self._lock:
            self._open.append(opened)
            total = self._sums.setdefault(name, _Sum())
            total.before_mb = _highest(total.before_mb, self._memory_mb)
            if not total.open:
                total.first_cpu_s = cpu_s
            total.open += 1
        return opened

    def end(self, opened: _Open, at: float | None = None) -> None:
        """It ends now, or has ended at an earlier moment, in unix seconds. No-op if it was ended before."""
        moment, ago_s = _moment(at)
        now, cpu_s = max(opened.began, self._clock() - ago_s), self._cpu_seconds()
        with self._lock:
            if opened not in self._open:
                return
            self._open.remove(opened)
            total = self._sums[opened.name]
            total.elapsed_s += now - opened.began
            total.open -= 1
            if not total.open:
                total.count_cpu(cpu_s)
            keep = heapq.heappush if len(self._stretches) < _MAX_STRETCHES else heapq.heappushpop
            ended = Stretch(opened.name, opened.began_unix, moment)
            keep(self._stretches, (now - opened.began, ended))

    def switch(self, name: str | None, at: float | None = None) -> None:
        """End the phase that was begun by this, and begin another; None: no other. For one thread.

        Now, or at an earlier moment, in unix seconds; CPU time and memory are of now.
        """
        if self._switched is not None:
            self.end(self._switched, at)
        self._switched = None if name is None else self.begin(name, at)

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
            for name in {opened.name for opened in self._open}:
                self._sums[name].peak_mb = _highest(self._sums[name].peak_mb, memory_mb)

    def figures(self) -> dict[str, float]:
        """``phase/<name>/elapsed_s``, ``cpu_seconds`` and ``peak_memory_mb``, of open phases up to now."""
        figures: dict[str, float | None] = {}
        for name, each in self._sums_until_now().items():
            figures[f"{PREFIX}{name}/elapsed_s"] = each.elapsed_s
            figures[f"{PREFIX}{name}/cpu_seconds"] = each.cpu_s
            figures[f"{PREFIX}{name}/peak_memory_mb"] = each.before_mb if each.peak_mb is None else each.peak_mb
        return {name: value for name, value in figures.items() if value is not None}

    def elapsed_s(self) -> dict[str, float]:
        """The seconds of each phase by its name, of open ones up to now."""
        return {name: each.elapsed_s for name, each in self._sums_until_now().items()}

    def stretches(self) -> list[Stretch]:
        """When which phase was, in the order of their ends; of open ones up to now. Of many the longest 1000."""
        with self._lock:
            ended = sorted((stretch for _, stretch in self._stretches), key=lambda each: each.ended)
            return [*ended, *(Stretch(each.name, each.began_unix, time.time()) for each in self._open)]

    def _sums_until_now(self) -> dict[str, _Sum]:
        now, cpu_s = self._clock(), self._cpu_seconds()
        with self._lock:
            sums = {name: replace(each) for name, each in self._sums.items()}
            for opened in self._open:
                sums[opened.name].elapsed_s += now - opened.began
        for each in sums.values():
            if each.open:
                each.count_cpu(cpu_s)
        return sums


def _moment(at: float | None) -> tuple[float, float]:
    """A moment that is not after now, and how many seconds ago it was; None: now."""
    now = time.time()
    moment = at if at is not None and at < now else now
    return moment, now - moment


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


def _highest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)
