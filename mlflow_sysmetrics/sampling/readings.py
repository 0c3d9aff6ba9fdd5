"""One process at one moment, as the operating system tells it. Here alone one system is known from another."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import PAGESIZE
from typing import Any, NamedTuple, TypeVar

import psutil

from mlflow_sysmetrics.sampling.process_tree import Root
from mlflow_sysmetrics.sampling.procfs import Process

if sys.platform != "win32":
    import resource

    _TICKS_PER_S = os.sysconf("SC_CLK_TCK")

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

    `read` takes a process and whether what costs most to read is wanted, too; it raises `psutil.NoSuchProcess` when the
    process is gone. `descendants` returns parents before their children.
    """

    memory_definition: str
    read: Callable[[Any, bool], Reading]
    descendants: Callable[[Any], list[Any]]
    open: Callable[[int], Any] = psutil.Process
    is_same: Callable[[Any], bool] = psutil.Process.is_running  # False where the pid is gone, or another process's


def _readable(read: Callable[[], T]) -> T | None:
    """Return the value, or None where the OS does not have it or refuses."""
    try:
        return read()
    except (psutil.Error, OSError, AttributeError, NotImplementedError):
        return None


def _read_linux(process: Process, costly: bool) -> Reading:
    """Read stat (proc(5), field numbers less 3), statm, io and, of another process, status; all as they are now.

    The kernel writes sixty lines for `status`, which takes it longer than the rest together: only if `costly`.
    """
    stat = process.stat()
    own = process.pid == os.getpid()
    levels = {"process_threads": float(stat[17])}
    if memory := _numbers(process, "statm", b""):
        resident, shared = memory
        levels["process_memory_mb"] = (resident - shared) * PAGESIZE / 1e6
        levels["process_rss_mb"] = resident * PAGESIZE / 1e6
    counters = {"process_page_faults_per_s": float(sum(map(int, stat[7:11])))}  # minor and major, own and reaped
    if io := _numbers(process, "io", b"\nread_bytes:"):  # from and to storage, not the page cache; own and reaped
        read, written = io
        counters["process_read_mb_per_s"] = read / 1e6
        counters["process_write_mb_per_s"] = written / 1e6
    if own:  # of every thread, and cheap; of another process the kernel tells its main thread's only
        usage = resource.getrusage(resource.RUSAGE_SELF)
        counters["process_context_switches_per_s"] = float(usage.ru_nvcsw + usage.ru_nivcsw)
    elif costly and (switches := _numbers(process, "status", b"\nvoluntary_ctxt_switches:")):
        counters["process_context_switches_per_s"] = float(sum(switches))
    cpu_s = time.process_time() if own else (int(stat[11]) + int(stat[12])) / _TICKS_PER_S
    reaped_cpu_s = (int(stat[13]) + int(stat[14])) / _TICKS_PER_S
    return Reading(float(stat[19]), stat[0] == b"Z", cpu_s, reaped_cpu_s, levels, counters)


def _numbers(process: Process, name: str, label: bytes) -> tuple[int, int] | None:
    """The number after this label and the one after the next; None where there is none, or it is not for us.

    Without a label: the second and the third number of the file.
    """
    try:
        text = process.read(name)
        if label:
            _, first, _, second, *_ = text[text.rindex(label) :].split(None, 4)
        else:
            _, first, second, *_ = text.split(None, 3)
        return int(first), int(second)
    except OSError:
        return None
    except ValueError:  # another kernel (gVisor), or the file of another program, which had the descriptor closed
        process.close()
        return None


def _descendants_linux(process: Root) -> list[Process]:
    """Ask the kernel first whether this process has children at all: that is cheaper than any look at /proc."""
    if process.pid == os.getpid():
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # takes nobody's exit status away
        except ChildProcessError:
            return []
    return process.descendants()


def _read_portable(process: Any, costly: bool) -> Reading:
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


def _descendants_portable(process: Any) -> list[Any]:
    return list(process.children(recursive=True))


LINUX = System("rss-shr", _read_linux, _descendants_linux, Root, is_same=lambda process: True)  # else it is not read
PORTABLE = System("uss", _read_portable, _descendants_portable)
HERE = LINUX if psutil.LINUX else PORTABLE
