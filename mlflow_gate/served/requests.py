"""Rows as the server takes them: a table, and bodies of requests for some of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import convert_input_example_to_serving_input
from mlflow.types import TensorSpec

from mlflow_gate.served.model import ServedError, ServedModel

Table = Any  # a DataFrame, or an array of two dimensions
BATCH = 100
_MAX_ROWS = 200  # that are asked for one by one, over and over


def table_of(model: ServedModel, rows: pd.DataFrame | None = None) -> Table:
    """The rows that a model is asked for: these, with the columns that it takes, or else its input example.

    ServedError: there are none, columns are missing, or the model takes something else than a table.
    """
    if rows is not None:
        return _columns_of(model, rows)
    example = model.metadata.load_input_example(model.folder)
    if example is None:
        raise ServedError(f"{model.uri} has no input example: give rows as --data, or log it with input_example=")
    if isinstance(example, pd.DataFrame) or (isinstance(example, np.ndarray) and example.ndim == 2):
        return example
    raise ServedError(f"{model.uri} takes no table: its input example is a {type(example).__name__}")


def _columns_of(model: ServedModel, rows: pd.DataFrame) -> Table:
    if rows.empty:
        raise ServedError("--data has no rows")
    schema = model.schema
    if schema is None:
        return rows
    tensors = [spec for spec in schema.inputs if isinstance(spec, TensorSpec)]
    if tensors:
        shape = tensors[0].shape
        if schema.has_input_names() or len(shape) != 2:
            raise ServedError(f"{model.uri} takes no table: its input is {schema}")
        return _as_wide_as(shape[1], model, rows)
    if not schema.has_input_names():
        return _as_wide_as(len(schema.inputs), model, rows)
    missing = [name for name in schema.required_input_names() if name not in rows]
    if missing:
        raise ServedError(f"--data lacks the column {missing[0]!r}, which {model.uri} takes")
    return rows[[name for name in schema.input_names() if name in rows]]


def _as_wide_as(width: int, model: ServedModel, rows: pd.DataFrame) -> np.ndarray:
    """Rows for a model that names no columns."""
    if width not in (-1, rows.shape[1]):
        raise ServedError(f"--data has {rows.shape[1]} columns, but {model.uri} takes {width} without names")
    return rows.to_numpy()


def some(table: Table, places: Any) -> Table:
    """The rows at these places."""
    return table.iloc[places] if isinstance(table, pd.DataFrame) else table[places]


def request_of(table: Table) -> bytes:
    """The body of a request for the predictions of all rows of a table."""
    return str(convert_input_example_to_serving_input(table)).encode()


def one_by_one(table: Table) -> list[bytes]:
    """Requests of one row each, of at most 200 rows from all parts of the table."""
    step = -(-len(table) // _MAX_ROWS)
    return [request_of(some(table, [place])) for place in range(0, len(table), step)]


def in_batches(table: Table, params: dict[str, str] | None = None) -> list[bytes]:
    """Requests of all rows in their order, 100 in each."""
    places = range(len(table))
    batches = [some(table, list(places[start : start + BATCH])) for start in places[::BATCH]]
    return [request_of((batch, params) if params else batch) for batch in batches]


def one_batch(table: Table) -> bytes:
    """A request of 100 rows, which go on with the first row where the table ends."""
    return request_of(some(table, [place % len(table) for place in range(BATCH)]))
