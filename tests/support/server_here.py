"""Servers in this process, MLflow's own among them: for tests of single requests, at no cost of a new process."""

import contextlib
import os
import threading
from unittest import mock

from werkzeug.serving import make_server


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
