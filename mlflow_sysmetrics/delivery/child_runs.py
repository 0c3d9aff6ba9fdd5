"""A run below another one, as integrations make them for trials and trainings."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.delivery.location import RunRef, source_tags
from mlflow_sysmetrics.delivery.run_handle import RunHandle
from mlflow_sysmetrics.delivery.writer import writer_for


def child_run(parent: RunRef, name: str, tags: Mapping[str, object] | None = None) -> RunHandle:
    """Have a run created that starts now: below `parent`, or where that has no id in the same experiment."""
    all_tags = {**source_tags(), **(tags or {})}
    if parent.run_id is not None:
        all_tags[MLFLOW_PARENT_RUN_ID] = parent.run_id
    return writer_for(parent.tracking_uri).create(parent.experiment_id, name=name, tags=all_tags)
