"""What the control group of a process (a container, a job of a cluster) may use.

Version 2 of the kernel's interface: Documentation/admin-guide/cgroup-v2.rst. Of version 1 no limits are read.
"""

from __future__ import annotations

import math
import re
from pathlib import Path, PurePosixPath

# Of version 2, and of the memory of version 1: which line of cgroups(7) names the group, and of proc_pid_mountinfo(5)
# the group and the folder of a mount.
_VERSIONS = {
    2: (rb"^0::(/.*)$", r"^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 "),
    1: (rb"^\d+:memory:(/.*)$", r"^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup \S+ (?:\S+,)?memory$"),
}


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
    limit = re.match(rb"\d+$", read_file(f"{folder}/memory.max").strip())
    quota = re.match(rb"(\d+) (\d+)", read_file(f"{folder}/cpu.max"))
    cores = int(quota[1]) / int(quota[2]) if quota else math.inf
    memory_bytes = float(limit[0]) if limit else math.inf
    return memory_bytes, cores


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
