"""The stop button under Tune: somebody sets the tag of a trial's run, or of the run around all trials."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import wait_until
from mlflow import MlflowClient
from mlflow.entities import Run
from ray import tune

from mlflow_sysmetrics.ray_tune import SystemMetricsCallback, callback
from mlflow_sysmetrics.tags import BY_PERSON, CAUSE_OF_DEATH, STOP, STOP_REASON, STOPPED_BY

LIMIT_S = 60.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is asked more often than every two seconds."""
    monkeypatch.setattr(callback, "StopButton", partial(callback.StopButton, every_s=0.1))


def trainable() -> Callable[[dict[str, float]], None]:
    """A function that Ray sends by value: its processes do not find this module."""

    def train(config: dict[str, float]) -> None:
        """Report ten times a second, for as long as the configuration says."""
        until = time.monotonic() + config["seconds"]
        while time.monotonic() < until:
            tune.report({"loss": 1.0})
            time.sleep(0.1)

    return train


def runs_of(client: MlflowClient, kind: str) -> list[Run]:
    """The runs of this kind, oldest first."""
    return client.search_runs(["1"], f"tags.`sysmetrics.kind` = '{kind}'", order_by=["attributes.start_time"])


def tag_once_it_runs(client: MlflowClient, kind: str) -> threading.Thread:
    """Set the tag of the first run of this kind as soon as a trial has reported."""

    def set_tag() -> None:
        wait_until(lambda: any("loss" in run.data.metrics for run in runs_of(client, "trial")), LIMIT_S, "a result")
        client.set_tag(runs_of(client, kind)[0].info.run_id, STOP, "enough")

    thread = threading.Thread(target=set_tag)
    thread.start()
    return thread


def fit(client: MlflowClient, folder: Path, seconds: list[float]) -> None:
    """Run trials that last so long."""
    tune.Tuner(
        trainable(),
        param_space={"seconds": tune.grid_search(seconds)},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            callbacks=[SystemMetricsCallback(client.tracking_uri, experiment_id="1", views=False)],
            verbose=0,
        ),
    ).fit()


@pytest.fixture
def tagging(client: MlflowClient) -> Callable[[str], threading.Thread]:
    """Set the tag of a run of this kind."""
    return lambda kind: tag_once_it_runs(client, kind)


def test_tag_of_a_paused_trial_counts_and_that_of_another_studys_run_stays(client: MlflowClient) -> None:
    """Of two runs of one experiment. The trial ends at its first result when it goes on, or where it is dropped."""
    callback = SystemMetricsCallback(client.tracking_uri, experiment_id="1", views=False)
    callback.setup()
    trial = SimpleNamespace(
        trial_id="t1",
        config={},
        run_metadata=SimpleNamespace(last_result={}),
        temporary_state=SimpleNamespace(ray_actor=None),
        status="PAUSED",
        stopping_criterion={"loss": 0.1},
        error_file=None,
    )
    callback.on_trial_start(0, [], trial)
    wait_until(lambda: runs_of(client, "trial"), LIMIT_S, "its run")
    (ours,) = runs_of(client, "trial")
    others = client.create_run("1")  # which is newer, and so the first in MLflow's answer
    for run in (others, ours):
        client.set_tag(run.info.run_id, STOP, "enough")
    wait_until(lambda: STOP not in client.get_run(ours.info.run_id).data.tags, LIMIT_S, "the end of the tag")
    assert client.get_run(others.info.run_id).data.tags[STOP] == "enough"
    assert trial.stopping_criterion == {"loss": 0.1, "training_iteration": 0}
    callback.on_trial_complete(0, [], trial)
    assert callback.close()
    ended = client.get_run(ours.info.run_id)
    assert (ended.info.status, ended.data.tags[STOPPED_BY]) == ("KILLED", BY_PERSON)


def test_trial_is_ended_by_the_tag_of_its_run(
    local_ray: None, client: MlflowClient, tmp_path: Path, tagging: Callable[[str], threading.Thread]
) -> None:
    """As a scheduler would, long before its own end; the next trial runs to its end."""
    thread = tagging("trial")
    began = time.monotonic()
    fit(client, tmp_path / "tune", [45.0, 0.2])
    thread.join(LIMIT_S)
    assert time.monotonic() - began < 40
    stopped, other = sorted(runs_of(client, "trial"), key=lambda run: -float(run.data.params["seconds"]))
    assert (stopped.info.status, other.info.status) == ("KILLED", "FINISHED")
    assert stopped.data.tags[STOPPED_BY] == BY_PERSON
    assert stopped.data.tags[STOP_REASON] == "the tag sysmetrics.stop was set to 'enough'"
    assert stopped.data.metrics["elapsed_s"] > 0
    assert STOPPED_BY not in other.data.tags
    assert runs_of(client, "study")[0].info.status == "FINISHED"


def test_experiment_is_ended_by_the_tag_of_the_run_around_its_trials(
    local_ray: None,
    client: MlflowClient,
    tmp_path: Path,
    tagging: Callable[[str], threading.Thread],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by Ctrl-C, which Tune heeds by itself in a script: no run is left RUNNING, and no trial begins any more."""
    monkeypatch.delenv("TUNE_DISABLE_SIGINT_HANDLER", raising=False)  # a study of the bundle has its own
    thread = tagging("study")
    began = time.monotonic()
    fit(client, tmp_path / "tune", [45.0, 45.0])
    thread.join(LIMIT_S)
    assert time.monotonic() - began < 40
    (study,) = runs_of(client, "study")
    assert study.info.status != "RUNNING"
    assert study.data.tags[STOPPED_BY] == BY_PERSON
    (trial,) = runs_of(client, "trial")  # the other did not begin
    assert trial.info.status == "KILLED"
    assert 0 < trial.data.metrics["elapsed_s"] < 1e-3 * (trial.info.end_time - trial.info.start_time)
    assert {"cpu_seconds", "peak_memory_mb"} <= trial.data.metrics.keys()
    assert CAUSE_OF_DEATH not in trial.data.tags  # Tune ended its process
