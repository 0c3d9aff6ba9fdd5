"""Where a prepared dataset is recorded: the artifacts of a prepare run, in which later studies find it.

The artifacts are the table as Parquet and the row numbers of the split. A study trains on the table and split that it
made itself; a run with the same digest and split settings is named as their record.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from entrypoints.datasets.prepared import Request
from entrypoints.datasets.splits import Split
from entrypoints.datasets.tables import Table
from entrypoints.runs import RecordedRun, child_run
from entrypoints.settings import as_typed
from entrypoints.tags import DIGEST
from mlflow_sysmetrics.tags import KIND

_TABLE, _SPLIT = "table.parquet", "split.json"


def store(client: MlflowClient, run_id: str, table: Table, split: Split, request: Request) -> None:
    """Store a table with its split in a run's artifacts, and what is asked for, sizes and digest beside them."""
    with tempfile.TemporaryDirectory() as folder:
        table.frame.to_parquet(Path(folder, _TABLE), index=False)
        Path(folder, _SPLIT).write_text(json.dumps(split.to_json()))
        client.log_artifacts(run_id, folder)
    sizes = {
        "rows": len(table.frame),
        "features": len(table.feature_names),
        "train_rows": len(split.train),
        "test_rows": len(split.test),
        "duplicate_rows": table.duplicate_rows,
    }
    # `mlflow run` has logged what the user typed, such as a relative path, and parameters cannot be changed.
    typed = client.get_run(run_id).data.params
    client.log_batch(
        run_id,
        metrics=[Metric(name, float(value), 0, 0) for name, value in sizes.items()],
        params=[Param(name, value) for name, value in as_typed(vars(request)).items() if name not in typed],
        tags=[RunTag(DIGEST, table.digest)],
    )


def find(client: MlflowClient, experiment_id: str, request: Request, digest: str) -> Run | None:
    """The newest finished prepare run of an experiment for this request and a table with this digest."""
    conditions = [
        "attributes.status = 'FINISHED'",
        f"tags.`{KIND}` = 'prepare'",
        f"tags.`{DIGEST}` = '{digest}'",
        # The digest stands for the dataset, wherever it came from.
        f"params.folds = '{request.folds}'",
        f"params.seed = '{request.seed}'",
    ]
    by = {name: value for name, value in as_typed(vars(request)).items() if name in ("group", "time", "duplicates")}
    runs = client.search_runs([experiment_id], " and ".join(conditions))
    return next((run for run in runs if by.items() <= run.data.params.items()), None)


def obtain(study: RecordedRun, table: Table, split: Split, request: Request) -> tuple[str, bool]:
    """The id of the prepare run that holds a study's data, and whether that run was there already."""
    found = find(study.client, study.experiment_id, request, table.digest)
    if found is not None:
        return found.info.run_id, True
    with child_run(study, "prepare", f"prepare {table.name}") as run:
        store(study.client, run.run_id, table, split, request)
        return run.run_id, False
