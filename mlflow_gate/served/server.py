"""MLflow's own scoring server for one model, on loopback: started, asked, read, and always ended."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import psutil
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.pyfunc import scoring_server

from mlflow_gate.served.model import ServedError, ServedModel
from mlflow_sysmetrics.common.redact import redacted_text
from mlflow_sysmetrics.common.time_limits import SERVER_ANSWER_S, SERVER_START_S, SHORT_GRACE_S
from mlflow_sysmetrics.limits import end_tree
from mlflow_sysmetrics.sampling import ProcessSampler

_HOST = "127.0.0.1"  # whoever reaches a model's server can use the model
_TIMED_OUT = 504
_IDLE_S = 4.0  # uvicorn closes a connection after 5 s
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


class ServerError(ServedError):
    """The server of the model at `uri` does not start, or does not answer."""

    def __init__(self, uri: str, why: str) -> None:
        super().__init__(f"{uri} {why}")
        self.uri = uri


@dataclass
class Server:
    """A server that answers. `cold_start_s` is the time from the start of its process to its first answer."""

    model: ServedModel
    process: subprocess.Popen[bytes]
    port: int
    log: IO[bytes]
    cold_start_s: float = 0.0
    pids: set[int] = field(default_factory=set)
    _began: float = field(default_factory=time.perf_counter)

    def connected(self, within_s: float | None = None) -> contextlib.closing[Connection]:
        """A connection that is kept, as a context; it waits so long for answers. ServerError: the server has ended."""
        its_own_s = float(MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())  # type: ignore[no-untyped-call]
        timeout_s = within_s or its_own_s + SERVER_ANSWER_S
        return contextlib.closing(Connection(self.model.uri, self.port, timeout_s))

    def wait(self) -> None:
        """Wait for its first answer. ServerError: there is none."""
        try:
            # Connects at once: the socket listens already, and the server answers when it has loaded its model.
            with self.connected(SERVER_START_S) as connection:
                connection.ask(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        except ServerError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
            if self.process.poll() is None:
                raise ServerError(self.model.uri, f"has not started within {SERVER_START_S:g} s") from None
            raise ServerError(self.model.uri, f"cannot be served here: {self._last_words()}") from None
        self.cold_start_s = time.perf_counter() - self._began

    def cpu_seconds(self) -> float:
        """CPU time of its processes, to the nanosecond."""
        total = 0.0
        for pid in self.pids:
            cpu_clock = (~pid << 3) | 2  # as clock_getcpuclockid(3) makes it
            with contextlib.suppress(OSError):  # it has ended
                total += time.clock_gettime(cpu_clock)
        return total

    def find_processes(self) -> None:
        """See which processes the model has started by now: what they use counts."""
        self.pids |= ProcessSampler(self.process.pid).pids

    def memory(self) -> dict[str, float]:
        """The figure on RSS - SHR of the server and all processes below it; none where it cannot be read."""
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
            return f"{lines[-1]}; install what mlflow.pyfunc.get_model_dependencies('{self.model.uri}') lists"
        return redacted_text(lines[-1])


@dataclass
class Connection:
    """One stream of requests: each waits for the answer to the one before."""

    uri: str
    port: int
    timeout_s: float

    def __post_init__(self) -> None:
        self._open()

    def close(self) -> None:
        """Close it, also while another thread waits for an answer, which is then told that there is none."""
        with contextlib.suppress(OSError):  # the server has closed it
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()  # its file stays open for that thread, and goes with it

    def renew(self) -> None:
        """Open another one if the server would close this one soon, since it is idle."""
        if time.monotonic() - self._used > _IDLE_S:
            self.close()
            self._open()

    def _open(self) -> None:
        try:
            self._socket = socket.create_connection((_HOST, self.port), self.timeout_s)
        except OSError as error:
            raise ServerError(self.uri, f"has ended: {error.strerror}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        self._used = time.monotonic()

    def ask(self, request: bytes) -> bytes:
        """The body of the answer. ServerError: there is none, or it is an error."""
        try:
            self._socket.sendall(request)
            status, body = self._receive()
        except TimeoutError:
            status, body = _TIMED_OUT, b""
        except OSError as error:
            raise ServerError(self.uri, f"did not answer: {error.strerror or error}") from None
        if status == _TIMED_OUT:
            limit = MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
            raise ServerError(self.uri, f"did not answer within {limit.get()} s, which {limit.name} sets")  # type: ignore[no-untyped-call]
        if status != 200:
            raise ServerError(self.uri, f"does not predict these rows: {_message(body)}")
        self._used = time.monotonic()
        return body

    def _receive(self) -> tuple[int, bytes]:
        """Status and body. Read by hand, as little as possible: the clock runs."""
        first = self._answers.readline()
        length = 0
        while (line := self._answers.readline()) != b"\r\n":
            if not line:
                raise ConnectionResetError("the server closed the connection")
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return int(first.split()[1]), self._answers.read(length)


def _message(body: bytes) -> str:
    """The first line of an error of MLflow's server."""
    text = body.decode(errors="replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["message"])
    return text.strip().partition("\n")[0]


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
