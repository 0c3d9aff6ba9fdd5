"""Where the runs of an experiment go, in a real store."""

import time

import mlflow
import pytest
from cases import cases, tables
from mlflow.exceptions import MlflowException

from mlflow_sysmetrics.delivery.store import Store, StoredRun
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.ray_tune.destination import STUDY, find_earlier, find_parent, summary_before
from mlflow_sysmetrics.recording.tags import KIND, PID, STUDY_ID, TRIAL_ID


@pytest.fixture
def found(store_in_use):
    """The experiment, and the parent run of the trials, in the store in use or in another one."""

    in_use = Store(store_in_use.tracking_uri)

    def found(store=in_use, **named):
        place = find_parent(store, **named)
        return place.experiment_id, place.run_id

    return found


def test_named_experiment_wins_over_that_in_use(found, store_in_use, monkeypatch):
    """It is made if it is not there, and its id wins over its name. What can get no run is told, in one sentence."""
    assert found() == ("0", None)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    made, _ = found(experiment_name="mine")
    assert store_in_use.get_experiment_by_name("mine").experiment_id == made
    assert found(experiment_name="mine") == (made, None)
    assert found(experiment_id="0", experiment_name="mine") == ("0", None)
    store_in_use.delete_experiment(made)
    for option, named in (("experiment_name", "mine"), ("experiment_id", made), ("experiment_id", "987654")):
        with pytest.raises(MlflowException, match=f"experiment '{named}' does not exist, or was"):
            found(**{option: named})


def test_store_that_is_away_is_asked_once_for_what_a_name_means():
    """Not for the minutes of MLflow's own repetitions. The error says what to do, and no password."""
    began = time.monotonic()
    callback = SystemMetricsCallback("http://me:hush42@127.0.0.1:9", experiment_name="mine")
    with pytest.raises(MlflowException, match=r"experiment_name=.mine.: .*; start the server, or give") as refused:
        callback.setup()
    assert time.monotonic() - began < 15
    assert "hush42" not in str(refused.value)


def test_ids_are_believed_where_the_store_is_away(found, monkeypatch):
    """Of the experiment, with its parent or that of `mlflow run`: the trials begin."""
    away = Store("http://127.0.0.1:9")
    around = ("7", "f" * 32)
    assert found(away, experiment_id="7", parent_run_id="f" * 32) == around
    mlflow.set_tracking_uri(away.tracking_uri)
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    assert found(away) == around


def test_run_around_the_trials_is_the_named_the_active_or_that_of_the_environment(found, store_in_use, monkeypatch):
    """In its experiment, but not where another one is named. One that is named has to be there."""
    experiment_id = store_in_use.create_experiment("mine")
    run_id = store_in_use.create_run(experiment_id).info.run_id
    assert found(parent_run_id=run_id) == (experiment_id, run_id)
    assert found(experiment_id="0", parent_run_id=run_id) == ("0", run_id)
    with pytest.raises(MlflowException, match="parent_run_id='ffff"):
        found(parent_run_id="f" * 32)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert found() == (experiment_id, run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    assert found() == ("0", None)
    monkeypatch.delenv("MLFLOW_RUN_ID")
    with mlflow.start_run() as active:
        assert found() == ("0", active.info.run_id)
        assert found(experiment_name="other")[1] is None


def test_interrupted_experiment_is_found_with_its_trials(store_in_use):
    """By the id that the run around them is tagged with."""
    store = Store(store_in_use.tracking_uri)
    study = store_in_use.create_run("0", tags={STUDY_ID: "s1", KIND: "study"}).info.run_id
    trial = store_in_use.create_run("0", tags={STUDY_ID: "s1", TRIAL_ID: "t"}).info.run_id
    store_in_use.create_run("0", tags={STUDY_ID: "s2", TRIAL_ID: "t"})
    earlier = find_earlier(store, "0", "s1")
    assert {name: run.run_id for name, run in earlier.items()} == {STUDY: study, "t": trial}


@cases("run, summary", tables(__file__, "cases.yaml")["summaries before"])
def test_summary_covers_what_was_before_or_is_not_known(run, summary):
    """What the run has is too old where nothing was written at its end."""
    known = {"values": {"elapsed_s": 3.0}, "times_ms": {"elapsed_s": 5_000}, "tags": {TRIAL_ID: "t", PID: "1"}}
    assert summary_before(StoredRun("run", **known | run)) == summary
