"""Stores that fail: a proxy before a real server, and a store in memory that does as a test says."""

import contextlib
import http.client
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from mlflow_sysmetrics.delivery.store import NoSuchRunError, Store, StoredRun
from mlflow_sysmetrics.recording.tags import RUN_KEY

FAULTS = (
    "refuse",  # nobody listens
    "reset",  # the connection is cut when the request is there
    "503",  # the answer is that the server is unavailable
    "hang",  # no answer, for ever
    "slow",  # each answer comes after a few seconds
    "die",  # the request is carried out, and the connection is cut in the middle of the answer
    "empty",  # the request is carried out, and the answer has no content
)
SLOW_S = 2.0


class FaultProxy:
    """Pass requests on to a port of this machine; `fault` says how to fail them, None not to."""

    def __init__(self, to_port):
        self.to_port = to_port
        self.failed = 0
        self.cleared = threading.Event()  # lets those go that hang
        self._fault = None
        self._listen(0)
        self.port = self._server.server_port
        self.uri = f"http://127.0.0.1:{self.port}"

    @property
    def fault(self):
        """One of `FAULTS`, or None."""
        return self._fault

    @fault.setter
    def fault(self, fault):
        assert fault is None or fault in FAULTS
        before, self._fault = self._fault, fault
        self.cleared.set()
        self.cleared = threading.Event()
        if fault == "refuse":
            self._close()
        elif before == "refuse":
            self._listen(self.port)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.fault = None
        self._close()

    def _listen(self, port):
        self._server = _Server(("127.0.0.1", port), _Request)
        self._server.proxy = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _close(self):
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *arguments):
        """A client that has gone away is part of the game."""


class _Request(BaseHTTPRequestHandler):
    def do_GET(self):
        proxy = self.server.proxy
        fault, cleared = proxy.fault, proxy.cleared
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault is not None:
            proxy.failed += 1
        if fault == "503":
            self._answer(503, b"not now")
        elif fault == "reset":
            self._cut()
        elif fault == "hang":
            cleared.wait()
            self._cut()
        else:
            status, content = self._pass_on(body)
            if fault == "slow":
                cleared.wait(SLOW_S)
            if fault == "empty":
                content = b""
            self._answer(status, content, half=fault == "die")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments):
        """Say nothing."""

    def _pass_on(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.proxy.to_port, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, self.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _answer(self, status, content, half=False):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", len(content) + half)
        self.send_header("Retry-After", 1)
        self.end_headers()
        if half:
            self.wfile.write(content[: len(content) // 2])
            self._cut()
        else:
            self.wfile.write(content)

    def _cut(self):
        """Close the connection with a reset."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        with contextlib.suppress(OSError):  # the server would say goodbye first, which is not a reset
            socket.socket(fileno=self.connection.detach()).close()


LIMIT_S = 60.0  # what has not come by then fails the test


@dataclass
class Kept:
    """A run of the store."""

    start_ms: int
    tags: dict
    name: str = ""
    status: str = "RUNNING"
    end_ms: int | None = None
    points: list = field(default_factory=list)  # name, value, unix ms, step

    def stored(self, run_id=""):
        """As the store gives it; of a metric MLflow shows the last point."""
        points = sorted(self.points, key=lambda point: point[::-1])
        values = {name: value for name, value, *_ in points}
        times_ms = {name: time_ms for name, _, time_ms, _ in points}
        return StoredRun(run_id, "0", self.start_ms, self.status, self.end_ms, values, times_ms, dict(self.tags))


class ScriptedStore(Store):
    """The next requests meet the next of `fates`: "before" fails, "after" is carried out and its answer lost.

    While `open` is not set, requests wait inside. Names with an ``@`` are refused. Points are unique, as in SQL stores.
    """

    def __init__(self):
        super().__init__("scripted://")
        self.runs = {}
        self.fates = deque()
        self.away = lambda request, run_id: False  # whether a request fails
        self.open, self.entered, self.asked = threading.Event(), threading.Event(), []
        self.open.set()
        self.changed = threading.Condition()

    def until(self, condition):
        """Wait for a state of the store."""
        with self.changed:
            assert self.changed.wait_for(condition, LIMIT_S), (self.asked, self.runs)

    def named(self, name):
        """The one run with this name."""
        (run,) = [run for run in self.runs.values() if run.name == name]
        return run

    def run(self, run_id):
        return self._do("run", run_id, lambda run: run.stored(run_id))

    def create_run(self, experiment_id, start_ms, tags, name, user=""):
        def create(_):
            run_id = f"run-{len(self.runs)}"
            self.runs[run_id] = Kept(start_ms, dict(tags), name)
            return run_id

        return self._do("create", name or "", create)

    def run_with_key(self, experiment_id, key):
        return self._do(
            "find", key, lambda _: next((i for i, run in self.runs.items() if run.tags[RUN_KEY] == key), None)
        )

    def log_batch(self, run_id, metrics, params, tags):
        def log(run):
            assert len(metrics) + len(params) + len(tags) <= 1000
            if any("@" in each.key for each in (*metrics, *params, *tags)):
                raise MlflowException("odd name", INVALID_PARAMETER_VALUE)
            points = [(each.key, each.value, each.timestamp, each.step) for each in metrics]
            run.points += dict.fromkeys(point for point in points if point not in run.points)
            run.tags |= {each.key: each.value for each in tags}

        self._do("log", run_id, log)

    def set_status(self, run_id, status, end_ms):
        def end(run):
            run.status, run.end_ms = status, end_ms

        self._do("status", run_id, end)

    def delete_tag(self, run_id, name):
        self._do("untag", run_id, lambda run: run.tags.pop(name))

    def _do(self, request, run_id, act):
        self.entered.set()
        self.open.wait(LIMIT_S)
        with self.changed:
            self.asked.append((request, run_id))
            self.changed.notify_all()
            fate = self.fates.popleft() if self.fates else ""
            if fate == "before" or self.away(request, run_id):
                raise ConnectionError("the store is away")
            run = self.runs.get(run_id)
            if run is None and request not in ("create", "find"):
                raise NoSuchRunError(f"no run {run_id}")
            answer = act(run)
            if fate == "after":
                raise ConnectionError("the answer was lost")
            return answer
