"""The group `container`: what the control group of a process (a container, a job of a cluster) may use, and uses.

Both versions of the kernel's interface, also mixed: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlflow_sysmetrics.sampling.files import Rates, read_file, read_number

_UNLIMITED = 2.0**62  # version 1 writes the largest multiple of a page that fits
_LIMITS_EVERY_S = 10.0  # a cluster may change them while a container runs


@dataclass(frozen=True)
class Mount:
    """Where a hierarchy of groups can be seen: `controllers` is empty for version 2."""

    controllers: frozenset[str]
    root: str  # the group that is seen at `point`
    point: str


@dataclass(frozen=True)
class Chain:
    """A process's group for one controller, as folders: its own first, then those around it, as far as can be seen."""

    version: int
    folders: tuple[str, ...]


class ContainerSampler:
    """Each call returns, of the control group of the process `pid` (this one), with all the processes in it:

    `container_memory_mb`: what counts against its limit less the files' pages that the kernel would drop first, as
    `docker stats` shows it; `container_memory_limit_mb`; `container_cpu_percent`: of one core, since the last such
    figure; `container_cpu_limit_cores`. Limits are the lowest over the group and those around it, and use is that of
    the group that sets the limit. A limit that is not set is absent; {} for a process in no group but the machine's
    own, and elsewhere than on Linux. The first call has a CPU figure if 10 ms have passed since construction.
    """

    def __init__(self, pid: int | None = None, *, root: str = "/", clock: Callable[[], float] = time.monotonic) -> None:
        self._memory, self._cpu = find_chain("memory", pid, root), find_chain("cpu", pid, root)
        self._cpu_use = find_chain("cpuacct", pid, root)  # version 2 counts where it limits
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
        self._memory_limit, self._memory_place = _lowest(self._memory, _memory_limit)
        self._cpu_limit, self._cpu_place = _lowest(self._cpu, _cpu_limit)

    def _memory_bytes(self) -> float | None:
        """What is used; of the nearest group around the one in question if the controller is off in that."""
        if self._memory is None:
            return None
        folders = self._memory.folders[self._memory_place :]
        uses = (_memory_use(folder, self._memory.version) for folder in folders)
        return next((use for use in uses if use is not None), None)

    def _cpu_seconds(self) -> dict[str, float]:
        """The CPU time used, under the group's name: another group's would be no growth of this one's."""
        if self._cpu_use is None:
            return {}
        folders = self._cpu_use.folders
        same = self._cpu is not None and len(self._cpu.folders) == len(folders)
        folder = folders[self._cpu_place if same else 0]
        used = _cpu_use(folder, self._cpu_use.version)
        return {} if used is None else {folder: used}


def limits(pid: int | None = None, root: str = "/") -> tuple[float, float]:
    """The memory in bytes and the cores that the process `pid` (this one) may use; infinite where no limit is set."""
    memory, cores = find_chain("memory", pid, root), find_chain("cpu", pid, root)
    return _lowest(memory, _memory_limit)[0], _lowest(cores, _cpu_limit)[0]


def _lowest(chain: Chain | None, limit: Callable[[str, int], float]) -> tuple[float, int]:
    """The lowest limit, infinite if there is none, and the place in the chain of the group that sets it."""
    limits = [math.inf] if chain is None else [limit(folder, chain.version) for folder in chain.folders]
    return min(limits), limits.index(min(limits))


def _memory_limit(folder: str, version: int) -> float:
    number = read_number(f"{folder}/{'memory.max' if version == 2 else 'memory.limit_in_bytes'}")
    return math.inf if number is None or number >= _UNLIMITED else number


def _cpu_limit(folder: str, version: int) -> float:
    """In cores. Infinite if there is no quota, which is "max" or -1."""
    if version == 2:
        quota, _, period = read_file(f"{folder}/cpu.max").strip().partition(b" ")
    else:
        quota, period = (read_file(f"{folder}/cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else math.inf


def _memory_use(folder: str, version: int) -> float | None:
    """In bytes."""
    used = read_number(f"{folder}/{'memory.current' if version == 2 else 'memory.usage_in_bytes'}")
    dropped = _field(f"{folder}/memory.stat", b"inactive_file" if version == 2 else b"total_inactive_file")
    return None if used is None or dropped is None else max(0.0, used - dropped)


def _cpu_use(folder: str, version: int) -> float | None:
    """In seconds."""
    path, unit = f"{folder}/{'cpu.stat' if version == 2 else 'cpuacct.usage'}", 1e6 if version == 2 else 1e9
    used = _field(path, b"usage_usec") if version == 2 else read_number(path)
    return None if used is None else used / unit


def _field(path: str, name: bytes) -> float | None:
    """One number of a file of lines of a name and a number."""
    _, found, rest = (b"\n" + read_file(path)).partition(b"\n" + name + b" ")
    number = rest.partition(b"\n")[0]
    return float(number) if found and number.isdigit() else None


def find_chain(controller: str, pid: int | None = None, root: str = "/") -> Chain | None:
    """Find the group of the process `pid` (this one) for a controller; None where it is in none but the machine's own.

    `root` is the folder under which proc and the mount points are.
    """
    root = root.rstrip("/")
    paths = _paths(read_file(f"{root}/proc/{'self' if pid is None else pid}/cgroup").decode(errors="replace"))
    version, wanted = (1, controller) if controller in paths else (2, "")
    path = paths.get(wanted)
    mounts = _mounts(read_file(f"{root}/proc/self/mountinfo").decode(errors="replace"))
    seen = [mount for mount in mounts if (wanted in mount.controllers if wanted else not mount.controllers)]
    if path is None or not seen:
        return None
    mount = max(seen, key=lambda mount: len(mount.root) if _below(path, mount.root) is not None else -1)
    point, below = Path(f"{root}{mount.point}"), _below(path, mount.root)
    if below is None or not (point / below).is_dir():
        below = ""  # another container's view of its own group: what is mounted is all that can be seen
    folders = [point / below, *(point / parent for parent in PurePosixPath(below).parents)]
    chain = tuple(str(folder) for folder in folders if not _is_machine(folder, version))
    return Chain(version, chain) if chain else None


def _paths(text: str) -> dict[str, str]:
    """The group of each controller of version 1, and under "" that of version 2, from /proc/<pid>/cgroup."""
    paths = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon:
            paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _mounts(text: str) -> list[Mount]:
    """The cgroup mounts of proc_pid_mountinfo(5)."""
    mounts = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if dash and len(fields) > 4 and len(kind) > 2 and kind[0] in ("cgroup", "cgroup2"):
            controllers = frozenset(kind[2].split(",") if kind[0] == "cgroup" else ())
            mounts.append(Mount(controllers, _unescaped(fields[3]), _unescaped(fields[4])))
    return mounts


def _unescaped(path: str) -> str:
    """A path of mountinfo, where spaces and the like are octal, without a slash at its end."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path).rstrip("/")


def _below(path: str, root: str) -> str | None:
    """The path from `root` to `path`; None if it is not below."""
    inside = f"{path}/".startswith(f"{root}/") and ".." not in path.split("/")
    return path[len(root) :].strip("/") if inside else None


def _is_machine(folder: Path, version: int) -> bool:
    """Whether it is the group of all processes: it alone has the one file, or lacks the other."""
    return (folder / "release_agent").exists() if version == 1 else not (folder / "cgroup.events").exists()
