"""Where the runs of an experiment go, in a real store."""

import socket
import time

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback, destination
from mlflow_sysmetrics.ray_tune.destination import STUDY, find_earlier, find_parent, summary_before

REFUSING = "http://me:hush42@127.0.0.1:9"  # nobody listens there


@pytest.fixture
def store(store_in_use):
    """The store in use."""
    return Store(store_in_use.tracking_uri)


@pytest.fixture
def silent():
    """The address of a tracking server that takes requests and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://me:hush42@127.0.0.1:{server.getsockname()[1]}"


def found(store, **named):
    """The experiment, and the parent run of the trials."""
    uri, *where = find_parent(store, **named)
    assert uri == store.tracking_uri
    return tuple(where)


def test_named_experiment_wins_over_that_in_use(store, store_in_use, monkeypatch):
    """It is made if it is not there, and its id wins over its name. What can get no run is told, in one sentence."""
    assert found(store) == ("0", None)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    made = find_parent(store, experiment_name="mine").experiment_id
    assert store_in_use.get_experiment_by_name("mine").experiment_id == made
    assert found(store, experiment_name="mine")[0] == made
    assert found(store, experiment_id="0", experiment_name="mine")[0] == "0"
    with pytest.raises(MlflowException, match="name"):
        find_parent(store, experiment_name="x" * 1000)
    store_in_use.delete_experiment(made)
    for named in ({"experiment_name": "mine"}, {"experiment_id": made}, {"experiment_id": "987654"}):
        with pytest.raises(MlflowException, match=f"experiment '{next(iter(named.values()))}' does not exist, or was"):
            find_parent(store, **named)


@pytest.mark.parametrize(
    ("how", "named"), [("refuses", {"parent_run_id": "f" * 32}), ("is silent", {"experiment_name": "mine"})]
)
def test_store_that_is_away_is_asked_once_for_what_a_name_means(how, named, silent, monkeypatch):
    """For seconds, not for the minutes of MLflow's own repetitions. The error says what to do, and no password."""
    monkeypatch.setattr(destination, "ANSWER_S", 0.5)
    began = time.monotonic()
    with pytest.raises(MlflowException, match=r"start the server, or give experiment_id=") as refused:
        SystemMetricsCallback(silent if how == "is silent" else REFUSING, **named).setup()
    assert time.monotonic() - began < 15
    assert next(iter(named.values())) in str(refused.value)
    assert "hush42" not in str(refused.value)


def test_ids_are_believed_where_the_store_is_away(monkeypatch):
    """Of the experiment, with its parent or that of `mlflow run`: the trials begin."""
    away = Store("http://127.0.0.1:9")
    around = ("7", "f" * 32)
    began = time.monotonic()
    assert found(away, experiment_id="7", parent_run_id="f" * 32) == around
    mlflow.set_tracking_uri(away.tracking_uri)
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    assert found(away) == around
    assert time.monotonic() - began < 15


def test_run_around_the_trials_is_the_named_the_active_or_that_of_the_environment(store, store_in_use, monkeypatch):
    """In its experiment, but not where another one is named. One that is named has to be there."""
    experiment_id = store_in_use.create_experiment("mine")
    run_id = store_in_use.create_run(experiment_id).info.run_id
    around = (experiment_id, run_id)
    assert found(store, parent_run_id=run_id) == around
    assert found(store, experiment_id="0", parent_run_id=run_id) == ("0", run_id)
    with pytest.raises(MlflowException, match="parent_run_id='ffff"):
        find_parent(store, parent_run_id="f" * 32)
    for given, expected in ((run_id, around), ("f" * 32, ("0", None))):
        monkeypatch.setenv("MLFLOW_RUN_ID", given)
        assert found(store) == expected
    monkeypatch.delenv("MLFLOW_RUN_ID")
    with mlflow.start_run() as active:
        assert found(store) == ("0", active.info.run_id)
        assert found(store, experiment_name="other")[1] is None


def test_interrupted_experiment_is_found_with_its_trials(store, store_in_use):
    """By the id that the run around them is tagged with. A summary covers what was before, or is not known.

    It is unknown of a trial whose driver was killed: what the run has is older. Nor is one known that was not written
    at the last end. Nothing was measured of a trial that failed before it had a process.
    """
    client = store_in_use
    study = client.create_run("0", tags={"sysmetrics.kind": "study", "sysmetrics.study_id": "s1"}).info.run_id
    client.create_run("0", tags={"sysmetrics.kind": "study", "sysmetrics.study_id": "s2"})
    of_trial = {"sysmetrics.kind": "trial", "sysmetrics.study_id": "s1", "sysmetrics.trial_id": "t"}
    client.create_run("0", tags={**of_trial, "sysmetrics.study_id": "s2"})
    known = {"running": [None], "failed in setup": [], "killed": [{"elapsed_s": 3.0}], "older": [None]}
    runs = {STUDY: study}
    for trial_id in known:
        pid = {} if trial_id == "failed in setup" else {"sysmetrics.pid": "1"}
        run = client.create_run("0", tags={**of_trial, "sysmetrics.trial_id": trial_id, **pid})
        runs[trial_id] = run.info.run_id
        client.log_metric(run.info.run_id, "elapsed_s", 3.0, step=0, timestamp=1 if trial_id == "older" else None)
        if trial_id != "running":
            client.set_terminated(run.info.run_id, "KILLED")
    found_runs = find_earlier(store, "0", "s1")
    assert {name: run.run_id for name, run in found_runs.items()} == runs
    for trial_id, summary in known.items():
        assert summary_before(found_runs[trial_id]) == summary
    assert find_earlier(store, "0", "s3") == {}
