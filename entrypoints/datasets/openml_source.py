"""Tables from OpenML: its Parquet files, each downloaded once. A copy of each is kept."""

from __future__ import annotations

import http.client
import io
import json
import os
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd

from entrypoints.datasets.cleaning import canonical
from entrypoints.errors import UserError
from entrypoints.text import Echo, one_line

ABOUT = "https://www.openml.org/api/v1/json/data/{}"
TIMEOUT_S = 10.0  # for a connection, and for each wait for more bytes


def cache_folder() -> Path:
    """Where copies are kept: $MLFLOW_SYSMETRICS_DATA, else a folder in the user's cache folder."""
    if chosen := os.environ.get("MLFLOW_SYSMETRICS_DATA"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mlflow-sysmetrics-bundle"


def get(openml_id: int, what: str, echo: Echo) -> tuple[pd.DataFrame, str]:
    """The columns of a dataset, and whether they are from the ``cache`` or from ``openml``: then a copy is kept.

    Args:
        openml_id: the dataset's id. The ``attrs`` of its columns are its name, target and licence.
        what: names the dataset in messages.
        echo: called with a line for each thing that the user should know.

    Raises:
        UserError: OpenML does not answer, has no such dataset, or its file is damaged.
    """
    copy = _cached(openml_id, echo)
    if copy is not None:
        return copy, "cache"
    echo(f"Downloading openml:{openml_id} from openml.org")
    try:
        frame = _downloaded(openml_id)
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        why = one_line(Exception(getattr(error, "reason", error)))
        raise UserError(
            f"{what}: the download from openml.org failed: {why}; look the id up there, try again later, or give the "
            "path of a CSV or Parquet file"
        ) from error
    keep(openml_id, frame, echo)
    return frame, "openml"


def keep(openml_id: int, frame: pd.DataFrame, echo: Echo) -> None:
    """Keep a copy, in place of an older one. If that is impossible, ``echo`` gets a line."""
    file, same = _file(openml_id), canonical(frame)
    same.attrs = frame.attrs
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            same.to_parquet(Path(folder, file.name), write_page_checksum=True)
            Path(folder, file.name).replace(file)  # at once: a reader finds one of both
    except OSError as error:
        echo(f"openml:{openml_id} could not be kept in {file.parent}: {one_line(error)}")


def _cached(openml_id: int, echo: Echo) -> pd.DataFrame | None:
    """What was kept; None if nothing was, or with a line if it is damaged."""
    try:
        return pd.read_parquet(_file(openml_id), page_checksum_verification=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        echo(f"The cached copy of openml:{openml_id} is not used: {one_line(error)}")
        return None


def _downloaded(openml_id: int) -> pd.DataFrame:
    about = json.loads(_read(ABOUT.format(openml_id)))["data_set_description"]
    if not str(about.get("parquet_url")).startswith("https://"):
        raise ValueError("it has no Parquet file")
    whole = pd.read_parquet(io.BytesIO(_read(about["parquet_url"])))
    frame: pd.DataFrame = whole.drop(
        columns=[*_names(about.get("ignore_attribute")), *_names(about.get("row_id_attribute"))]
    )
    frame.attrs = {
        "name": about["name"],
        "target": about.get("default_target_attribute"),
        "licence": about.get("licence") or "none stated by OpenML",
    }
    return frame


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        content: bytes = answer.read()
        return content


def _names(given: Any) -> list[str]:
    """Names of columns, which OpenML writes as a list or with commas between them."""
    return given.split(",") if isinstance(given, str) else list(given or [])


def _file(openml_id: int) -> Path:
    return cache_folder() / f"openml-{openml_id}.parquet"
