"""The group `container`: what the control group of a process (a container, a job of a cluster) may use, and uses.

Version 2 of the kernel's interface: Documentation/admin-guide/cgroup-v2.rst. Under version 1 nothing is read.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

_MIN_SPAN_S = 0.01  # a rate over less says nothing
# Of version 2, and of the memory of version 1: which line of cgroups(7) names the group, and of proc_pid_mountinfo(5)
# the group and the folder of a mount.
_VERSIONS = {
    2: (rb"^0::(/.*)$", r"^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 "),
    1: (rb"^\d+:memory:(/.*)$", r"^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup \S+ (?:\S+,)?memory$"),
}


class ContainerSampler:
    """Each call returns, of the control group of the process `pid` (this one), with all the processes in it:

    `container_memory_mb`: what counts against its limit less the files' pages that the kernel would drop first, as
    `docker stats` shows it; `container_memory_limit_mb`; `container_cpu_percent`: of one core, since the last such
    number; `container_cpu_limit_cores`. Limits are the lowest over the group and those around it, and use is that of
    the group that sets the limit. A limit that is not set is absent; {} for a process in no group but the machine's
    own, under cgroup v1, and elsewhere than on Linux.
    """

    def __init__(self, pid: int | None = None, *, root: str = "/", clock: Callable[[], float] = time.monotonic) -> None:
        self._folders = find_folders(pid, root)
        self._clock = clock
        self._read_at = -math.inf  # the CPU time that a group had used by then
        self._group = ""
        self._used_us: float | None = None
        self()

    def __call__(self) -> dict[str, float]:
        values: dict[str, float] = {}
        if not self._folders:
            return values
        limits = {folder: _limits(folder) for folder in self._folders}  # a cluster may change them meanwhile
        memory_group = min(limits, key=lambda folder: limits[folder][0])  # the innermost of those with the lowest
        cpu_group = min(limits, key=lambda folder: limits[folder][1])
        memory_limit = limits[memory_group][0]
        cpu_limit = limits[cpu_group][1]
        used = _number(f"{memory_group}/memory.current")
        dropped = _number(f"{memory_group}/memory.stat", "inactive_file ")
        if used is not None and dropped is not None:
            values["container_memory_mb"] = max(0.0, used - dropped) / 1e6
        if memory_limit < math.inf:
            values["container_memory_limit_mb"] = memory_limit / 1e6
        if cpu_limit < math.inf:
            values["container_cpu_limit_cores"] = cpu_limit
        return values | self._cpu_percent(cpu_group)

    def _cpu_percent(self, group: str) -> dict[str, float]:
        now = self._clock()
        span_s = now - self._read_at
        if span_s < _MIN_SPAN_S:
            return {}
        before_us = self._used_us if group == self._group else None
        used_us = _number(f"{group}/cpu.stat", "usage_usec ")
        self._read_at = now
        self._group = group
        self._used_us = used_us
        if used_us is None or before_us is None or used_us < before_us:  # the last: it was reset
            return {}
        return {"container_cpu_percent": 100 * (used_us - before_us) / 1e6 / span_s}


def cgroup_limits(folders: list[str]) -> tuple[float, float]:
    """The memory in bytes and the cores that a process of these groups may use; infinite where no limit is set."""
    memory_bytes = cores = math.inf
    for folder in folders:
        limits = _limits(folder)
        memory_bytes = min(memory_bytes, limits[0])
        cores = min(cores, limits[1])
    return memory_bytes, cores


def _limits(folder: str) -> tuple[float, float]:
    """As `cgroup_limits`, of one group. The files say "max" where none is set."""
    memory_bytes = _number(f"{folder}/memory.max")
    quota = re.match(rb"(\d+) (\d+)", read_file(f"{folder}/cpu.max"))
    cores = int(quota[1]) / int(quota[2]) if quota else math.inf
    return math.inf if memory_bytes is None else memory_bytes, cores


def _number(path: str, name: str = "") -> float | None:
    """The number of a file, or of its line of that name."""
    found = re.search(rf"^{name}(\d+)$".encode(), read_file(path), re.MULTILINE)
    return float(found[1]) if found else None


def find_folders(pid: int | None = None, root: str = "/", version: int = 2) -> list[str]:
    """Find the group of the process `pid` (this one) and those around it, as far as they can be seen, as folders.

    The machine's own group is not among them. With `version` 1, the groups of its memory controller. `root` is the
    folder under which proc and the mount points are.
    """
    root = root.rstrip("/")
    of_process, of_mount = _VERSIONS[version]
    named = re.search(of_process, read_file(f"{root}/proc/{pid or 'self'}/cgroup"), re.MULTILINE)
    mounts = re.findall(of_mount, read_file(f"{root}/proc/self/mountinfo").decode(errors="replace"), re.MULTILINE)
    if not named or not mounts:
        return []
    path = PurePosixPath(named[1].decode(errors="replace"))
    around = [mount for mount in mounts if path.is_relative_to(mount[0]) and ".." not in path.parts]
    group, point = max(around or mounts, key=lambda mount: len(mount[0]))
    top = Path(root + point)
    below = path.relative_to(group) if around else PurePosixPath()
    if not (top / below).is_dir():
        below = PurePosixPath()  # another container's view of its own group: what is mounted is all that can be seen
    folders = [top / inner for inner in (below, *below.parents)]
    not_of_the_machine = "cgroup.events" if version == 2 else "../memory.oom_control"
    return [str(folder) for folder in folders if (folder / not_of_the_machine).exists()]


def read_file(path: str) -> bytes:
    """The content of a small file of the kernel; b"" if it is missing or may not be read."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
