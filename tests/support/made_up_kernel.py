"""A kernel that accounts for CPU time and shared memory as Linux does, as a `ProcessSampler` sees it."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from mlflow_sysmetrics.sampling import ProcessSampler
from mlflow_sysmetrics.sampling.one_process import Reading, System


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
