"""Linux's /proc, read cheaply: the files of a process stay open. What the bytes in them mean is said in `readings`."""

from __future__ import annotations

import errno
import operator
import os
import weakref
from typing import Any

import psutil

_KEPT_AT_MOST = 128  # descriptors, by all samplers of this program: an eighth of what a program usually may have
_SIZE = 16384  # of `status` where a user is in many groups; the kernel gives these files whole

_kept: set[int] = set()


class Process:
    """A process, as its directory in /proc shows it. Equal to another with the same pid and start.

    Its files are kept open, as far as `_KEPT_AT_MOST` goes: opening and closing cost more than reading, and each call
    that may block gives up the interpreter lock, which the training thread takes and must be asked for again. An open
    file stays this process's: once the process is gone, reading it fails, whoever has the pid by then. The files are
    closed when the process is seen to be gone, and with the object.

    Raises psutil.NoSuchProcess where there is none, OSError where it cannot be read, and TypeError for a pid that is
    no number.
    """

    __slots__ = ("__weakref__", "_begins", "_closing", "_files", "_started", "parent", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = operator.index(pid)
        self._begins = b"%d (" % pid
        self._files: dict[str, tuple[int, os.stat_result]] = {}
        self._closing: Any = None
        try:
            stat = self._fields(read_once(_path(pid, "stat")))
        except (FileNotFoundError, ProcessLookupError):
            raise psutil.NoSuchProcess(pid) from None
        self._started = stat[19]
        self.parent = int(stat[1])  # when `stat` was last read

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Process) and self.pid == other.pid and self._started == other._started

    def __hash__(self) -> int:
        return self.pid

    def stat(self) -> list[bytes]:
        """The fields of `stat` after the name, that is by their numbers in proc(5) less 3.

        Raises psutil.NoSuchProcess when this process is gone, OSError when it cannot be read for once.
        """
        try:
            line = self.read("stat")
        except FileNotFoundError:
            raise psutil.NoSuchProcess(self.pid) from None
        stat = self._fields(line)
        if stat[19] != self._started:  # of a file that was not kept open
            self.close()
            raise psutil.NoSuchProcess(self.pid)
        self.parent = int(stat[1])
        return stat

    def read(self, name: str) -> bytes:
        """A file of this process. OSError if there is none, or it is not for us; psutil.NoSuchProcess once it is gone.

        Only of `stat` is it certain that it is not another process's that has the pid by now.
        """
        kept = self._files.get(name)
        try:
            return os.pread(kept[0], _SIZE, 0) if kept else self._read_new(name)
        except ProcessLookupError:
            self.close()
            raise psutil.NoSuchProcess(self.pid) from None
        except (FileNotFoundError, PermissionError):
            raise
        except OSError:  # the program closed what it did not open, or it has no descriptor left
            self.close()
            raise

    def close(self) -> None:
        """Close the files that are open. The next reading opens them anew."""
        _close(self._files)

    def _fields(self, line: bytes) -> list[bytes]:
        if not line.startswith(self._begins):
            self.close()
            raise OSError(errno.EBADF, "another file has this descriptor now")
        return line.rpartition(b")")[2].split(None, 20)  # the name may itself hold spaces and parentheses

    def _read_new(self, name: str) -> bytes:
        if len(_kept) >= _KEPT_AT_MOST:
            return read_once(_path(self.pid, name))
        fd = os.open(_path(self.pid, name), os.O_RDONLY)
        self._closing = self._closing or weakref.finalize(self, _close, self._files)  # not for each process looked at
        _kept.add(fd)
        self._files[name] = fd, os.fstat(fd)
        return os.pread(fd, _SIZE, 0)


def _path(pid: int, name: str) -> str:
    return f"{psutil.PROCFS_PATH}/{pid}/{name}"


def read_once(path: str) -> bytes:
    """One of the kernel's small files, whole, without keeping it open. OSError where it cannot be read."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, _SIZE)
    finally:
        os.close(fd)


def _close(files: dict[str, tuple[int, os.stat_result]]) -> None:
    """Close these descriptors, except those that are another file's by now."""
    while files:
        _, (fd, opened) = files.popitem()
        _kept.discard(fd)
        try:
            if os.path.samestat(os.fstat(fd), opened):
                os.close(fd)
        except OSError:  # closed by the program
            continue
