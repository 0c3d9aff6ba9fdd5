"""Stores that fail: a proxy before a real server, and a store in memory that does as a test says."""

from __future__ import annotations

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
from mlflow_sysmetrics.tags import RUN_KEY

FAULTS = {
    "refuse": "nobody listens",
    "reset": "the connection is cut when the request is there",
    "503": "the answer is that the server is unavailable",
    "429": "the answer is that there were too many requests",
    "hang": "no answer, for ever",
    "slow": "each answer comes after a few seconds",
    "die": "the request is carried out, and the connection is cut in the middle of the answer",
    "empty": "the request is carried out, and the answer has no content",
}
SLOW_S = 2.0


class FaultProxy:
    """Pass requests on to a port of this machine; `fault` says how to fail them, None not to."""

    def __init__(self, to_port):
        self.to_port = to_port
        self.failed = self.passed = 0
        self._fault = None
        self._cleared = threading.Event()  # lets those go that hang
        self._server = self._listen(0)
        self.port = self._server.server_address[1]

    @property
    def uri(self):
        """Where the proxy listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def fault(self):
        """One of `FAULTS`, or None."""
        return self._fault

    @fault.setter
    def fault(self, fault):
        assert fault is None or fault in FAULTS
        before, self._fault = self._fault, fault
        self._cleared.set()
        self._cleared = threading.Event()
        if fault == "refuse":
            self._close()
        elif before == "refuse":
            self._server = self._listen(self.port)

    def close(self):
        """End it; what hangs is cut off."""
        self.fault = None
        self._close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def _listen(self, port):
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                proxy._handle(self)

            def do_POST(self):
                proxy._handle(self)

            def log_message(self, *arguments):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, *arguments):
                """A client that has gone away is part of the game."""

        server = Server(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), name="fault-proxy", daemon=True).start()
        return server

    def _close(self):
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request):
        fault, cleared = self._fault, self._cleared
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if fault is None:
            self.passed += 1
        else:
            self.failed += 1
        if fault in ("503", "429"):
            more = {"Retry-After": "1"} if fault == "429" else {}
            _answer(request, int(fault), b"not now", more)
        elif fault == "reset":
            _cut(request)
        elif fault == "hang":
            cleared.wait()
            _cut(request)
        else:
            status, content = self._pass_on(request, body)
            if fault == "slow":
                cleared.wait(SLOW_S)
            content = b"" if fault == "empty" else content
            _answer(request, status, content, {"Content-Type": "application/json"}, half=fault == "die")

    def _pass_on(self, request, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.to_port, timeout=60)
        with contextlib.closing(connection):
            kept = {name: value for name, value in request.headers.items() if name not in ("Host", "Connection")}
            connection.request(request.command, request.path, body, kept)
            answer = connection.getresponse()
            return answer.status, answer.read()


def _answer(request, status, content, headers, half=False):
    request.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(content) + half), "Connection": "close"}.items():
        request.send_header(name, value)
    request.end_headers()
    if half:
        request.wfile.write(content[: len(content) // 2])
        _cut(request)
    else:
        request.wfile.write(content)


def _cut(request):
    """Close the connection with a reset."""
    request.wfile.flush()
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.close_connection = True
    with contextlib.suppress(OSError):  # the server would say goodbye first, which is not a reset
        socket.socket(fileno=request.connection.detach()).close()


LIMIT_S = 60.0  # what has not come by then fails the test


@dataclass
class Kept:
    """A run of the store."""

    start_ms: int
    tags: dict
    name: str | None = None
    status: str = "RUNNING"
    end_ms: int | None = None
    points: list = field(default_factory=list)  # name, value, unix ms, step
    params: dict = field(default_factory=dict)

    def latest(self, name):
        """The value that MLflow shows."""
        found = [(step, time_ms, value) for each, value, time_ms, step in self.points if each == name]
        return max(found)[2] if found else None


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
        return self._do("run", run_id, lambda run: self._stored(run_id, run))

    def points(self, run_id, metric):
        return self._do(
            "points", run_id, lambda run: {(step, value) for name, value, _, step in run.points if name == metric}
        )

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
            run.params |= {each.key: each.value for each in params}
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
            known = self.runs.get(run_id)
            if request not in ("create", "find") and known is None:
                raise NoSuchRunError(f"no run {run_id}")
            answer = act(known or Kept(0, {}))
            if fate == "after":
                raise ConnectionError("the answer was lost")
            return answer

    @staticmethod
    def _stored(run_id, run):
        latest = {name: max(p for p in run.points if p[0] == name) for name, *_ in run.points}
        values, times_ms = ({name: point[at] for name, point in latest.items()} for at in (1, 2))
        ended = None if run.status == "RUNNING" else run.end_ms
        return StoredRun(run_id, "0", run.start_ms, run.status, ended, values, times_ms, dict(run.tags))
