"""The operations of one run on disk, for `sync`, in case this process ends before the store has them.

A private file of JSON lines: the first says whose operations follow, each other line holds one. A live process only
appends, and cuts off what the store has. Lines, and not SQLite: its connections must not be used after a fork, its
locks are weak on network drives, and a kill within a line costs that line alone. Nothing in a file is executed; lines
that are none of ours are skipped. An open file is locked, so that a series has one writer on a machine. Appended lines
survive a crash of the process, but not of the machine: no write waits for the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mlflow_sysmetrics.delivery.operations import Batch, Operation, Status, from_json, to_json

SUFFIX = ".jsonl"
_FORMAT = "mlflow_sysmetrics 4"
_CHECKPOINT = "Checkpoint"
_open: weakref.WeakSet[Journal] = weakref.WeakSet()  # of this process


class InUseError(OSError):
    """Another logger or `sync`, of this process or another one, has the journal open."""


def journal_folder() -> Path:
    """The folder of journals: MLFLOW_SYSMETRICS_SPOOL, or else the user's own folder for state."""
    if named := os.environ.get("MLFLOW_SYSMETRICS_SPOOL"):
        return Path(named).expanduser().absolute()
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state) / "mlflow-sysmetrics"
    try:
        return Path.home() / ".local" / "state" / "mlflow-sysmetrics"
    except RuntimeError:  # no home directory, as in some containers
        return Path(tempfile.gettempdir()) / f"mlflow-sysmetrics-{os.getuid()}"


def journal_path(tracking_uri: str, run_id: str, series: str) -> Path:
    """The file for a series of a run."""
    whose = "\0".join((_FORMAT, tracking_uri, run_id, series))
    digest = hashlib.sha256(whose.encode(errors="replace")).hexdigest()[:16]
    return journal_folder() / f"{digest}{SUFFIX}"


class Journal:
    """An open journal. Every method but `close` may raise OSError. Not thread-safe.

    Args:
        path: the file.
        run: whose operations it holds: its `tracking_uri`, its `run_id`, and, of one that this project creates, its
            `key` and `experiment_id`: then the id may be None. By default as the file says, which has to be there.

    Attributes:
        holds_earlier: whether an earlier process has left operations. They stay, and only `sync` removes them.

    Raises:
        InUseError: it is open already.
        OSError: it cannot be opened, others may write it, or it is not a journal.
    """

    def __init__(self, path: Path, run: dict[str, Any] | None = None) -> None:
        self._path = path
        self._checkpoint = b""
        self.skipped = 0  # lines that the last reading could not read
        if run:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = open(os.open(path, os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if run else 0), 0o600), "r+b", 0)  # noqa: PTH123, SIM115
        _open.add(self)
        try:
            self._lock()
            first = self._file.read(1 << 16).partition(b"\n")[0] + b"\n"
            if not first.startswith(f'["{_FORMAT}", '.encode()) or os.fstat(self._file.fileno()).st_size < len(first):
                if not run:
                    raise OSError("its first line is not that of a journal of this version")
                self._file.truncate(0)  # new, or its writer was killed within the first line
                first = json.dumps([_FORMAT, run]).encode() + b"\n"
                self._write(first)
            self.run: dict[str, Any] = dict(json.loads(first)[1])
            self._begin = len(first)
            self._write(b"\n")  # the last line may have been cut off
            self._own = self._file.seek(0, os.SEEK_END)  # where that of this process begins
            self.holds_earlier = run is not None and self._own > self._begin + 1
        except BaseException:
            self._file.close()
            raise

    def append(self, operations: Sequence[Operation]) -> None:
        """Add operations at the end: all of them or none."""
        self._write(b"".join(_line(to_json(operation)) for operation in operations))

    def checkpoint(self, operations: Sequence[Operation]) -> None:
        """Keep what counts if the process is killed now. It stays when the operations are dropped."""
        self._checkpoint = _line([_CHECKPOINT, *map(to_json, operations)])
        self._write(self._checkpoint)

    def empty(self) -> None:
        """Drop the operations of this process, since the store has them."""
        self._file.truncate(self._own)
        self._write(self._checkpoint)

    def read(self) -> Iterator[Operation]:
        """The operations, and at the end the last checkpoint, unless a summary or an end came after it."""
        checkpoint: list[Operation] = []
        self.skipped = 0
        self._file.seek(self._begin)
        for line in open(self._file.fileno(), "rb", closefd=False):  # noqa: SIM115 - buffered
            if line == b"\n":
                continue
            try:
                content = json.loads(line)
                if content[0] == _CHECKPOINT:
                    checkpoint = [from_json(part) for part in content[1:]]
                    continue
                operation = from_json(content)
            except (ValueError, TypeError, LookupError, RecursionError):
                self.skipped += 1
                continue
            if isinstance(operation, Status) or (isinstance(operation, Batch) and operation.summary):
                checkpoint = []
            yield operation
        yield from checkpoint

    def close(self, *, remove: bool = False) -> None:
        """Release the file, and remove it if asked, or what is of this process in it. Idempotent; never raises."""
        with contextlib.suppress(OSError, ValueError):  # closed already
            if remove and self.holds_earlier:
                self._file.truncate(self._own)
            elif remove and not self._file.closed:  # under the lock: later the path may be another file
                self._path.unlink()
        with contextlib.suppress(OSError):
            self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(f"{self._path} is in use by another logger or sync") from None
        status = os.fstat(self._file.fileno())
        if not status.st_nlink:  # its owner removed it after we opened it and before we locked it
            raise InUseError(f"{self._path} was in use by another logger or sync")
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise OSError(f"{self._path} is not a file that only its owner can write")

    def _write(self, data: bytes) -> None:
        size = self._file.seek(0, os.SEEK_END)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError:
            self._file.truncate(size)  # works on a full disk too
            raise


def _line(content: list[Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _leave_to_parent() -> None:
    """In a forked child: close its copies of the parent's files, which would stay locked after the parent's end."""
    for journal in list(_open):
        journal.close()


os.register_at_fork(after_in_child=_leave_to_parent)
