"""MLflow's own scoring server for one model, on loopback: started, asked, read, and always ended."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import psutil
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.pyfunc import scoring_server

from mlflow_gate.served.connection import Endpoint, ServerError
from mlflow_gate.served.model import ServedModel
from mlflow_sysmetrics.common.redact import redacted_text
from mlflow_sysmetrics.common.time_limits import SERVER_ANSWER_S, SERVER_START_S, SHORT_GRACE_S
from mlflow_sysmetrics.limits import end_tree
from mlflow_sysmetrics.sampling import ProcessSampler

_HOST = "127.0.0.1"  # whoever reaches a model's server can use the model
# Becomes the server once the kernel has promised to kill it when the thread that started it is gone, which may be so
# already. Another process waits until it has ended and kills what is left of its group, such as workers; it is not
# below the server, whose costs it would else raise.
_LAUNCH = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    ended, alive = os.pipe()
    if not os.fork():
        os.close(alive)
        if not os.fork():
            os.read(ended, 1)
            os.killpg(0, signal.SIGKILL)
        os._exit(0)
    os.wait()
    os.close(ended)
    os.set_inheritable(alive, True)
    os.execv(sys.argv[2], sys.argv[2:])
"""


class Server(Endpoint):
    """MLflow's server of a model. `cold_start_s` is the time from the start of its process to its first answer."""

    def __init__(self, model: ServedModel, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
        super().__init__(model.uri, f"http://{_HOST}:{port}/invocations", model.model_id)
        self.model = model
        self.process = process
        self.log = log
        self.cold_start_s = 0.0
        self._began = time.perf_counter()

    @property
    def answer_s(self) -> float:
        its_own_s = float(MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())  # type: ignore[no-untyped-call]
        return its_own_s + SERVER_ANSWER_S

    @property
    def too_slow(self) -> str:
        limit = MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
        return f"did not answer within {limit.get()} s, which {limit.name} sets"  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Wait for its first answer. ServerError: there is none."""
        try:
            # Connects at once: the socket listens already, and the server answers when it has loaded its model.
            with self.connected(SERVER_START_S) as connection:
                connection.ping()
        except ServerError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
            if self.process.poll() is None:
                raise ServerError(self.uri, f"has not started within {SERVER_START_S:g} s") from None
            raise ServerError(self.uri, f"cannot be served here: {self._last_words()}") from None
        self.cold_start_s = time.perf_counter() - self._began

    def cpu_seconds(self) -> float:
        total = 0.0
        for pid in self.pids:
            cpu_clock = (~pid << 3) | 2  # as clock_getcpuclockid(3) makes it
            with contextlib.suppress(OSError):  # it has ended
                total += time.clock_gettime(cpu_clock)
        return total

    def find_processes(self) -> None:
        self.pids |= ProcessSampler(self.process.pid).pids

    def memory(self) -> dict[str, float]:
        memory_mb = ProcessSampler(self.process.pid)().get("process_memory_mb")
        return {} if memory_mb is None else {"served_memory_mb": memory_mb}

    def end(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            end_tree(psutil.Process(self.process.pid), SHORT_GRACE_S)
        self.process.wait()

    def _written(self) -> bytes:
        """Its log, whose place to write at stays where it is."""
        log = self.log.fileno()
        return os.pread(log, os.fstat(log).st_size, 0)

    def _last_words(self) -> str:
        lines = self._written().decode(errors="replace").strip().splitlines()
        if not lines:
            return f"exit code {self.process.returncode}"
        if "No module named" in lines[-1]:
            return f"{lines[-1]}; install what mlflow.pyfunc.get_model_dependencies('{self.uri}') lists"
        return redacted_text(lines[-1])


@contextlib.contextmanager
def serving(*models: ServedModel) -> Iterator[list[Server]]:
    """Serve models by what `mlflow models serve --env-manager local` runs, and end all processes of it.

    Call it from a thread that waits for it: the servers are killed when that thread ends. ServerError: one does not
    start.
    """
    with contextlib.ExitStack() as stack:
        servers = []
        for model in models:
            server = _started(model, stack.enter_context(tempfile.TemporaryFile()))
            stack.callback(server.end)
            servers.append(server)
        for server in servers:
            server.wait()
        yield servers


def _started(model: ServedModel, log: IO[bytes]) -> Server:
    with socket.socket() as listening:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
        listening.bind((_HOST, 0))
        listening.listen(128)
        # The server is given the socket, so that no other program can answer at its port.
        line, environment = scoring_server.get_cmd(model.folder, nworkers=1)
        program, *options, app = shlex.split(line)
        fd = str(listening.fileno())
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid())]
        command = [sys.executable, "-m", program, *options, "--fd", fd, "--app-dir", model.folder, app]
        process = subprocess.Popen(
            [*launch, *command],
            pass_fds=[listening.fileno()],
            cwd=model.folder,  # what lies in the current folder would be imported
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the command, which ends the server
            env=environment,
        )
        return Server(model, process, listening.getsockname()[1], log)
