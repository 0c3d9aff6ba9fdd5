"""A dataset made ready for a study: stored in the artifacts of a prepare run, and found there by later studies.

The artifacts are the table as Parquet (written by Ray Data), the row numbers of the split, and what identifies both.
A study trains on the table and split that it made itself; a run is named as their record only if it holds the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Metric, Param, Run, RunTag
from numpy.typing import NDArray

from entrypoints.datasets.preprocessing import Preprocessing, fit_preprocessing
from entrypoints.datasets.splits import Split, make_split
from entrypoints.datasets.tables import Table, Task
from entrypoints.errors import say
from entrypoints.runs import RecordedRun, child_run
from entrypoints.text import one_line
from mlflow_sysmetrics.addresses import redacted_text
from mlflow_sysmetrics.tags import DATA_SOURCE, DIGEST, KIND

TEST_FRACTION = 0.3
_TABLE, _SPLIT, _ABOUT = "table.parquet", "split.json", "about.json"


@dataclass(frozen=True)
class Request:
    """What is asked of prepare: runs with equal requests hold equal artifacts."""

    dataset: str
    max_rows: int
    folds: int
    seed: int


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table, its split and the preprocessing of each fold.

    ``X`` (rows, features) holds raw values: uint8 or float64, a category as its place in ``categories``, NaN for
    missing. ``y`` (rows,) is the raw target, or for classification each label's place in ``classes``; ``class_values``
    are those of the table.
    ``preprocessings`` has one entry per fold, fitted on that fold's training rows alone.
    """

    name: str
    task: Task
    feature_names: tuple[str, ...]
    target: str
    classes: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    class_values: Mapping[str, Any]
    digest: str
    X: NDArray[Any]
    y: NDArray[Any]
    split: Split
    preprocessings: tuple[Preprocessing, ...]

    def fit_preprocessing(self, rows: NDArray[np.int64]) -> Preprocessing:
        """The preprocessing fitted on these rows and no others."""
        return _fit(self.X, self.y, rows, self.task, self.feature_names, self.categories)

    def frame(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """The raw feature columns of these rows: float64, and text with NaN for missing where categorical."""
        frame: pd.DataFrame = pd.DataFrame(self.X[rows].astype(np.float64), columns=list(self.feature_names))
        for name, texts in self.categories.items():
            codes = frame[name].fillna(len(texts)).astype(int)
            frame[name] = np.array([*texts, np.nan], dtype=object)[codes]
        return frame


def prepared(table: Table, split: Split) -> Prepared:
    """Fit the preprocessing of each fold of a table's split."""
    X, labels, names = table.X, table.y, table.feature_names
    y = np.searchsorted(np.array(table.classes), labels) if table.classes else labels
    fitted = tuple(_fit(X, y, fit, table.task, names, table.categories) for fit, _ in split.folds)
    return Prepared(
        table.name,
        table.task,
        names,
        table.target,
        table.classes,
        table.categories,
        table.class_values,
        table.digest,
        X,
        y,
        split,
        fitted,
    )


def _fit(
    X: NDArray[Any],
    y: NDArray[Any],
    rows: NDArray[np.int64],
    task: Task,
    names: tuple[str, ...],
    categories: dict[str, tuple[str, ...]],
) -> Preprocessing:
    categorical = tuple(place for place, name in enumerate(names) if name in categories)
    return fit_preprocessing(X, y if task == "regression" else None, rows, categorical)


def split_for(table: Table, request: Request) -> Split:
    """The split that a request means for a table.

    Raises:
        UserError: the table cannot be split as requested.
    """
    return make_split(
        table.y,
        stratify=table.task == "classification",
        folds=request.folds,
        test_fraction=TEST_FRACTION,
        seed=request.seed,
    )


def store(client: MlflowClient, run_id: str, table: Table, request: Request) -> Prepared:
    """Split a table and store it with its split in a run's artifacts. Ray must be running.

    Raises:
        UserError: the table cannot be split as requested.
    """
    import ray.data  # Ray Data is needed only where something is written

    from entrypoints.compute.workers import beside_the_driver

    split = split_for(table, request)
    split_text = json.dumps(split.to_json())
    about = {
        "name": table.name,
        "target": table.target,
        "task": table.task,
        "source": table.source,
        "openml_id": table.openml_id,
        "licence": table.licence,
        "digest": table.digest,
        "split_digest": hashlib.sha256(split_text.encode()).hexdigest(),
    }
    with tempfile.TemporaryDirectory() as folder:
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.from_pandas(table.frame).repartition(1).write_parquet(
            str(Path(folder, _TABLE)),
            # A folder of this machine, whose node may have no cores for trials.
            ray_remote_args={"num_cpus": 0, "scheduling_strategy": beside_the_driver()},
        )
        Path(folder, _SPLIT).write_text(split_text)
        Path(folder, _ABOUT).write_text(json.dumps(about, indent=1))
        client.log_artifacts(run_id, folder)
    # `mlflow run` has logged what the user typed, such as a relative path, and parameters cannot be changed.
    typed = client.get_run(run_id).data.params
    client.log_batch(
        run_id,
        metrics=[
            Metric(name, float(value), 0, 0)
            for name, value in {
                "rows": len(table.frame),
                "features": len(table.feature_names),
                "train_rows": len(split.train),
                "test_rows": len(split.test),
                "duplicate_rows": table.duplicate_rows,
            }.items()
        ],
        params=[Param(name, str(value)) for name, value in vars(request).items() if name not in typed],
        tags=[RunTag(DIGEST, table.digest), RunTag(DATA_SOURCE, table.source)],
    )
    return prepared(table, split)


def find(client: MlflowClient, experiment_id: str, request: Request, digest: str) -> Run | None:
    """The newest finished prepare run of an experiment that answers a request with this content."""
    conditions = [
        "attributes.status = 'FINISHED'",
        f"tags.`{KIND}` = 'prepare'",
        f"tags.`{DIGEST}` = '{digest}'",
        # The digest stands for the dataset, wherever it came from.
        f"params.folds = '{request.folds}'",
        f"params.seed = '{request.seed}'",
    ]
    runs = client.search_runs([experiment_id], " and ".join(conditions), max_results=1)
    return runs[0] if runs else None


def check(client: MlflowClient, run_id: str, table: Table, split: Split) -> None:
    """See that a prepare run holds this table and this split.

    Raises:
        RuntimeError: it holds something else, or it cannot be read.
    """
    try:
        with tempfile.TemporaryDirectory() as target:
            folder = Path(download_artifacts(run_id=run_id, dst_path=target, tracking_uri=client.tracking_uri))
            stored = replace(table, frame=pd.read_parquet(folder / _TABLE))
            stored_split = json.loads((folder / _SPLIT).read_text())
            same = (stored.digest, stored_split) == (table.digest, split.to_json())
    except Exception as error:  # whatever files raise that others can write
        raise RuntimeError(f"the artifacts of prepare run {run_id} cannot be read: {one_line(error)}") from error
    if not same:
        raise RuntimeError(f"the artifacts of prepare run {run_id} are not what this study asks for")


def obtain(
    study: RecordedRun, table: Table, request: Request, start_ray: Callable[[], None]
) -> tuple[Prepared, str, bool]:
    """The data of a study, the id of the prepare run that holds it, and whether that run was there already.

    Raises:
        UserError: the table cannot be split as requested.
    """
    found = find(study.client, study.experiment_id, request, table.digest)
    if found is not None:
        split = split_for(table, request)
        try:
            check(study.client, found.info.run_id, table, split)
            return prepared(table, split), found.info.run_id, True
        except RuntimeError as error:
            say(f"The dataset is prepared again: {redacted_text(str(error))}")
    with child_run(study, "prepare", f"prepare {table.name}") as run:
        start_ray()
        return store(study.client, run.run_id, table, request), run.run_id, False
