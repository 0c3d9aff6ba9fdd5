"""One table from OpenML, through the openml package: the program that ``openml_source`` runs in a separate process.

The only module that imports openml. The package sets no time limits, and minio, which it downloads Parquet with, sets
five minutes and five retries. Both go through urllib3, so limits are put there; since that changes urllib3 for the
whole process, this process does nothing else.

Input is one JSON argument, output one JSON object per line: ``stage`` and ``bytes`` while it runs, at the end
``name``, ``target`` and ``licence`` with the table in ``folder/table.parquet``, or ``error`` and ``unknown_id``.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
import urllib3
from urllib3.connectionpool import HTTPConnectionPool

from entrypoints.datasets.cleaning import canonical
from entrypoints.text import one_line

TABLE = "table.parquet"
MIN_BYTES_PER_S = 1000.0
REPORT_EVERY_S = 0.2

Emit = Callable[..., None]


class TooLargeError(Exception):
    """More bytes arrived than are allowed."""


class Limits:
    """Limits on the time of every request of this process and on the bytes of all, and what it received so far.

    A request ends with an error if connecting, or waiting for the next bytes, takes longer than ``timeout_s``, or if
    in a period of that length fewer than ``min_bytes_per_s`` arrive, or once all have brought more than
    ``max_bytes``. Nothing is tried again.
    """

    def __init__(self, timeout_s: float, max_bytes: int, emit: Emit, min_bytes_per_s: float = MIN_BYTES_PER_S) -> None:
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes
        self.last_path = ""
        self._emit = emit
        self._least = min_bytes_per_s * timeout_s
        self._total = self._period_bytes = 0
        self._period_start = self._reported = time.monotonic()

    def apply(self) -> None:
        """Put the limits under requests and minio for the rest of this process."""
        urlopen, readinto = HTTPConnectionPool.urlopen, socket.SocketIO.readinto

        def limited(pool: HTTPConnectionPool, method: str, url: str, *args: Any, **options: Any) -> Any:
            self._begin(url)
            options["timeout"] = urllib3.Timeout(connect=self.timeout_s, read=self.timeout_s)
            if options.get("retries") is None:  # minio relies on the pool's five
                options["retries"] = urllib3.Retry(0)
            try:
                return urlopen(pool, method, url, *args, **options)
            finally:
                self._emit(stage="receive")

        def counted(stream: socket.SocketIO, buffer: Any) -> int | None:
            received = readinto(stream, buffer)
            self._count(received or 0)
            return received

        HTTPConnectionPool.urlopen = limited  # type: ignore[assignment]
        socket.SocketIO.readinto = counted  # type: ignore[assignment,method-assign]

    def _begin(self, path: str) -> None:
        self.last_path, self._period_bytes, self._period_start = path, 0, time.monotonic()
        self._emit(stage="connect")

    def _count(self, received: int) -> None:
        now = time.monotonic()
        self._total += received
        self._period_bytes += received
        if self._total > self.max_bytes:
            raise TooLargeError
        if now - self._reported >= REPORT_EVERY_S:
            self._reported = now
            self._emit(bytes=self._total)
        if received and now - self._period_start >= self.timeout_s:
            if self._period_bytes < self._least:
                raise TimeoutError("too slow")
            self._period_bytes, self._period_start = 0, now


def fetch(openml_id: int, server: str, folder: Path, limits: Limits) -> dict[str, Any]:
    """Store the table in ``folder`` with canonical dtypes, and return its metadata. Errors of openml pass through."""
    import openml

    openml.config.server = server
    openml.config.set_root_cache_directory(str(folder / "openml"))
    openml.config.set_retry_policy("human", 1)
    openml.config.show_progress = False
    dataset = openml.datasets.get_dataset(openml_id, download_data=False)
    if dataset.format.lower() == "sparse_arff":
        raise ValueError("it is a sparse table, which is not supported")
    try:
        frame = dataset.get_data()[0]
    except Exception:
        # openml falls back on ARFF only where Parquet cannot be reached; here also where it breaks off or is broken.
        if not limits.last_path.split("?")[0].endswith(".pq"):
            raise
        os.environ[openml.config.OPENML_SKIP_PARQUET_ENV_VAR] = "true"
        frame = openml.datasets.get_dataset(openml_id, download_data=False).get_data()[0]
    if frame.columns.duplicated().any():
        raise ValueError("some of its columns have the same name")
    canonical(frame).to_parquet(folder / TABLE)
    return {"name": dataset.name, "target": dataset.default_target_attribute, "licence": dataset.licence}


def reason(error: BaseException, limits: Limits) -> dict[str, Any]:
    """Return why a download failed, as a clause, and whether the server said that it knows no such id."""
    import openml

    if isinstance(error, openml.exceptions.OpenMLServerException) and error.code == 111:
        return {"error": "OpenML has no dataset of this id", "unknown_id": True}
    return {"error": _clause(error, limits), "unknown_id": False}


def _clause(error: BaseException, limits: Limits) -> str:
    import openml

    causes = list(_causes(error))
    if isinstance(error, openml.exceptions.OpenMLPrivateDatasetError):
        return "the dataset is private"
    if isinstance(error, openml.exceptions.OpenMLHashException):
        return "the file's MD5 checksum is not the one that OpenML states"
    if isinstance(error, openml.exceptions.OpenMLServerException):
        return f"the server answered: {str(error.message).removesuffix(' - None').rstrip('.')}"
    if status := re.search(r"Status code: (\d+)", str(error)):
        return f"the server answered with status {status[1]}"
    if isinstance(error, openml.exceptions.OpenMLServerError):
        return "the server's answer is not what OpenML sends"
    if any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in causes):
        return "the server cannot be reached"
    if any(isinstance(cause, TooLargeError) for cause in causes):
        return f"it is larger than {limits.max_bytes / 1e6:g} MB"
    if any("too slow" in str(cause) for cause in causes):
        return f"fewer than {MIN_BYTES_PER_S:.0f} bytes per second arrived"
    if any(isinstance(cause, TimeoutError | requests.Timeout | urllib3.exceptions.TimeoutError) for cause in causes):
        return f"the server was silent for {limits.timeout_s:g} s"
    broken = (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.ProtocolError, EOFError)
    if any(isinstance(cause, broken) for cause in causes):
        return "the server broke off"
    if any(isinstance(cause, requests.ConnectionError | OSError) for cause in causes):
        return "the server cannot be reached"
    return f"{type(error).__name__}: {one_line(error)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from or wraps."""
    while error is not None:
        yield error
        wrapped = [argument for argument in error.args if isinstance(argument, BaseException)]
        inner = getattr(error, "reason", None)
        error = inner if isinstance(inner, BaseException) else wrapped[0] if wrapped else error.__cause__


def main() -> None:
    """Do what the argument asks for. Whatever libraries print goes to standard error."""
    request = json.loads(sys.argv[1])
    output = os.dup(1)
    os.dup2(2, 1)

    def emit(**message: Any) -> None:
        os.write(output, json.dumps(message).encode() + b"\n")

    folder = Path(request["folder"])
    limits = Limits(request["timeout_s"], request["max_bytes"], emit)
    limits.apply()
    try:
        emit(**fetch(request["openml_id"], request["server"], folder, limits))
    except BrokenPipeError:
        raise  # the parent process is gone
    except Exception as error:
        emit(**reason(error, limits))


if __name__ == "__main__":
    main()
