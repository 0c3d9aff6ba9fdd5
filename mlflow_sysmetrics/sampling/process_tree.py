"""The processes below one, on Linux, found again and again at little cost: few of the machine's are read twice."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from mlflow_sysmetrics.sampling.procfs import Process, read_once

_LOOK_ANYWAY_AFTER = 10  # looks at which the kernel said that there was nothing new
_OUTSIDERS_FORGOTTEN_AFTER = 30  # looks: by then one's pid may have become the pid of a process below


class Root(Process):
    """A process with all that come from it.

    A process that is outside can never come to be below, since one that loses its parent is given to an ancestor. So a
    look lists the pids of the machine and reads only those that were not outside before. It takes two looks to call a
    process outside: in a single one its parent may have been missed.
    """

    __slots__ = ("_below", "_births", "_looks", "_outside", "_outside_once")

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self._below: list[Process] = []  # parents before children, as of the last look
        self._outside_once: set[str] = set()  # names in /proc, of processes or not
        self._outside: set[str] = set()
        self._births, self._looks = _Births(), 0

    def descendants(self) -> list[Process]:
        """Find the processes below this one, parents before their children. OSError where /proc cannot be listed."""
        expected = self._births.expected()
        # Known ones first and parents first: when one turns out to be gone, its children have their new parent.
        alive = [process for process in self._below if _lives(process)]
        if not expected and len(alive) == len(self._below):
            self._below = _order(self.pid, alive)
            return list(self._below)
        if self._looks % _OUTSIDERS_FORGOTTEN_AFTER == 0:
            self._outside = set()
        self._looks += 1
        names = set(os.listdir(psutil.PROCFS_PATH))  # noqa: PTH208 - names, without an object for each
        known = {str(process.pid) for process in (self, *alive)}
        self._below = _order(self.pid, alive + _processes(names - self._outside - known))
        outside = names - {str(process.pid) for process in self._below}
        self._outside = outside & (self._outside | self._outside_once)
        self._outside_once = outside
        return list(self._below)


class _Births:
    """Whether a process may have been made: the kernel tells the last pid that it gave out, in /proc/loadavg."""

    def __init__(self) -> None:
        self._path = f"{psutil.PROCFS_PATH}/loadavg"
        self._last, self._same = b"", 0
        try:
            # lxcfs lays a file of its own there, whose number is seconds old.
            self._told = Path(self._path).stat().st_dev == Path(psutil.PROCFS_PATH).stat().st_dev
        except OSError:
            self._told = False

    def expected(self) -> bool:
        """Whether a look at the pids of the machine, taken after this call, may find one that the last did not."""
        try:
            last = read_once(self._path).rpartition(b" ")[2].strip() if self._told else b"0"
        except OSError:
            return True
        if last == b"0":  # as gVisor says
            return True
        self._last, self._same = last, self._same + 1 if last == self._last else 0
        # One that had its pid may not have been listed yet the first time. And some other system may make it up.
        return self._same < 2 or self._same % _LOOK_ANYWAY_AFTER == 0


def _order(root: int, processes: list[Process]) -> list[Process]:
    """Those of the processes that are below the pid `root`, parents before children."""
    children: dict[int, list[Process]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    below = children.pop(root, [])
    for process in below:  # which grows; whoever is taken out is not met again, whatever the parents say
        below += children.pop(process.pid, [])
    return below


def _lives(process: Process) -> bool:
    """Read its parent anew. False where it is gone, or its file is: then it is looked at as if it were new."""
    try:
        process.stat()
    except (psutil.NoSuchProcess, OSError):
        return False
    return True


def _processes(names: set[str]) -> list[Process]:
    """Those of the names in /proc that are processes, as far as we may see them."""
    found = []
    for name in names:
        if name.isdecimal():
            try:
                found.append(Process(int(name)))
            except (psutil.NoSuchProcess, OSError):
                continue
    return found
