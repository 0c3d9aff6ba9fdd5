"""One process at one moment, as the operating system tells it. The only module that knows one system from another."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from mmap import PAGESIZE
from typing import Any, NamedTuple, TypeVar

import psutil

if sys.platform != "win32":
    import resource

T = TypeVar("T")


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

    `read` raises `psutil.NoSuchProcess` when the process is gone. `descendants` returns parents before their children.
    """

    memory_definition: str
    read: Callable[[Any], Reading]
    descendants: Callable[[Any], list[Any]]
    open: Callable[[int], Any] = psutil.Process
    is_same: Callable[[Any], bool] = psutil.Process.is_running  # False where the pid is gone, or another process's


def _readable(read: Callable[[], T]) -> T | None:
    """Return the value, or None where the OS does not have it or refuses."""
    try:
        return read()
    except (psutil.Error, OSError, AttributeError, NotImplementedError):
        return None


@lru_cache(maxsize=8)
def _kept_open(path: str) -> int:
    return os.open(path, os.O_RDONLY)


def _proc(pid: int, name: str) -> bytes:
    """Read a file of /proc/<pid> at once. OSError if there is none, or it is not for us.

    The files of this process are kept open. Each call that may block gives up the interpreter lock, and the training
    thread takes it and must be asked for it again: that, not the reading, is what a sample costs a training. Through
    psutil it is some 15 such calls a sample, so three files that matter are read here, in one call each.
    """
    path = f"{psutil.PROCFS_PATH}/{pid}/{name}"
    if pid == os.getpid():
        return os.pread(_kept_open(path), 4096, 0)
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _read_linux(process: Any) -> Reading:
    """Read stat (proc(5), field numbers less 3), statm and io; whether the process is there, stat alone decides."""
    pid = process.pid
    try:
        line = _proc(pid, "stat")
        if not line.startswith(b"%d (" % pid):
            raise OSError(errno.EBADF, "another file has this descriptor now")
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    except OSError:  # the program closed what it did not open: not ours to close any more
        _kept_open.cache_clear()
        raise
    stat = line.rpartition(b")")[2].split(None, 20)  # the name, in parentheses, may itself hold spaces and parentheses
    own = pid == os.getpid()
    levels = {"process_threads": float(stat[17])}
    if statm := _readable(lambda: _proc(pid, "statm")):
        _, resident, shared, *_ = map(int, statm.split())
        levels["process_memory_mb"] = (resident - shared) * PAGESIZE / 1e6
        levels["process_rss_mb"] = resident * PAGESIZE / 1e6
    counters = {"process_page_faults_per_s": float(sum(map(int, stat[7:11])))}  # minor and major, own and reaped
    if io := _readable(lambda: _proc(pid, "io")):  # from and to storage, not the page cache; own and reaped
        fields = io.split()
        counters["process_read_mb_per_s"] = int(fields[fields.index(b"read_bytes:") + 1]) / 1e6
        counters["process_write_mb_per_s"] = int(fields[fields.index(b"write_bytes:") + 1]) / 1e6
    if own:  # of every thread, and cheap; of another process the kernel tells its main thread's only
        usage = resource.getrusage(resource.RUSAGE_SELF)
        counters["process_context_switches_per_s"] = float(usage.ru_nvcsw + usage.ru_nivcsw)
    elif switches := _readable(lambda: process.num_ctx_switches()):
        counters["process_context_switches_per_s"] = float(sum(switches))
    second = os.sysconf("SC_CLK_TCK")
    cpu_s = time.process_time() if own else (int(stat[11]) + int(stat[12])) / second
    reaped_cpu_s = (int(stat[13]) + int(stat[14])) / second
    return Reading(float(stat[19]), stat[0] == b"Z", cpu_s, reaped_cpu_s, levels, counters)


def _descendants(process: Any) -> list[Any]:
    return list(process.children(recursive=True))


def _descendants_linux(process: Any) -> list[Any]:
    """Ask the kernel first whether this process has children at all: psutil looks at every process of the machine."""
    if process.pid == os.getpid():
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # takes nobody's exit status away
        except ChildProcessError:
            return []
    return _descendants(process)


def _read_portable(process: Any) -> Reading:
    """Read a process through psutil alone. A zombie counts as gone here, and page faults are not known."""
    if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:  # not running: also when the pid is reused
        raise psutil.NoSuchProcess(process.pid)
    levels, counters = {}, {}
    if io := _readable(lambda: process.io_counters()):
        counters["process_read_mb_per_s"] = io.read_bytes / 1e6
        counters["process_write_mb_per_s"] = io.write_bytes / 1e6
    if memory := _readable(lambda: process.memory_full_info()):
        levels["process_memory_mb"] = memory.uss / 1e6
        levels["process_rss_mb"] = memory.rss / 1e6
    if threads := _readable(lambda: process.num_threads()):
        levels["process_threads"] = float(threads)
    if switches := _readable(lambda: process.num_ctx_switches()):
        counters["process_context_switches_per_s"] = float(sum(switches))
    times = _readable(lambda: process.cpu_times())
    cpu_s = time.process_time() if process.pid == os.getpid() else times and times.user + times.system
    return Reading(0.0, False, cpu_s, 0.0, levels, counters)


LINUX = System("rss-shr", _read_linux, _descendants_linux)
PORTABLE = System("uss", _read_portable, _descendants)
HERE = LINUX if psutil.LINUX else PORTABLE
