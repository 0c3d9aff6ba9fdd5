"""What is read of one process at one moment.

A new metric of a process begins here, in each reader that can give it; `groups` has its name.

psutil reads, except what is wanted often on Linux: memory, CPU time and page faults, from `stat` and `statm` at a fifth
of its cost, or from getrusage; and who is whose child. Here alone one operating system is known from another.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import PAGESIZE
from typing import Any, NamedTuple, TypeVar

import psutil

if sys.platform != "win32":
    import resource

    _TICKS_PER_S = os.sysconf("SC_CLK_TCK")

T = TypeVar("T")
_BLOCK_MB = 512 / 1e6  # of getrusage on Linux, whatever the disk's are
_ALL_AGAIN_AFTER_S = 5.0  # in which no machine starts so many processes that pids come again
_SIZE = 4096  # more than any of these files has; the kernel gives them whole


class Reading(NamedTuple):
    """One process at one moment. A key that could not be read is absent."""

    started: float  # with the pid, names the process: a reused pid has another start
    ended: bool  # a zombie: it holds no memory, but its counters have not moved to its parent yet
    cpu_s: float | None  # user + system
    reaped_cpu_s: float  # the same, of its ended children
    levels: Mapping[str, float]  # metrics that add up over a tree: megabytes, threads
    counters: Mapping[str, float]  # metrics whose growth is a rate, in the rate's unit times seconds


@dataclass(frozen=True)
class System:
    """The operating system, as the sampler sees it. Processes may be any objects: equal means the same process.

    `read` takes a process and whether what changes slowly is wanted, too; it raises `psutil.NoSuchProcess` when the
    process is gone. `descendants` returns parents before their children. `read_shared` returns how many megabytes of a
    process's memory are left to others: (n - 1) / n of what n processes hold. It raises nothing, and gives None where
    that is unknown. A system whose memory has no such part has no `read_shared`.
    """

    memory_definition: str
    read: Callable[[Any, bool], Reading]
    descendants: Callable[[Any], list[Any]]
    open: Callable[[int], Any] = psutil.Process
    is_same: Callable[[Any], bool] = psutil.Process.is_running  # False where the pid is gone, or another process's
    read_shared: Callable[[Any], float | None] | None = None


def _readable(read: Callable[[], T]) -> T | None:
    """Return the value, or None where the OS does not have it or refuses. NoSuchProcess if the process is gone."""
    try:
        return read()
    except psutil.ZombieProcess:
        return None
    except psutil.NoSuchProcess:
        raise
    except Exception:  # psutil's own, or what a kernel's unusual answer makes of it
        return None


def _read_slow(process: psutil.Process) -> tuple[dict[str, float], dict[str, float]]:
    """The levels and counters that are read in one of five readings."""
    levels, counters = {}, {}
    if threads := _readable(lambda: process.num_threads()):
        levels["process_threads"] = float(threads)
    if io := _readable(lambda: process.io_counters()):  # to storage, not the page cache; on Linux of ended children too
        counters["process_read_mb_per_s"] = io.read_bytes / 1e6
        counters["process_write_mb_per_s"] = io.write_bytes / 1e6
    if switches := _readable(lambda: process.num_ctx_switches()):  # on Linux of its main thread alone
        counters["process_context_switches_per_s"] = float(sum(switches))
    return levels, counters


def _read_linux(process: psutil.Process, slow: bool) -> Reading:
    """Read `stat` and `statm` (proc(5) has their fields), and the rest if `slow`."""
    if process.pid == os.getpid():
        return _read_own(process, slow)
    fields = _read_stat(process.pid)
    minflt, cminflt, majflt, cmajflt, utime, stime, cutime, cstime = map(int, fields[7:15])
    levels, counters = _read_slow(process) if slow else ({}, {})
    levels.update(_read_memory(process.pid))
    counters["process_page_faults_per_s"] = float(minflt + cminflt + majflt + cmajflt)  # own, and ended children's
    cpu_s, reaped_cpu_s = (utime + stime) / _TICKS_PER_S, (cutime + cstime) / _TICKS_PER_S
    return Reading(float(fields[19]), fields[0] == b"Z", cpu_s, reaped_cpu_s, levels, counters)


def _read_own(process: psutil.Process, slow: bool) -> Reading:
    """Read this process. getrusage has the same figures, finer, of all threads, and without a file.

    At each call that may block, training in another thread takes the interpreter lock, and must be asked for it again.
    """
    own, reaped = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    counters = {
        "process_page_faults_per_s": float(own.ru_minflt + own.ru_majflt + reaped.ru_minflt + reaped.ru_majflt),
        "process_read_mb_per_s": (own.ru_inblock + reaped.ru_inblock) * _BLOCK_MB,
        "process_write_mb_per_s": (own.ru_oublock + reaped.ru_oublock) * _BLOCK_MB,
        "process_context_switches_per_s": float(own.ru_nvcsw + own.ru_nivcsw),
    }
    levels = _read_memory(process.pid)
    if slow and (threads := _readable(lambda: process.num_threads())):
        levels["process_threads"] = float(threads)
    reaped_cpu_s = reaped.ru_utime + reaped.ru_stime
    return Reading(_started(process.pid), False, time.process_time(), reaped_cpu_s, levels, counters)


def _read_memory(pid: int) -> dict[str, float]:
    """Resident memory, and that less what is shared."""
    pages = _readable(lambda: [int(number) for number in _read_file(pid, "statm").split(None, 3)[1:3]])
    if not pages:
        return {}
    resident, shared = pages
    return {"process_memory_mb": (resident - shared) * PAGESIZE / 1e6, "process_rss_mb": resident * PAGESIZE / 1e6}


def _read_shared(process: psutil.Process) -> float | None:
    """RSS - SHR has what forked processes share until one of them writes. Dear: the kernel looks at every page."""
    try:
        lines = _read_file(process.pid, "smaps_rollup").splitlines()[1:]
        sizes = {name: int(size) for name, size, *_ in map(bytes.split, lines)}
        return max(0, sizes[b"Anonymous:"] - sizes[b"Pss_Anon:"]) * 1024 / 1e6
    except Exception:  # gone, refused, or an older kernel's
        return None


def _read_stat(pid: int) -> list[bytes]:
    """The fields of `stat` from number 3 on: number 2, a name, may hold spaces and parentheses."""
    line = _read_file(pid, "stat")
    return line[line.rindex(b")") + 1 :].split(None, 20)


@functools.lru_cache(maxsize=1)
def _started(pid: int) -> float:
    """When this process was started, for itself as for one forked from it, which reads its `stat`."""
    return float(_read_stat(pid)[19])


def _read_file(pid: int, name: str) -> bytes:
    try:
        descriptor = os.open(f"{psutil.PROCFS_PATH}/{pid}/{name}", os.O_RDONLY)
        try:
            return os.read(descriptor, _SIZE)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None


def _open_linux(pid: int) -> psutil.Process:
    process = psutil.Process(pid)
    _read_file(pid, "stat")  # PermissionError where it is hidden, of which psutil says nothing yet
    return process


class Parents:
    """Which process has started which, from `stat`: psutil reads that of every process each time, we that of new ones.

    All samplers of this process share it. What is found below a process is read again, and all are when the last look
    was long ago: a pid may be another process's by now.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._of: dict[int, int] = {}
        self._clock, self._looked_at = clock, -math.inf

    def below(self, root: int) -> list[int]:
        """The pids of all below a process, parents before their children."""
        now = self._clock()
        if now - self._looked_at > _ALL_AGAIN_AFTER_S:
            self._of = {}
        self._looked_at = now
        there = set(psutil.pids())
        of = {pid: parent for pid, parent in self._of.items() if pid in there and parent in there}
        of |= {pid: _parent(pid) for pid in there - of.keys()}
        children: dict[int, list[int]] = {}
        for pid, parent in of.items():
            children.setdefault(parent, []).append(pid)
        found = {root: None}  # in this order
        level = [root]
        while level:
            level = [child for pid in level for child in children.get(pid, ()) if child not in found]
            of.update((child, _parent(child)) for child in level)
            level = [child for child in level if of[child] in found]
            found.update(dict.fromkeys(level))
        self._of = of
        return list(found)[1:]


def _parent(pid: int) -> int:
    """The pid of a process's parent; 0, which is nobody's, where it is gone or hidden."""
    try:
        return int(_read_stat(pid)[1])
    except (psutil.NoSuchProcess, PermissionError):
        return 0


_PARENTS = Parents()


def _descendants_linux(process: psutil.Process) -> list[psutil.Process]:
    """Ask the kernel first whether this process has children at all: that is cheaper than any look at /proc."""
    if process.pid == os.getpid():
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # takes nobody's exit status away
        except ChildProcessError:
            return []
    found = []
    for pid in _PARENTS.below(process.pid):
        with contextlib.suppress(psutil.Error):  # gone by now
            found.append(psutil.Process(pid))
    return found


def _read_portable(process: psutil.Process, slow: bool) -> Reading:
    """Read a process through psutil alone. A zombie counts as gone here, and page faults are not known."""
    if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:  # not running: also when the pid is reused
        raise psutil.NoSuchProcess(process.pid)
    levels, counters = _read_slow(process) if slow else ({}, {})
    if memory := _readable(lambda: process.memory_full_info()):
        levels["process_memory_mb"] = memory.uss / 1e6
        levels["process_rss_mb"] = memory.rss / 1e6
    times = _readable(lambda: process.cpu_times())
    cpu_s = time.process_time() if process.pid == os.getpid() else times and times.user + times.system
    return Reading(0.0, False, cpu_s, 0.0, levels, counters)


def _descendants_portable(process: psutil.Process) -> list[psutil.Process]:
    return process.children(recursive=True)


LINUX = System("rss-shr", _read_linux, _descendants_linux, _open_linux, read_shared=_read_shared)
PORTABLE = System("uss", _read_portable, _descendants_portable)
HERE = LINUX if psutil.LINUX else PORTABLE
