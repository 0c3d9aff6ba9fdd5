"""Readings of a process and those below it, added up, and their counters turned into rates."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import psutil

from mlflow_sysmetrics.common.guard import warn_once
from mlflow_sysmetrics.sampling.accounts import CpuAccount, PeakRss, Readings, SharedPages
from mlflow_sysmetrics.sampling.one_process import HERE, MEMORY, Reading, System

_CPU = "process_cpu_percent"
_IO = ("read_mb", "write_mb")
# Refused, no descriptor left, or a kernel whose files neither psutil nor we can parse.
_UNREADABLE = (psutil.Error, OSError, ValueError, LookupError)
_TICK_S = 0.01  # the kernel counts CPU time in these: a rate over one says little, over five enough
_SETTLED_S = 0.05
_SLOW_EVERY_S = 0.4  # so that of five readings, half a second's, one has what is read rarely
_WALK_EVERY_S = 0.5
_WALK_SHARE = 0.01  # of the sampling thread's time


def check_pid(pid: int | None) -> None:
    """Raise ValueError where the process `pid` cannot be read. None, this process, can be: if not now, then later."""
    if pid is None:
        return
    try:
        HERE.read(HERE.open(pid), False)
    except (*_UNREADABLE, TypeError) as error:
        raise ValueError(f"pid={pid!r}: this process cannot be read: {error}") from None


class Counter:
    """By how much a counter has risen since its first total, and how fast. What it falls by is lost."""

    def __init__(self, total: float, now: float) -> None:
        self.risen = 0.0
        self.rated_at = now
        self._total = total
        self._rated = 0.0

    def count(self, total: float) -> None:
        self.risen += max(0.0, total - self._total)
        self._total = total

    def rate(self, now: float) -> float:
        """Its growth per second since the last rate."""
        rate = (self.risen - self._rated) / (now - self.rated_at)
        self._rated = self.risen
        self.rated_at = now
        return rate


class ProcessSampler:
    """Each call returns one reading of the process `pid` (this one by default) with those below it. Nothing raises.

    docs/metrics.md has the keys. What cannot be read of every process of the tree is absent. A process that has ended
    gives {}; one that cannot be read is tried again at each call. All counts are from the first reading that succeeds,
    which is tried at construction. Rates come 10 ms later, so that a short run has them, and then with readings at
    least 50 ms apart. Threads and, of other processes than this one, reads and writes come every 0.4 s. New children
    are looked for every half second, sooner at first. Not safe to call from two threads at once.
    """

    def __init__(
        self, pid: int | None = None, *, clock: Callable[[], float] = time.monotonic, system: System = HERE
    ) -> None:
        self._pid = os.getpid() if pid is None else pid
        self._clock = clock
        self._system = system
        self._root: Any = None  # until it could be opened
        self._is_gone = False
        self._members: list[Any] = []  # parents before children; none once the root is gone
        self._parents: dict[int, int] = {}  # by process, for `System.descendants`
        self._readings: Readings = {}  # the last ones
        self._counters: dict[str, Counter] = {}
        self._shared = SharedPages(system)
        self.cpu = CpuAccount()
        self.peak_rss = PeakRss()
        self.pids: set[int] = set()  # of all processes that were seen in the tree
        self._made_at = clock()
        self._read_at = self._made_at
        self._rates_due = self._made_at + _TICK_S
        self._walk_span_s = _WALK_EVERY_S
        self.read_all_next()
        self()
        self._slow_due = -math.inf  # so that the first rates have all, also in a short run

    def read_all_next(self) -> None:
        """Include in the next reading what is otherwise read every 0.4 s, and children that have begun since."""
        self._slow_due = self._walk_due = -math.inf

    @property
    def used(self) -> dict[str, float]:
        """What the tree has used since the first reading, by the names of a summary; what is unknown is absent."""
        # Reads and writes up to 0.4 s ago.
        values = {name: self._counters[name].risen for name in _IO if name in self._counters}
        if self.cpu.is_known:
            values["cpu_seconds"] = self.cpu.seconds
            values["user_cpu_seconds"] = self.cpu.user_s
            values["system_cpu_seconds"] = self.cpu.system_s
        if self.peak_rss.mb is not None:
            values["peak_rss_mb"] = self.peak_rss.mb
        return values

    def __call__(self) -> dict[str, float]:
        try:
            readings = self._read()
        except _UNREADABLE as error:
            if not self._readings:  # a gap later on is in the series
                warn_once("process %d cannot be read now: %s", self._pid, str(error))
            return {}
        if not readings:
            return {}
        now = self._clock()  # of the counters: to look for processes, and at what they share, takes a while
        self.cpu.add(readings, self._readings, now - self._read_at, self._walk_span_s)
        self.peak_rss.add(readings)
        self._readings = readings
        self._read_at = now
        totals = _sums(reading.counters for reading in readings.values())
        totals[_CPU] = 100 * self.cpu.shown_s
        for key, total in totals.items():
            if key not in self._counters:
                self._counters[key] = Counter(total, now)
            self._counters[key].count(total)
        if readings[self._root].ended:
            return {}
        values = _sums(reading.levels for reading in readings.values() if not reading.ended)
        if MEMORY in values:
            values[MEMORY] = self._shared.less_shared(values[MEMORY], readings)
        if now >= self._rates_due:
            values |= self._rates(now, totals)
        return values

    def _read(self) -> Readings:
        """The readings of all processes; {} if the root is gone."""
        if self._root is None and not self._is_gone:
            self._open()
        now = self._clock()
        if self._members and now >= self._walk_due:
            self._walk(now)
        if len(self._members) > 1:
            self._shared.read_if_due(self._members, self._readings, now)
        is_slow = now >= self._slow_due
        if is_slow:
            self._slow_due = now + _SLOW_EVERY_S  # before it: who asks for all meanwhile gets that of the next reading
        return self._read_members(slow=is_slow)

    def _open(self) -> None:
        try:
            self._root = self._system.open(self._pid)
        except psutil.NoSuchProcess:
            self._is_gone = self._pid != os.getpid()  # and another process may get its pid; else /proc is not there
            raise
        self._members = [self._root]

    def _walk(self, now: float) -> None:
        """Find the processes below the root, keeping the objects of those already known."""
        began_s = self._system.cpu_clock()
        try:
            found = [self._root, *self._system.descendants(self._root, self._parents)]
        except _UNREADABLE:
            found = self._members
        known = {process: process for process in self._members}
        self._members = [known.get(process, process) for process in found]
        self.pids.update(process.pid for process in self._members)
        span_s = max(_TICK_S, min(_WALK_EVERY_S, now - self._made_at))  # soon at first: a short run has children too
        self._walk_span_s = max(span_s, (self._system.cpu_clock() - began_s) / _WALK_SHARE)
        self._walk_due = now + self._walk_span_s

    def _read_members(self, *, slow: bool) -> Readings:
        """Read every living process, and all again if one disappears meanwhile; {} if the root is gone."""
        while True:
            readings: dict[Hashable, Reading] = {}
            for process in self._members:
                try:
                    reading = self._system.read(process, slow)
                    if self._is_same(process, reading):
                        readings[process] = reading
                except psutil.NoSuchProcess:
                    continue
            if self._root not in readings:
                readings = {}
            is_complete = len(readings) in (0, len(self._members))
            self._members = list(readings)
            if is_complete:
                return readings

    def _is_same(self, process: Any, reading: Reading) -> bool:
        """Whether this is still the process, and not another one with its pid."""
        before = self._readings.get(process)
        if before is None:  # only the system can tell
            return self._system.is_same(process)
        return before.started == reading.started

    def _rates(self, now: float, keys: Iterable[str]) -> dict[str, float]:
        """Each counter's growth per second since its last rate: of hundredths of CPU seconds, a percentage."""
        rates: dict[str, float] = {}
        for key in keys:
            counter = self._counters[key]
            if now > counter.rated_at:
                rates[key if key == _CPU else f"process_{key}_per_s"] = counter.rate(now)
        self._rates_due = now + _SETTLED_S
        return rates


def _sums(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Add up key by key. A key that one part lacks is absent: a sum without it would pass a limit it should not."""
    first, *rest = parts
    sums = dict(first)
    for part in rest:
        sums = {key: sums[key] + part[key] for key in sums if key in part}
    return sums
