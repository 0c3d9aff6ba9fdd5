"""A PostgreSQL server for a test or a benchmark, from Debian's packages: new, on loopback, gone afterwards."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from tracking_server import free_port

NOBODY = "postgres"  # PostgreSQL refuses to run as root; this is the user that its package makes


def binaries():
    """The folder of the newest installed version's programs; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


class Postgres:
    """A running server; ``uri`` is how MLflow is told of it.

    It names the driver: which one is the default depends on the version of SQLAlchemy.
    """

    def __init__(self, programs, port):
        self._programs = programs
        self.uri = f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"

    def ask(self, query):
        """The one value that a query gives."""
        line = [self._programs / "psql", "-At", "-d", self.uri.replace("+psycopg2", ""), "-c", query]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def postgres():
    """Start a server with nothing in it, as safe on disk as it is by default; end it and remove its files at last."""
    programs = binaries()
    assert programs is not None
    folder, port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()
    other = {}
    if os.geteuid() == 0:
        entry = pwd.getpwnam(NOBODY)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        other = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def run(program, *words):
        line = [programs / program, "-D", folder / "data", *words]
        subprocess.run(line, check=True, cwd=folder, stdout=subprocess.DEVNULL, **other)

    try:
        run("initdb", "-U", "mlflow", "-A", "trust", "-E", "UTF8", "--no-locale")
        # It waits until the server answers.
        run("pg_ctl", "start", "-l", "log", "-o", f"-p {port} -k {folder} -c listen_addresses=127.0.0.1")
        try:
            yield Postgres(programs, port)
        finally:
            run("pg_ctl", "stop", "-m", "fast")  # it cuts connections off
    finally:
        shutil.rmtree(folder)
