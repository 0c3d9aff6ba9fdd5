"""Servers: a real `mlflow server`, MLflow's application in this process, or any other application."""

import contextlib
import os
import secrets
import signal
import socket
import threading
import urllib.request
from unittest import mock

from commands import clean_environment, wait_until
from machines import WarmProcess
from werkzeug.serving import make_server

# Else it starts eight more processes for jobs of its own, and 24 s of CPU instead of 7 go by until they wait for one.
ALONE = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
TIMEOUT_S = 600.0
# It checks each request's password, which takes a tenth of a second of CPU by design, unless it may remember them.
AUTH_CONFIG = """
[mlflow]
default_permission = READ
database_uri = sqlite:///basic_auth.db
admin_username = admin
auth_cache_ttl_seconds = 600
"""


def free_port():
    """A port on which nothing listens, of those that nobody is given who asks the kernel for any."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


class TrackingServer:
    """A server in a folder, on one port for good; its store is there, made if there is none, or another database.

    It can be killed and started again. With a password it lets only the user ``admin`` in.
    """

    def __init__(self, folder, store_uri=None, password=None):
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder, self._password = folder, password
        self._store_uri = store_uri or f"sqlite:///{folder / 'mlflow.db'}"
        self._process = None

    def start(self):
        """Start it, and wait until it answers."""
        env = clean_environment(**ALONE)
        command = ["mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", self._store_uri]
        if self._password is not None:
            config = self._folder / "auth.ini"
            config.write_text(AUTH_CONFIG)
            command += ["--app-name", "basic-auth"]
            env |= {"MLFLOW_AUTH_ADMIN_PASSWORD": self._password, "MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests"}
            env["MLFLOW_AUTH_CONFIG_PATH"] = str(config)
        log = self._folder / "server.log"
        self._process = process = WarmProcess(command, cwd=self._folder, env=env, stdout=log, stderr=log)
        wait_until(lambda: answers(self.port) or process.poll() is not None, TIMEOUT_S, "the answer of a server")
        assert process.poll() is None, log.read_text()

    def kill(self):
        """End it at once, with all its processes. Idempotent."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)


@contextlib.contextmanager
def tracking_server(folder):
    """Start the server on the store in a folder, which is made if there is none; give its port; end it at last."""
    server = TrackingServer(folder)
    try:
        server.start()
        yield server.port
    finally:
        server.kill()


def answers(port):
    """Whether a server on this port is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@contextlib.contextmanager
def serving(app):
    """Serve a WSGI application on a free port of this machine, and give its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@contextlib.contextmanager
def server_here(store_uri):
    """Serve a store, and give its address. One store at a time in a process: MLflow remembers it."""
    with (
        mock.patch.dict(os.environ, {"_MLFLOW_SERVER_FILE_STORE": store_uri, "MLFLOW_DISABLE_TELEMETRY": "true"}),
        mock.patch("mlflow.server.handlers._tracking_store", None),
    ):
        from mlflow.server import app

        with serving(app) as address:
            yield address
