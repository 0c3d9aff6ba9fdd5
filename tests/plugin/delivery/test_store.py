"""A store as MLflow has it, as a file and behind a server: what is asked, which run is meant, and for how long."""

import os
import threading
import time

import mlflow
import pytest
from commands import copy_store, store_uri
from fault_proxy import FaultProxy
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from server_here import server_here

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
def client(addresses):
    """What says what is in the store."""
    return MlflowClient(addresses["file"])


def test_run_is_created_filled_ended_and_goes_on(store, client):
    """With its own start, name, tags, user and end; all comes back."""
    run_id = store.create_run("0", 1_000, {"kind": "trial"}, "trial 1", "me")
    store.log_batch(
        run_id, [Metric("a", 1.5, 11, 7), Metric("a", 2.5, 12, 2**40)], [Param("alpha", "0.1")], [RunTag("t", "x")]
    )
    store.set_status(run_id, "KILLED", 5_000)
    run = client.get_run(run_id)
    assert (run.info.start_time, run.info.end_time, run.info.status) == (1_000, 5_000, "KILLED")
    assert (run.info.run_name, run.info.user_id, run.data.params) == ("trial 1", "me", {"alpha": "0.1"})
    assert run.data.tags.items() >= {"t": "x", "kind": "trial"}.items()
    stored = StoredRun(run_id, "0", 1_000, "KILLED", 5_000, {"a": 2.5}, {"a": 12}, dict(run.data.tags))
    assert store.run(run_id) == stored
    assert (store.points(run_id, "a"), store.points(run_id, "b")) == ({(7, 1.5), (2**40, 2.5)}, set())
    store.delete_tag(run_id, "t")
    store.set_status(run_id, "RUNNING", None)
    again = store.run(run_id)
    assert (again.end_ms, again.status, "t" in again.tags) == (None, "RUNNING", False)


@pytest.mark.parametrize("key", ["sweep/1", "it's/1", 'the "best"/1'])
def test_run_is_found_by_its_key(store, client, key):
    """Also after somebody has deleted it: it is not created again."""
    key += store.tracking_uri
    assert store.run_with_key("0", key) is None
    run_id = store.create_run("0", 1, {"sysmetrics.run_key": key}, None)
    assert store.run_with_key("0", key) == run_id
    client.delete_run(run_id)
    assert store.run_with_key("0", key) == run_id


def test_run_that_is_gone_is_told_from_content_that_is_refused(store, client):
    """MLflow has one code for both."""
    deleted, there = (client.create_run("0").info.run_id for _ in range(2))
    client.delete_run(deleted)
    for run_id, told in (("0" * 32, NoSuchRunError), (deleted, NoSuchRunError)):
        for request in (
            lambda: store.run(run_id),  # noqa: B023
            lambda: store.set_status(run_id, "KILLED", 1),  # noqa: B023
            lambda: store.log_batch(run_id, [Metric("a", 1.0, 1, 1)], [], []),  # noqa: B023
        ):
            with pytest.raises(NoSuchRunError) as error:
                request()
            assert error.type is told
    with pytest.raises(NoSuchRunError, match="987"):
        store.create_run("987", 1, {}, None)
    assert [store.has_experiment(each) for each in ("0", "987")] == [True, False]
    with pytest.raises(MlflowException, match="odd@"):
        store.log_batch(there, [Metric("odd@", 1.0, 1, 1)], [], [])


@pytest.mark.parametrize("fault", ["503", "hang", "die", "empty"])
def test_request_fails_within_its_time(fault, addresses, client):
    """With one attempt, without the minutes of repetitions that MLflow's own client takes."""
    run_id = client.create_run("0").info.run_id
    port = int(addresses["server"].rpartition(":")[2])
    with FaultProxy(port) as proxy:
        proxy.fault = fault
        store = Store(proxy.uri, timeout_s=0.3 if fault == "hang" else 10.0)
        for ask in (
            lambda: store.run(run_id),
            lambda: store.create_run("0", 1, {}, None),
            lambda: store.log_batch(run_id, [Metric("a", 1, 1, 1)], [], []),
        ):
            began = time.monotonic()
            with pytest.raises(MlflowException):
                ask()
            assert time.monotonic() - began < 20
        assert proxy.failed == 3


# --- which run is meant ------------------------------------------------------------------------------------


@pytest.fixture
def here(store_in_use):
    """MLflow's current store, which is empty."""
    return Store(mlflow.get_tracking_uri())


def test_active_run_is_meant_and_known_without_asking(here, monkeypatch):
    """The innermost one, in another thread too; the store may be away. Else that of the environment is."""
    monkeypatch.setenv("MLFLOW_RUN_ID", MlflowClient().create_run("0").info.run_id)
    assert find_run(None, here).run_id == os.environ.pop("MLFLOW_RUN_ID")
    found = []
    with mlflow.start_run() as outer, mlflow.start_run(nested=True) as inner:
        monkeypatch.setattr(here, "run", None)  # whoever asks fails
        thread = threading.Thread(target=lambda: found.append(find_run(None, here)))
        thread.start()
        thread.join(10)
        assert find_run(None, here) == find_run(inner.info.run_id, here) == found[0]
        assert (found[0].run_id, found[0].start_ms) == (inner.info.run_id, inner.info.start_time)
        assert outer.info.run_id != inner.info.run_id


def test_mistake_is_one_sentence_without_a_password(here):
    """No run, no such run, a deleted one, no id at all, and no such kind of store."""
    deleted = MlflowClient().create_run("0").info.run_id
    MlflowClient().delete_run(deleted)
    for run_id, store, sentence in [
        (None, here, "run_id=None: no run is active"),
        ("0" * 32, here, f"run_id='{'0' * 32}': .*not found"),
        (deleted, here, f"run_id='{deleted}': .*deleted"),
        ("", here, "run_id=''"),
        (5, here, "run_id=5"),
        ("0" * 32, Store("nothing://me:hush42@there"), "tracking_uri='nothing://me@there': unknown kind of store"),
    ]:
        with pytest.raises(ValueError, match=sentence) as error:
            find_run(run_id, store)  # type: ignore[arg-type]
        assert "\n" not in str(error.value)
    assert "mlflow-skinny has no database stores" in why_unknown("postgresql+psycopg2://host/runs")
