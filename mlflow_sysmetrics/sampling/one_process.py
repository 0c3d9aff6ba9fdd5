"""What is read of one process at one moment, and which processes are below it. A new metric of a process begins here.

On Linux from the files of proc(5), at a fifth of what psutil takes; elsewhere through psutil. The other files of
this room do not distinguish operating systems.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from mmap import PAGESIZE
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from mlflow_sysmetrics.recording.events import emit

if psutil.POSIX:
    import resource

_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if psutil.LINUX else 1
_BLOCK_MB = 512 / 1e6  # a block of getrusage on Linux, whatever the disk's are
KB_MB = 1024 / 1e6
MEMORY = "process_memory_mb"  # the metric that limits and peaks are of
_MATERIAL_MB = 1.0
_CHUNK = 4096  # few of these files are longer: status, of a user in hundreds of groups
_NUMBERS = re.compile(  # of status, io and smaps_rollup
    rb"\n(VmHWM|Threads|(?:read|write)_bytes|(?:Pss_)?Anon(?:ymous)?):\s+(\d+)"
)


class Reading(NamedTuple):
    """One process at one moment. A key that could not be read is absent."""

    started: float  # with the pid, names the process: a reused pid has another start
    ended: bool  # a zombie: it holds no memory, but its counters have not moved to its parent yet
    cpu_s: float  # user and system
    reaped_cpu_s: float  # the same, of its ended children
    system_cpu_s: float  # the system's part of both
    levels: dict[str, float]  # metrics that add up over a tree: megabytes, threads
    counters: dict[str, float]  # what only grows: megabytes, page faults
    high_water_mb: float | None = None  # the highest RSS that it has had
    reaped_high_water_mb: float | None = None  # that of one of its ended children; known of this process alone


@dataclass(frozen=True)
class System:
    """The operating system, as the sampler sees it. Processes may be any objects: equal means the same process.

    `read` takes a process and whether what is read rarely is wanted too; it raises `psutil.NoSuchProcess` when the
    process is gone. `descendants` returns parents before their children; it may keep in its second argument who has
    started whom. `read_shared` returns how many megabytes of a process's memory are left to others, (n - 1) / n of what
    n processes hold, or 0 where that is unknown; None where it always is.
    """

    read: Callable[[Any, bool], Reading]
    descendants: Callable[[Any, dict[int, int]], list[Any]]
    open: Callable[[int], Any] = psutil.Process
    is_same: Callable[[Any], bool] = psutil.Process.is_running  # False where the pid is gone, or another process's
    read_shared: Callable[[Any], float] | None = None
    cpu_clock: Callable[[], float] = time.thread_time


def _read_linux(process: psutil.Process, slow: bool, with_reaped: bool = True) -> Reading:
    """Read `statm` and `stat`, and `status` and `io` if `slow`. Without `with_reaped` ended children do not count."""
    pid = process.pid
    levels = _read_memory(pid)
    status = _read_numbers(pid, "status") if slow else {}
    if b"Threads" in status:
        levels["process_threads"] = float(status[b"Threads"])
    high_water_mb = _high_water_mb(status)
    if pid == os.getpid():
        return _read_own(levels, high_water_mb, with_reaped)
    counters = _read_io(pid) if slow else {}
    line = _read_file(pid, "stat")  # last: it raises where the process has ended meanwhile
    fields = line[line.rindex(b")") + 1 :].split(None, 20)  # from number 3 on: a name may hold spaces and parentheses
    minflt, cminflt, majflt, cmajflt, utime, stime, cutime, cstime = map(int, fields[7:15])
    if not with_reaped:
        cminflt = cmajflt = cutime = cstime = 0
    counters["page_faults"] = float(minflt + cminflt + majflt + cmajflt)  # own, and ended children's
    return Reading(
        started=float(fields[19]),
        ended=fields[0] == b"Z",
        cpu_s=(utime + stime) / _TICKS_PER_S,
        reaped_cpu_s=(cutime + cstime) / _TICKS_PER_S,
        system_cpu_s=(stime + cstime) / _TICKS_PER_S,
        levels=levels,
        counters=counters,
        high_water_mb=high_water_mb,
    )


def _read_io(pid: int) -> dict[str, float]:
    """What it and its ended children have read from storage and written to it, not to the page cache."""
    io = _read_numbers(pid, "io")
    if not io:
        return {}
    return {
        "read_mb": io[b"read_bytes"] / 1e6,
        "write_mb": io[b"write_bytes"] / 1e6,
    }


def _read_own(levels: dict[str, float], high_water_mb: float | None, with_reaped: bool) -> Reading:
    """Read this process. getrusage has the same numbers, finer, of all threads, and without a file.

    At each call that may block, training in another thread takes the interpreter lock, and must be asked for it again.
    """
    own = resource.getrusage(resource.RUSAGE_SELF)
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN) if with_reaped else resource.struct_rusage([0] * 16)
    counters = {
        "page_faults": float(own.ru_minflt + own.ru_majflt + reaped.ru_minflt + reaped.ru_majflt),
        "read_mb": (own.ru_inblock + reaped.ru_inblock) * _BLOCK_MB,
        "write_mb": (own.ru_oublock + reaped.ru_oublock) * _BLOCK_MB,
    }
    return Reading(
        started=0.0,
        ended=False,
        cpu_s=time.process_time(),
        reaped_cpu_s=reaped.ru_utime + reaped.ru_stime,
        system_cpu_s=own.ru_stime + reaped.ru_stime,
        levels=levels,
        counters=counters,
        high_water_mb=high_water_mb,
        reaped_high_water_mb=reaped.ru_maxrss * KB_MB,
    )


def _read_memory(pid: int) -> dict[str, float]:
    """Resident memory, and that less what is shared."""
    _, resident, shared, _ = _read_file(pid, "statm").split(None, 3)
    resident_mb = int(resident) * PAGESIZE / 1e6
    shared_mb = int(shared) * PAGESIZE / 1e6
    return {MEMORY: resident_mb - shared_mb, "process_rss_mb": resident_mb}


def _read_shared(process: psutil.Process) -> float:
    """RSS - SHR has what forked processes share until one of them writes. Expensive: the kernel looks at every page."""
    sizes = _read_numbers(process.pid, "smaps_rollup")
    if b"Pss_Anon" not in sizes:  # gone, refused, or of an older kernel
        return 0.0
    return max(0, sizes[b"Anonymous"] - sizes[b"Pss_Anon"]) * KB_MB


def _high_water_mb(status: Mapping[bytes, int]) -> float | None:
    # Not getrusage's own: with that a process begins where the one that has started it was.
    return status[b"VmHWM"] * KB_MB if b"VmHWM" in status else None


def own_high_water_mb() -> float:
    """The highest RSS that this process has had, since the last reset if any; 0 where that is unknown."""
    return _high_water_mb(_read_numbers(os.getpid(), "status")) or 0.0


def trim_heap() -> None:
    """Return free memory of this process to the OS: what its libc keeps of that does not show when it is used again."""
    with contextlib.suppress(AttributeError, OSError):  # not every libc has it
        psutil.heap_trim()


_settled_mb = 0.0  # the least memory that this process had at a call of `collect_garbage`, since it last collected


def collect_garbage() -> None:
    """Free objects that refer to each other, if this process has grown since the last call.

    Else what an earlier trial holds in this way may be freed during the next one, and hide as much of its memory. A
    collection takes 0.1 s in a process with some libraries, so trials that leave nothing do without.
    """
    global _settled_mb
    trim_heap()
    memory_mb = psutil.Process().memory_info().rss / 1e6
    if memory_mb <= _settled_mb + _MATERIAL_MB:
        _settled_mb = min(_settled_mb, memory_mb)
        return
    gc.collect()
    trim_heap()
    _settled_mb = psutil.Process().memory_info().rss / 1e6


_marks_before_resets: list[float] = []


def marks_before_resets(since: int = 0) -> list[float]:
    """The high-water mark of this process before each reset but the first `since`.

    Each measurement of this process resets it. One that has begun earlier takes in the marks until then, too.
    """
    return _marks_before_resets[since:]


def reset_peak_rss() -> bool:
    """Reset the kernel's high-water mark of this process's RSS; False where the kernel does not let us.

    A command that measures this program from outside cannot see that, and is told what it was.
    """
    high_water_mb = own_high_water_mb()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    _marks_before_resets.append(high_water_mb)
    emit("peak_rss", megabytes=high_water_mb)
    return True


def _read_numbers(pid: int, name: str) -> dict[bytes, int]:
    """The numbers of a file of lines such as `VmHWM: 12 kB`; {} where it is refused, missing, or gone by now."""
    try:
        return {key: int(number) for key, number in _NUMBERS.findall(_read_file(pid, name))}
    except (OSError, psutil.NoSuchProcess):
        return {}


def _read_file(pid: int, name: str) -> bytes:
    try:
        descriptor = os.open(f"{getattr(psutil, 'PROCFS_PATH', '/proc')}/{pid}/{name}", os.O_RDONLY)
        try:
            content = chunk = os.read(descriptor, _CHUNK)
            while len(chunk) == _CHUNK:
                chunk = os.read(descriptor, _CHUNK)
                content += chunk
            return content
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None


def _descendants_linux(process: psutil.Process, parents: dict[int, int]) -> list[psutil.Process]:
    """Psutil reads `stat` of every process each time, this only of new ones, and of those that it finds."""
    if process.pid == os.getpid():
        try:  # cheaper than any look at /proc, and takes nobody's exit status away
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return []
    there = set(psutil.pids())
    for pid, parent in list(parents.items()):
        if pid not in there or parent not in there:
            del parents[pid]
    for pid in there - parents.keys():
        parents[pid] = _parent(pid)
    found = [process.pid]
    level = {process.pid}
    while level:
        below = [pid for pid, parent in parents.items() if parent in level and pid not in found]
        for pid in below:
            parents[pid] = _parent(pid)  # it may have another one by now
        level = {pid for pid in below if parents[pid] in found}
        found += level
    processes = []
    for pid in found[1:]:
        with contextlib.suppress(psutil.Error):  # gone by now
            processes.append(psutil.Process(pid))
    return processes


def _parent(pid: int) -> int:
    """The pid of a process's parent; 0, which is nobody's, where it is gone or hidden."""
    try:
        return int(_read_file(pid, "stat").rpartition(b")")[2].split(None, 2)[1])
    except (psutil.NoSuchProcess, PermissionError):
        return 0


def _read_portable(process: psutil.Process, slow: bool) -> Reading:
    """Read what psutil can of a process on every system. A zombie counts as gone here."""
    if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:  # not running: also when the pid is reused
        raise psutil.NoSuchProcess(process.pid)
    times = process.cpu_times()
    levels = {"process_threads": float(process.num_threads())}
    with contextlib.suppress(psutil.AccessDenied):
        memory = process.memory_full_info()
        levels[MEMORY] = memory.uss / 1e6
        levels["process_rss_mb"] = memory.rss / 1e6
    return Reading(0.0, False, times.user + times.system, 0.0, times.system, levels, {})


LINUX = System(_read_linux, _descendants_linux, read_shared=_read_shared)
PORTABLE = System(_read_portable, lambda process, parents: process.children(recursive=True))
HERE = LINUX if psutil.LINUX else PORTABLE
WITHOUT_CHILDREN = replace(  # a process without those below it
    HERE,
    read=functools.partial(_read_linux, with_reaped=False) if psutil.LINUX else _read_portable,
    descendants=lambda process, parents: [],
)
MEMORY_DEFINITION = "rss-shr" if psutil.LINUX else "uss"
