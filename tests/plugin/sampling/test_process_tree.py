"""Tests of sampling.process_tree: real processes against the kernel's own accounts, and a fake OS for the rest."""

from __future__ import annotations

import itertools
import mmap
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlflow_sysmetrics.sampling.one_process import HERE, LINUX, PORTABLE, Reading, System
from mlflow_sysmetrics.sampling.process_tree import ProcessSampler

ALONE = replace(HERE, descendants=lambda process: [])  # without the processes that other tests may have left
linux_only = pytest.mark.skipif(not psutil.LINUX, reason="compares with /proc")
KEYS = {
    "process_cpu_percent",
    "process_memory_mb",
    "process_rss_mb",
    "process_threads",
    "process_read_mb_per_s",
    "process_write_mb_per_s",
    "process_context_switches_per_s",
    "process_page_faults_per_s",
}


def burn(cpu_s: float) -> None:
    """Keep this thread busy until the process has used that much CPU time."""
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass


def least_percent(cpu_s: float, began: float) -> float:
    """Half of what so much CPU time since then is: the kernel counts in ticks, and other processes take turns."""
    return 50 * cpu_s / (time.monotonic() - began)


# --- real processes -------------------------------------------------------------------------------------------------


class Child:
    """A Python process that runs one line of code for each line it is sent, and answers with one line."""

    LOOP = "import sys, time, os, resource, subprocess\nfor line in sys.stdin: exec(line); sys.stdout.flush()"

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.pid = process, process.pid

    def do(self, code: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def freeze(self) -> None:
        """Stop it where it is, so that the kernel counts nothing more of it."""
        os.kill(self.pid, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(self.pid, os.WUNTRACED)[1])


@contextmanager
def child() -> Iterator[Child]:
    """Yield a started child that has answered once, and end it afterwards."""
    argv = [sys.executable, "-c", Child.LOOP]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            started = Child(process)
            assert started.do("print('ready')") == "ready"
            yield started
        finally:
            process.kill()


BUSY = "end = time.monotonic() + 0.5; c = time.process_time(); exec('while time.monotonic() < end: pass')"


@linux_only
def test_a_process_that_keeps_one_core_busy_reads_100_percent() -> None:
    """Over half a second it reads what the process's own account says; 90-110 when the machine gave it a whole core."""
    with child() as busy:
        for _ in range(5):
            earliest = time.monotonic()
            sample = ProcessSampler(busy.pid)
            early = time.monotonic()
            used_s = float(busy.do(f"{BUSY}; print(time.process_time() - c)"))
            late = time.monotonic()
            percent = sample()["process_cpu_percent"]
            least, most = 100 * used_s / (time.monotonic() - earliest), 100 * used_s / (late - early)
            assert least - 5 <= percent <= most + 5
            if least >= 95:
                assert 90 <= percent <= 110
                return
    pytest.skip("the machine never gave the process a whole core for half a second; its reading was right each time")


def test_processes_that_have_ended_are_known() -> None:
    """The kernel may have killed one of them for memory."""
    seconds = itertools.count(start=0.0, step=100.0)  # each reading looks for processes
    sample = ProcessSampler(clock=lambda: next(seconds))
    with child() as ended:
        sample()
    sample()
    assert sample.pids >= {os.getpid(), ended.pid}


def test_a_sleeping_process_reads_under_5_percent() -> None:
    """A process that waits uses no CPU."""
    with child() as idle:
        sample = ProcessSampler(idle.pid)
        idle.do("time.sleep(0.5); print()")
        assert sample()["process_cpu_percent"] < 5


def test_this_process_is_counted_to_the_nanosecond() -> None:
    """For its own process the sampler agrees with time.process_time, far below the kernel's tick."""
    earliest = time.process_time()
    sample = ProcessSampler(system=ALONE)
    early = time.process_time()
    burn(0.1)
    late = time.process_time()
    sample()
    assert late - early <= sample.cpu_seconds <= time.process_time() - earliest


def test_a_run_of_20_ms_gets_one_figure() -> None:
    """The first CPU figure does not wait 50 ms as later ones do, and an instant reading does not spend it."""
    began = time.monotonic()
    sample = ProcessSampler(system=ALONE)
    sample()
    burn(0.02)
    percent = sample()["process_cpu_percent"]
    assert percent > least_percent(0.02, began)


@linux_only
@pytest.mark.parametrize("megabytes", [1, 100], ids=["small", "100 MB touched"])
def test_memory_is_resident_less_shared(megabytes: int) -> None:
    """Memory is within 2 % of the process's statm, and RSS is larger."""
    with child() as process:
        process.do(f"data = b'x' * {megabytes * 10**6}; print()")
        reading = ProcessSampler(process.pid)()
        _, resident, shared, *_ = map(int, Path(f"/proc/{process.pid}/statm").read_text().split())
    assert reading["process_memory_mb"] == pytest.approx((resident - shared) * mmap.PAGESIZE / 1e6, rel=0.02)
    assert reading["process_rss_mb"] == pytest.approx(resident * mmap.PAGESIZE / 1e6, rel=0.02)
    assert reading["process_memory_mb"] > megabytes


SPAWN = "p = subprocess.Popen([sys.executable, '-c', 'import time\\nwhile time.process_time() < 0.15: pass'])"


@linux_only
@pytest.mark.parametrize("walk_every_s", [0.01, 1000.0], ids=["seen alive", "never seen"])
def test_cpu_seconds_are_the_sum_over_children_that_come_and_go(walk_every_s: float) -> None:
    """A parent and its ended children sum to what the kernel charges for them, whether or not a walk ever saw them."""
    usage = "sum(sum(resource.getrusage(w)[:2]) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))"
    with child() as parent:
        before_s = float(parent.do(f"print({usage})"))
        sample = ProcessSampler(parent.pid, walk_every_s=walk_every_s)
        for _ in range(2):
            parent.do(f"{SPAWN}; print()")
            sample()
            parent.do(f"q = p; {SPAWN}; q.wait(); print()")
            sample()
            parent.do("p.wait(); print()")
            sample()
        used_s = float(parent.do(f"print({usage})")) - before_s
        sample()
    assert used_s > 0.6
    assert sample.cpu_seconds == pytest.approx(used_s, abs=0.1)


@linux_only
def test_a_living_child_counts_before_it_ends() -> None:
    """The tree's memory and CPU include a child that is still running."""
    with child() as parent:
        alone_mb = ProcessSampler(parent.pid)()["process_memory_mb"]
        sample = ProcessSampler(parent.pid, walk_every_s=1e-6)
        code = "import time; x = b'x' * 50_000_000\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
        parent.do(
            f"p = subprocess.Popen([sys.executable, '-c', {code!r}], stdin=-1, stdout=-1); p.stdout.readline(); print()"
        )
        reading = sample()
        parent.do("p.stdin.close(); p.wait(); print()")
    assert reading["process_memory_mb"] > alone_mb + 50
    assert sample.cpu_seconds > 0.25


FORK = """
data, (read, write) = bytearray(b"x") * 50_000_000, os.pipe()
for _ in range(4):
    if os.fork() == 0:
        os.close(write)
        while os.read(read, 1):  # until the parent ends
            data[::4096] = bytes(len(data[::4096]))
            print("written", flush=True)
        os._exit(0)
print("forked")
"""


@linux_only
def test_what_forked_processes_share_counts_once() -> None:
    """Five that hold the same 50 MB have little more than one; a copy counts, and so does what is not shared."""
    if LINUX.read_shared is None or LINUX.read_shared(psutil.Process()) is None:
        pytest.skip("the kernel does not say what is shared")
    now = [0.0]

    def memory_mb() -> float:
        now[0] += 100.0
        return sample()["process_memory_mb"]

    with child() as parent:
        sample = ProcessSampler(parent.pid, clock=lambda: now[0])
        alone_mb = memory_mb()
        assert parent.do(f"exec({FORK!r})") == "forked"
        forked_mb = memory_mb()
        assert len(sample.pids) == 5
        assert forked_mb == pytest.approx(alone_mb + 50, abs=20)
        assert parent.do("os.write(write, b'x')") == "written"
        assert memory_mb() == pytest.approx(forked_mb + 50, abs=5)
        own = "x = b'x' * 50_000_000; print(flush=True); input()"
        parent.do(
            f"p = subprocess.Popen([sys.executable, '-c', {own!r}], stdin=-1, stdout=-1); p.stdout.readline(); print()"
        )
        with_spawned_mb = memory_mb()
        _, resident, shared, *_ = map(int, Path(f"/proc/{parent.do('print(p.pid)')}/statm").read_text().split())
        spawned_mb = (resident - shared) * mmap.PAGESIZE / 1e6
        assert spawned_mb > 50
        assert with_spawned_mb == pytest.approx(forked_mb + 50 + spawned_mb, abs=5)


def test_an_exited_process_gives_an_empty_reading() -> None:
    """An ended process gives {}, both while it is a zombie and after it is reaped, and its CPU time is kept."""
    with child() as process:
        sample = ProcessSampler(process.pid)
        process.do("c = time.process_time(); exec('while time.process_time() < c + 0.1: pass'); print()")
        assert sample()
        assert process.do("os._exit(0)") == ""
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert sample() == {}
        process.process.wait()
        assert sample() == {}
        assert sample.cpu_seconds > 0.08


class Account(NamedTuple):
    """What the kernel has counted of this process by now. Threads that other tests have left are in it, too."""

    faults: int
    switches: int
    written_mb: float

    @classmethod
    def now(cls) -> Account:
        own, reaped = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        faults = own.ru_minflt + own.ru_majflt + reaped.ru_minflt + reaped.ru_majflt
        return cls(faults, own.ru_nvcsw + own.ru_nivcsw, psutil.Process().io_counters().write_bytes / 1e6)


@linux_only
def test_a_reading_of_this_process_has_every_key_and_the_kernels_counts(tmp_path: Path) -> None:
    """All are there and not negative. Growth between two readings is at least that just within, at most that around."""
    now, pages = [0.0], 2000
    earliest = Account.now()
    sample = ProcessSampler(system=ALONE, clock=lambda: now[0])
    early = Account.now()
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        for page in range(pages):
            memory[page * mmap.PAGESIZE] = 1
    (tmp_path / "file").write_bytes(b"x" * 8_000_000)
    burn(0.1)
    late, now[0] = Account.now(), 1.0
    reading = sample()
    latest = Account.now()
    assert set(reading) == KEYS
    assert min(reading.values()) >= 0
    assert late.faults - early.faults >= pages
    names = ("page_faults_per_s", "context_switches_per_s", "write_mb_per_s")
    for name, *counts in zip(names, earliest, early, late, latest, strict=True):
        assert counts[2] - counts[1] <= reading[f"process_{name}"] + 1e-9, name
        assert reading[f"process_{name}"] <= counts[3] - counts[0] + 1e-9, name


@linux_only
def test_a_name_with_spaces_and_parentheses_is_read(tmp_path: Path) -> None:
    """The name field of stat may hold anything: the fields after it are still found."""
    script = tmp_path / "a) Z (b"
    script.write_text("#!/bin/sh\necho; read x\n")
    script.chmod(0o700)
    with subprocess.Popen([script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert ProcessSampler(process.pid)()["process_threads"] == 1
        process.communicate(b"\n")


@linux_only
def test_a_process_without_children_is_not_searched_for_them() -> None:
    """The cheap question to the kernel is right: nothing while there are none, the child once there is."""
    script = """
import os, subprocess, sys
from types import SimpleNamespace
from mlflow_sysmetrics.sampling.one_process import LINUX

cannot_be_searched = SimpleNamespace(pid=os.getpid())
print(LINUX.descendants(cannot_be_searched))
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print([process.pid for process in LINUX.descendants(LINUX.open(os.getpid()))] == [child.pid])
child.communicate(b"\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["[]", "True"]


@linux_only
def test_a_child_that_starts_later_is_found_by_the_next_walk() -> None:
    """So is a grandchild; and both leave when they have ended."""
    now = [0.0]
    with child() as parent:
        sample = ProcessSampler(parent.pid, clock=lambda: now[0])
        for _ in range(5):
            now[0] += 1.0
            assert sample()["process_threads"] == 1
        parent.do("p = subprocess.Popen(['sh', '-c', 'sleep 600 & echo $!; read x'], stdin=-1, stdout=-1); print()")
        grandchild = int(parent.do("print(int(p.stdout.readline()), flush=True)"))
        now[0] += 0.45  # threads are due, a walk is not
        assert sample()["process_threads"] == 1
        now[0] += 1.0
        assert sample()["process_threads"] == 3
        os.kill(grandchild, signal.SIGKILL)
        parent.do("p.stdin.close(); p.wait(); print()")
        now[0] += 1.0
        assert sample()["process_threads"] == 1


COMING_AND_GOING = """
import os, subprocess
print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
while True:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
"""


@linux_only
def test_a_tree_that_changes_all_the_time_is_read_each_time() -> None:
    """Processes that end while they are looked for or read cost neither a reading nor the child that lasts."""
    with subprocess.Popen([sys.executable, "-c", COMING_AND_GOING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lasting = int(process.stdout.readline())
        try:
            ticks = itertools.count()
            sample = ProcessSampler(process.pid, walk_every_s=1e-6, clock=lambda: next(ticks))
            for _ in range(60):
                reading = sample()
                assert reading["process_threads"] >= 2
                assert set(reading) >= KEYS - {"process_read_mb_per_s", "process_write_mb_per_s"}
        finally:
            process.kill()
            os.kill(lasting, signal.SIGKILL)


def start_with_pid(pid: int) -> subprocess.Popen[bytes]:
    """Start a sleeping process with a pid that is free. Skips where the kernel does not let us, or is too busy."""
    for _ in range(50):
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        except OSError:
            pytest.skip("the kernel gives this user no say in pids")
        process = subprocess.Popen(["sleep", "600"])
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
    pytest.skip("others start processes all the time")


@linux_only
@pytest.mark.parametrize("read", [True, False], ids=["before", "never"])
def test_a_reused_pid_is_not_read_for_the_old_process(read: bool) -> None:
    """Another process with the same pid is another process, whether or not the old one had been read."""
    with child() as old:
        sample, opened = ProcessSampler(old.pid), LINUX.open(old.pid)
        old.process.kill()
    boot_ticks = time.clock_gettime(time.CLOCK_BOOTTIME) * 100  # the kernel tells starts in hundredths of a second
    while time.clock_gettime(time.CLOCK_BOOTTIME) * 100 < boot_ticks + 2:
        pass
    new = start_with_pid(old.pid)
    try:
        assert ProcessSampler(new.pid)()
        assert (sample() if read else ProcessSampler(new.pid, system=replace(LINUX, open=lambda pid: opened))()) == {}
    finally:
        new.kill()
        new.wait()


@linux_only
def test_what_another_user_may_not_read_is_absent_for_the_tree() -> None:
    """Reads and writes of another user's process are refused: the other figures are right."""
    if os.geteuid() != 0:
        pytest.skip("only root has processes of two users")
    script = """
import os, subprocess
from mlflow_sysmetrics.sampling.process_tree import ProcessSampler
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # which ends with this process
os.setuid(65534)
now = [0.0]
sample = ProcessSampler(child.pid, clock=lambda: now[0])
names = set()
for _ in range(3):
    now[0] += 0.1
    names |= set(sample())
print(*sorted(names))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert set(done.stdout.split()) == KEYS - {"process_read_mb_per_s", "process_write_mb_per_s"}


@linux_only
def test_a_forked_child_reads_itself_and_disturbs_nobody() -> None:
    """A sampler made before a fork watches the same tree in both processes, and a new one the new process."""
    script = """
import itertools, os, sys
from mlflow_sysmetrics.sampling.process_tree import ProcessSampler
sample = ProcessSampler(clock=itertools.count().__next__)
forked = os.fork()
if forked == 0:
    old = sample()
    own = ProcessSampler()()
    print(old["process_threads"], own["process_threads"], flush=True)
    sys.exit()
os.waitpid(forked, 0)
print(sample()["process_threads"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["2.0", "1.0", "1.0"], done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"walk_every_s": 0}, "walk_every_s=0"),
        ({"walk_every_s": float("nan")}, "walk_every_s=nan"),
    ],
    ids=lambda value: str(value),
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    """Construction says which argument is wrong, and its value."""
    with pytest.raises(ValueError, match=message):
        ProcessSampler(**arguments)


# --- another operating system (the seam is substituted: nothing here runs on macOS or Windows) ------------------------


def test_the_portable_reader_reads_this_process() -> None:
    """Through psutil alone everything but page faults is read."""
    began = time.monotonic()
    sample = ProcessSampler(system=PORTABLE)
    burn(0.05)
    reading = sample()
    assert set(reading) == KEYS - {"process_page_faults_per_s"}
    assert reading["process_cpu_percent"] > least_percent(0.05, began)


class Mac:
    """A process as psutil shows it on macOS: no io_counters at all, and another user's memory refused."""

    pid = 1
    cpu_s = 5.0
    running = True
    state = "running"

    def is_running(self) -> bool:
        return self.running

    def status(self) -> str:
        return self.state

    def cpu_times(self) -> SimpleNamespace:
        return SimpleNamespace(user=self.cpu_s, system=0.0)

    def memory_full_info(self) -> None:
        raise psutil.AccessDenied(self.pid)

    def num_threads(self) -> int:
        return 3

    def num_ctx_switches(self) -> tuple[int, int]:
        raise NotImplementedError

    def children(self, recursive: bool) -> list[Mac]:
        return []


def test_the_portable_reader_leaves_out_what_the_os_refuses() -> None:
    """A refused or missing metric is absent while the others stay."""
    process, now = Mac(), [0.0]
    system = System("uss", PORTABLE.read, PORTABLE.descendants, lambda _: process, lambda _: True)
    sample = ProcessSampler(1, clock=lambda: now[0], system=system)
    now[0], process.cpu_s = 1.0, 5.5
    assert sample() == {"process_threads": 3.0, "process_cpu_percent": 50.0}


@pytest.mark.parametrize(
    ("running", "state"), [(False, "running"), (True, psutil.STATUS_ZOMBIE)], ids=["gone", "zombie"]
)
def test_the_portable_reader_counts_a_zombie_as_gone(running: bool, state: str) -> None:
    """Where an ended process cannot be read any more, it is gone."""
    process = Mac()
    sample = ProcessSampler(
        1, system=System("uss", PORTABLE.read, PORTABLE.descendants, lambda _: process, lambda _: True)
    )
    process.running, process.state = running, state
    assert sample() == {}


# --- a fake kernel ----------------------------------------------------------------------------------------------------


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
    zombie: bool = False
    memory_mb: float = 10.0
    shared_mb: float | None = 0.0  # of its memory, what counts for others
    denied: set[str] = field(default_factory=set)


class Kernel:
    """Processes that account for CPU time as Linux does, with a clock, and a hook that runs between two reads."""

    def __init__(self) -> None:
        self.now, self.starts, self.used_s, self.read_count = 0.0, 0.0, 0.0, 0
        self.sampler_s, self.shared_s = 0.0, 0.0  # CPU time of the sampler; what it takes to read what a process shares
        self.shared_reads: list[tuple[float, int]] = []  # when, and of which pid
        self.tasks: dict[int, Task] = {}
        self.between: Callable[[int], None] = lambda count: None
        self.spawn(0)

    def sampler(self, **arguments: Any) -> ProcessSampler:
        system = System(
            "rss-shr",
            self.read,
            self.descendants,
            lambda pid: self.tasks[pid].handle,
            self.is_same,
            self.read_shared,
        )
        return ProcessSampler(1, clock=lambda: self.now, cpu_clock=lambda: self.sampler_s, system=system, **arguments)

    def settled_sampler(self) -> ProcessSampler:
        """One that has walked at 10 s, and does so again at each full second."""
        sample = self.sampler(walk_every_s=1.0)
        self.now = 10.0
        sample()
        return sample

    def spawn(self, parent: int, pid: int | None = None) -> int:
        pid = pid or max(self.tasks, default=0) + 1
        self.starts += 1
        self.tasks[pid] = Task(Handle(pid, self.starts), parent)
        return pid

    def run(self, pid: int, cpu_s: float) -> None:
        self.tasks[pid].cpu_s += cpu_s
        self.used_s += cpu_s

    def exit(self, pid: int) -> None:
        self.tasks[pid].zombie = True
        for task in self.tasks.values():
            if task.parent == pid:
                task.parent = 0  # adopted from outside the tree

    def reap(self, pid: int, credit: bool = True) -> None:
        """Remove a zombie. Without credit, its parent ignores SIGCHLD, or it was adopted: its time leaves the tree."""
        gone = self.tasks.pop(pid)
        if credit and gone.parent in self.tasks:
            self.tasks[gone.parent].reaped_cpu_s += gone.cpu_s + gone.reaped_cpu_s

    def descendants(self, root: Handle) -> list[Handle]:
        found, level = [], [root.pid]
        while level:
            level = [pid for pid, task in self.tasks.items() if task.parent in level]
            found += [self.tasks[pid].handle for pid in level]
        return found

    def is_same(self, handle: Handle) -> bool:
        return handle.pid in self.tasks and self.tasks[handle.pid].handle == handle

    def read_shared(self, handle: Handle) -> float | None:
        self.sampler_s += self.shared_s
        self.shared_reads.append((self.now, handle.pid))
        return self.tasks[handle.pid].shared_mb if self.is_same(handle) else None

    def read(self, handle: Handle, slow: bool) -> Reading:
        self.between(self.read_count)
        self.read_count += 1
        if handle.pid not in self.tasks:
            raise psutil.NoSuchProcess(handle.pid)
        task = self.tasks[handle.pid]  # found by pid, whoever that is by now
        levels = {"process_memory_mb": 0.0 if task.zombie else task.memory_mb, "process_threads": 1.0}
        counters = {"process_read_mb_per_s": task.cpu_s}
        if slow:
            counters["process_context_switches_per_s"] = task.cpu_s
        for key in task.denied:
            levels.pop(key, None)
            counters.pop(key, None)
        return Reading(task.handle.start, task.zombie, task.cpu_s, task.reaped_cpu_s, levels, counters)


def test_late_cpu_time_is_spread_and_exact_at_once() -> None:
    """A child found 0.9 s after its start shows 0.9 s of CPU over the next second, not 900 % in one reading."""
    kernel = Kernel()
    sample = kernel.settled_sampler()
    busy = kernel.spawn(1)
    shown_s, highest = 0.0, 0.0
    for step in range(1, 21):
        if step <= 10:
            kernel.run(busy, 0.09)
        kernel.now = 10 + step / 10
        percent = sample()["process_cpu_percent"]
        shown_s, highest = shown_s + percent / 1000, max(highest, percent)
        if step == 10:
            assert sample.cpu_seconds == pytest.approx(0.9)
    assert highest < 100
    assert shown_s == pytest.approx(0.9)


def test_a_child_never_seen_alive_is_spread_too() -> None:
    """What a parent gets from a child between two walks is late time."""
    kernel = Kernel()
    sample = kernel.settled_sampler()
    kernel.now = 11.0
    brief = kernel.spawn(1)
    kernel.run(brief, 0.4)
    kernel.exit(brief)
    kernel.reap(brief)
    assert sample()["process_cpu_percent"] == pytest.approx(40)
    assert sample.cpu_seconds == pytest.approx(0.4)


def test_a_child_reaped_while_the_tree_is_read_is_counted_once() -> None:
    """The child's time moves to the parent after the parent was read: the tree is read again."""
    kernel = Kernel()
    busy = kernel.spawn(1)
    sample = kernel.sampler()
    kernel.run(busy, 2.0)
    kernel.exit(busy)
    first = kernel.read_count
    kernel.between = lambda count: kernel.reap(busy) if count == first + 1 else None
    kernel.now = 0.5
    sample()
    assert sample.cpu_seconds == pytest.approx(2.0)
    kernel.now = 0.9
    sample()
    assert sample.cpu_seconds == pytest.approx(2.0)


def test_time_that_leaves_the_tree_is_not_made_up_for_by_later_time() -> None:
    """After a child's 5 s are lost to the tree, the parent's next second is still counted."""
    kernel = Kernel()
    busy = kernel.spawn(1)
    sample = kernel.sampler()
    kernel.run(busy, 5.0)
    kernel.now = 0.5
    sample()
    kernel.exit(busy)
    kernel.reap(busy, credit=False)
    kernel.now = 0.6
    sample()
    kernel.run(1, 1.0)
    kernel.now = 2.0
    sample()
    assert sample.cpu_seconds == pytest.approx(6.0)


def test_a_reused_pid_is_another_process() -> None:
    """A stranger that got a child's pid adds nothing, and one that got the root's pid is not read at all."""
    kernel = Kernel()
    old = kernel.spawn(1)
    sample = kernel.sampler()
    kernel.exit(old)
    kernel.reap(old)
    kernel.tasks[kernel.spawn(0, pid=old)].cpu_s = 1000.0
    kernel.now = 0.1
    assert sample()["process_threads"] == 1
    assert sample.cpu_seconds == 0
    kernel.reap(1)
    kernel.spawn(0, pid=1)
    assert sample() == {}
    assert sample() == {}


def test_a_zombie_counts_its_cpu_but_no_memory() -> None:
    """A child that has ended and is not waited for keeps its CPU time in the sum."""
    kernel = Kernel()
    ended = kernel.spawn(1)
    sample = kernel.sampler()
    kernel.run(ended, 1.0)
    kernel.exit(ended)
    kernel.now = 0.5
    reading = sample()
    assert sample.cpu_seconds == pytest.approx(1.0)
    assert (reading["process_memory_mb"], reading["process_threads"]) == (10.0, 1.0)


def test_a_metric_refused_for_one_member_is_absent_for_the_tree() -> None:
    """A sum without one process would be too small and pass a limit: it is left out, and the rest stays."""
    kernel = Kernel()
    other = kernel.spawn(1)
    sample = kernel.sampler()
    kernel.tasks[other].denied = {"process_memory_mb", "process_read_mb_per_s"}
    kernel.now = 0.5
    reading = sample()
    assert set(reading) == {"process_threads", "process_cpu_percent", "process_context_switches_per_s"}
    kernel.tasks[other].denied.clear()
    kernel.run(other, 2.0)
    kernel.now = 1.0
    assert sample()["process_read_mb_per_s"] == pytest.approx(2.0)  # 2 MB in the whole second since its last rate


def test_rates_wait_for_50_ms_and_then_cover_all_of_it() -> None:
    """Readings close together have levels only; the next rate is over the whole time since the last."""
    kernel = Kernel()
    sample = kernel.sampler()
    kernel.now = 0.1
    assert sample()["process_cpu_percent"] == 0
    kernel.run(1, 0.03)
    kernel.now = 0.13
    assert "process_cpu_percent" not in sample()
    kernel.now = 0.2
    assert sample()["process_cpu_percent"] == pytest.approx(30)


def test_what_changes_slowly_is_read_in_one_of_five_readings_and_covers_them_all() -> None:
    """The first rates have it, so that a short run does; its rate is over the whole time since the last."""
    kernel = Kernel()
    sample = kernel.sampler()
    rates = {}
    for step in range(1, 12):
        kernel.run(1, 0.05 * step)
        kernel.now = step / 10
        reading = sample()
        assert "process_read_mb_per_s" in reading
        if "process_context_switches_per_s" in reading:
            rates[step] = reading["process_context_switches_per_s"]
    assert next(iter(rates)) == 1
    assert {later - earlier for earlier, later in itertools.pairwise(rates)} <= {4, 5}
    grown = 0.0
    for earlier, later in itertools.pairwise([0, *rates]):
        grown += rates[later] * (later - earlier) / 10
    assert grown == pytest.approx(sum(0.05 * step for step in range(1, max(rates) + 1)))


def test_walks_come_soon_at_first_and_then_every_half_second() -> None:
    """A short run has its children's memory too, and a long one does not pay for looking ten times a second."""
    kernel = Kernel()
    walks = []

    def walk(root: Handle) -> list[Handle]:
        walks.append(kernel.now)
        return kernel.descendants(root)

    system = System("rss-shr", kernel.read, walk, lambda pid: kernel.tasks[pid].handle, kernel.is_same)
    sample = ProcessSampler(1, clock=lambda: kernel.now, cpu_clock=lambda: 0.0, system=system)
    for step in range(1, 31):
        kernel.now = step / 10 + 0.001
        sample()
    early, late = [at for at in walks if 0 < at < 0.5], [at for at in walks if at > 1]
    assert early[0] == pytest.approx(0.101)
    assert len(early) == 2
    assert all(0.45 < later - earlier < 0.65 for earlier, later in itertools.pairwise(late))


def test_the_same_object_stands_for_a_process_at_each_walk() -> None:
    """What psutil keeps in it is kept, and it is asked only once whether its pid is still its own."""
    kernel = Kernel()
    child, read, asked = kernel.spawn(1), list[Handle](), list[int]()

    def copied(root: Handle) -> list[Handle]:
        return [Handle(*handle) for handle in kernel.descendants(root)]

    def record(handle: Handle, slow: bool) -> Reading:
        read.append(handle)
        return kernel.read(handle, slow)

    def is_same(handle: Handle) -> bool:
        asked.append(handle.pid)
        return kernel.is_same(handle)

    system = System("rss-shr", record, copied, lambda pid: kernel.tasks[pid].handle, is_same)
    sample = ProcessSampler(1, clock=lambda: kernel.now, system=system)
    for second in range(1, 4):
        kernel.now = float(second)
        sample()
    assert len({id(handle) for handle in read if handle.pid == child}) == 1
    assert sorted(asked) == [1, child]


def test_walks_take_at_most_one_percent_of_the_time() -> None:
    """Where a walk costs 50 ms, the next one comes after 5 s instead of walk_every_s."""
    kernel = Kernel()
    cpu_s, walks = 0.0, []

    def slow_walk(root: Handle) -> list[Handle]:
        nonlocal cpu_s
        cpu_s += 0.05
        walks.append(kernel.now)
        return []

    system = System("rss-shr", kernel.read, slow_walk, lambda pid: kernel.tasks[pid].handle, kernel.is_same)
    sample = ProcessSampler(1, walk_every_s=0.5, clock=lambda: kernel.now, cpu_clock=lambda: cpu_s, system=system)
    for step in range(1, 81):
        kernel.now = step / 8
        sample()
    assert walks == pytest.approx([0, 5, 10], abs=0.2)


class Forked(Kernel):
    """Processes that share all of their 12 MB, and a sampler with a reading each tenth of a second."""

    def __init__(self, children: int, shared_s: float = 0.0) -> None:
        super().__init__()
        self.shared_s = shared_s
        for _ in range(children):
            self.spawn(1)
        self.share()
        self.sample = self.sampler(walk_every_s=0.05)

    def share(self) -> None:
        for task in self.tasks.values():
            task.memory_mb, task.shared_mb = 12.0, 12.0 * (1 - 1 / len(self.tasks))

    def memory_mb(self, seconds: float = 0.1) -> float:
        """In the last reading of that time."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            reading = self.sample()
        return reading["process_memory_mb"]

    def times(self, pid: int = 1) -> list[float]:
        return [at for at, read in self.shared_reads if read == pid]


def test_what_one_process_shares_is_not_read() -> None:
    """A tree of one costs what it did, and has all that is in the process: others may be outside the tree."""
    kernel = Forked(0)
    kernel.tasks[1].shared_mb = 6.0
    assert kernel.memory_mb(seconds=5.0) == 12.0
    assert kernel.shared_reads == []


@pytest.mark.parametrize(
    ("shared_s", "least_s"),
    [(0.0, 1.0), (0.001, 1.0), (0.01, 3.0), (0.1, 30.0)],
    ids=["free", "1 ms", "10 ms", "0.1 s"],
)
def test_what_is_shared_is_read_each_second_or_at_one_percent_of_the_time(shared_s: float, least_s: float) -> None:
    """Three processes, at so much each; between two reads the last one is used."""
    kernel = Forked(2, shared_s)
    assert kernel.memory_mb(seconds=90.0) == pytest.approx(12)
    spans = [later - earlier for earlier, later in itertools.pairwise(kernel.times())]
    assert len(spans) >= 2
    assert all(least_s - 1e-6 <= span <= least_s + 0.11 for span in spans)


def test_a_copy_counts_within_a_second() -> None:
    """A process that writes to all that it shares has it alone then; until this is read, it is missing."""
    kernel = Forked(1)
    assert kernel.memory_mb() == pytest.approx(12)
    for task in kernel.tasks.values():
        task.shared_mb = 0.0
    assert kernel.memory_mb() == pytest.approx(12)
    assert kernel.memory_mb(seconds=1.0) == pytest.approx(24)


def test_processes_that_share_nothing_are_read_once() -> None:
    """As those that were not forked, or have run another program since: that changes with the next fork alone."""
    kernel = Forked(2)
    kernel.tasks[3].shared_mb = 0.0
    kernel.memory_mb(seconds=1.5)
    before = {pid: len(kernel.times(pid)) for pid in kernel.tasks}
    kernel.memory_mb(seconds=5.0)
    assert len(kernel.times(3)) == before[3]
    assert len(kernel.times(1)) >= before[1] + 4
    kernel.spawn(3)
    kernel.share()
    assert kernel.memory_mb() == pytest.approx(12)
    assert len(kernel.times(3)) == before[3] + 1


def test_a_new_process_counts_once_it_is_known_what_it_shares() -> None:
    """Never in full first, which would be a peak that was not. Reading it takes 5 % of the time at most."""
    kernel = Forked(1, shared_s=0.01)
    kernel.memory_mb(seconds=1.0)
    kernel.spawn(1)
    kernel.share()
    assert kernel.memory_mb() == pytest.approx(12)
    first = kernel.times()[-1]
    assert first == kernel.now
    kernel.tasks[kernel.spawn(1)].memory_mb = 70.0  # of its own
    assert kernel.memory_mb(seconds=0.5) == pytest.approx(12)
    assert kernel.memory_mb(seconds=0.2) == pytest.approx(82)
    assert 0.6 - 1e-6 <= kernel.times()[-1] - first <= 0.71  # three reads of 10 ms are 5 % of 0.6 s


@pytest.mark.parametrize("reaped", [True, False], ids=["reaped", "zombie"])
def test_what_an_ended_process_shared_is_the_others_again(reaped: bool) -> None:
    """They are read at the next reading; until then, too, the tree has at least what one of them holds."""
    kernel = Forked(2)
    kernel.memory_mb()
    kernel.exit(3)
    if reaped:
        kernel.reap(3)
    kernel.tasks[1].shared_mb = kernel.tasks[2].shared_mb = 6.0
    kernel.tasks[1].memory_mb = 13.0
    assert kernel.memory_mb() == pytest.approx(13)
    first = kernel.now
    kernel.tasks[2].memory_mb = 14.0
    assert kernel.memory_mb() == pytest.approx(15)
    assert kernel.times()[-1] >= first
    assert kernel.times(3)[-1] < first


def test_what_a_process_gave_back_is_not_taken_from_the_others() -> None:
    """Until it is read again, less of it is there than it shared."""
    kernel = Forked(2)
    kernel.memory_mb()
    kernel.tasks[1].memory_mb = kernel.tasks[3].memory_mb = 20.0  # each shared 8
    kernel.tasks[2].memory_mb = 2.0
    assert kernel.memory_mb() == pytest.approx(24)


def test_what_is_shared_with_others_outside_the_tree_stays_in_it() -> None:
    """The two share all with a third process: a third of it would be missing, which the largest of them has."""
    kernel = Forked(1)
    for task in kernel.tasks.values():
        task.shared_mb = 8.0
    assert kernel.memory_mb(seconds=2.0) == pytest.approx(12)


def test_a_process_of_which_it_cannot_be_read_counts_in_full() -> None:
    """Refused, or an older kernel: as if it shared nothing, until it can be read."""
    kernel = Forked(1)
    kernel.tasks[2].shared_mb = None
    assert kernel.memory_mb(seconds=1.5) == pytest.approx(18)
    kernel.tasks[2].shared_mb = 6.0
    assert kernel.memory_mb(seconds=1.5) == pytest.approx(12)


@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), psutil.AccessDenied(1)], ids=["OSError", "denied"]
)
def test_a_failing_os_costs_one_reading_only(error: Exception) -> None:
    """When the OS cannot be asked for once, that reading is empty and the next one is right."""
    kernel = Kernel()
    sample = kernel.sampler()

    def fail(count: int) -> None:
        raise error

    kernel.between, kernel.now = fail, 0.5
    assert sample() == {}
    kernel.between, kernel.now = lambda count: None, 1.0
    kernel.run(1, 0.5)
    assert sample()["process_cpu_percent"] == pytest.approx(50)


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

    def __init__(self, events: list[tuple[str, int, int]], kinds: set[str]) -> None:
        self.kernel = Kernel()
        self.sample = self.kernel.sampler(walk_every_s=0.5)
        self.shown_s = self.last_figure_at = 0.0
        for position, (kind, which, amount) in enumerate(events):
            if kind == "interrupt":
                self.interrupted_by(
                    which, [event for event in events[position + 1 : position + 3] if event[0] in kinds]
                )
            elif kind == "read":
                self.read()
            elif kind in kinds:
                self.play(kind, which, amount)
        self.kernel.now += 1.0
        self.read()

    def play(self, kind: str, which: int, amount: int) -> None:
        kernel = self.kernel
        pids = [task.handle.pid for task in kernel.tasks.values() if not task.zombie]
        pid = pids[which % len(pids)]
        parents = {task.parent for task in kernel.tasks.values()}
        if kind == "advance":
            kernel.now += amount / 40
        elif kind == "spawn":
            kernel.spawn(pid)
        elif kind == "run":
            kernel.run(pid, amount / 10)
        elif kind == "deny":
            kernel.tasks[pid].denied = {"process_memory_mb", "process_read_mb_per_s"} if amount % 2 else set()
        elif pid != 1 and (kind == "orphan" or pid not in parents):
            kernel.exit(pid)
            if amount % 2 or kind != "end":
                kernel.reap(pid, credit=kind != "ignore")
            if kind == "reuse":
                kernel.tasks[kernel.spawn(0, pid=pid)].cpu_s = 1000.0

    def interrupted_by(self, which: int, events: list[tuple[str, int, int]]) -> None:
        """Take a reading during which those events happen, between two processes of the tree."""
        due = self.kernel.read_count + which % 4

        def play(count: int) -> None:
            if count == due:
                for event in events:
                    if event[0] != "advance":
                        self.play(*event)

        self.kernel.between = play
        self.read()
        self.kernel.between = lambda count: None

    def read(self) -> None:
        before_s = self.sample.cpu_seconds
        reading = self.sample()
        assert self.sample.cpu_seconds >= before_s
        assert all(value >= 0 for value in reading.values())
        assert self.sample.cpu_seconds <= self.kernel.used_s + 1e-9
        if "process_cpu_percent" in reading:
            self.shown_s += reading["process_cpu_percent"] / 100 * (self.kernel.now - self.last_figure_at)
            self.last_figure_at = self.kernel.now
            assert self.shown_s <= self.sample.cpu_seconds + 1e-9


@given(EVENTS)
@settings(max_examples=300, deadline=None)
@example([("spawn", 0, 1), ("run", 1, 9), ("advance", 0, 20), ("read", 0, 1), ("interrupt", 0, 1), ("end", 1, 1)])
def test_the_sum_is_exact_when_every_parent_waits_for_its_children(events: list[tuple[str, int, int]]) -> None:
    """Whatever starts, runs, ends and is reaped, between readings or during one: all CPU time is counted once."""
    story = Story(events, {"spawn", "run", "end", "advance", "deny"})
    story.kernel.now += 1.0  # what died and moved up during the last walk is in by the next
    story.read()
    assert story.sample.cpu_seconds == pytest.approx(story.kernel.used_s)


@given(EVENTS)
@settings(max_examples=300, deadline=None)
@example([("spawn", 0, 1), *[("advance", 0, 20)] * 2, ("interrupt", 0, 1), ("reuse", 1, 1)])
def test_nothing_raises_and_no_rate_is_negative_whatever_happens(events: list[tuple[str, int, int]]) -> None:
    """With orphans, ignored children and reused pids too: no exception, no negative rate, never too much CPU time."""
    Story(events, {"spawn", "run", "end", "orphan", "ignore", "deny", "advance"})
    Story(events, {"spawn", "run", "end", "reuse", "advance"})
