"""Tables from OpenML. The package openml downloads each once and keeps it in its own cache."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from entrypoints.datasets.sources import Asked
from entrypoints.errors import UserError
from entrypoints.text import Echo, one_line
from mlflow_sysmetrics.common.threads import within

PREFIX = "openml:"
LIMIT_S = 300.0  # for a whole download: openml sets no time limit


def matches(name: str) -> bool:
    """Whether it is ``openml:<id>``."""
    return name.lower().startswith(PREFIX)


def read(asked: Asked, echo: Echo) -> pd.DataFrame:
    """The columns of the dataset with that id."""
    number = re.fullmatch(r"[1-9][0-9]{0,8}", asked.name[len(PREFIX) :])
    if number is None:
        raise UserError(
            f"{asked.what}: a whole number above 0 is allowed after {PREFIX}, as in openml:61; look the id up on "
            "openml.org"
        )
    openml_id = int(number[0])
    try:
        dataset, frame = within(LIMIT_S, lambda: _dataset(openml_id))
    except Exception as error:  # openml's, and those of what it downloads and reads with
        raise UserError(
            f"{asked.what}: openml cannot give it: {_why(error)}; look the id up on openml.org, try again later, or "
            "give the path of a CSV or Parquet file"
        ) from error
    for column_name, column in frame.items():
        if isinstance(column.dtype, pd.SparseDtype):
            frame[column_name] = column.astype(column.dtype.subtype)
    frame.attrs = {"name": dataset.name, "target": dataset.default_target_attribute, "openml_id": openml_id}
    return frame


def _dataset(openml_id: int) -> tuple[Any, pd.DataFrame]:
    import openml

    openml.config.set_retry_policy("human", 1)
    dataset = openml.datasets.get_dataset(openml_id, download_data=False)
    return dataset, dataset.get_data()[0]


def _why(error: Exception) -> str:
    """What openml says; where it wraps an error of the system in a long text, the latter alone."""
    told = getattr(error, "message", error)
    system = re.search(r"""\[Errno -?\d+\] [^")]+""", str(told))
    if system:
        return system[0]
    if told is error and error.__cause__:  # its own text is the path of the file
        return f"{one_line(error)}: {one_line(error.__cause__)}"
    return one_line(told)
