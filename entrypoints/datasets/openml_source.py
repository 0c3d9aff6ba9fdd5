"""Tables from OpenML, each downloaded once by the package openml. A copy of each is kept."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from entrypoints.datasets.sources import Wanted
from entrypoints.datasets.sysmetrics_rows import texts
from entrypoints.errors import UserError
from entrypoints.text import Echo, one_line
from mlflow_sysmetrics.threads import within

PREFIX = "openml:"
LIMIT_S = 300.0  # for a whole download: openml sets no time limit


def cache_folder() -> Path:
    """Where copies are kept: $MLFLOW_SYSMETRICS_DATA, else a folder in the user's cache folder."""
    if chosen := os.environ.get("MLFLOW_SYSMETRICS_DATA"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mlflow-sysmetrics-bundle"


def matches(name: str) -> bool:
    """Whether it is ``openml:<id>``."""
    return name.lower().startswith(PREFIX)


def read(name: str, wanted: Wanted) -> pd.DataFrame:
    """The columns of the dataset with that id, from the copy that is kept, or from OpenML: then a copy is kept."""
    number = re.fullmatch(r"[1-9][0-9]{0,8}", name[len(PREFIX) :])
    if number is None:
        raise UserError(
            f"dataset={name}: a whole number above 0 is allowed after {PREFIX}, as in openml:61; look the id up on "
            "openml.org"
        )
    openml_id = int(number[0])
    echo = wanted.echo
    frame = _cached(openml_id, echo)
    if frame is None:
        echo(f"Downloading openml:{openml_id} from openml.org")
        try:
            frame = within(LIMIT_S, lambda: _downloaded(openml_id))
        except Exception as error:  # openml's, and those of what it downloads and reads with
            raise UserError(
                f"{wanted.what}: the download from openml.org failed: {_why(error)}; look the id up there, try again "
                "later, or give the path of a CSV or Parquet file"
            ) from error
        for column_name, column in frame.items():
            if (storable := _storable(column)) is not column:
                frame[column_name] = storable
        keep(openml_id, frame, echo)
    frame.attrs["openml_id"] = openml_id
    return frame


def keep(openml_id: int, frame: pd.DataFrame, echo: Echo) -> None:
    """Keep a copy, in place of an older one. If that is impossible, ``echo`` gets a line."""
    file = _file(openml_id)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            frame.to_parquet(Path(folder, file.name), write_page_checksum=True)
            Path(folder, file.name).replace(file)  # at once: a reader finds one of both
    except (OSError, ValueError, TypeError, NotImplementedError) as error:  # the last ones: of types Parquet lacks
        echo(f"openml:{openml_id} could not be kept in {file.parent}: {one_line(error)}")


def _storable(column: pd.Series[Any]) -> pd.Series[Any]:
    """As Parquet gives it back: dense, and text in place of values of several kinds and of categories of numbers."""
    if isinstance(column.dtype, pd.SparseDtype):
        return column.astype(column.dtype.subtype)
    is_category = isinstance(column.dtype, pd.CategoricalDtype)
    kind = pd.api.types.infer_dtype(column.cat.categories if is_category else column, skipna=True)
    if kind in ("mixed", "mixed-integer") or (is_category and kind not in ("string", "boolean", "empty")):
        values = texts(column)
        column = pd.Series(pd.Categorical(values) if is_category else values, column.index)
    return column


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
    import openml

    with tempfile.TemporaryDirectory(prefix="openml-") as folder:
        openml.config.set_root_cache_directory(folder)  # a failed request deletes from it
        openml.config.set_retry_policy("human", 1)
        openml.config.show_progress = False
        dataset = openml.datasets.get_dataset(openml_id, download_data=False)
        frame: pd.DataFrame = dataset.get_data()[0]
    frame.attrs = {"name": dataset.name, "target": dataset.default_target_attribute}
    return frame


def _why(error: Exception) -> str:
    """What openml says; where it wraps an error of the system in a long text, the latter alone."""
    told = getattr(error, "message", error.__cause__ or error)
    system = re.search(r"""\[Errno -?\d+\] [^")]+""", str(told))
    return system[0] if system else one_line(told)


def _file(openml_id: int) -> Path:
    return cache_folder() / f"openml-{openml_id}.parquet"
