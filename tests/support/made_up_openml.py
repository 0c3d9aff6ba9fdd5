"""An OpenML of one's own without a network: what scikit-learn asks openml.org for is answered from frames."""

from __future__ import annotations

import hashlib
import io
import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.response import addinfourl

import pandas as pd

PAGE = "https://www.openml.org"


class MadeUpOpenML(urllib.request.HTTPSHandler):
    """Has datasets by their id. ``fault`` is raised at each request; ``requests`` are the addresses asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[str, bytes] = {}
        self.fault: Exception | None = None
        self.requests: list[str] = []

    def publish(
        self, openml_id: int, frame: pd.DataFrame, target: str | None, name: str = "made_up", md5: str = ""
    ) -> None:
        """Add a dataset: categories are nominal, other text is strings."""
        arff = _arff(frame).encode()
        about = {"id": openml_id, "name": name, "version": 1, "status": "active", "format": "ARFF", "licence": "CC0"}
        about |= {"default_target_attribute": target, "url": f"{PAGE}/data/v1/download/{openml_id}/{name}.arff"}
        about |= {"md5_checksum": md5 or hashlib.md5(arff).hexdigest()}
        features = [_feature(place, frame[column]) for place, column in enumerate(frame)]
        self.pages |= {
            f"data/{openml_id}": json.dumps({"data_set_description": about}).encode(),
            f"features/{openml_id}": json.dumps({"data_features": {"feature": features}}).encode(),
            f"qualities/{openml_id}": json.dumps({"data_qualities": {"quality": []}}).encode(),
            f"download/{openml_id}": arff,
        }

    def https_open(self, request: urllib.request.Request) -> Any:
        """Answer a request."""
        self.requests.append(request.full_url)
        if self.fault:
            raise self.fault
        kind = re.search(r"/(data|features|qualities|download)/(\d+)(/\w+\.arff)?$", request.full_url)
        content = self.pages.get(f"{kind[1]}/{kind[2]}") if kind else None
        if content is None:
            raise HTTPError(request.full_url, 412, "Precondition Failed", Message(), None)
        answer = addinfourl(io.BytesIO(content), Message(), request.full_url, 200)
        answer.msg = "OK"
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


UNREACHABLE = URLError(OSError("Network is unreachable"))


def _feature(place: int, column: pd.Series[Any]) -> dict[str, Any]:
    about = dict.fromkeys(("is_target", "is_ignore", "is_row_identifier"), "false")
    about |= {"index": str(place), "name": str(column.name), "data_type": _type(column)}
    return about | ({"nominal_value": list(column.cat.categories)} if _type(column) == "nominal" else {})


def _type(column: pd.Series[Any]) -> str:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "nominal"
    return "numeric" if pd.api.types.is_numeric_dtype(column.dtype) else "string"


def _arff(frame: pd.DataFrame) -> str:
    """A frame as a dense ARFF file."""
    kinds = {"numeric": "REAL", "string": "STRING"}
    lines = ["@RELATION made_up", ""]
    for name in frame:
        column = frame[name]
        nominal = "{" + ",".join(map(_quoted, column.cat.categories)) + "}" if _type(column) == "nominal" else ""
        lines.append(f"@ATTRIBUTE {_quoted(str(name))} {nominal or kinds[_type(column)]}")
    cells = frame.apply(
        lambda column: column if _type(column) == "numeric" else column.astype(object).map(_quoted, "ignore")
    )
    body = cells.to_csv(index=False, header=False, na_rep="?", quoting=3, escapechar="\\", lineterminator="\n")
    return "\n".join([*lines, "", "@DATA", body])


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"\w+", text) else f"'{text}'"
