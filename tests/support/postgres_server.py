"""A PostgreSQL server for a test or a benchmark, from Debian's packages: new, on loopback, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tracking_server import free_port

NOBODY = "postgres"  # PostgreSQL refuses to run as root; this is the user that its package makes
STARTS_WITHIN_S = 60.0


def binaries() -> Path | None:
    """The folder of the newest installed version's programs; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


class Postgres:
    """A running server; ``uri`` is how MLflow is told of it.

    It names the driver: which one is the default depends on the version of SQLAlchemy.
    """

    def __init__(self, programs: Path, port: int) -> None:
        self._programs = programs
        self.uri = f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"

    def ask(self, query: str) -> str:
        """The one value that a query gives."""
        line = [self._programs / "psql", "-At", "-d", self.uri.replace("+psycopg2", ""), "-c", query]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a server with nothing in it, as safe on disk as it is by default; end it and remove its files at last."""
    programs = binaries()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    other: dict[str, object] = {}
    if os.geteuid() == 0:
        entry = pwd.getpwnam(NOBODY)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        other = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    port, data = free_port(), folder / "data"
    with (folder / "log").open("w") as log:
        make = [programs / "initdb", "-D", data, "-U", "mlflow", "-A", "trust", "-E", "UTF8", "--no-locale"]
        subprocess.run(make, check=True, cwd=folder, stdout=log, stderr=log, **other)  # type: ignore[call-overload]
        serve = [programs / "postgres", "-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1"]
        server = subprocess.Popen(serve, cwd=folder, stdout=log, stderr=log, **other)  # type: ignore[call-overload]
    try:
        _wait(programs, port, folder)
        yield Postgres(programs, port)
    finally:
        server.send_signal(signal.SIGINT)  # it cuts connections off
        server.wait(30)
        shutil.rmtree(folder)


def _wait(programs: Path, port: int, folder: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ready).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no PostgreSQL:\n{(folder / 'log').read_text()}")
        time.sleep(0.1)
