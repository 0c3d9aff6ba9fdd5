"""A store as MLflow has it, as a file and behind a server: what is asked, which run is meant, and for how long."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest
from cases import cases
from commands import copy_store, store_uri
from faults import FaultProxy
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from servers import server_here

from mlflow_sysmetrics.delivery.location import find_run
from mlflow_sysmetrics.delivery.store import NoSuchRunError, Store, StoredRun, why_unknown


@pytest.fixture(scope="module")
def addresses(tmp_path_factory, new_store):
    """One store: as a file, and behind a server."""
    file = store_uri(copy_store(new_store, tmp_path_factory.mktemp("served")))
    with server_here(file) as server:
        yield {"file": file, "server": server}


@pytest.fixture(params=["file", "server"])
def store(request, addresses):
    """A store of each kind."""
    return Store(addresses[request.param])


@pytest.fixture
def file_client(addresses):
    """What says what is in the store."""
    return MlflowClient(addresses["file"])


def test_run_is_created_filled_ended_and_goes_on(store, file_client):
    """With its own start, name, tags, user and end; all comes back."""
    run_id = store.create_run("0", 1_000, {"kind": "trial"}, "trial 1", "me")
    metrics = [Metric("a", 1.5, 11, 7), Metric("a", 2.5, 12, 2**40)]
    store.log_batch(run_id, metrics, [Param("alpha", "0.1")], [RunTag("t", "x")])
    store.set_status(run_id, "KILLED", 5_000)
    run = file_client.get_run(run_id)
    assert run.info.run_name == "trial 1"
    assert run.info.user_id == "me"
    assert run.data.params == {"alpha": "0.1"}
    stored = store.run(run_id)
    assert stored == StoredRun(run_id, "0", 1_000, "KILLED", 5_000, {"a": 2.5}, {"a": 12}, dict(run.data.tags))
    assert stored.tags.items() >= {"t": "x", "kind": "trial"}.items()
    store.delete_tag(run_id, "t")
    store.set_status(run_id, "RUNNING", None)
    again = store.run(run_id)
    assert again.end_ms is None
    assert "t" not in again.tags


@cases("key", ["sweep/1", "it's/1", 'the "best"/1'])
def test_run_is_found_by_its_key(store, file_client, key):
    """Also after somebody has deleted it: it is not created again."""
    key += store.tracking_uri
    assert store.run_with_key("0", key) is None
    run_id = store.create_run("0", 1, {"sysmetrics.run_key": key}, None)
    file_client.delete_run(run_id)
    assert store.run_with_key("0", key) == run_id


REQUESTS = [
    lambda store, run_id: store.run(run_id),
    lambda store, run_id: store.set_status(run_id, "KILLED", 1),
    lambda store, run_id: store.log_batch(run_id, [Metric("a", 1.0, 1, 1)], [], []),
]


@cases("ask", REQUESTS)
def test_run_that_is_gone_is_told_from_content_that_is_refused(ask, store, file_client):
    """MLflow has one code for both."""
    run_id = file_client.create_run("0").info.run_id
    with pytest.raises(MlflowException, match="odd@"):
        store.log_batch(run_id, [Metric("odd@", 1.0, 1, 1)], [], [])
    file_client.delete_run(run_id)
    for gone in (run_id, "0" * 32):
        with pytest.raises(NoSuchRunError):
            ask(store, gone)


def test_experiment_that_is_not_there_is_told(store):
    """Where a run is to be created in it."""
    assert [store.has_experiment(each) for each in ("0", "987")] == [True, False]
    with pytest.raises(NoSuchRunError, match="987"):
        store.create_run("987", 1, {}, None)


@cases("fault", ["503", "hang", "die", "empty"])
def test_request_fails_within_its_time(fault, addresses, file_client):
    """With one attempt, without the minutes of repetitions that MLflow's own client takes."""
    run_id = file_client.create_run("0").info.run_id
    with FaultProxy(int(addresses["server"].rpartition(":")[2])) as proxy:
        proxy.fault = fault
        store = Store(proxy.uri, timeout_s=1.0)
        for ask in REQUESTS:
            began = time.monotonic()
            with pytest.raises(MlflowException):
                ask(store, run_id)
            assert time.monotonic() - began < 20
        assert proxy.failed == 3


# --- which run is meant ------------------------------------------------------------------------------------


@pytest.fixture
def store_in_mlflow(store_in_use):
    """MLflow's current store, which is empty."""
    return Store(store_in_use.tracking_uri)


def test_active_run_is_meant_and_known_without_asking(store_in_mlflow, monkeypatch):
    """The innermost one, in another thread too; the store may be away. Else that of the environment is."""
    monkeypatch.setenv("MLFLOW_RUN_ID", MlflowClient().create_run("0").info.run_id)
    assert find_run(None, store_in_mlflow).run_id == os.environ.pop("MLFLOW_RUN_ID")
    with mlflow.start_run(), mlflow.start_run(nested=True) as inner, ThreadPoolExecutor() as pool:
        monkeypatch.setattr(store_in_mlflow, "run", None)  # whoever asks fails
        found = pool.submit(find_run, None, store_in_mlflow).result()
        assert find_run(None, store_in_mlflow) == find_run(inner.info.run_id, store_in_mlflow) == found
    assert found.run_id == inner.info.run_id
    assert found.start_ms == inner.info.start_time


@cases(
    "run_id, uri, sentence",
    {
        "none": (None, None, "run_id=None: no run is active"),
        "unknown": ("0" * 32, None, "run_id='0+': .*not found"),
        "empty": ("", None, "run_id=''"),
        "no store": ("1", "nothing://me:hush42@there", "tracking_uri='nothing://me@there': unknown kind of store"),
    },
)
def test_mistake_is_one_sentence_without_a_password(run_id, uri, sentence, store_in_mlflow):
    with pytest.raises(ValueError, match=f"^{sentence}.*$"):
        find_run(run_id, Store(uri) if uri else store_in_mlflow)


def test_store_that_mlflow_skinny_lacks_is_named():
    assert "mlflow-skinny has no database stores" in why_unknown("postgresql+psycopg2://host/runs")
