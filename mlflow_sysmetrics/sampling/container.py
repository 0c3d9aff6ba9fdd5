"""The group `container`: what the control group of a process (a container, a job of a cluster) may use, and uses.

Version 2 of the kernel's interface: Documentation/admin-guide/cgroup-v2.rst. Under version 1 nothing is read.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mlflow_sysmetrics.sampling.files import Rates, read_file, read_number

_LIMITS_EVERY_S = 10.0  # a cluster may change them while a container runs


class ContainerSampler:
    """Each call returns, of the control group of the process `pid` (this one), with all the processes in it:

    `container_memory_mb`: what counts against its limit less the files' pages that the kernel would drop first, as
    `docker stats` shows it; `container_memory_limit_mb`; `container_cpu_percent`: of one core, since the last such
    figure; `container_cpu_limit_cores`. Limits are the lowest over the group and those around it, and use is that of
    the group that sets the limit. A limit that is not set is absent; {} for a process in no group but the machine's
    own, under cgroup v1, and elsewhere than on Linux. The first call has a CPU figure if 10 ms have passed since
    construction.
    """

    def __init__(self, pid: int | None = None, *, root: str = "/", clock: Callable[[], float] = time.monotonic) -> None:
        self._folders = find_folders(pid, root)
        self._clock, self._rates = clock, Rates[str](clock)
        self._limits_due = -math.inf
        self._find_limits()
        self._rates(self._cpu_seconds())

    def __call__(self) -> dict[str, float]:
        """Take one reading."""
        if self._clock() >= self._limits_due:
            self._find_limits()
        values = {}
        for rate in self._rates(self._cpu_seconds()).values():  # one, or none yet
            values["container_cpu_percent"] = 100 * rate
        if (used := self._memory_bytes()) is not None:
            values["container_memory_mb"] = used / 1e6
        if self._memory_limit < math.inf:
            values["container_memory_limit_mb"] = self._memory_limit / 1e6
        if self._cpu_limit < math.inf:
            values["container_cpu_limit_cores"] = self._cpu_limit
        return values

    def _find_limits(self) -> None:
        self._limits_due = self._clock() + _LIMITS_EVERY_S
        self._memory_limit, self._memory_place = _lowest(self._folders, _memory_limit)
        self._cpu_limit, self._cpu_place = _lowest(self._folders, _cpu_limit)

    def _memory_bytes(self) -> float | None:
        """What is used; of the nearest group around the one in question if the controller is off in that."""
        uses = map(_memory_use, self._folders[self._memory_place :])
        return next((use for use in uses if use is not None), None)

    def _cpu_seconds(self) -> dict[str, float]:
        """The CPU time used, under the group's name: another group's would be no growth of this one's."""
        folders = self._folders[self._cpu_place : self._cpu_place + 1]
        return {folder: used for folder in folders if (used := _cpu_use(folder)) is not None}


def limits(folders: list[str]) -> tuple[float, float]:
    """The memory in bytes and the cores that a process of these groups may use; infinite where no limit is set."""
    return _lowest(folders, _memory_limit)[0], _lowest(folders, _cpu_limit)[0]


def _lowest(folders: list[str], limit: Callable[[str], float]) -> tuple[float, int]:
    """The lowest limit, infinite if there is none, and the place in the list of the group that sets it."""
    limits = [limit(folder) for folder in folders] or [math.inf]
    return min(limits), limits.index(min(limits))


def _memory_limit(folder: str) -> float:
    """In bytes. Infinite for "max"."""
    number = read_number(f"{folder}/memory.max")
    return math.inf if number is None else number


def _cpu_limit(folder: str) -> float:
    """In cores. Infinite for "max"."""
    quota, _, period = read_file(f"{folder}/cpu.max").strip().partition(b" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else math.inf


def _memory_use(folder: str) -> float | None:
    """In bytes."""
    used = read_number(f"{folder}/memory.current")
    dropped = _field(f"{folder}/memory.stat", b"inactive_file")
    return None if used is None or dropped is None else max(0.0, used - dropped)


def _cpu_use(folder: str) -> float | None:
    """In seconds."""
    used = _field(f"{folder}/cpu.stat", b"usage_usec")
    return None if used is None else used / 1e6


def _field(path: str, name: bytes) -> float | None:
    """One number of a file of lines of a name and a number."""
    _, found, rest = (b"\n" + read_file(path)).partition(b"\n" + name + b" ")
    number = rest.partition(b"\n")[0]
    return float(number) if found and number.isdigit() else None


def find_folders(pid: int | None = None, root: str = "/") -> list[str]:
    """Find the group of the process `pid` (this one) and those around it, as far as they can be seen, as folders.

    The machine's own group is not among them. `root` is the folder under which proc and the mount points are.
    """
    root = root.rstrip("/")
    cgroup = read_file(f"{root}/proc/{'self' if pid is None else pid}/cgroup").decode(errors="replace")
    path = next((line[3:] for line in cgroup.splitlines() if line.startswith("0::")), None)
    mounts = _mounts(read_file(f"{root}/proc/self/mountinfo").decode(errors="replace"))
    if path is None or not mounts:
        return []
    group, point = max(mounts, key=lambda mount: len(mount[0]) if _below(path, mount[0]) is not None else -1)
    folder, below = Path(f"{root}{point}"), _below(path, group)
    if below is None or not (folder / below).is_dir():
        below = ""  # another container's view of its own group: what is mounted is all that can be seen
    folders = [folder / below, *(folder / parent for parent in PurePosixPath(below).parents)]
    return [str(folder) for folder in folders if (folder / "cgroup.events").exists()]  # the machine's group has none


def _mounts(text: str) -> list[tuple[str, str]]:
    """The cgroup2 mounts of proc_pid_mountinfo(5): which group is seen, and where."""
    mounts = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if dash and len(fields) > 4 and after.startswith("cgroup2 "):
            mounts.append((_unescaped(fields[3]), _unescaped(fields[4])))
    return mounts


def _unescaped(path: str) -> str:
    """A path of mountinfo, where spaces and the like are octal, without a slash at its end."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path).rstrip("/")


def _below(path: str, root: str) -> str | None:
    """The path from `root` to `path`; None if it is not below."""
    inside = f"{path}/".startswith(f"{root}/") and ".." not in path.split("/")
    return path[len(root) :].strip("/") if inside else None
