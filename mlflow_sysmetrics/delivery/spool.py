"""Points on disk that wait for delivery: an append-only file for one run, private to the user.

The first line says whose points follow: ``{"mlflow_sysmetrics": 1, "run_id": ..., "tracking_uri": ..., "tags": {}}``.
Each further line holds the points of one moment: ``[unix ms, step, {"name": value, ...}]``. A line ``{"last": [..]}``
holds points to deliver only if no line follows, for example because the process was killed. Other lines are skipped and
counted; nothing in a file is executed. An open file is locked, so that a series has one writer on a machine. Appended
lines survive a crash of the process, but not of the machine: no write waits for the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlflow_sysmetrics.delivery.owned_file import ForeignSpoolError, OwnedFile, SpoolInUseError
from mlflow_sysmetrics.delivery.points import Point

__all__ = ["ForeignSpoolError", "Header", "SpoolFile", "SpoolInUseError", "spool_folder", "spool_path"]

FOLDER_VARIABLE = "MLFLOW_SYSMETRICS_SPOOL"
SUFFIX = ".jsonl"
_FORMAT = 1
_CHUNK = 1 << 18  # bytes read at once; every line is shorter
_TAIL = 1 << 16
_MAX_HEADER = 1 << 21
_MAX_BYTES = 500_000_000  # about a week of one logger's points
_MAX_WHOLE = 1 << 53  # of times and steps: above, stores and JSON readers differ


@dataclass(frozen=True)
class Header:
    """The run and the store of a spool's points, and other data of that run that waits.

    `status` and `end_ms` say how and when it ended. A run without an id is still to be created, in `experiment_id`,
    with `tags` and the start `start_ms`; `new_tags` came later. It is nested under the run that `parent` describes,
    which may have to be created first.
    """

    run_id: str
    tracking_uri: str
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    status: str | None = None
    end_ms: int | None = None
    experiment_id: str = ""
    start_ms: int = 0
    name: str | None = None
    new_tags: dict[str, str] = field(default_factory=dict)
    parent: Header | None = None


def spool_folder(folder: str | Path | None = None) -> Path:
    """The folder of spools: the one given, or MLFLOW_SYSMETRICS_SPOOL, or the user's own folder for state.

    Without a home directory, as in some containers, it is among the temporary files.
    """
    if folder is not None:
        return Path(folder).expanduser().absolute()
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named).expanduser().absolute()
    if state := os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_STATE_HOME"):
        return Path(state) / "mlflow-sysmetrics"
    try:
        return Path.home() / ".local" / "state" / "mlflow-sysmetrics"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"mlflow-sysmetrics-{os.getuid()}"


def spool_path(folder: Path, header: Header, prefix: str) -> Path:
    """The file in which the series of this prefix, run and store wait."""
    series = "\0".join((header.tracking_uri, header.run_id, prefix)).encode(errors="replace")
    readable = re.sub(r"[^\w-]", "_", header.run_id, flags=re.ASCII)[:40]
    return folder / f"{readable}.{hashlib.sha256(series).hexdigest()[:16]}{SUFFIX}"


class SpoolFile:
    """An open spool: append points at its end, deliver them from its front. Not thread-safe.

    To deliver, `peek`, send, and `forget` once the store has it. A file whose points are all delivered is emptied, and
    removed at `close`. Every method may raise OSError.
    """

    def __init__(self, file: OwnedFile, max_bytes: int = _MAX_BYTES) -> None:
        """Take over an open file: use `create` or `open`. ForeignSpoolError without a valid first line."""
        self.skipped = 0
        self._file, self._max_bytes = file, max_bytes
        first, newline, _ = file.read(0, _MAX_HEADER).partition(b"\n")
        self.header = _parse_header(first + newline)
        self._start = self._read_at = self._peeked_to = len(first) + 1
        self._peeked_skips = 0
        self._last: tuple[bytes, list[Point]] = (b"", [])  # the last words, as far as the file was read or written

    @classmethod
    def create(cls, path: Path, header: Header, max_bytes: int = _MAX_BYTES) -> SpoolFile:
        """Open the spool of a run, with what an earlier process may have left in it, or create it.

        Raises:
            SpoolInUseError: the series has a writer.
            OSError: the folder or the file cannot be made or written.
            ForeignSpoolError: others can write every file in this folder.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return cls._create(path, header, max_bytes)
        except ForeignSpoolError:
            with contextlib.suppress(FileNotFoundError):  # an empty one is gone already
                path.replace(path.with_suffix(f".{time.time_ns()}.damaged"))
            return cls._create(path, header, max_bytes)

    @classmethod
    def _create(cls, path: Path, header: Header, max_bytes: int) -> SpoolFile:
        file = OwnedFile(path, create=True)
        try:
            if not file.size:
                file.append(json.dumps({"mlflow_sysmetrics": _FORMAT, **asdict(header)}).encode() + b"\n")
            spool = cls(file, max_bytes)
            if file.read(file.size - 1, 1) != b"\n":  # its writer was killed within the last line
                file.append(b"\n")
        except BaseException:
            file.close(remove=not file.size)  # as on a full disk
            raise
        return spool

    @classmethod
    def open(cls, path: Path) -> SpoolFile:
        """Open a spool that was left. ForeignSpoolError if it is not one; SpoolInUseError if its logger still runs."""
        file = OwnedFile(path)
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    @property
    def is_empty(self) -> bool:
        """Whether everything was delivered."""
        return self._read_at >= self._file.size

    @property
    def last_step(self) -> int:
        """The largest step among the last lines; 0 without any."""
        tail = self._file.read(max(self._start, self._file.size - _TAIL), _TAIL).split(b"\n")
        return max((point.step for line in tail for point in _parse(line) or ()), default=0)

    def append(self, points: Iterable[Point]) -> None:
        """Add points at the end: all of them or none."""
        lines = [
            json.dumps([*moment, {point.name: point.value for point in group}], separators=(",", ":"))
            for moment, group in itertools.groupby(points, lambda point: (point.time_ms, point.step))
        ]
        data = "".join(f"{line}\n" for line in lines).encode()
        self._write(data)
        if data:
            self._last = (b"", [])

    def say_last(self, points: Iterable[Point]) -> None:
        """Add points, all of one moment, to deliver only if no others are added after them."""
        said = list(points)
        if said:
            words = [said[0].time_ms, said[0].step, {point.name: point.value for point in said}]
            line = json.dumps({"last": words}, separators=(",", ":")).encode() + b"\n"
            self._write(line)
            self._last = (line, said)

    @property
    def last_words(self) -> list[Point]:
        """The last points to deliver, if nothing follows them; known once all before them were delivered."""
        return self._last[1]

    def _write(self, data: bytes) -> None:
        if self._file.size + len(data) > self._max_bytes:
            raise OSError(f"{self._file.path} would be larger than {self._max_bytes} bytes")
        self._file.append(data)

    def peek(self, limit: int) -> list[Point]:
        """The oldest points that wait: whole lines, at least one, and at most `limit` points if there are more."""
        points: list[Point] = []
        at, skips = self._read_at, 0
        for line, end in self._lines(at):
            found = _parse(line)
            if found is None and (last := _parse_last(line)):
                self._last, at = (line, last), end
                continue
            if points and found and len(points) + len(found) > limit:
                break
            points += found or ()
            skips += found is None
            at = end
            self._last = (b"", [])
        self._peeked_to, self._peeked_skips = at, skips
        if not points:
            self.forget()
        return points

    def forget(self) -> None:
        """Drop what the last `peek` returned."""
        self._read_at, self.skipped = self._peeked_to, self.skipped + self._peeked_skips
        self._peeked_skips = 0
        line = self._last[0]
        if self.is_empty and self._file.size > self._start + len(line):
            self._file.truncate(self._start)
            if line:  # the process may be killed before it says more
                self._file.append(line)
            self._read_at = self._peeked_to = self._file.size

    def close(self, *, keep: bool = False) -> None:
        """Release the file, and remove it if all its points were delivered, unless `keep`. Never raises."""
        self._file.close(remove=self.is_empty and not keep)

    def _lines(self, at: int) -> Iterator[tuple[bytes, int]]:
        """Each line from a position on, and where it ends. Lines longer than any of ours come in pieces."""
        while at < self._file.size:
            chunk = self._file.read(at, _CHUNK)
            whole = chunk.rfind(b"\n") + 1 or len(chunk)
            for line in chunk[:whole].splitlines(keepends=True) if whole else ():
                at += len(line)
                yield line, at
            if not whole:  # the file is shorter than it was
                return


def _parse_header(line: bytes) -> Header:
    try:
        given = json.loads(line)
        if line.endswith(b"\n") and given.pop("mlflow_sysmetrics") == _FORMAT:
            header = _header(given)
            if _is_header(header):
                return header
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        pass
    raise ForeignSpoolError("the first line is not that of a spool")


def _header(given: dict[str, Any]) -> Header:
    parent = given.pop("parent", None)
    return Header(**given, parent=None if parent is None else _header(parent))


def _is_header(header: Header) -> bool:
    texts = [header.run_id, header.tracking_uri, header.experiment_id, header.status or "", header.name or ""]
    entries = [*header.tags.items(), *header.params.items(), *header.new_tags.items()]
    texts += [text for entry in entries for text in entry]
    times = _is_whole(header.start_ms) and _is_whole(header.end_ms or 0)
    return times and all(isinstance(text, str) for text in texts) and (not header.parent or _is_header(header.parent))


def _parse(line: bytes) -> list[Point] | None:
    """The points of a line; None if it is not a valid one."""
    try:
        time_ms, step, values = json.loads(line)
        if _is_whole(time_ms) and time_ms >= 0 and _is_whole(step) and values:
            points = [Point(name, float(value), time_ms, step) for name, value in values.items() if _is_number(value)]
            "".join(values).encode()  # raises for half of a surrogate pair, which stores refuse
            if len(points) == len(values) and all(math.isfinite(point.value) for point in points):
                return points
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        pass
    return None


def _parse_last(line: bytes) -> list[Point] | None:
    """The points of a line ``{"last": [..]}``; None if it is not such a line."""
    if not line.startswith(b'{"last":'):
        return None
    try:
        return _parse(json.dumps(json.loads(line)["last"]).encode())
    except (ValueError, RecursionError):
        return None


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < _MAX_WHOLE


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
