"""What is read from MLflow: a run, all that meet conditions, figures and points, a JSON artifact; and tables logged."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

from entrypoints.runs.tags import OF_FOLD

PAGE = 1000  # runs in one request
_NO_SUCH_RUN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """The run with this id; None if it is missing or deleted."""
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in _NO_SUCH_RUN:
            raise
        return None
    return None if run.info.lifecycle_stage == LifecycleStage.DELETED else run


def search_runs(client: MlflowClient, experiment_id: str, conditions: str, order: str = "DESC") -> Iterator[Run]:
    """All runs of an experiment that meet conditions, by when they began, the newest first unless ``order`` is ASC."""
    token = None
    while True:
        order_by = [f"attributes.start_time {order}"]
        page = client.search_runs([experiment_id], conditions, max_results=PAGE, order_by=order_by, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def figures_of(run: Run) -> dict[str, float]:
    """The last value of each metric of a run, without those of one moment of the machine or of one fold."""
    return {name: value for name, value in run.data.metrics.items() if not name.startswith(("system/", OF_FOLD))}


def log_tables(client: MlflowClient, run_id: str, tables: Mapping[str, list[dict[str, Any]]]) -> None:
    """Write rows as tables that the UI shows, by file name, in place of those that are there.

    Unlike ``mlflow.log_table``, which keeps ten decimals, it writes every digit. What is not finite becomes null.
    """
    for file, rows in tables.items():
        columns = list(dict.fromkeys(name for row in rows for name in row))
        data = [[_cell(row.get(name)) for name in columns] for row in rows]
        text = json.dumps({"columns": columns, "data": data}, default=str, allow_nan=False)
        client.log_text(run_id, text, file)
    listed = json.loads(client.get_run(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
    for file in tables:
        if (table := {"path": file, "type": "table"}) not in listed:
            listed.append(table)
    client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps(listed))


def _cell(value: Any) -> Any:
    """A numpy number as Python's, and null for what is not finite."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load_json(client: MlflowClient, run_id: str, path: str) -> Any:
    """The content of a run's JSON artifact.

    Raises:
        MlflowException, OSError: it is not there.
        ValueError: it is not JSON.
    """
    with tempfile.TemporaryDirectory() as folder:
        uri = client.tracking_uri
        file = download_artifacts(run_id=run_id, artifact_path=path, dst_path=folder, tracking_uri=uri)
        return json.loads(Path(file).read_text())


def load_rows(client: MlflowClient, run_id: str, path: str) -> list[dict[str, Any]]:
    """The rows of a table among a run's artifacts; what is missing in a row is None. Raises as ``load_json``."""
    table = load_json(client, run_id, path)
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
