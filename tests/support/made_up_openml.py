"""An OpenML of one's own without a network: what is asked of openml.org is answered from frames."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.response import addinfourl

import pandas as pd

from entrypoints.datasets.openml_source import ABOUT

UNREACHABLE = URLError(OSError("Network is unreachable"))


class MadeUpOpenML(urllib.request.HTTPSHandler):
    """Has datasets by their id. ``fault`` is raised at each request; ``requests`` are those that came."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[str, bytes] = {}
        self.fault: Exception | None = None
        self.requests: list[urllib.request.Request] = []

    def publish(self, openml_id: int, frame: pd.DataFrame, target: str | None, **more: Any) -> None:
        """Add a dataset; ``more`` is what its description says besides or instead."""
        file = f"https://data.openml.org/datasets/0000/{openml_id:04d}/dataset_{openml_id}.pq"
        about = {"id": str(openml_id), "name": "made_up", "licence": "CC0", "default_target_attribute": target}
        about |= {"parquet_url": file, **more}
        self.pages[ABOUT.format(openml_id)] = json.dumps({"data_set_description": about}).encode()
        self.pages[file] = frame.to_parquet(index=False)

    def https_open(self, request: urllib.request.Request) -> Any:
        """Answer a request."""
        self.requests.append(request)
        if self.fault:
            raise self.fault
        content = self.pages.get(request.full_url)
        if content is None:
            raise HTTPError(request.full_url, 412, "Precondition Failed", Message(), None)
        answer = addinfourl(io.BytesIO(content), Message(), request.full_url, 200)
        answer.msg = "OK"  # type: ignore[attr-defined]
        return answer


@contextmanager
def made_up_openml() -> Iterator[MadeUpOpenML]:
    """In use until the end of the block."""
    handler = MadeUpOpenML()
    urllib.request.install_opener(urllib.request.build_opener(handler))
    try:
        yield handler
    finally:
        urllib.request.install_opener(None)  # type: ignore[arg-type]
