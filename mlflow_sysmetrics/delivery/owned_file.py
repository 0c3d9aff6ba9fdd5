"""Files that this user alone can have written, each open in one process at a time. What spools are made of."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCKED_BYTE = 1 << 40  # Windows locks bytes, and keeps others from reading them


class SpoolInUseError(Exception):
    """A living logger writes this series: of this process (`here`) or of another one on this machine."""

    def __init__(self, path: Path, here: bool) -> None:
        super().__init__(f"{path} is in use by a logger of {'this' if here else 'another'} process")
        self.here = here


class ForeignSpoolError(Exception):
    """A file that is no spool, or that others could have written: nothing of it is read."""


_open_files: dict[Path, OwnedFile] = {}  # of this process
_opening = threading.Lock()


class OwnedFile:
    """A file of bytes, open and locked until `close`. Nobody else may read it. Every method may raise OSError."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open the file.

        Raises:
            SpoolInUseError: it is open already.
            ForeignSpoolError: it is not a file, or others may write it.
        """
        flags = os.O_RDWR | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self.path = path
        with _opening:
            while True:
                if path in _open_files:
                    raise SpoolInUseError(path, here=True)
                self._fd = os.open(path, flags | (os.O_CREAT if create else 0), 0o600)
                try:
                    if not _lock(self._fd):
                        raise SpoolInUseError(path, here=False)
                    status = os.fstat(self._fd)
                    _make_private(self._fd, path, status, remove=create and not status.st_size)
                except BaseException:
                    os.close(self._fd)
                    raise
                if status.st_nlink:
                    break
                os.close(self._fd)  # its owner removed it between our opening and locking it
            self._identity = (status.st_dev, status.st_ino)
            self.size = status.st_size
            _open_files[path] = self

    def read(self, at: int, count: int) -> bytes:
        """Up to so many bytes from a place on."""
        os.lseek(self._checked(), at, os.SEEK_SET)
        return os.read(self._fd, count)

    def append(self, data: bytes) -> None:
        """Add at the end: all of it, or nothing and OSError."""
        left, fd = data, self._checked()
        try:
            while left:
                left = left[os.write(fd, left) :]
        except OSError:
            os.ftruncate(fd, self.size)  # works on a full disk too
            raise
        self.size += len(data)

    def truncate(self, size: int) -> None:
        """Cut off what is beyond a size."""
        os.ftruncate(self._checked(), size)
        self.size = size

    def close(self, *, remove: bool = False) -> None:
        """Give the file back, and remove it if asked. Idempotent; never raises."""
        with _opening, contextlib.suppress(OSError):
            if _open_files.get(self.path) is not self:
                return
            del _open_files[self.path]
            fd = self._checked()
            if remove and sys.platform != "win32":  # under its lock: later the path may be another's file
                with contextlib.suppress(OSError):
                    self.path.unlink()
            os.close(fd)
            if remove and sys.platform == "win32":  # where an open file cannot be removed
                self.path.unlink()

    def _checked(self) -> int:
        """The descriptor, while it is still this file's: a program may close what it did not open, and open another."""
        status = os.fstat(self._fd)
        if (status.st_dev, status.st_ino) != self._identity:
            raise OSError(errno.EBADF, "another file has this descriptor now")
        return self._fd


def _leave_to_parent() -> None:
    """In a forked child: give up the copies of the parent's files, which would keep them locked after its end."""
    global _opening
    _opening = threading.Lock()  # it may have been held, by a thread that is not here
    for file in _open_files.values():
        with contextlib.suppress(OSError):
            os.close(file._checked())
    _open_files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _make_private(fd: int, path: Path, status: os.stat_result, *, remove: bool) -> None:
    """ForeignSpoolError unless it is a file that only this user can have written; `remove` it then."""
    if not stat.S_ISREG(status.st_mode):
        raise ForeignSpoolError(f"{path} is not a file")
    if sys.platform == "win32":
        return
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        if remove:  # on some file systems every file looks so, a new one too
            path.unlink()
        raise ForeignSpoolError(f"{path} can be written by others")
    if status.st_mode & 0o077:  # it has come back from a copy that others may read
        os.fchmod(fd, 0o600)


def _lock(fd: int) -> bool:
    if sys.platform == "win32":
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    else:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
