"""An HTTP proxy before one server that fails as servers and networks do, from one moment to another as it is told."""

import contextlib
import http.client
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
