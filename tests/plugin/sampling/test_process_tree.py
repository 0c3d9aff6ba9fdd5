"""Tests of ProcessSampler: real processes against the kernel's own accounts, and a fake kernel for the rest."""

import itertools
import mmap
import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import psutil
import pytest
from cases import cases
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machines import Clock, child

from mlflow_sysmetrics.sampling import ProcessSampler, reset_peak_rss
from mlflow_sysmetrics.sampling.one_process import HERE, LINUX, Reading, System


class Handle(NamedTuple):
    """What psutil.Process is: a pid, and the start that tells it from another process with that pid."""

    pid: int
    start: float


@dataclass
class Task:
    """A process inside the fake kernel."""

    handle: Handle
    parent: int
    cpu_s: float = 0.0
    reaped_cpu_s: float = 0.0
    system_s: float = 0.0  # of both
    zombie: bool = False
    memory_mb: float = 10.0
    shared_mb: float = 0.0  # of its memory, what counts for others
    faults_mb: float = 0.0
    denied: set[str] = field(default_factory=set)


class Kernel:
    """Processes that account for CPU time as Linux does, with a clock, and a hook that runs between two reads."""

    def __init__(self):
        self.now, self.starts, self.used_s, self.read_count = 0.0, 0.0, 0.0, 0
        self.sampler_s, self.shared_s = 0.0, 0.0  # CPU time of the sampler; what it takes to read what a process shares
        self.walks, self.walk_s = [], 0.0  # when, and what CPU time one takes
        self.shared_reads = []  # when, and of which pid
        self.tasks = {}
        self.between = lambda count: None
        self.spawn(0)

    def sampler(self):
        system = System(
            self.read,
            self.descendants,
            lambda pid: self.tasks[pid].handle,
            self.is_same,
            self.read_shared,
            lambda: self.sampler_s,
        )
        self.sample = ProcessSampler(1, clock=lambda: self.now, system=system)
        return self.sample

    def at(self, now):
        """The reading of this time."""
        self.now = now
        return dict(self.sample())

    def spawn(self, parent, pid=None):
        pid = pid or max(self.tasks, default=0) + 1
        self.starts += 1
        self.tasks[pid] = Task(Handle(pid, self.starts), parent)
        return pid

    def run(self, pid, cpu_s):
        self.tasks[pid].cpu_s += cpu_s
        self.tasks[pid].system_s += 0.25 * cpu_s
        self.used_s += cpu_s

    def exit(self, pid):
        self.tasks[pid].zombie = True
        for task in self.tasks.values():
            if task.parent == pid:
                task.parent = 0  # adopted from outside the tree

    def reap(self, pid, credit=True):
        """Remove a zombie. Without credit, its parent ignores SIGCHLD, or it was adopted: its time leaves the tree."""
        gone = self.tasks.pop(pid)
        if credit and gone.parent in self.tasks:
            self.tasks[gone.parent].reaped_cpu_s += gone.cpu_s + gone.reaped_cpu_s
            self.tasks[gone.parent].system_s += gone.system_s

    def descendants(self, root, parents):
        self.walks.append(self.now)
        self.sampler_s += self.walk_s
        found, level = [], [root.pid]
        while level:
            level = [pid for pid, task in self.tasks.items() if task.parent in level]
            found += [self.tasks[pid].handle for pid in level]
        return found

    def is_same(self, handle):
        return handle.pid in self.tasks and self.tasks[handle.pid].handle == handle

    def read_shared(self, handle):
        self.sampler_s += self.shared_s
        self.shared_reads.append((self.now, handle.pid))
        return self.tasks[handle.pid].shared_mb if self.is_same(handle) else 0.0

    def read(self, handle, slow):
        self.between(self.read_count)
        self.read_count += 1
        if handle.pid not in self.tasks:
            raise psutil.NoSuchProcess(handle.pid)
        task = self.tasks[handle.pid]  # found by pid, whoever that is by now
        memory_mb = 0.0 if task.zombie else task.memory_mb
        levels = {"process_memory_mb": memory_mb, "process_rss_mb": memory_mb, "process_threads": 1.0}
        faults = task.faults_mb * 1e6 / mmap.PAGESIZE
        counters = {"read_mb": task.cpu_s, "page_faults": faults}
        if slow:
            counters["write_mb"] = task.cpu_s
        for key in task.denied:
            levels.pop(key, None)
            counters.pop(key, None)
        seconds = task.cpu_s, task.reaped_cpu_s, task.system_s
        return Reading(task.handle.start, task.zombie, *seconds, levels, counters)


class Forked(Kernel):
    """Processes that share all of their 12 MB, and a sampler with a reading each tenth of a second."""

    def __init__(self, children, shared_s=0.0):
        super().__init__()
        self.shared_s = shared_s
        for _ in range(children):
            self.spawn(1)
        self.share()
        self.sampler()

    def share(self):
        for task in self.tasks.values():
            task.memory_mb, task.shared_mb = 12.0, 12.0 * (1 - 1 / len(self.tasks))

    def memory_mb(self, seconds=0.1):
        """In the last reading of that time."""
        for _ in range(round(seconds * 10)):
            reading = self.at(self.now + 0.1)
        return reading["process_memory_mb"]

    def times(self, pid=1):
        return [at for at, read in self.shared_reads if read == pid]


pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="compares with /proc")
ALONE = replace(HERE, descendants=lambda process, parents: [])  # without the processes that other tests may have left


def hold(parent, megabytes):
    """Give a process a child that takes as much memory, and waits."""
    code = f"x = b'x' * {megabytes}_000_000; print(flush=True); input()"
    popen = f"subprocess.Popen([sys.executable, '-c', {code!r}], stdin=-1, stdout=-1)"
    parent.do(f"p = {popen}; p.stdout.readline(); print()")


# --- real processes -------------------------------------------------------------------------------------------------


SPAWN = "p = subprocess.Popen([sys.executable, '-c', 'import time\\nwhile time.process_time() < 0.15: pass'])"
USED_S = "print(sum(os.times()[:4]))"  # with its ended children


@cases("every_s", {"seen alive": 100.0, "never seen": 0.0})
def test_cpu_seconds_are_the_sum_over_children_that_come_and_go(every_s):
    """A parent and its ended children sum to what the kernel charges for them, whether or not a look ever saw them."""
    now = itertools.count(step=every_s)
    with child() as parent:
        before_s = float(parent.do(USED_S))
        sample = ProcessSampler(parent.pid, clock=now.__next__)
        for _ in range(2):
            parent.do(f"{SPAWN}; print()")
            sample()
            parent.do(f"q = p; {SPAWN}; q.wait(); print()")
            sample()
            parent.do("p.wait(); print()")
            sample()
        used_s = float(parent.do(USED_S)) - before_s
        sample()
    assert used_s > 0.5
    assert sample.cpu.seconds == pytest.approx(used_s, abs=0.1)


FORK = """
data, (read, write) = bytearray(b"x") * 50_000_000, os.pipe()
for _ in range(4):
    if os.fork() == 0:
        os.close(write)
        while os.read(read, 1):  # until the parent ends
            data[::4096] = bytes(len(data[::4096]))  # a copy of all
            os.write(1, b"done\\n")
        os._exit(0)
print("forked")
"""


def test_what_forked_processes_share_counts_once():
    """Five that hold the same 50 MB have little more than one; a copy counts at once."""
    clock = Clock()

    def memory_mb(after_s=100.0):
        clock.now += after_s
        return sample()["process_memory_mb"]

    with child() as parent:
        sample = ProcessSampler(parent.pid, clock=clock, system=replace(LINUX, cpu_clock=lambda: 0.0))
        alone_mb = memory_mb()
        assert parent.do(f"exec({FORK!r})") == "forked"
        forked_mb = memory_mb()
        assert forked_mb == pytest.approx(alone_mb + 50, abs=20)
        assert parent.do("os.write(write, b'x')") == "done"
        memory_mb(0.1)  # has the page faults
        assert memory_mb(0.1) == pytest.approx(forked_mb + 50, abs=5)


# --- the highest RSS ------------------------------------------------------------------------------------------------

# Not by malloc, which may keep for itself what a large process frees.
PEAK = (
    "import mmap; x = mmap.mmap(-1, {}_000_000, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); "
    "x[::4096] = b'x' * len(x[::4096]); x.close(); print()"
)


def peak_mb(sample):
    """As at the end of a measurement."""
    sample.read_all_next()
    sample()
    return sample.peak_rss.mb


@cases("own", {"this process": True, "another": False})
def test_a_peak_between_two_readings_is_not_missed(own):
    """The kernel has its mark. Of this process it may be reset, which costs no measurement what it has seen."""
    with child() as other:
        assert reset_peak_rss()
        process = psutil.Process() if own else psutil.Process(other.pid)
        sample = ProcessSampler(process.pid, system=ALONE)
        before_mb = process.memory_info().rss / 1e6
        if own:
            exec(PEAK.format(80))
            assert reset_peak_rss()
        else:
            other.do(PEAK.format(80))
        assert peak_mb(sample) == pytest.approx(before_mb + 80, rel=0.05)


def test_a_peak_from_before_is_none_of_the_measurement():
    """Until it is passed; nor of a new program in the process, since the one before may have come near it again."""
    with child() as process:
        process.do(PEAK.format(100))
        sample = ProcessSampler(process.pid)
        process.do(PEAK.format(50))
        assert peak_mb(sample) is None
        process.do(PEAK.format(120))
        assert peak_mb(sample) == pytest.approx(120 + 10, abs=15)
        again = ProcessSampler(process.pid)
        process.do(f"os.execv(sys.executable, [sys.executable, '-c', {'print(flush=True); input()'!r}])")
        assert peak_mb(again) is None


def test_the_peak_is_that_of_any_one_process_of_the_tree():
    """A later one's counts from its start; none is known until it is above what another one may have had again."""
    with child() as process:
        process.do("kept = bytearray(b'x') * 100_000_000; print()")
        assert peak_mb(ProcessSampler(process.pid)) == pytest.approx(100 + 10, abs=15)
        process.do(PEAK.format(200))
        sample = ProcessSampler(process.pid, clock=itertools.count().__next__)
        hold(process, 150)
        assert peak_mb(sample) is None
        process.do("q = p; print()")
        hold(process, 350)
        assert peak_mb(sample) == pytest.approx(350 + 10, abs=10)


CHILDREN = """
import os, subprocess, sys
from mlflow_sysmetrics.sampling import ProcessSampler

take = "bytearray(b'x') * {}_000_000"
run_one = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {take.format(300)!r}])"
one_before = subprocess.Popen([sys.executable, "-c", f"{run_one}; print(flush=True); input()"], stdin=-1, stdout=-1)
one_before.stdout.readline()
sample = ProcessSampler()
one_before.communicate(b"x")
sample()
print((sample.peak_rss.mb or 0) < 100)
eval(take.format(200))
sample = ProcessSampler()
peaks = []
for megabytes in (0, 50, 500):
    subprocess.run([sys.executable, "-c", take.format(megabytes)], check=True)
    sample()
    peaks.append(sample.peak_rss.mb)
print(peaks[0], peaks[1], 500 < peaks[2] < 550)
"""


def test_an_ended_child_counts_above_what_it_had_from_its_parent():
    """The kernel gives a new process the mark of the one that starts it, and hands on that of what ended before."""
    done = subprocess.run([sys.executable, "-c", CHILDREN], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["True", "None", "None", "True"]


# --- a fake kernel --------------------------------------------------------------------------------------------------


def test_late_cpu_time_is_spread_and_exact_at_once():
    """A child found 0.4 s after its start shows 0.4 s of CPU over the next half second, not 400 % in one reading."""
    kernel = Kernel()
    sample = kernel.sampler()
    kernel.at(10.0)  # it looks for processes, and again half a second later
    busy = kernel.spawn(1)
    percents = []
    for step in range(1, 11):
        if step <= 5:
            kernel.run(busy, 0.09)
        percents.append(kernel.at(10 + step / 10)["process_cpu_percent"])
        if step == 5:
            assert sample.cpu.seconds == pytest.approx(0.45)
    assert max(percents) < 100
    assert sum(percents) / 1000 == pytest.approx(0.45)


def test_time_that_leaves_the_tree_is_not_made_up_for_by_later_time():
    """After a child's 5 s are lost to the tree, the parent's next second is still counted."""
    kernel = Kernel()
    busy = kernel.spawn(1)
    sample = kernel.sampler()
    kernel.run(busy, 5.0)
    kernel.at(0.5)
    kernel.exit(busy)
    kernel.reap(busy, credit=False)
    kernel.at(0.6)
    kernel.run(1, 1.0)
    kernel.at(2.0)
    assert sample.cpu.seconds == pytest.approx(6.0)


def test_user_and_system_time_are_of_one_sum_though_the_kernel_counts_them_apart():
    """What the system's count is ahead waits: neither falls, and the two are all the CPU time."""
    kernel = Kernel()
    sample = kernel.sampler()
    kernel.tasks[1].system_s += 0.1
    kernel.at(0.1)
    assert sample.cpu.system_s == 0
    kernel.run(1, 1.0)
    kernel.at(0.2)
    assert sample.cpu.system_s == pytest.approx(0.35)
    assert sample.cpu.user_s == pytest.approx(0.65)


def test_neither_an_ended_root_is_read_nor_who_gets_its_pid():
    """That is another process."""
    kernel = Kernel()
    sample = kernel.sampler()
    kernel.exit(1)
    assert sample() == {}
    kernel.reap(1)
    kernel.spawn(0, pid=1)
    assert [sample(), sample()] == [{}, {}]


def test_a_metric_refused_for_one_member_is_absent_for_the_tree():
    """A sum without one process would be too small and pass a limit: it is left out, and the rest stays."""
    kernel = Kernel()
    other = kernel.spawn(1)
    kernel.sampler()
    kernel.tasks[other].denied = {"process_memory_mb", "read_mb"}
    reading = kernel.at(0.5)
    known = ("cpu_percent", "rss_mb", "threads", "write_mb_per_s", "page_faults_per_s")
    assert set(reading) == {f"process_{name}" for name in known}


def test_rates_wait_for_50_ms_and_then_cover_all_of_it():
    """Readings close together have levels only; the next rate is over the whole time since the last."""
    kernel = Kernel()
    kernel.sampler()
    assert kernel.at(0.1)["process_cpu_percent"] == 0
    kernel.run(1, 0.03)
    assert "process_cpu_percent" not in kernel.at(0.13)
    assert kernel.at(0.2)["process_cpu_percent"] == pytest.approx(30)


def test_what_changes_slowly_is_read_in_one_of_five_readings_and_covers_them_all():
    """The first rates have it, so that a short run does; its rate is over the whole time since the last."""
    kernel = Kernel()
    kernel.sampler()
    rates = {}
    for step in range(1, 12):
        kernel.run(1, 0.05)
        reading = kernel.at(step / 10)
        if "process_write_mb_per_s" in reading:
            rates[step] = reading["process_write_mb_per_s"]
    assert rates == pytest.approx({1: 0.5, 5: 0.5, 9: 0.5})


def last_span(times):
    """Between the last two."""
    return times[-1] - times[-2]


@cases("walk_s, first_s, span_s", {"half a second": (0.0, 0.1, 0.5), "one percent": (0.05, 5.0, 5.0)})
def test_processes_are_looked_for_soon_at_first_and_then_rarely(walk_s, first_s, span_s):
    """A short run has its children's memory too, and a long one does not pay for looking ten times a second."""
    kernel = Kernel()
    kernel.walk_s = walk_s
    kernel.sampler()
    for step in range(1, 201):
        kernel.at(step / 10 + 0.001)
    assert kernel.walks[1] == pytest.approx(first_s, abs=0.01)
    assert last_span(kernel.walks) == pytest.approx(span_s, abs=0.11)


@cases("shared_s, least_s", [(0.001, 1.0), (0.01, 3.0)])
def test_what_is_shared_is_read_each_second_or_at_one_percent_of_the_time(shared_s, least_s):
    """Three processes, at so much each; between two reads the last one is used."""
    kernel = Forked(2, shared_s)
    assert kernel.memory_mb(seconds=30.0) == pytest.approx(12)
    assert last_span(kernel.times()) == pytest.approx(least_s + 0.05, abs=0.07)


@cases("told", {"with page faults": True, "without": False})
def test_a_copy_counts_once_faults_tell_or_within_a_second(told):
    """A process that writes to all that it shares has it alone then; until this is read, it is missing."""
    kernel = Forked(1)
    assert kernel.memory_mb() == pytest.approx(12)
    for task in kernel.tasks.values():
        task.shared_mb = 0.0
    kernel.tasks[2].faults_mb += 12.0 * told
    assert kernel.memory_mb() == pytest.approx(12)
    assert kernel.memory_mb() == pytest.approx(24 if told else 12)
    assert kernel.memory_mb(seconds=1.0) == pytest.approx(24)


def test_a_new_process_counts_once_it_is_known_what_it_shares():
    """Never in full first, which would be a peak that was not. Reading it takes 5 % of the time at most."""
    kernel = Forked(1, shared_s=0.2)
    kernel.memory_mb(seconds=1.0)
    kernel.tasks[kernel.spawn(1)].memory_mb = 70.0  # of its own
    shown = [kernel.memory_mb() for _ in range(120)]
    assert set(map(round, shown)) == {12, 82}
    first, *_, last = kernel.times()
    assert 8.0 - 1e-6 <= last - first <= 8.6  # two reads of 0.2 s are 5 % of 8 s


def test_tree_has_at_least_the_memory_of_its_largest_process():
    """What the others share is not known anew in the reading after one of them has ended."""
    kernel = Forked(2)
    kernel.memory_mb()
    kernel.exit(3)
    kernel.tasks[1].memory_mb = 13.0
    assert kernel.memory_mb() == pytest.approx(13)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["spawn", "run", "end", "orphan", "ignore", "reuse", "deny", "advance", "read", "interrupt"]),
        st.integers(0, 7),
        st.integers(1, 20),
    ),
    max_size=40,
)


class Story:
    """Plays random events on a kernel and a sampler, and checks at every reading what must always hold."""

    def __init__(self, events, kinds):
        self.kernel = Kernel()
        self.sample = self.kernel.sampler()
        self.shown_s = self.last_figure_at = 0.0
        for position, (kind, which, amount) in enumerate(events):
            if kind == "interrupt":
                next_ones = events[position + 1 : position + 3]
                self.interrupted_by(which, [event for event in next_ones if event[0] in kinds])
            elif kind == "read":
                self.read()
            elif kind in kinds:
                self.play(kind, which, amount)
        self.kernel.now += 1.0
        self.read()

    def play(self, kind, which, amount):
        kernel = self.kernel
        pids = [pid for pid, task in kernel.tasks.items() if not task.zombie]
        pid = pids[which % len(pids)]
        parents = {task.parent for task in kernel.tasks.values()}
        if kind == "advance":
            kernel.now += amount / 40
        elif kind == "spawn":
            kernel.spawn(pid)
        elif kind == "run":
            kernel.run(pid, amount / 10)
        elif kind == "deny":
            kernel.tasks[pid].denied = {"process_memory_mb", "read_mb"} if amount % 2 else set()
        elif pid != 1 and (kind == "orphan" or pid not in parents):
            kernel.exit(pid)
            if amount % 2 or kind != "end":
                kernel.reap(pid, credit=kind != "ignore")
            if kind == "reuse":
                kernel.tasks[kernel.spawn(0, pid=pid)].cpu_s = 1000.0

    def interrupted_by(self, which, events):
        """Take a reading during which those events happen, between two processes of the tree."""
        due = self.kernel.read_count + which % 4

        def play(count):
            if count == due:
                for event in events:
                    self.play(*event)

        self.kernel.between = play
        self.read()
        self.kernel.between = lambda count: None

    def read(self):
        cpu = self.sample.cpu
        before = cpu.user_s, cpu.system_s
        reading = self.sample()
        assert cpu.user_s >= before[0]
        assert cpu.system_s >= before[1]
        assert all(value >= 0 for value in reading.values())
        assert cpu.seconds <= self.kernel.used_s + 1e-9
        if "process_cpu_percent" in reading:
            self.shown_s += reading["process_cpu_percent"] / 100 * (self.kernel.now - self.last_figure_at)
            self.last_figure_at = self.kernel.now
            assert self.shown_s <= cpu.seconds + 1e-9


@given(EVENTS)
@settings(max_examples=300, deadline=None)
@example([("spawn", 0, 1), ("run", 1, 9), ("advance", 0, 20), ("read", 0, 1), ("interrupt", 1, 1), ("end", 1, 1)])
def test_the_sum_is_exact_when_every_parent_waits_for_its_children(events):
    """Whatever starts, runs, ends and is reaped, between readings or during one: all CPU time is counted once."""
    story = Story(events, {"spawn", "run", "end", "advance", "deny"})
    story.kernel.now += 1.0  # what died and moved up during the last walk is in by the next
    story.read()
    assert story.sample.cpu.seconds == pytest.approx(story.kernel.used_s)
    assert story.sample.cpu.system_s == pytest.approx(story.kernel.used_s / 4)


@given(EVENTS)
@settings(max_examples=300, deadline=None)
@example([("spawn", 0, 1), *[("advance", 0, 20)] * 2, ("interrupt", 0, 1), ("reuse", 1, 1)])
@example([("advance", 0, 4), ("interrupt", 0, 1), ("advance", 0, 20), ("run", 0, 9)])  # half a second in a reading
def test_nothing_raises_and_no_rate_is_negative_whatever_happens(events):
    """With orphans, ignored children and reused pids too: no exception, no negative rate, never too much CPU time."""
    Story(events, {"spawn", "run", "end", "orphan", "ignore", "deny", "advance"})
    Story(events, {"spawn", "run", "end", "reuse", "advance"})
