"""What readings of a process tree come to. Each account is fed with the readings of all processes."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from mmap import PAGESIZE

from mlflow_sysmetrics.sampling.one_process import MEMORY, Reading, System, marks_before_resets, own_high_water_mb

Readings = Mapping[Hashable, Reading]  # by process
_SHARED_EVERY_S = 1.0
_SHARED_SHARE = 0.01  # of the sampling thread's time
_CHANGED_SHARE = 0.05  # the same where something has changed
_MATERIAL = 0.01  # of the tree's memory


class CpuAccount:
    """CPU seconds of a tree since the first readings, with ended children. They never fall.

    They are counted as the kernel counts them. A process carries its own and those of every child it has waited for, so
    differences of the sum are right however children come and go, if parents are read before their children, and all
    again when one disappeared meanwhile. Where time leaves the tree (an orphan, or an OS other than Linux, which adds
    nothing to the parent), the sum falls: that one reading shows too little, never too much.

    Time that turns up late (a new child's, an ended child's) happened since the last look for processes. `shown_s`, of
    which a percentage is made, spreads it over the next such span.
    """

    def __init__(self) -> None:
        self.is_known = False
        self.user_s = 0.0
        self.system_s = 0.0
        self.shown_s = 0.0
        self._total_s = 0.0  # of the kernel
        self._system_total_s = 0.0
        self._system_ahead_s = 0.0
        self._late_s = 0.0
        self._late_span_s = 1.0

    @property
    def seconds(self) -> float:
        """User and system."""
        return self.user_s + self.system_s

    def add(self, readings: Readings, before: Readings, elapsed_s: float, look_every_s: float) -> None:
        """Take in readings, `elapsed_s` after those `before`."""
        total_s = system_total_s = on_time_s = 0.0
        for process, reading in readings.items():
            total_s += reading.cpu_s + reading.reaped_cpu_s
            system_total_s += reading.system_cpu_s
            if process in before:
                on_time_s += max(0.0, reading.cpu_s - before[process].cpu_s)
        if not self.is_known:
            self.is_known = True
            self._total_s = total_s
            self._system_total_s = system_total_s
        rise_s = max(0.0, total_s - self._total_s)
        self._total_s = total_s
        # The kernel's two counts are not of one moment: what does not fit into this rise waits for the next.
        self._system_ahead_s += max(0.0, system_total_s - self._system_total_s)
        self._system_total_s = system_total_s
        system_s = min(rise_s, self._system_ahead_s)
        self._system_ahead_s -= system_s
        self.system_s += system_s
        self.user_s += rise_s - system_s
        late_s = max(0.0, rise_s - on_time_s)
        if late_s:
            self._late_s += late_s
            self._late_span_s = look_every_s
        shown_late_s = self._late_s * min(1.0, elapsed_s / self._late_span_s)
        self._late_s -= shown_late_s
        self._late_span_s = max(self._late_span_s - elapsed_s, 1e-9)
        self.shown_s += rise_s - late_s + shown_late_s


class PeakRss:
    """The highest RSS of any one process since the first readings, however short, by the kernel's high-water marks.

    `mb` is None where a process had more before, since nothing tells how near it came to that again.
    """

    def __init__(self) -> None:
        self.mb: float | None = None
        self._before_mb: float | None = None  # the highest of the first readings
        self._inherited_mb = math.inf  # the most that an ended child may have from before
        self._resets = len(marks_before_resets())  # others, since then: their marks are of this measurement, too

    def add(self, readings: Readings) -> None:
        highest = max(readings.values(), key=lambda reading: reading.high_water_mb or 0.0)
        # Known of this process alone: if it is in the tree.
        reaped_mb = [mb for reading in readings.values() if (mb := reading.reaped_high_water_mb) is not None]
        if self._before_mb is None:
            self._begin(readings, highest, reaped_mb)
            return
        marks_mb = [highest.high_water_mb or 0.0]
        if reaped_mb:
            marks_mb += marks_before_resets(since=self._resets)
        self._record_above(self._before_mb, marks_mb)
        self._record_above(self._inherited_mb, reaped_mb)

    def _begin(self, readings: Readings, highest: Reading, reaped_mb: Sequence[float]) -> None:
        """Note what was reached before; until a mark can be read, nothing is."""
        high_water_mb = highest.high_water_mb
        if not high_water_mb:
            return
        self._before_mb = high_water_mb
        if high_water_mb <= (1 + _MATERIAL) * highest.levels.get("process_rss_mb", 0.0):  # as after a reset
            self.mb = high_water_mb
        # Others that had ended children by then will hand on their marks, and those are not known.
        if not any(other.reaped_cpu_s and other.reaped_high_water_mb is None for other in readings.values()):
            # A process begins with the mark of the one that has started it.
            self._inherited_mb = max(own_high_water_mb(), high_water_mb, *reaped_mb)

    def _record_above(self, known_mb: float, marks_mb: Sequence[float]) -> None:
        """Count the highest of these marks if it cannot be from before."""
        mark_mb = max(marks_mb, default=0.0)
        if mark_mb > known_mb:
            self.record(mark_mb)

    def record(self, high_water_mb: float) -> None:
        """Count a mark that a process of the tree has reached since the first readings."""
        self.mb = max(high_water_mb, self.mb or 0.0)


class SharedPages:
    """What forked processes share until one of them writes to it: it counts once.

    Reading it is expensive: it is read when the tree has changed, when page faults say that processes have copied it by
    writing, and every second, or so rarely that it costs 5 %, 5 % and 1 % of the time. Until then a new process has no
    memory here, and copies are missing. What is shared with processes outside the tree counts in part, but a tree has
    at least the memory of its largest process.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._shared_mb: dict[Hashable, float] = {}
        self._read_at = -math.inf
        self._cost_s = 0.0
        self._then: dict[Hashable, Reading] = {}  # of when it was read; of a new process its first one
        self._tree_mb = 0.0  # at the last reading

    def read_if_due(self, members: Collection[Hashable], before: Readings, now: float) -> None:
        """Read what these processes share, if it is due. `before` are their last readings."""
        read_mb = self._system.read_shared
        living = [process for process in members if process not in before or not before[process].ended]
        is_same = self._shared_mb.keys() == set(living)
        span_s = self._cost_s / _CHANGED_SHARE
        if is_same and self._copied_mb(before) <= _MATERIAL * self._tree_mb:
            span_s = max(_SHARED_EVERY_S, self._cost_s / _SHARED_SHARE)
        if read_mb is None or len(living) < 2 or now - self._read_at < span_s:
            return
        began_s = self._system.cpu_clock()
        if not is_same:
            self._shared_mb = {}
        for process in living:
            if self._shared_mb.get(process) != 0:  # one that shares nothing goes on so until a fork
                self._shared_mb[process] = read_mb(process)
        self._cost_s = self._system.cpu_clock() - began_s
        self._read_at = now
        self._then = dict(before)

    def _copied_mb(self, readings: Readings) -> float:
        """What may have been copied since it was read: the pages of the faults by which no process has grown."""
        copied_mb = 0.0
        for process, reading in readings.items():
            then = self._then.setdefault(process, reading)
            faults = reading.counters["page_faults"] - then.counters["page_faults"]
            grown_mb = reading.levels["process_rss_mb"] - then.levels["process_rss_mb"]
            copied_mb += max(0.0, faults * PAGESIZE / 1e6 - max(0.0, grown_mb))
        return copied_mb

    def less_shared(self, tree_mb: float, readings: Readings) -> float:
        """The memory of the tree, from the sum of its processes'."""
        if self._shared_mb and len(readings) > 1:
            tree_mb = largest_mb = 0.0
            for process, reading in readings.items():
                if process in self._shared_mb and not reading.ended:
                    memory_mb = reading.levels[MEMORY]
                    tree_mb += max(0.0, memory_mb - self._shared_mb[process])
                    largest_mb = max(largest_mb, memory_mb)
            tree_mb = max(tree_mb, largest_mb)
        self._tree_mb = tree_mb
        return tree_mb
