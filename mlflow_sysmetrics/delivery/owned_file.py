"""Private files, each open in one process at a time. Spools are made of them."""

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
    """Another logger writes this series, in this process or in another one of this machine."""

    def __init__(self, path: Path, here: bool) -> None:
        super().__init__(f"{path} is in use by a logger of {'this' if here else 'another'} process")


class ForeignSpoolError(Exception):
    """Not a spool, or a file that others could have written. Nothing of it is read."""


_open_files: dict[Path, OwnedFile] = {}  # of this process
_opening = threading.Lock()


class OwnedFile:
    """A file of bytes, open and locked until `close`, readable by this user only. Every method may raise OSError."""

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
                os.close(self._fd)  # its owner removed it after we opened it and before we locked it
            self._identity = (status.st_dev, status.st_ino)
            self.size = status.st_size
            _open_files[path] = self

    def read(self, at: int, count: int) -> bytes:
        """Up to `count` bytes from position `at`."""
        os.lseek(self._checked(), at, os.SEEK_SET)
        return os.read(self._fd, count)

    def append(self, data: bytes) -> None:
        """Add at the end. On OSError nothing was added."""
        left, fd = data, self._checked()
        try:
            while left:
                left = left[os.write(fd, left) :]
        except OSError:
            os.ftruncate(fd, self.size)  # works on a full disk too
            raise
        self.size += len(data)

    def truncate(self, size: int) -> None:
        """Cut the file to a size."""
        os.ftruncate(self._checked(), size)
        self.size = size

    def close(self, *, remove: bool = False) -> None:
        """Release the file, and remove it if asked. Idempotent; never raises."""
        with _opening, contextlib.suppress(OSError):
            if _open_files.get(self.path) is not self:
                return
            del _open_files[self.path]
            fd = self._checked()
            if remove and sys.platform != "win32":  # under the lock: later the path may be another file
                with contextlib.suppress(OSError):
                    self.path.unlink()
            os.close(fd)
            if remove and sys.platform == "win32":  # where an open file cannot be removed
                self.path.unlink()

    def _checked(self) -> int:
        """The descriptor, if it is still this file's: a program may close it and open another file under it."""
        status = os.fstat(self._fd)
        if (status.st_dev, status.st_ino) != self._identity:
            raise OSError(errno.EBADF, "another file has this descriptor now")
        return self._fd


def _leave_to_parent() -> None:
    """In a forked child: close its copies of the parent's files, which would stay locked after the parent's end."""
    global _opening
    _opening = threading.Lock()  # a thread that is not in the child may hold it
    for file in _open_files.values():
        with contextlib.suppress(OSError):
            os.close(file._checked())
    _open_files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _make_private(fd: int, path: Path, status: os.stat_result, *, remove: bool) -> None:
    """Raise ForeignSpoolError, and `remove` the file, if others could have written it. Else make it private."""
    if not stat.S_ISREG(status.st_mode):
        raise ForeignSpoolError(f"{path} is not a file")
    if sys.platform == "win32":
        return
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        if remove:  # on some file systems even a new file looks so
            path.unlink()
        raise ForeignSpoolError(f"{path} can be written by others")
    if status.st_mode & 0o077:  # as after a restore from a backup
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
