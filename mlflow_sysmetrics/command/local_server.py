"""An ``mlflow server`` that only this machine can reach: is there one, start one, end it with all its processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from mlflow.entities import Run

from mlflow_sysmetrics.redact import absolute_uri, redacted_text

HOST = "127.0.0.1"
_READY_WITHIN_S = 120.0
_ENDS_WITHIN_S = 3.0
_ANSWER_S = 5.0
_LAST_LINES = 12
# As `mlflow`, which may not be on the PATH. `python -m mlflow` looks for modules in the current folder first.
_MLFLOW = "import sys; sys.path[:] = filter(None, sys.path); from mlflow.cli import cli; cli(prog_name='mlflow')"
# Settings of a public server, with which this one would have no page, or at another address.
_NOT_FOR_US = {"MLFLOW_STATIC_PREFIX", "MLFLOW_ARTIFACTS_ONLY", "MLFLOW_GUNICORN_OPTS", "MLFLOW_SERVER_ALLOWED_HOSTS"}


class ServerFailedError(Exception):
    """The server has ended, or does not answer: one sentence, and the last lines that it wrote."""


def is_free(port: int) -> bool:
    """Whether a server can listen on this port of the loopback."""
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: the last one may just be gone
        try:
            own.bind((HOST, port))
        except OSError:
            return False
    return True


def has_run(port: int, run: Run) -> bool:
    """Whether an MLflow server on this port has this very run: its random id, start and place of artifacts.

    No other store than the run's own does, except a copy that was made after the run began.
    """
    status, body = _get(port, f"/api/2.0/mlflow/runs/get?run_id={run.info.run_id}")
    try:
        info = json.loads(body)["run"]["info"] if status == 200 else {}
    except (ValueError, KeyError, TypeError):  # another kind of server
        return False
    own = (run.info.run_id, run.info.experiment_id, run.info.start_time, run.info.artifact_uri)
    return own == tuple(info.get(name) for name in ("run_id", "experiment_id", "start_time", "artifact_uri"))


def _get(port: int, path: str) -> tuple[int, bytes]:
    """Ask the loopback, past any proxy. The status is 0 where there is no answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


class LocalServer:
    """One worker on a store and a port. It says nothing; what it writes is in a file until it ends."""

    def __init__(self, store_uri: str, port: int) -> None:
        self._store_uri, self._port = store_uri, port
        self._folder = tempfile.TemporaryDirectory(prefix="mlflow-sysmetrics-ui-", ignore_cleanup_errors=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _log(self) -> Path:
        return Path(self._folder.name) / "server.log"

    def start(self) -> None:
        """Start it, in a session of its own: keys of the terminal reach only this process, which then ends it."""
        command = [sys.executable, "-c", _MLFLOW, "server", "--host", HOST, "--port", str(self._port)]
        command += ["--workers", "1", "--uvicorn-opts", "--log-level warning --timeout-graceful-shutdown 1"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=_environment(self._store_uri, self._folder.name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until it answers. ServerFailedError if it ends before, or takes two minutes."""
        assert self._process is not None
        deadline = time.monotonic() + _READY_WITHIN_S
        while _get(self._port, "/health")[0] != 200:
            if time.monotonic() > deadline:
                raise ServerFailedError(self._why(f"does not answer within {_READY_WITHIN_S:g} s"))
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
                raise ServerFailedError(self._why("did not start"))

    def wait(self) -> NoReturn:
        """Wait for its end, and raise ServerFailedError: it should have been ended with `stop`."""
        assert self._process is not None
        self._process.wait()
        raise ServerFailedError(self._why("has ended"))

    def stop(self) -> None:
        """End it and all its processes, at the latest after some seconds. Idempotent."""
        if self._process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):  # the second for all that the first left
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_ENDS_WITHIN_S)
        self._folder.cleanup()

    def _why(self, what: str) -> str:
        lines = redacted_text(self._log.read_text(errors="replace")).strip().splitlines()[-_LAST_LINES:]
        return "\n  ".join([f"mlflow server {what}. " + ("Its last words:" if lines else "It said nothing."), *lines])


def _environment(store_uri: str, harmless_folder: str) -> dict[str, str]:
    """This process's environment with the store, whose password thus is not in the list of processes."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_US}
    return kept | {
        "MLFLOW_BACKEND_STORE_URI": absolute_uri(store_uri),
        # Else it starts eight more processes for jobs of its own, and takes three times as long.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # Else modules in the current folder come before its own.
        "PYTHONSAFEPATH": "1",
        "UVICORN_APP_DIR": harmless_folder,
    }
