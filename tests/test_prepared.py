"""A prepared dataset in the artifacts of a run: what is stored, found again, and read back unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from reference import bundled
from sklearn.preprocessing import StandardScaler

from entrypoints import datasets
from entrypoints.errors import UserError
from entrypoints.prepared import Prepared, Request, find, load, obtain, prepared, store
from entrypoints.runs import RecordedRun
from entrypoints.splits import make_split

NAMES = ["red_wine", "diabetes"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """Of a store of this module's own; each test has an experiment there."""
    return MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")


@pytest.fixture
def experiment_id(client: MlflowClient, tmp_path: Path) -> str:
    """A new experiment."""
    return str(client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri()))


def _stored(client: MlflowClient, experiment_id: str, request: Request) -> tuple[str, Prepared]:
    run_id = client.create_run(experiment_id, tags={"sysmetrics.kind": "prepare"}).info.run_id
    data = store(client, run_id, datasets.load(request.dataset), request)
    client.set_terminated(run_id)
    return run_id, data


def _arrays(data: Prepared) -> dict[str, Any]:
    folds = {f"fold {i} {part}": rows[j] for i, rows in enumerate(data.split.folds) for j, part in enumerate("fv")}
    scalings = {
        f"scaling {i} {name}": each for i, s in enumerate(data.preprocessings) for name, each in vars(s.scaling).items()
    }
    return {"X": data.X, "y": data.y, "train": data.split.train, "test": data.split.test, **folds, **scalings}


@pytest.mark.parametrize("name", NAMES)
def test_prepared_data_is_read_back_as_it_was_stored(
    name: str, client: MlflowClient, experiment_id: str, local_ray: None
) -> None:
    """Every array is equal in values, order and type, and so is what names the data."""
    run_id, stored = _stored(client, experiment_id, Request(name, 0, 3, 5))
    loaded = load(client, run_id)
    expected = _arrays(stored)
    for key, array in _arrays(loaded).items():
        np.testing.assert_array_equal(array, expected[key], err_msg=key, strict=True)
    for key in ("name", "task", "feature_names", "target", "classes", "digest"):
        assert getattr(loaded, key) == getattr(stored, key)
    assert len(loaded.split.folds) == len(loaded.preprocessings) == 3


def test_prepare_run_holds_the_table_as_parquet_its_split_and_what_identifies_it(
    client: MlflowClient, experiment_id: str, local_ray: None
) -> None:
    """Artifacts that other tools can read, and the sizes and the request beside them."""
    run_id, stored = _stored(client, experiment_id, Request("diabetes", 0, 4, 1))
    folder = Path(download_artifacts(run_id=run_id, tracking_uri=client.tracking_uri))
    assert {path.name for path in folder.iterdir()} == {"table.parquet", "split.json", "about.json"}
    files = list((folder / "table.parquet").iterdir())
    assert [path.suffix for path in files] == [".parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(files[0]), datasets.load("diabetes").frame)
    split = json.loads((folder / "split.json").read_text())
    assert split["test"] == stored.split.test.tolist()
    assert len(split["folds"]) == 4
    about = json.loads((folder / "about.json").read_text())
    assert (about["name"], about["openml_id"], about["digest"]) == ("diabetes", 37, stored.digest)
    data = client.get_run(run_id).data
    assert data.params == {"dataset": "diabetes", "max_rows": "0", "folds": "4", "seed": "1"}
    assert data.metrics == {"rows": 768, "features": 8, "train_rows": 537, "test_rows": 231, "duplicate_rows": 0}
    assert data.tags["sysmetrics.digest"] == stored.digest


def _altered(folder: Path) -> None:
    (file,) = (folder / "table.parquet").iterdir()
    frame = pd.read_parquet(file)
    frame.iloc[7, 2] += 1e-6
    frame.to_parquet(file)


def _reordered(folder: Path) -> None:
    (file,) = (folder / "table.parquet").iterdir()
    pd.read_parquet(file).iloc[::-1].to_parquet(file)


def _shortened(folder: Path) -> None:
    (file,) = (folder / "table.parquet").iterdir()
    pd.read_parquet(file).iloc[:-1].to_parquet(file)


@pytest.mark.parametrize("tamper", [_altered, _reordered, _shortened], ids=["value", "order", "rows"])
def test_table_that_was_tampered_with_is_refused(
    tamper: Any, client: MlflowClient, experiment_id: str, local_ray: None
) -> None:
    """A study must not run on other rows than the run says; the message names the run."""
    run_id, _ = _stored(client, experiment_id, Request("red_wine", 0, 2, 0))
    tamper(Path(download_artifacts(run_id=run_id, tracking_uri=client.tracking_uri)))
    with pytest.raises(RuntimeError, match=f"{run_id} are not what was stored there"):
        load(client, run_id)


def _recorded(client: MlflowClient, experiment_id: str, status: str = "FINISHED", **values: Any) -> str:
    """A run that says of itself what a prepare run does."""
    said = {"dataset": "red_wine", "folds": 3, "seed": 0, "digest": "abc", "kind": "prepare", **values}
    tags = {"sysmetrics.kind": said.pop("kind"), "sysmetrics.digest": said.pop("digest")}
    run_id: str = client.create_run(experiment_id, start_time=values.get("start", 0), tags=tags).info.run_id
    for name in ("dataset", "folds", "seed"):
        client.log_param(run_id, name, said[name])
    client.set_terminated(run_id, status)
    return run_id


def test_find_returns_the_run_that_answers_the_request(client: MlflowClient, experiment_id: str) -> None:
    """The newest of several; runs of another split, content, kind, status or experiment are no answer."""
    request = Request("red_wine", 0, 3, 0)
    elsewhere = str(client.create_experiment(f"{experiment_id} elsewhere"))
    for unlike in (
        {"folds": 4}, {"seed": 1}, {"digest": "other"}, {"kind": "study"},
        {"status": "FAILED"}, {"status": "RUNNING"},
    ):  # fmt: skip
        _recorded(client, experiment_id, **unlike)  # type: ignore[arg-type]
    _recorded(client, elsewhere)
    assert find(client, experiment_id, request, "abc") is None
    _recorded(client, experiment_id, start=1000)
    newest = _recorded(client, experiment_id, start=3000)
    _recorded(client, experiment_id, start=2000)
    found = find(client, experiment_id, request, "abc")
    assert found is not None
    assert found.info.run_id == newest


@pytest.fixture
def parent(client: MlflowClient, experiment_id: str) -> RecordedRun:
    """A study's run."""
    run = client.create_run(experiment_id, tags={"sysmetrics.kind": "study"})
    return RecordedRun.of(client, run)


def test_obtain_prepares_once_and_then_reads_what_was_prepared(parent: RecordedRun, local_ray: None) -> None:
    """The first study has a nested prepare run; the second one finds it and does not need Ray for it."""
    table, request, waited = datasets.load("red_wine"), Request("red_wine", 0, 3, 0), []
    first, run_id, reused = obtain(parent, table, request, lambda: waited.append("ray"))
    assert (reused, waited) == (False, ["ray"])
    run = parent.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert run.data.tags["sysmetrics.kind"] == "prepare"
    second, same_run_id, reused = obtain(parent, table, request, lambda: waited.append("ray"))
    assert (same_run_id, reused, waited) == (run_id, True, ["ray"])
    np.testing.assert_array_equal(second.X, first.X)
    np.testing.assert_array_equal(second.split.train, first.split.train)


@pytest.mark.parametrize(("first", "second"), [(0, 400), (400, 500), (400, 0)], ids=["fewer", "more", "all"])
def test_obtain_prepares_anew_when_other_rows_are_asked_for(
    first: int, second: int, parent: RecordedRun, local_ray: None
) -> None:
    """Each number of rows is a content of its own; the same number is found again."""
    prepared_runs, rows = [], []
    for max_rows in (first, second, first):
        table = datasets.load("diabetes").sample(max_rows, seed=0)
        data, run_id, _ = obtain(parent, table, Request("diabetes", max_rows, 3, 0), lambda: None)
        prepared_runs.append(run_id)
        rows.append(len(data.X))
    assert prepared_runs[0] == prepared_runs[2] != prepared_runs[1]
    assert rows == [first or 768, second or 768, first or 768]
    assert parent.client.get_run(prepared_runs[1]).data.params["max_rows"] == str(second)


def test_obtain_of_a_split_that_cannot_be_leaves_a_failed_run_with_the_reason(
    parent: RecordedRun, local_ray: None
) -> None:
    """The user reads the same sentence on the terminal and in MLflow, and nothing is found afterwards."""
    table, request = datasets.load("red_wine"), Request("red_wine", 0, 5000, 0)
    with pytest.raises(UserError) as raised:
        obtain(parent, table, request, lambda: None)
    (run,) = parent.client.search_runs([parent.experiment_id], "tags.`sysmetrics.kind` = 'prepare'")
    assert run.info.status == "FAILED"
    assert run.data.tags["sysmetrics.error"] == raised.value.message
    assert find(parent.client, parent.experiment_id, request, table.digest) is None


@pytest.mark.parametrize("name", NAMES)
def test_scalings_are_those_of_scikit_learn_on_the_rows_of_each_fold(name: str) -> None:
    """Features, and for regression the target; class labels are not scaled."""
    data = bundled(name)
    for (fit, _), fitted in zip(data.split.folds, data.preprocessings, strict=True):
        scaling = fitted.scaling
        expected = StandardScaler().fit(data.X[fit])
        np.testing.assert_allclose(scaling.mean, expected.mean_, rtol=1e-9)
        np.testing.assert_allclose(scaling.scale, expected.scale_, rtol=1e-9)
        target = StandardScaler().fit(data.y[fit, None])
        y = (target.mean_[0], target.scale_[0]) if name == "red_wine" else (0.0, 1.0)
        assert (scaling.y_mean, scaling.y_scale) == pytest.approx(y)


def test_labels_become_their_places_among_the_classes() -> None:
    """The original labels can be had back."""
    table, data = datasets.load("diabetes"), bundled("diabetes")
    assert data.classes == ("tested_negative", "tested_positive")
    assert np.array(data.classes)[data.y].tolist() == table.y.tolist()
    assert bundled("red_wine").classes == ()


def test_frame_holds_the_raw_features_of_the_rows_asked_for() -> None:
    """In the table's columns and the order of the rows."""
    table, data = datasets.load("red_wine"), bundled("red_wine")
    rows = np.array([5, 2, 900])
    pd.testing.assert_frame_equal(
        data.frame(rows), table.frame.drop(columns="quality").iloc[rows].reset_index(drop=True)
    )


def test_preparing_leaves_the_table_as_it_was() -> None:
    """The raw values stay raw, in the table and in what is prepared."""
    table = datasets.load("red_wine")
    table = replace(table, frame=table.frame.copy())
    before = table.frame.copy()
    data = prepared(table, make_split(table.y, stratify=False, folds=3, seed=0))
    pd.testing.assert_frame_equal(table.frame, before)
    np.testing.assert_array_equal(data.X, before.drop(columns="quality").to_numpy())
