"""What is read from MLflow: a run, all runs that meet conditions, a run's figures, a JSON artifact."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException

PAGE = 1000  # runs in one request
_NO_SUCH_RUN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """The run with this id; None where there is none, or it is deleted."""
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
    """The last value of each metric of a run; what a process and its machine were doing is not among them."""
    return {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}


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
