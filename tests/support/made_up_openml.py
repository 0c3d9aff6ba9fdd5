"""An OpenML of one's own on the loopback interface, which the package openml asks until the end of a block."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openml
import pandas as pd
import xmltodict

UNKNOWN = {"oml:error": {"oml:code": 111, "oml:message": "Unknown dataset"}}


class MadeUpOpenML(ThreadingHTTPServer):
    """Has datasets by their id. ``requests`` are the paths that were asked for; ``fault`` is what it does to all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.pages: dict[str, bytes] = {}
        self.fault = ""
        self.requests: list[str] = []
        self.ended = threading.Event()

    def publish(self, openml_id: int, frame: pd.DataFrame, target: str, **more: Any) -> None:
        """Add a dataset with a Parquet file; ``more`` is what its description says besides or instead."""
        about = {"id": openml_id, "name": "made_up", "version": 1, "format": "ARFF", "licence": "CC0"}
        about |= {"default_target_attribute": target, "url": f"{self.address}/data/{openml_id}.arff"}
        about |= {"parquet_url": f"{self.address}/datasets/{openml_id}.pq", **more}
        description = {f"oml:{key}": value for key, value in about.items()}
        self.pages[f"/api/v1/xml/data/{openml_id}"] = _xml({"oml:data_set_description": description})
        self.pages[f"/datasets/{openml_id}.pq"] = frame.to_parquet(index=False)


class _Handler(BaseHTTPRequestHandler):
    server: MadeUpOpenML

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer a request, or do what the fault is."""
        self.server.requests.append(self.path)
        content = self.server.pages.get(self.path)
        if self.server.fault == "silent":
            self.server.ended.wait()
        elif self.server.fault == "busy":
            self._answer(503, b"Busy")
        elif content is None:
            self._answer(412, _xml(UNKNOWN))
        else:
            self._answer(200, content)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", hashlib.md5(content).hexdigest())
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _xml(content: dict[str, Any]) -> bytes:
    return str(xmltodict.unparse(content)).encode()


@contextmanager
def made_up_openml() -> Iterator[MadeUpOpenML]:
    """In use until the end of the block."""
    before = openml.config.server
    with MadeUpOpenML() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        openml.config.server = f"{server.address}/api/v1/xml"
        try:
            yield server
        finally:
            openml.config.server = before
            server.ended.set()
            server.shutdown()
