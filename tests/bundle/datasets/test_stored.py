"""A prepared dataset in the artifacts of a run: what is stored, and when it is found again."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import store_uri
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from entrypoints.datasets import known
from entrypoints.datasets.prepared import Request
from entrypoints.datasets.splits import make_split
from entrypoints.datasets.stored import check, find, obtain, store
from entrypoints.datasets.tables import Table
from entrypoints.runs import RecordedRun


@pytest.fixture(scope="module")
def client(module_store: Path) -> MlflowClient:
    """Of a store of this module's own; each test has an experiment there."""
    return MlflowClient(store_uri(module_store))


@pytest.fixture
def experiment_id(client: MlflowClient, tmp_path: Path) -> str:
    """A new experiment."""
    return str(client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri()))


def _stored(client: MlflowClient, experiment_id: str, request: Request) -> str:
    run_id: str = client.create_run(experiment_id, tags={"sysmetrics.kind": "prepare"}).info.run_id
    table = known.load(request.dataset)
    store(client, run_id, table, make_split(table, folds=request.folds, seed=request.seed), request)
    client.set_terminated(run_id)
    return run_id


def _obtained(study: RecordedRun, table: Table, request: Request) -> tuple[str, bool]:
    return obtain(study, table, make_split(table, folds=request.folds, seed=request.seed), request)


def test_prepare_run_holds_the_table_as_parquet_its_split_and_what_identifies_it(
    client: MlflowClient, experiment_id: str
) -> None:
    """Artifacts that other tools can read, and the request beside them."""
    run_id = _stored(client, experiment_id, Request("diabetes", None, 4, 1))
    folder = Path(download_artifacts(run_id=run_id, tracking_uri=client.tracking_uri))
    table = known.load("diabetes")
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "table.parquet"), table.frame)
    assert json.loads((folder / "split.json").read_text()) == make_split(table, folds=4, seed=1).to_json()
    about = json.loads((folder / "about.json").read_text())
    assert (about["name"], about["openml_id"], about["digest"]) == ("diabetes", 37, table.digest)
    assert client.get_run(run_id).data.params == {"dataset": "diabetes", "max_rows": "all", "folds": "4", "seed": "1"}


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
    request = Request("red_wine", None, 3, 0)
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


def test_obtain_prepares_once_and_then_finds_what_was_prepared(
    parent: RecordedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first study has a nested prepare run; the second one finds it, and leaves no copy of the table behind.

    Other rows are a content of their own.
    """
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    table, request = known.load("red_wine"), Request("red_wine", None, 3, 0)
    run_id, reused = _obtained(parent, table, request)
    assert not reused
    run = parent.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert run.data.tags["sysmetrics.kind"] == "prepare"
    fewer, of_fewer = table.sample(400, seed=0), Request("red_wine", 400, 3, 0)
    assert not _obtained(parent, fewer, of_fewer)[1]
    assert _obtained(parent, table, request) == (run_id, True)
    assert _obtained(parent, fewer, of_fewer)[1]
    assert [*temporary.iterdir()] == []


def _rewritten(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    file = folder / "table.parquet"
    change(pd.read_parquet(file)).to_parquet(file)


def _resplit(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    split = folder / "split.json"
    split.write_text(json.dumps(change(json.loads(split.read_text()))))


def _shuffled_targets(folder: Path) -> None:
    """Other targets, and a digest that fits them."""
    _rewritten(folder, lambda frame: frame.assign(quality=np.roll(frame["quality"].to_numpy(), 1)))
    about = json.loads((folder / "about.json").read_text())
    table = known.load("red_wine")
    about["digest"] = replace(table, frame=pd.read_parquet(folder / "table.parquet")).digest
    (folder / "about.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param(lambda at: _rewritten(at, lambda frame: frame.assign(pH=frame["pH"] + 1e-6)), id="value"),
        pytest.param(lambda at: _rewritten(at, lambda frame: frame.iloc[::-1]), id="order"),
        pytest.param(lambda at: _rewritten(at, lambda frame: frame.drop(columns="pH")), id="column"),
        pytest.param(_shuffled_targets, id="targets-with-a-digest-that-fits"),
        pytest.param(lambda at: _resplit(at, lambda split: split | {"train": [9999]}), id="training-row-not-there"),
        pytest.param(lambda at: _resplit(at, lambda split: split | {"test": split["train"]}), id="tested-on-training"),
        pytest.param(lambda at: (at / "split.json").write_text("[" * 100_000), id="nested"),
        pytest.param(lambda at: (at / "split.json").unlink(), id="no-split"),
    ],
)
def test_prepare_run_that_holds_something_else_is_prepared_again(
    tamper: Callable[[Path], None],
    client: MlflowClient,
    parent: RecordedRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever its tags and its own description say: the study trains on the table and the split that it asks for."""
    table, request = known.load("red_wine"), Request("red_wine", None, 2, 0)
    run_id = _stored(client, parent.experiment_id, request)
    tamper(Path(download_artifacts(run_id=run_id, tracking_uri=client.tracking_uri)))
    used, reused = _obtained(parent, table, request)
    assert (used != run_id, reused) == (True, False)
    check(client, used, table, make_split(table, folds=2, seed=0))
    assert f": the artifacts of prepare run {run_id} " in capsys.readouterr().out
