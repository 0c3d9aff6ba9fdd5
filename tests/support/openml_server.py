"""An OpenML of one's own on the loopback interface: datasets made from frames, faults on demand, a log of requests.

It speaks what openml-python 0.15 asks for a dataset by its id: the description and the ARFF file over the XML API, and
the Parquet file as an object of a MinIO server.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from xml.sax.saxutils import escape

import pandas as pd

Part = Literal["description", "parquet", "arff"]
Fault = Literal["503", "412", "silence", "truncation", "drip", "garbage"]
NAMESPACE = 'xmlns:oml="http://openml.org/openml"'


@dataclass
class Dataset:
    """What the server has under one id. ``md5`` is the ARFF file's, unless a wrong one is given."""

    openml_id: int
    name: str
    target: str | None
    arff: bytes
    parquet: bytes | None
    md5: str
    licence: str
    ignored: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        openml_id: int,
        name: str,
        frame: pd.DataFrame,
        target: str | None,
        *,
        parquet: bool = True,
        md5: str | None = None,
        licence: str = "Public",
        ignored: tuple[str, ...] = (),
    ) -> Dataset:
        """Publish a frame; categories become nominal attributes, other text becomes strings."""
        arff = to_arff(frame, name).encode()
        packed = io.BytesIO()
        if parquet:
            frame.to_parquet(packed, index=False)
        stated = md5 or hashlib.md5(arff).hexdigest()
        content = packed.getvalue() if parquet else None
        return cls(openml_id, name, target, arff, content, stated, licence, ignored)

    def description(self, base: str) -> bytes:
        """The XML that describes the dataset and says where its files are."""
        number = self.openml_id
        values = {
            "id": number,
            "name": self.name,
            "version": 1,
            "description": "served by a test",
            "format": "ARFF",
            "licence": self.licence,
            "url": f"{base}/data/v1/download/{number}/{self.name}.arff",
            "parquet_url": self.parquet
            and f"{base}/datasets/{number // 10000:04d}/{number % 10000:04d}/dataset_{number}.pq",
            "file_id": number,
            "default_target_attribute": self.target,
            "md5_checksum": self.md5,
        }
        elements = [(key, str(value)) for key, value in values.items() if value is not None]
        elements += [("ignore_attribute", column) for column in self.ignored]
        body = "".join(f"<oml:{key}>{escape(value)}</oml:{key}>" for key, value in elements)
        return f"<oml:data_set_description {NAMESPACE}>{body}</oml:data_set_description>".encode()


def to_arff(frame: pd.DataFrame, relation: str) -> str:
    """A frame as a dense ARFF file."""
    lines = [f"@RELATION {relation}", ""]
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            kind = "{" + ",".join(_quoted(str(category)) for category in column.cat.categories) + "}"
        elif pd.api.types.is_numeric_dtype(column.dtype):
            kind = "INTEGER" if pd.api.types.is_integer_dtype(column.dtype) else "REAL"
        else:
            kind = "STRING"
        lines.append(f"@ATTRIBUTE {_quoted(name)} {kind}")
    text = frame.apply(lambda column: column if pd.api.types.is_numeric_dtype(column.dtype) else _cells(column))
    body = text.to_csv(index=False, header=False, na_rep="?", quoting=3, escapechar="\\", lineterminator="\n")
    return "\n".join([*lines, "", "@DATA", body])


def _cells(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.astype(object).map(lambda value: _quoted(str(value)), na_action="ignore")


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"\w+", text) else f"'{text}'"


@dataclass
class OpenMLServer:
    """Serves its datasets between ``with`` and the end of the block. ``faults`` may change meanwhile."""

    datasets: dict[int, Dataset] = field(default_factory=dict)
    faults: dict[Part, Fault] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> OpenMLServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.owner = self  # type: ignore[attr-defined]
        self.base = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.api = f"{self.base}/api/v1/xml"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True, name="openml")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def publish(self, *args: Any, **options: Any) -> None:
        """Add or replace a dataset; takes what ``Dataset.of`` takes."""
        dataset = Dataset.of(*args, **options)
        self.datasets[dataset.openml_id] = dataset


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    routes: tuple[tuple[Part, str], ...] = (
        ("description", r"/api/v1/xml/data/(\d+)"),
        ("arff", r"/data/v1/download/(\d+)/.*"),
        ("parquet", r"/datasets/\d{4}/\d{4}/dataset_(\d+)\.pq"),
    )

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer with the part that is asked for, or with the fault that this part has."""
        owner: OpenMLServer = self.server.owner  # type: ignore[attr-defined]
        path = self.path.split("?")[0]
        owner.log.append(f"{self.command} {path}")
        for part, pattern in self.routes:
            if found := re.fullmatch(pattern, path):
                dataset = owner.datasets.get(int(found[1]))
                self._part(owner, part, dataset) if dataset else self._error(111, "Unknown dataset")
                return
        self._send(404, b"", "text/plain")

    def _part(self, owner: OpenMLServer, part: Part, dataset: Dataset) -> None:
        if part == "parquet":
            content, kind = dataset.parquet or b"", "application/octet-stream"
        elif part == "arff":
            content, kind = dataset.arff, "text/plain; charset=utf-8"
        else:
            content, kind = dataset.description(owner.base), "text/xml; charset=utf-8"
        fault = owner.faults.get(part)
        if fault == "412":
            self._error(107, "Database connection error. Usually due to high server load.")
        elif fault == "503":
            self._send(503, b"busy", "text/plain")
        elif fault == "silence":
            owner.closing.wait()
            self.close_connection = True
        elif fault in ("truncation", "drip") and self.command == "GET":
            self._head(200, content, kind)
            self._drip(owner, content) if fault == "drip" else self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            self._send(200, b"neither XML nor data" if fault == "garbage" else content, kind)

    def _drip(self, owner: OpenMLServer, content: bytes) -> None:
        for byte in content:
            if owner.closing.wait(0.02):
                return
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return

    def _error(self, code: int, message: str) -> None:
        text = f"<oml:code>{code}</oml:code><oml:message>{message}</oml:message>"
        self._send(412, f"<oml:error {NAMESPACE}>{text}</oml:error>".encode(), "text/xml; charset=utf-8")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        if "gzip" in self.headers.get("Accept-Encoding", "") and kind.startswith("text") and self.command == "GET":
            self._head(status, packed := gzip.compress(content, 1), kind, **{"Content-Encoding": "gzip"})
            self.wfile.write(packed)
        else:
            self._head(status, content, kind)
            if self.command == "GET":
                self.wfile.write(content)

    def _head(self, status: int, content: bytes, kind: str, **more: str) -> None:
        self.send_response(status)
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        modified = "Tue, 24 Nov 2020 10:00:00 GMT"
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), "ETag": etag, "Last-Modified": modified}
        for name, value in (headers | more).items():
            self.send_header(name, value)
        self.end_headers()
