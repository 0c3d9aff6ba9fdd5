"""The group `process`: readings of a process and those below it, added up, and their counters turned into rates.

CPU time of a tree is counted as the kernel counts it. A process carries its own and that of every child it has waited
for, so differences of the sum are right however children come and go, if parents are read before their children, and
all again when one disappeared meanwhile. Where time leaves the tree (an orphan, or an OS other than Linux, which adds
nothing to the parent), the sum falls: that one reading shows too little, never too much.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from mmap import PAGESIZE
from typing import Any

import psutil

from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.sampling.one_process import HERE, Reading, System, own_mark_mb, reset_marks_mb

logger = get_logger(__name__)
_CPU, _FAULTS = "process_cpu_percent", "process_page_faults_per_s"
_MEMORY, _RSS = "process_memory_mb", "process_rss_mb"
_IO = {"read_mb": "process_read_mb_per_s", "write_mb": "process_write_mb_per_s"}
# Refused, no descriptor left, or a kernel whose files neither psutil nor we can parse.
_UNREADABLE = (psutil.Error, OSError, ValueError, LookupError)
_TICK_S, _SETTLED_S = 0.01, 0.05  # the kernel counts CPU time in ticks: a rate over one says little, over five enough
_SLOW_EVERY_S = 0.4  # so that of five readings, half a second's, one has what is read rarely
_WALK_EVERY_S, _WALK_SHARE = 0.5, 0.01  # of the sampling thread's time
_SHARED_EVERY_S, _SHARED_SHARE, _CHANGED_SHARE = 1.0, 0.01, 0.05  # the last where something has changed
_MATERIAL = 0.01  # of the tree's memory


def _sums(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Add up key by key. A key that one part lacks is absent: a sum without it would pass a limit it should not."""
    first, *rest = parts
    sums = dict(first)
    for part in rest:
        sums = {key: sums[key] + part[key] for key in sums if key in part}
    return sums


def check_pid(pid: int | None, system: System = HERE) -> Any:
    """Return the process `pid` (this one; None where even that is hidden). ValueError where it cannot be read."""
    try:
        process = system.open(os.getpid() if pid is None else pid)
        system.read(process, False)
        return process
    except (psutil.NoSuchProcess, TypeError, ValueError):
        problem = "there is no such process"
    except _UNREADABLE as error:
        problem = f"this process cannot be read: {error}"
    if pid is not None:
        raise ValueError(f"pid={pid!r}: {problem}")
    return None


class ProcessSampler:
    """Each call returns one reading of the process `pid` (this one by default) with those below it.

    docs/metrics.md has the keys. What cannot be read of every process of the tree is absent. A process that has ended
    gives {}. Rates come 10 ms after construction, so that a short run has them, and then with readings at least 50 ms
    apart. Threads and, of other processes than this one, reads and writes come every 0.4 s. New children are looked for
    every half second, sooner at first. CPU time that turns up late (a new child's, an ended child's) happened since the
    last look: the percentage spreads it over the next such span. A call never raises; construction raises ValueError.
    Not safe to call from two threads at once.

    On Linux what forked processes share until one of them writes counts once. Reading it is expensive: it is read when
    the tree has changed, when page faults say that processes have copied it by writing, and every second, or so rarely
    that it costs 5 %, 5 % and 1 % of the time, before the memory from which it is taken. Until then a new process has
    no memory here, and copies are missing. What is shared with processes outside the tree counts in part, but a tree
    has at least the memory of its largest process.

    ``user_cpu_seconds``, ``system_cpu_seconds`` and their sum ``cpu_seconds`` are those of the tree since construction,
    with ended children, and never fall. ``peak_rss_mb`` is the kernel's mark: the highest RSS of any one process since
    construction, however short; None where one of them had more before, since nothing tells how near it came to that
    again. It is read every 0.4 s, so of a process that ends its last moments may be missing. ``pids`` are all processes
    that were seen in the tree.
    """

    def __init__(
        self, pid: int | None = None, *, clock: Callable[[], float] = time.monotonic, system: System = HERE
    ) -> None:
        self._clock, self._system = clock, system
        self._root = check_pid(pid, system)
        if self._root is None:
            logger.warning("no system metrics: this process cannot be found in /proc; is /proc mounted?")
        self._members = [self._root] if self._root else []  # parents before children; none once the root is gone
        self._parents: dict[int, int] = {}  # by process, for `System.descendants`
        self._seen: dict[Hashable, Reading] = {}
        self.root_cpu_s = 0.0
        self._walk_due = self._slow_due = -math.inf
        self._walk_span_s = self._late_span_s = _WALK_EVERY_S  # of this walk; in which late CPU time is shown
        self._late_s = 0.0
        self._totals: dict[str, float] = {}  # of counters
        self._grown: dict[str, float] = {}  # by what they have risen, and what that was at the last rate, and when
        self._rated: dict[str, tuple[float, float]] = {}
        self._shared: dict[Hashable, float | None] = {}  # megabytes; None where it cannot be read
        self._shared_at, self._shared_cost_s, self._shared_seen = -math.inf, 0.0, self._seen
        self._memory_mb = 0.0  # of the last reading
        self._mark_before_mb, self._highest_before_mb, self._resets = 0.0, math.inf, len(reset_marks_mb)
        self.user_cpu_seconds = self.system_cpu_seconds = 0.0
        self.peak_rss_mb: float | None = None
        self.pids: set[int] = set()
        self._made_at = self._read_at = self._rates_at = clock()
        self()

    @property
    def cpu_seconds(self) -> float:
        """User and system."""
        return self.user_cpu_seconds + self.system_cpu_seconds

    @property
    def io_mb(self) -> dict[str, float]:
        """``read_mb`` and ``write_mb``, from and to storage, since construction, up to 0.4 s ago; absent if unknown."""
        return {name: self._grown[key] for name, key in _IO.items() if key in self._grown}

    def read_all_next(self) -> None:
        """Include in the next reading what is otherwise read every 0.4 s, and children that have begun since."""
        self._slow_due = self._walk_due = -math.inf

    def record_peak_rss(self, mark_mb: float) -> None:
        """Take what the kernel says of processes that have ended, such as wait4 of the root, into ``peak_rss_mb``.

        A process begins with the mark of the one that has started it: no higher one says nothing.
        """
        if mark_mb > self._highest_before_mb:
            self.peak_rss_mb = max(mark_mb, self.peak_rss_mb or 0.0)

    def __call__(self) -> dict[str, float]:
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
        now = self._clock()  # of the counters: to look for processes, and at what they share, takes a while
        totals = _sums(reading.counters for reading in readings.values())
        for key, total in totals.items():
            self._grow(key, total, now)
        self._count_cpu(readings, now)
        self._see_marks(readings)
        self._seen, self._read_at = readings, now
        self.root_cpu_s = readings[self._root].cpu_s or 0.0  # of the process itself, by its own clock
        if readings[self._root].ended:
            return {}
        values = _sums(reading.levels for reading in readings.values() if not reading.ended)
        if self._shared and len(readings) > 1 and _MEMORY in values:
            values[_MEMORY] = self._less_shared(readings)
        self._memory_mb = values.get(_MEMORY, 0.0)
        if now - self._rates_at >= (_SETTLED_S if self._rates_at > self._made_at else _TICK_S):
            values |= self._rates(now, totals)
        return values

    def _walk(self, now: float) -> None:
        """Find the processes below the root, keeping the objects of those already known."""
        began = self._system.cpu_clock()
        try:
            found = [self._root, *self._system.descendants(self._root, self._parents)]
        except _UNREADABLE:
            found = self._members
        known = {process: process for process in self._members}
        self._members = [known.get(process, process) for process in found]
        self.pids.update(pid for process in self._members if (pid := getattr(process, "pid", None)))
        span_s = max(_TICK_S, min(_WALK_EVERY_S, now - self._made_at))  # soon at first: a short run has children too
        self._walk_span_s = max(span_s, (self._system.cpu_clock() - began) / _WALK_SHARE)
        self._walk_due = now + self._walk_span_s

    def _read_members(self, *, slow: bool) -> dict[Hashable, Reading]:
        """Read every living process, and all again if one disappears meanwhile; {} if the root is gone."""
        while True:
            readings: dict[Hashable, Reading] = {}
            for process in self._members:
                try:
                    reading, before = self._system.read(process, slow), self._seen.get(process)
                    # Of one never read before, only the system can tell whether its pid is another's by now.
                    if before.started == reading.started if before else self._system.is_same(process):
                        readings[process] = reading
                except psutil.NoSuchProcess:
                    continue
            if self._root not in readings:
                readings = {}
            complete = len(readings) in (0, len(self._members))
            self._members = list(readings)
            if complete:
                return readings

    def _read_shared(self, now: float) -> None:
        """Read what the processes share, if it is due; of those that share nothing only when the tree has changed."""
        living = [each for each in self._members if each not in self._seen or not self._seen[each].ended]
        before, same = self._shared, self._shared.keys() == set(living)
        span_s = self._shared_cost_s / _CHANGED_SHARE
        if same and self._copied_mb() <= _MATERIAL * self._memory_mb:
            span_s = max(_SHARED_EVERY_S, self._shared_cost_s / _SHARED_SHARE)
        if len(living) < 2 or now - self._shared_at < span_s:
            return
        began = self._system.cpu_clock()
        # One that shares nothing goes on so until a fork.
        kept = [each for each in living if same and before[each] == 0]
        self._shared = {each: 0.0 if each in kept else self._system.read_shared(each) for each in living}
        self._shared_at, self._shared_cost_s, self._shared_seen = now, self._system.cpu_clock() - began, self._seen

    def _copied_mb(self) -> float:
        """What may have been copied since it was read: the pages of the faults by which no process has grown."""
        self._shared_seen = self._seen | self._shared_seen  # a new process is compared with its first reading
        copied_mb = 0.0
        for process, reading in self._seen.items():
            before = self._shared_seen[process]
            faults = reading.counters.get(_FAULTS, 0.0) - before.counters.get(_FAULTS, 0.0)
            grown_mb = reading.levels.get(_RSS, 0.0) - before.levels.get(_RSS, 0.0)
            copied_mb += max(0.0, faults * PAGESIZE / 1e6 - max(0.0, grown_mb))
        return copied_mb

    def _less_shared(self, readings: Mapping[Hashable, Reading]) -> float:
        """The memory of those whose shared part is known, less that, but at least that of the largest."""
        alive = [(process, reading.levels[_MEMORY]) for process, reading in readings.items() if not reading.ended]
        known = [(mb, self._shared[process] or 0.0) for process, mb in alive if process in self._shared]
        return max([sum(max(0.0, mb - shared) for mb, shared in known), *(mb for mb, _ in known)])

    def _grow(self, key: str, total: float, now: float) -> float:
        """Bring a counter up to its new total, and return by how much it rose."""
        rise = max(0.0, total - self._totals.get(key, total))
        self._totals[key] = total
        self._grown[key] = self._grown.get(key, 0.0) + rise
        self._rated.setdefault(key, (now, 0.0))
        return rise

    def _count_cpu(self, readings: Mapping[Hashable, Reading], now: float) -> None:
        """Add what known processes used, at once, and CPU time that turned up late, spread over time."""
        total_s = sum(reading.cpu_s + reading.reaped_cpu_s for reading in readings.values())
        if math.isnan(total_s):
            return
        rise_s = self._grow(_CPU, total_s, now)
        self._grow("system", sum(reading.system_cpu_s for reading in readings.values()), now)
        # The kernel's two counts are not of one moment: what does not fit into this rise waits for the next.
        system_s = min(rise_s, max(0.0, self._grown["system"] - self.system_cpu_seconds))
        self.user_cpu_seconds += rise_s - system_s
        self.system_cpu_seconds += system_s
        pairs = [(reading, self._seen[each]) for each, reading in readings.items() if each in self._seen]
        on_time_s = sum(max(0.0, reading.cpu_s - before.cpu_s) for reading, before in pairs)
        late_s = max(0.0, rise_s - on_time_s)
        if late_s:
            self._late_s, self._late_span_s = self._late_s + late_s, self._walk_span_s
        elapsed_s = now - self._read_at
        shown_s = self._late_s * min(1.0, elapsed_s / self._late_span_s)
        self._late_s -= shown_s
        self._late_span_s = max(self._late_span_s - elapsed_s, 1e-9)
        self._grown[_CPU] += shown_s - late_s

    def _see_marks(self, readings: Mapping[Hashable, Reading]) -> None:
        """Note what was reached since construction: a mark above all that were there then, or reached just then."""
        highest = max(readings.values(), key=lambda reading: reading.mark_mb or 0.0)
        mark_mb = highest.mark_mb or 0.0
        reaped_mb = max(reading.reaped_mark_mb or 0.0 for reading in readings.values())
        if self._seen:
            if os.getpid() in self.pids:
                mark_mb = max([mark_mb, *reset_marks_mb[self._resets :]])
            if mark_mb > self._mark_before_mb:
                self.peak_rss_mb = max(mark_mb, self.peak_rss_mb or 0.0)
            self.record_peak_rss(reaped_mb)
        else:
            self._mark_before_mb = mark_mb
            if 0 < mark_mb <= (1 + _MATERIAL) * highest.levels.get(_RSS, 0.0):  # as after a reset
                self.peak_rss_mb = mark_mb
            # Whoever had ended children then will hand on their marks, which are known of this process alone.
            hidden = any(reading.reaped_cpu_s and reading.reaped_mark_mb is None for reading in readings.values())
            self._highest_before_mb = math.inf if hidden else max(own_mark_mb(), reaped_mb, mark_mb)

    def _rates(self, now: float, totals: Iterable[str]) -> dict[str, float]:
        """Return each counter's growth per second since its last rate, and start a new one."""
        rates = {}
        for key, (since, before) in self._rated.items():
            if key in (*totals, _CPU) and now > since:
                rates[key] = (self._grown[key] - before) / (now - since) * (100 if key == _CPU else 1)
                self._rated[key] = now, self._grown[key]
        self._rates_at = now
        if now >= self._slow_due:
            self._slow_due = now + _SLOW_EVERY_S
        return rates
