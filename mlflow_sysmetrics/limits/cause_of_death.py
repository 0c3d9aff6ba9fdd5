"""Whether the kernel has killed a process for lack of memory: from its control group, and from the kernel's log."""

from __future__ import annotations

import contextlib
import math
import os
import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow_sysmetrics.sampling import cgroup_limits, find_folders, read_file
from mlflow_sysmetrics.tags import CAUSE_OF_DEATH, KILLED_FOR_MEMORY

_KILLED = re.compile(rb"Killed process (\d+)")
_FIRST_NAMESPACE = "pid:[4026531836]"  # the kernel's PROC_PID_INIT_INO, of the process ids that are in its log
_RECORD = 8192  # bytes: the kernel gives a record of its log a read


@dataclass(frozen=True)
class Death:
    """How a killed process died. `for_memory` is None if it is unknown; megabytes are 1e6 bytes."""

    seen: str  # what is known without the kernel, such as "killed by SIGKILL"
    for_memory: bool | None
    peak_mb: float | None
    allowed_mb: float | None

    def __str__(self) -> str:
        by = {
            True: "killed by the kernel for memory",
            False: f"{self.seen}, not killed by the kernel for memory",
            None: f"{self.seen}; whether the kernel killed it for memory cannot be read here",
        }[self.for_memory]
        if self.peak_mb is None:
            return by
        allowed = "" if self.allowed_mb is None else f" of {self.allowed_mb:,.0f} MB allowed"
        return f"{by}: peak {self.peak_mb:,.0f} MB{allowed}"

    @property
    def tags(self) -> dict[str, str]:
        """For the run of the process."""
        known = {} if self.for_memory is None else {KILLED_FOR_MEMORY: str(self.for_memory).lower()}
        return {CAUSE_OF_DEATH: str(self), **known}


class MemoryKills:
    """Detects whether the kernel kills a process for memory, from its control group and from the kernel's log.

    Nothing raises. Call `look` about every second: the process may move to another group, a group also counts kills of
    other processes, such as all of a container, and a program may go on without a process that was killed, so only
    kills since the last look but one count.

    Args:
        pid: the process; None is this one.
        root: the folder under which proc, dev and the mount points are.
    """

    def __init__(self, pid: int | None = None, root: str = "/") -> None:
        self._pid, self._root = os.getpid() if pid is None else pid, root
        self._folder: str | None = None  # of the nearest group that counts
        self._counts: list[int] = []  # at the last two looks
        self._allowed_mb: float | None = None
        self._log = _open_log(root)
        self._logged: list[set[int]] = [set()]  # killed between the last two looks, and since
        self._reading = threading.Lock()  # of the log: another thread finds noted what this one has read
        self.look()

    def look(self) -> None:
        """See in which group the process is now, what it may use there, and what is new in the kernel's log."""
        try:
            if Path(self._root, f"proc/{self._pid}").exists():  # else what is known of its end stays
                self._read_log()
                self._logged = [*self._logged[-1:], set()]
            folders = find_folders(self._pid, self._root)
            folder = next((each for each in folders if _kills(each) is not None), None)
            allowed = cgroup_limits(folders)[0]
        except (OSError, ValueError):  # a kernel may answer anything
            return
        if folder is None:  # the process is gone: what is known of its group stays
            return
        if folder != self._folder:
            self._folder, self._counts = folder, []
        self._counts = [*self._counts[-1:], *([] if (count := _kills(folder)) is None else [count])]
        if allowed < math.inf:
            self._allowed_mb = allowed / 1e6

    def death(self, figures: Mapping[str, float], for_memory: bool | None, seen: str = "ended by SIGKILL") -> Death:
        """What a process has died of.

        Args:
            figures: of the process, with ``peak_memory_mb``.
            for_memory: what `happened` has said when it ended.
            seen: what is known of its end without the kernel.
        """
        return Death(seen, for_memory, figures.get("peak_memory_mb"), self._allowed_mb)

    def happened(self, pids: Collection[int]) -> bool | None:
        """Whether the kernel has killed one of these processes for memory; None if it is unknown.

        `pids` are the ids of the process and of those that were seen below it. Call it right after the process has
        ended: later kills in the same group would count too.
        """
        self._read_log()
        now = None if self._folder is None else _kills(self._folder)
        counted = now is not None and bool(self._counts) and now > self._counts[0]
        if counted or any(not logged.isdisjoint(pids) for logged in self._logged):
            return True
        return None if self._folder is None and self._log is None else False

    def close(self) -> None:
        """Close the kernel's log. Idempotent."""
        with self._reading:
            if self._log is not None:
                os.close(self._log)
                self._log = None

    def _read_log(self) -> None:
        """Note the processes that the kernel has killed, by what is new in its log."""
        with self._reading:
            while self._log is not None:
                try:
                    record = os.read(self._log, _RECORD)
                except BrokenPipeError:  # older records were overwritten: go on with the next
                    continue
                except OSError:  # nothing more
                    break
                if not record:
                    break
                self._logged[-1].update(int(pid) for pid in _KILLED.findall(record))


def _kills(folder: str) -> int | None:
    """How often the kernel has killed in a group or in those inside it: `oom_kill` of its memory.events."""
    found = re.search(rb"^oom_kill (\d+)$", read_file(f"{folder}/memory.events"), re.MULTILINE)
    return int(found[1]) if found else None


def _open_log(root: str) -> int | None:
    """The kernel's log, from its end on; None where it may not be read, and in a container: it has other ids."""
    with contextlib.suppress(OSError):
        if str(Path(root, "proc/self/ns/pid").readlink()) != _FIRST_NAMESPACE:
            return None
        log = os.open(Path(root, "dev/kmsg"), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with contextlib.suppress(OSError):
            os.lseek(log, 0, os.SEEK_END)
        return log
    return None
