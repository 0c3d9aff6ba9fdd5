"""Tests of mlflow_sysmetrics.delivery.store: which run is meant, and how long a store is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from commands import copy_store, store_uri
from fault_proxy import FaultProxy
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from server_here import server_here
from tracking_server import free_port

from mlflow_sysmetrics.delivery.store import DeletedRunError, NoSuchRunError, Store, StoredRun, find_run, why_unknown


@pytest.fixture(autouse=True)
def _own_store(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MLflow's current store is an empty one, and no run is active."""
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store_uri(empty_store))
    yield
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(before)


def current() -> Store:
    """MLflow's current store."""
    return Store(mlflow.get_tracking_uri())


def new_run() -> str:
    """The id of a run that is not active."""
    return str(mlflow.MlflowClient().create_run("0").info.run_id)


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory, new_store: Path) -> Iterator[dict[str, str]]:
    """One store: as a file, and behind a server."""
    file = store_uri(copy_store(new_store, tmp_path_factory.mktemp("served")))
    with server_here(file) as server:
        yield {"file": file, "server": server}


@pytest.fixture(params=["file", "server"])
def store(request: pytest.FixtureRequest, addresses: dict[str, str]) -> Store:
    """A store of each kind."""
    return Store(addresses[request.param])


@pytest.fixture
def client(addresses: dict[str, str]) -> MlflowClient:
    """What says what is in the store."""
    return MlflowClient(addresses["file"])


def test_a_run_is_created_filled_and_ended(store: Store, client: MlflowClient) -> None:
    """With its own start, name, tags, user, and its own end; the last step of each metric comes back."""
    run_id = store.create_run("0", 1_000, {"sysmetrics.trial_id": "t", "mlflow.user": "me"}, "trial 1")
    store.log_batch(
        run_id, [Metric("a", 1.5, 11, 7), Metric("a", 2.5, 12, 2**40)], [Param("alpha", "0.1")], [RunTag("t", "x")]
    )
    store.set_status(run_id, "KILLED", 5_000)
    run = client.get_run(run_id)
    assert (run.info.start_time, run.info.end_time, run.info.status) == (1_000, 5_000, "KILLED")
    assert (run.info.run_name, run.info.user_id, run.info.experiment_id) == ("trial 1", "me", "0")
    assert run.data.params == {"alpha": "0.1"}
    assert run.data.tags.items() >= {"t": "x", "sysmetrics.trial_id": "t"}.items()
    history = [(each.value, each.timestamp, each.step) for each in client.get_metric_history(run_id, "a")]
    assert history == [(1.5, 11, 7), (2.5, 12, 2**40)]
    tags = client.get_run(run_id).data.tags
    assert store.run(run_id) == StoredRun(run_id, {"a": 2**40}, {"a": 2.5}, {"a": 12}, tags, 5_000)
    assert (store.steps(run_id, "a"), store.steps(run_id, "b")) == ({7, 2**40}, set())
    store.delete_tag(run_id, "t")
    assert "t" not in store.run(run_id).tags


def test_running_runs_with_a_tag_are_found(store: Store, client: MlflowClient) -> None:
    """Whatever it is set to, also nothing; others of the experiment, and those that have ended, are not."""
    ids = [client.create_run("0", tags=tags).info.run_id for tags in ({"stop": "x"}, {"stop": ""}, {}, {"stop": "y"})]
    client.set_terminated(ids[3])
    assert store.running_with("0", "stop") == {ids[0]: "x", ids[1]: ""}
    for run_id in ids:
        client.delete_run(run_id)


def test_a_run_that_ended_goes_on(store: Store, client: MlflowClient) -> None:
    """It is RUNNING again."""
    run_id = client.create_run("0").info.run_id
    client.set_terminated(run_id, "FAILED")
    store.set_status(run_id, "RUNNING", None)
    assert client.get_run(run_id).info.status == "RUNNING"
    assert store.run(run_id).end_ms is None


def test_a_run_that_was_created_is_found(store: Store) -> None:
    """By its start and our own tags; a quote in a tag does not spoil the question."""
    tags = {"sysmetrics.trial_id": f"of {store.tracking_uri}", "sysmetrics.kind": "it's", "other": "no"}
    run_id = store.create_run("0", 2_000, tags, None)
    assert store.created_run("0", 2_000, tags | {"other": "yes"}) == run_id
    assert store.created_run("0", 2_001, tags) is None
    assert store.created_run("0", 2_000, tags | {"sysmetrics.trial_id": "another"}) is None


def test_a_run_that_is_gone_is_told_from_a_store_that_fails(store: Store, client: MlflowClient) -> None:
    """One that never was, and one that was deleted."""
    deleted = client.create_run("0").info.run_id
    client.delete_run(deleted)
    for run_id, told in (("0" * 32, NoSuchRunError), (deleted, DeletedRunError)):
        for request in (store.run, lambda run_id: store.set_status(run_id, "KILLED", 1)):
            with pytest.raises(NoSuchRunError) as error:
                request(run_id)
            assert error.type is told
    with pytest.raises(MlflowException, match="active") as refused:
        store.log_batch(deleted, [Metric("a", 1.0, 1, 1)], [], [])
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_active_run_is_known_without_asking() -> None:
    """Even while its server does not answer; a resumed run brings its steps."""
    run_id = new_run()
    mlflow.MlflowClient().log_metric(run_id, "system/x", 1.0, step=30)
    with mlflow.start_run(run_id=run_id):
        store = current()
        store.run = None  # type: ignore[assignment,method-assign]  # whoever asks fails
        found = find_run(None, store)
        assert found == find_run(run_id, store)
        assert (found.run_id, found.steps) == (run_id, {"system/x": 30})


def test_the_innermost_run_is_meant() -> None:
    """Of nested runs it is the one that a metric logged now would go to."""
    with mlflow.start_run(), mlflow.start_run(nested=True) as inner:
        assert find_run(None, current()).run_id == inner.info.run_id


def test_a_worker_thread_finds_the_run_of_the_thread_that_began_it() -> None:
    """MLflow keeps active runs by thread."""
    found: list[str] = []
    with mlflow.start_run() as run:
        thread = threading.Thread(target=lambda: found.append(find_run(None, current()).run_id))
        thread.start()
        thread.join(10)
    assert found == [run.info.run_id]


def test_a_run_named_in_the_environment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `mlflow run` names it, before the program has started it."""
    run_id = new_run()
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert find_run(None, current()).run_id == run_id


def test_mistakes_are_one_sentence() -> None:
    """No run, no such run, a deleted one, no id at all, and no such kind of store."""
    deleted = new_run()
    mlflow.delete_run(deleted)
    for run_id, sentence in [
        (None, "run_id=None: no run is active"),
        ("0" * 32, f"run_id='{'0' * 32}': .*not found"),
        (deleted, f"run_id='{deleted}': .*deleted"),
        ("", "run_id=''"),
        (5, "run_id=5"),
    ]:
        with pytest.raises(ValueError, match=sentence) as error:
            find_run(run_id, current())  # type: ignore[arg-type]
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="tracking_uri='nothing://there'"):
        find_run("0" * 32, Store("nothing://there"))


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("sqlite:///mlflow.db", "mlflow-skinny has no database stores; install mlflow"),
        ("postgresql+psycopg2://host/runs", "mlflow-skinny has no database stores; install mlflow"),
        ("nothing://there", "unknown kind of store"),
    ],
)
def test_a_store_that_mlflow_does_not_have_is_explained(uri: str, sentence: str) -> None:
    """With mlflow-skinny alone there is none for a database."""
    assert sentence in why_unknown(uri)


@pytest.mark.parametrize(
    "uri", [f"http://127.0.0.1:{free_port()}", "sqlite:////dev/null/mlflow.db"], ids=["server", "file"]
)
def test_a_store_that_does_not_answer_is_believed(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    """A run named by its id is taken as it is while nobody can say; one warning."""
    assert find_run("a" * 32, Store(uri)) == StoredRun("a" * 32)
    assert "not known yet" in caplog.text


@pytest.mark.parametrize("fault", ["refuse", "reset", "503", "429", "hang"])
def test_requests_fail_within_their_time(fault: str) -> None:
    """Without the minutes of repetitions that MLflow's own client takes."""
    with FaultProxy(free_port()) as proxy:
        proxy.fault = fault
        store = Store(proxy.uri, timeout_s=0.3)
        for ask in (lambda: store.run("a" * 32), lambda: store.log_batch("a" * 32, [Metric("a", 1, 1, 1)], [], [])):
            began = time.monotonic()
            with pytest.raises(MlflowException):
                ask()
            assert time.monotonic() - began < 20
        assert proxy.failed == (0 if fault == "refuse" else 2)  # one attempt each; nobody counts those refused


def test_address_of_no_known_kind_is_told_without_its_password() -> None:
    """The mistake is a person's to read."""
    with pytest.raises(ValueError, match="tracking_uri='nothing://me@there'"):
        find_run("a" * 32, Store("nothing://me:hush42@there"))
