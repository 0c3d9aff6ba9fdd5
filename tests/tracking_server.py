"""A real ``mlflow server`` with a SQLite store of its own, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def tracking_server(folder: Path, timeout_s: float = 90.0) -> Iterator[int]:
    """Start the server on the store in a folder, which is made if there is none; give its port; end it at last."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"],
            cwd=folder,
            env=kept | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + timeout_s
        while not answers(port):
            if time.monotonic() > deadline or server.poll() is not None:
                raise RuntimeError(f"no server:\n{(folder / 'server.log').read_text()}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.1)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)


def answers(port: int) -> bool:
    """Whether a server on this port is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
