"""A prepared dataset in the artifacts of a run: what is stored, and when it is found again."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from commands import store_uri
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from entrypoints.datasets import known
from entrypoints.datasets.prepared import Prepared, Request, split_for
from entrypoints.datasets.stored import find, obtain, store
from entrypoints.errors import UserError
from entrypoints.runs import RecordedRun


@pytest.fixture(scope="module")
def client(module_store: Path) -> MlflowClient:
    """Of a store of this module's own; each test has an experiment there."""
    return MlflowClient(store_uri(module_store))


@pytest.fixture
def experiment_id(client: MlflowClient, tmp_path: Path) -> str:
    """A new experiment."""
    return str(client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri()))


def _stored(client: MlflowClient, experiment_id: str, request: Request) -> tuple[str, Prepared]:
    run_id = client.create_run(experiment_id, tags={"sysmetrics.kind": "prepare"}).info.run_id
    data = store(client, run_id, known.load(request.dataset), request)
    client.set_terminated(run_id)
    return run_id, data


def test_prepare_run_holds_the_table_as_parquet_its_split_and_what_identifies_it(
    client: MlflowClient, experiment_id: str
) -> None:
    """Artifacts that other tools can read, and the sizes and the request beside them."""
    run_id, stored = _stored(client, experiment_id, Request("diabetes", None, 4, 1))
    folder = Path(download_artifacts(run_id=run_id, tracking_uri=client.tracking_uri))
    assert {path.name for path in folder.iterdir()} == {"table.parquet", "split.json", "about.json"}
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "table.parquet"), known.load("diabetes").frame)
    split = json.loads((folder / "split.json").read_text())
    assert split["test"] == stored.split.test.tolist()
    assert len(split["folds"]) == 4
    about = json.loads((folder / "about.json").read_text())
    assert (about["name"], about["openml_id"], about["digest"]) == ("diabetes", 37, stored.digest)
    data = client.get_run(run_id).data
    assert data.params == {"dataset": "diabetes", "max_rows": "all", "folds": "4", "seed": "1"}
    assert data.metrics == {"rows": 768, "features": 8, "train_rows": 537, "test_rows": 231, "duplicate_rows": 0}
    assert data.tags["sysmetrics.digest"] == stored.digest


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


def test_obtain_prepares_once_and_then_finds_what_was_prepared(parent: RecordedRun) -> None:
    """The first study has a nested prepare run; the second one finds it."""
    table, request = known.load("red_wine"), Request("red_wine", None, 3, 0)
    first, run_id, reused = obtain(parent, table, request)
    assert not reused
    run = parent.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert run.data.tags["sysmetrics.kind"] == "prepare"
    second, same_run_id, reused = obtain(parent, table, request)
    assert (same_run_id, reused) == (run_id, True)
    np.testing.assert_array_equal(second.X, first.X, strict=True)
    np.testing.assert_array_equal(second.y, first.y, strict=True)
    assert second.split.to_json() == first.split.to_json()


def test_obtain_finds_a_table_that_is_a_folder(client: MlflowClient, parent: RecordedRun) -> None:
    """As earlier versions have written it, through Ray Data."""
    table, request = known.load("red_wine"), Request("red_wine", None, 2, 0)
    run_id, _ = _stored(client, parent.experiment_id, request)
    file = Path(download_artifacts(run_id=run_id, tracking_uri=client.tracking_uri)) / "table.parquet"
    part = file.rename(file.with_name("part.parquet"))
    file.mkdir()
    part.rename(file / part.name)
    assert obtain(parent, table, request)[1:] == (run_id, True)


def _rewritten(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    file = folder / "table.parquet"
    change(pd.read_parquet(file)).to_parquet(file)


def _resplit(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Another split, and the digest of it where the run states one."""
    split, about = folder / "split.json", json.loads((folder / "about.json").read_text())
    split.write_text(json.dumps(change(json.loads(split.read_text()))))
    about["split_digest"] = hashlib.sha256(split.read_bytes()).hexdigest()
    (folder / "about.json").write_text(json.dumps(about))


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
        pytest.param(lambda at: _rewritten(at, lambda frame: frame.iloc[:-1]), id="rows"),
        pytest.param(lambda at: _rewritten(at, lambda frame: frame.drop(columns="pH")), id="column"),
        pytest.param(_shuffled_targets, id="targets-with-a-digest-that-fits"),
        pytest.param(lambda at: _resplit(at, lambda split: split | {"train": [9999]}), id="training-row-not-there"),
        pytest.param(lambda at: _resplit(at, lambda split: split | {"test": [9999]}), id="test-row-not-there"),
        pytest.param(lambda at: _resplit(at, lambda split: split | {"test": split["train"]}), id="tested-on-training"),
        pytest.param(lambda at: _resplit(at, lambda split: split | {"train": {}}), id="no-rows"),
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
    run_id, _ = _stored(client, parent.experiment_id, request)
    tamper(Path(download_artifacts(run_id=run_id, tracking_uri=client.tracking_uri)))
    data, used, reused = obtain(parent, table, request)
    assert (data.digest, reused) == (table.digest, False)
    assert used != run_id
    split = split_for(table, request)
    assert (data.split.to_json(), data.y.tolist()) == (split.to_json(), table.y.tolist())
    assert f": the artifacts of prepare run {run_id} " in capsys.readouterr().out


_ENDPOINT = "/api/2.0/mlflow-artifacts/artifacts"


class _Artifacts(SimpleHTTPRequestHandler):
    """The part of an artifact server that MLflow reads with."""

    def do_GET(self) -> None:
        """Answer with a list of files, or with one."""
        asked = urlsplit(self.path)
        if not asked.query:
            self.path = asked.path.removeprefix(_ENDPOINT)
            super().do_GET()
            return
        folder = Path(self.directory, parse_qs(asked.query)["path"][0])
        files = [{"path": each.name, "is_dir": each.is_dir(), "file_size": 1} for each in sorted(folder.iterdir())]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"files": files}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output to themselves."""


def test_study_leaves_no_copy_of_the_prepared_table(
    client: MlflowClient, parent: RecordedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where the artifacts come from a server either."""
    table, request = known.load("red_wine"), Request("red_wine", None, 2, 0)
    held, _ = _stored(client, parent.experiment_id, request)
    folder = Path(download_artifacts(run_id=held, tracking_uri=client.tracking_uri))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Artifacts, directory=folder.parents[1])) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}{_ENDPOINT}"
        experiment = client.create_experiment(f"{tmp_path.name} served", address)
        run_id = _recorded(client, experiment, folds=2, digest=table.digest)
        source = folder.parents[1] / run_id
        folder.parent.rename(source)
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        study = RecordedRun.of(client, client.create_run(experiment))
        _, used, reused = obtain(study, table, request)
        server.shutdown()
    assert (used, reused) == (run_id, True)
    assert [*temporary.iterdir()] == []


@pytest.mark.parametrize(("first", "second"), [(None, 400), (400, 500), (400, None)], ids=["fewer", "more", "all"])
def test_obtain_prepares_anew_when_other_rows_are_asked_for(
    first: int | None, second: int | None, parent: RecordedRun
) -> None:
    """Each number of rows is a content of its own; the same number is found again."""
    prepared_runs, rows = [], []
    for max_rows in (first, second, first):
        table = known.load("diabetes").sample(max_rows, seed=0)
        data, run_id, _ = obtain(parent, table, Request("diabetes", max_rows, 3, 0))
        prepared_runs.append(run_id)
        rows.append(len(data.X))
    assert prepared_runs[0] == prepared_runs[2] != prepared_runs[1]
    assert rows == [first or 768, second or 768, first or 768]
    assert parent.client.get_run(prepared_runs[1]).data.params["max_rows"] == str(second or "all")


def test_obtain_of_a_split_that_cannot_be_leaves_a_failed_run_with_the_reason(parent: RecordedRun) -> None:
    """The user reads the same sentence on the terminal and in MLflow, and nothing is found afterwards."""
    table, request = known.load("red_wine"), Request("red_wine", None, 5000, 0)
    with pytest.raises(UserError) as raised:
        obtain(parent, table, request)
    (run,) = parent.client.search_runs([parent.experiment_id], "tags.`sysmetrics.kind` = 'prepare'")
    assert run.info.status == "FAILED"
    assert run.data.tags["sysmetrics.error"] == raised.value.message
    assert find(parent.client, parent.experiment_id, request, table.digest) is None
