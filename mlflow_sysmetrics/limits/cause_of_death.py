"""Whether the kernel has killed a process for lack of memory, as its control group counts it."""

from __future__ import annotations

import contextlib
import math
import os

from mlflow_sysmetrics.limits.rules import Values
from mlflow_sysmetrics.recording.tags import CAUSE_OF_DEATH, KILLED_FOR_MEMORY
from mlflow_sysmetrics.sampling import cgroup_limits, find_folders, read_file

_HOW = {
    True: "killed by the kernel for memory",
    False: "{}, not killed by the kernel for memory",
    None: "{}; whether the kernel killed it for memory cannot be read here",
}


class MemoryKills:
    """Detects whether the kernel kills a process, this one by default, for memory. Nothing raises.

    Call `look` about every second: the process may move to another group, and a group also counts kills of other
    processes, such as all of a container, so only kills since the last look but one count. `root` has proc below it.
    """

    def __init__(self, pid: int | None = None, root: str = "/") -> None:
        self._pid = os.getpid() if pid is None else pid
        self._root = root
        self._folder = ""  # of the nearest group that counts
        self._counts: list[int] = []  # at the last two looks
        self._allowed_mb = math.inf
        self.look()

    def look(self) -> None:
        """See in which group the process is now, and what it may use there. What was seen of one that is gone stays."""
        with contextlib.suppress(OSError, ValueError):  # a kernel may answer anything
            folders = find_folders(self._pid, self._root)
            for folder in [*folders, *find_folders(self._pid, self._root, version=1)]:
                count = _kills(folder)
                if count is None:
                    continue
                before = self._counts[-1:] if folder == self._folder else []
                self._counts = [*before, count]
                self._folder = folder
                self._allowed_mb = cgroup_limits(folders)[0] / 1e6
                return

    def happened(self) -> bool | None:
        """Whether it has; None if that is unknown. Call it right after the process's end: later kills would count."""
        if not self._counts:
            return None
        now = _kills(self._folder)
        return now is not None and now > self._counts[0]

    def death(self, summary: Values, for_memory: bool | None, seen: str = "ended by SIGKILL") -> dict[str, str]:
        """Tags that say what a process with this summary died of: what `happened` said, and what else was `seen`."""
        text = _HOW[for_memory].format(seen)
        if "peak_memory_mb" in summary:
            text += f": peak {summary['peak_memory_mb']:,.0f} MB"
            if self._allowed_mb < math.inf:
                text += f" of {self._allowed_mb:,.0f} MB allowed"
        tags = {CAUSE_OF_DEATH: text}
        if for_memory is not None:
            tags[KILLED_FOR_MEMORY] = str(for_memory).lower()
        return tags


def _kills(folder: str) -> int | None:
    """How often the kernel has killed in a group or in those inside it; None where it does not count."""
    lines = read_file(f"{folder}/memory.events") or read_file(f"{folder}/memory.oom_control")  # the latter: version 1
    for line in lines.splitlines():
        name, _, number = line.partition(b" ")
        if name == b"oom_kill":
            return int(number)
    return None
