"""The group `process`: readings of a process and those below it, added up, and their counters turned into rates.

What is read of one process is in `one_process`. Knows no thread and no tracker.

Processor time of a tree is counted as the kernel counts it. A process carries its own time and that of every child it
has waited for, so the sum over a tree keeps what ended children used: when a child is reaped, its time moves into its
parent's. Differences of that sum are right however children come and go. Two things need care. A sum taken while a
child moves would count it twice or not at all: parents are read before their children, and all are read again when one
disappeared meanwhile. And where time leaves the tree (an orphan, or an OS other than Linux, which adds nothing to the
parent), the sum falls: that one reading shows too little, never too much.

Memory that forked processes share until one of them writes is in the memory of each. What they share is dear to read,
so it is read rarely, and always before the memory from which it is taken: where that has changed since, a reading shows
too little, never too much.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

import psutil

from mlflow_sysmetrics.arguments import check_seconds
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling.one_process import HERE, Reading, System

logger = get_logger(__name__)

_CPU = "process_cpu_percent"
_MEMORY = "process_memory_mb"
_IO = {"read_mb": "process_read_mb_per_s", "write_mb": "process_write_mb_per_s"}
# Refused, no descriptor left, or a kernel whose files neither psutil nor we can parse.
_UNREADABLE = (psutil.Error, OSError, ValueError, LookupError)
_TICK_S = 0.01  # the kernel counts CPU time in ticks: over less than one, a rate says nothing
_SETTLED_S = 0.05  # over five ticks, it says something
_SLOW_EVERY_S = 0.4  # so that of five readings, half a second's, one has what changes slowly
_WALK_SHARE = 0.01  # of the sampling thread's time
_SHARED_EVERY_S = 1.0
_SHARED_SHARE, _CHANGED_SHARE = 0.01, 0.05  # of its time, too; the latter once the tree has changed


def _sums(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Add up key by key. A key that one part lacks is absent: a sum without it would pass a limit it should not."""
    first, *rest = parts
    sums = dict(first)
    for part in rest:
        sums = {key: sums[key] + part[key] for key in sums if key in part}
    return sums


def check_pid(pid: int | None) -> None:
    """Raise ValueError where there is no process `pid`, or it cannot be read. None is this one."""
    if pid is not None:
        _open(pid, HERE)


def _open(pid: int | None, system: System) -> Hashable:
    """The process `pid`, or this one: None where the system does not show even that. ValueError for any other."""
    try:
        process: Hashable = system.open(os.getpid() if pid is None else pid)
        return process
    except (psutil.NoSuchProcess, TypeError, ValueError):
        problem = "there is no such process"
    except _UNREADABLE as error:
        problem = f"this process cannot be read: {error}"
    if pid is not None:
        raise ValueError(f"pid={pid!r}: {problem}")
    _tell(problem)
    return None


@functools.cache
def _tell(problem: str) -> None:
    logger.warning("no system metrics of this process, which cannot be seen from inside (is /proc there?): %s", problem)


@dataclass
class _Counter:
    """A tree's counter: its last total, and how much it has grown since the time of the last rate."""

    total: float
    since: float
    grown: float = 0.0
    in_all: float = 0.0  # since its first total


class ProcessSampler:
    """Each call returns one reading of the process `pid` (this one by default) with those below it.

    Keys: `process_cpu_percent` (of one core, since the last such figure), `process_memory_mb` (resident less shared on
    Linux, USS elsewhere), `process_rss_mb`, `process_threads`, `process_read_mb_per_s`, `process_write_mb_per_s`,
    `process_context_switches_per_s`, `process_page_faults_per_s`; megabytes are 1e6 bytes. What cannot be read of every
    process of the tree is absent. A reading less than 50 ms after the last rates has none, but the first rates are
    given 10 ms after construction, so that a short run has them too. Threads and, of other processes than this one,
    reads, writes and context switches are in a reading every 0.4 s. A process that has ended gives {}, and so does this
    one where /proc does not show it.

    New children are looked for sooner at first, then every `walk_every_s` seconds, or so rarely that it costs at most
    1 % of the time. CPU time that turns up late (a new child's, an ended child's) happened since the last look: the
    percentage spreads it over the next such span. A call never raises; construction raises ValueError. Not safe to
    call from two threads at once.

    On Linux what forked processes share counts once in `process_memory_mb`. How much that is, is read when the tree has
    changed, and then every second, or so rarely that it costs at most 5 % and 1 % of the time. Until it is read, a new
    process has no memory here, and what was copied by writing to it is missing. What is shared with processes outside
    the tree counts in part, but a tree has at least the memory of its largest process.
    """

    def __init__(
        self,
        pid: int | None = None,
        *,
        walk_every_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
        system: System = HERE,
    ) -> None:
        check_seconds(walk_every_s=walk_every_s)
        self._root = _open(pid, system)
        # Parents before children; none once the root is gone.
        self._members: list[Hashable] = [] if self._root is None else [self._root]
        self._walk_every_s, self._walk_due = walk_every_s, -math.inf
        self._clock, self._cpu_clock, self._system = clock, cpu_clock, system
        self._span_s = walk_every_s  # between this walk and the next
        self._late_s, self._late_span_s = 0.0, walk_every_s  # CPU time not shown yet, and the time to show it in
        self._cpu_seconds = 0.0
        self.pids: set[int] = set()  # of all processes that were seen in the tree
        self._seen: dict[Hashable, Reading] = {}
        self._shared: dict[Hashable, float | None] = {}  # megabytes; None where it cannot be read
        self._shared_at, self._shared_cost_s = -math.inf, 0.0
        self._counters: dict[str, _Counter] = {}
        self._slow_due = -math.inf
        self._made_at = self._read_at = self._rates_at = self._clock()
        self._rates_after_s = _TICK_S
        self()

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of the tree from construction to the last reading, with ended children; never falls."""
        return self._cpu_seconds

    user_cpu_seconds = system_cpu_seconds = 0.0
    peak_rss_mb = None

    def saw_peak_rss(self, megabytes: float) -> None:
        """To come."""

    @property
    def io_mb(self) -> dict[str, float]:
        """``read_mb`` and ``write_mb``: from and to storage since construction, at most 0.4 s old; absent if unknown.

        `read_all_next` before a reading brings them up to it.
        """
        return {name: self._counters[key].in_all for name, key in _IO.items() if key in self._counters}

    def read_all_next(self) -> None:
        """Include in the next reading what is otherwise read every 0.4 s."""
        self._slow_due = -math.inf

    def __call__(self) -> dict[str, float]:
        """Take one reading."""
        now = self._clock()
        if self._members and now >= self._walk_due:
            self._walk(now)
        if len(self._members) > 1:
            self._read_shared(now)
        try:
            readings = self._read_members(slow=now >= self._slow_due)
        except _UNREADABLE:
            return {}
        if not readings:
            return {}
        totals = _sums(reading.counters for reading in readings.values())
        self._count(totals, now)
        self._count_cpu(readings, now)
        self._seen, self._read_at = readings, now
        if readings[self._root].ended:
            return {}
        values = _sums(reading.levels for reading in readings.values() if not reading.ended)
        if self._shared and len(readings) > 1 and _MEMORY in values:
            values[_MEMORY] = self._memory_mb(readings)
        if now - self._rates_at >= self._rates_after_s:
            values.update(self._rates(now, totals))
        return values

    def _walk(self, now: float) -> None:
        """Find the processes below the root, keeping the objects of those already known."""
        began = self._cpu_clock()
        try:
            found = [self._root, *self._system.descendants(self._root)]
        except _UNREADABLE:
            found = self._members
        known = {process: process for process in self._members}
        self._members = [known.get(process, process) for process in found]
        self.pids.update(pid for process in self._members if (pid := getattr(process, "pid", None)))
        # Soon at first: a short run has its children's memory too.
        span_s = max(_TICK_S, min(self._walk_every_s, now - self._made_at))
        self._span_s = max(span_s, (self._cpu_clock() - began) / _WALK_SHARE)
        self._walk_due = now + self._span_s

    def _read_shared(self, now: float) -> None:
        """Read what the processes share, if it is due; of those that share nothing only when the tree has changed."""
        ended = {process for process, reading in self._seen.items() if reading.ended}
        living = [process for process in self._members if process not in ended]
        kept: dict[Hashable, float | None] = {}
        span_s = self._shared_cost_s / _CHANGED_SHARE
        if self._shared.keys() == set(living):
            kept = {process: mb for process, mb in self._shared.items() if mb == 0}  # it stays so until a fork
            span_s = max(_SHARED_EVERY_S, self._shared_cost_s / _SHARED_SHARE)
        read = self._system.read_shared
        if read is not None and len(living) > 1 and now - self._shared_at >= span_s:
            began = self._cpu_clock()
            self._shared = kept | {process: read(process) for process in living if process not in kept}
            self._shared_at, self._shared_cost_s = now, self._cpu_clock() - began

    def _memory_mb(self, readings: Mapping[Hashable, Reading]) -> float:
        """The memory of those whose shared part is known, less that, but at least that of the largest."""
        alive = [(process, reading.levels[_MEMORY]) for process, reading in readings.items() if not reading.ended]
        known = [(mb, self._shared[process] or 0.0) for process, mb in alive if process in self._shared]
        return max([sum(max(0.0, mb - shared) for mb, shared in known), *(mb for mb, _ in known)])

    def _read_members(self, *, slow: bool) -> dict[Hashable, Reading]:
        """Read every living process, and all again if one disappears meanwhile; {} if the root is gone."""
        while True:
            readings: dict[Hashable, Reading] = {}
            for process in self._members:
                try:
                    reading = self._system.read(process, slow)
                    before = self._seen.get(process)
                    # Of one never read before, only the system can tell whether its pid is another's by now.
                    same = self._system.is_same(process) if before is None else before.started == reading.started
                except psutil.NoSuchProcess:
                    continue
                if same:
                    readings[process] = reading
            if self._root not in readings:
                readings = {}
            if len(readings) in (0, len(self._members)):
                self._members = list(readings)
                return readings
            self._members = list(readings)

    def _grow(self, key: str, total: float, now: float) -> tuple[_Counter, float]:
        """Return the counter, brought up to its new total, and by how much it rose."""
        counter = self._counters.setdefault(key, _Counter(total, now))
        rise = max(0.0, total - counter.total)
        counter.total = total
        counter.in_all += rise
        return counter, rise

    def _count(self, totals: Mapping[str, float], now: float) -> None:
        for key, total in totals.items():
            counter, rise = self._grow(key, total, now)
            counter.grown += rise

    def _count_cpu(self, readings: Mapping[Hashable, Reading], now: float) -> None:
        """Add what known processes used, at once, and CPU time that turned up late, spread over time."""
        on_time = total = 0.0
        for process, reading in readings.items():
            if reading.cpu_s is None:
                return
            total += reading.cpu_s + reading.reaped_cpu_s
            before = self._seen.get(process)
            if before is not None and before.cpu_s is not None:
                on_time += max(0.0, reading.cpu_s - before.cpu_s)
        counter, rise = self._grow(_CPU, total, now)
        self._cpu_seconds += rise
        if rise > on_time:
            self._late_s += rise - on_time
            self._late_span_s = self._span_s
        elapsed = now - self._read_at
        shown = self._late_s * min(1.0, elapsed / self._late_span_s) if self._late_s else 0.0
        self._late_s -= shown
        self._late_span_s = max(self._late_span_s - elapsed, 1e-9)
        counter.grown += min(rise, on_time) + shown

    def _rates(self, now: float, totals: Mapping[str, float]) -> dict[str, float]:
        """Return each counter's growth per second since its last rate, and start a new one."""
        rates = {}
        for key, counter in self._counters.items():
            if (key in totals or key == _CPU) and now > counter.since:
                rates[key] = counter.grown / (now - counter.since) * (100 if key == _CPU else 1)
                counter.since, counter.grown = now, 0.0
        self._rates_at, self._rates_after_s = now, _SETTLED_S
        if now >= self._slow_due:
            self._slow_due = now + _SLOW_EVERY_S
        return rates
