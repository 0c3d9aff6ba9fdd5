"""Where the runs of an experiment go, in a real store."""

from __future__ import annotations

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_sysmetrics.ray_tune.destination import NEW, Destination, Earlier, find_destination


def test_named_experiment_wins_over_that_in_use(store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made if it is not there, and its id wins over its name. What can get no run is told, in one sentence."""
    assert find_destination(store_in_use) == Destination("0")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    made = find_destination(store_in_use, experiment_name="mine").experiment_id
    assert store_in_use.get_experiment_by_name("mine").experiment_id == made
    assert find_destination(store_in_use, experiment_name="mine").experiment_id == made
    assert find_destination(store_in_use, experiment_id="0", experiment_name="mine").experiment_id == "0"
    with pytest.raises(MlflowException, match="name"):
        find_destination(store_in_use, experiment_name="x" * 1000)
    store_in_use.delete_experiment(made)
    for named in ({"experiment_name": "mine"}, {"experiment_id": made}, {"experiment_id": "987654"}):
        with pytest.raises(MlflowException, match=f"experiment '{next(iter(named.values()))}' does not exist, or was"):
            find_destination(store_in_use, **named)


def test_run_around_the_trials_is_the_named_the_active_or_that_of_the_environment(
    store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its experiment, but not where another one is named. One that is named has to be there."""
    experiment_id = store_in_use.create_experiment("mine")
    run_id = store_in_use.create_run(experiment_id).info.run_id
    around = Destination(experiment_id, run_id)
    assert find_destination(store_in_use, parent_run_id=run_id) == around
    with pytest.raises(MlflowException):
        find_destination(store_in_use, parent_run_id="f" * 32)
    for given, found in ((run_id, around), ("f" * 32, Destination("0"))):
        monkeypatch.setenv("MLFLOW_RUN_ID", given)
        assert find_destination(store_in_use) == found
    monkeypatch.delenv("MLFLOW_RUN_ID")
    with mlflow.start_run() as active:
        assert find_destination(store_in_use) == Destination("0", active.info.run_id)
        assert find_destination(store_in_use, experiment_name="other").parent_run_id is None


def test_interrupted_experiment_is_found_with_its_trials(store_in_use: MlflowClient) -> None:
    """By the id that the run around them is tagged with; trials that had ended, with their status and summary.

    The summary of one whose driver was killed is not known: what the run has is older. Nor is one that was not written
    at the last end. Nothing was measured of one that failed before it had a process.
    """
    client = store_in_use
    study = client.create_run("0", tags={"sysmetrics.kind": "study", "sysmetrics.study_id": "s1"}).info.run_id
    client.create_run("0", tags={"sysmetrics.kind": "study", "sysmetrics.study_id": "s2"})
    of_trial = {"sysmetrics.kind": "trial", "sysmetrics.study_id": "s1", "sysmetrics.pid": "1"}
    client.create_run("0", tags={**of_trial, "sysmetrics.study_id": "s2", "sysmetrics.trial_id": "t1"})
    trials = {}

    def add(trial_id: str, status: str | None, summary: dict[str, float] | None, now: str = "") -> None:
        tags = {**of_trial, "sysmetrics.trial_id": trial_id}
        if summary == {}:
            del tags["sysmetrics.pid"]
        run_id = client.create_run("0", tags=tags).info.run_id
        for name in ("elapsed_s", "cpu_seconds"):
            client.log_metric(run_id, name, 3.0, step=0, timestamp=None if name == now else 1)
        if status is not None:
            client.set_terminated(run_id, status)
        trials[trial_id] = Earlier(run_id, status, summary)

    add("running", None, None, now="elapsed_s")
    add("failed in setup", "FAILED", {})
    add("killed", "KILLED", {"elapsed_s": 3.0}, now="elapsed_s")
    add("older", "KILLED", None)
    assert find_destination(client, study_id="s1") == Destination("0", None, Earlier(study), trials)
    client.log_metric(study, "elapsed_s", 9.0, step=0)
    client.set_terminated(study, "KILLED")
    assert find_destination(client, study_id="s1").study == Earlier(study, "KILLED", {"elapsed_s": 9.0})
    assert find_destination(client, study_id="s3") == Destination("0")
    other = client.create_run("0").info.run_id
    expected = Destination("0", other, NEW, trials)
    assert find_destination(client, study_id="s1", parent_run_id=other) == expected
