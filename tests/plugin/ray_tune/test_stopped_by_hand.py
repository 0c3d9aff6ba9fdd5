"""The stop button under Tune: somebody sets the tag of a trial's run, or of the run around all trials."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from commands import wait_until
from mlflow import MlflowClient
from mlflow.entities import Run
from ray import tune

from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback, payload, runs
from mlflow_sysmetrics.tags import BY_PERSON, CAUSE_OF_DEATH, STOP, STOP_REASON, STOPPED_BY

LIMIT_S = 60.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is asked more often than every two seconds. Ctrl-C is Tune's, as in a script."""
    monkeypatch.setattr(runs, "StopButton", partial(runs.StopButton, every_s=0.1))
    monkeypatch.delenv("TUNE_DISABLE_SIGINT_HANDLER", raising=False)  # a study of the bundle has its own


def trainable() -> Callable[[dict[str, float]], None]:
    """A function that Ray sends by value: its processes do not find this module."""

    def train(config: dict[str, float]) -> None:
        """Report ten times a second, for as long as the configuration says; the last result may say so."""
        until = time.monotonic() + config["seconds"]
        while time.monotonic() < until:
            tune.report({"loss": 1.0})
            time.sleep(0.1)
        if config.get("says"):
            time.sleep(2.0)  # asked meanwhile
            tune.report({"loss": 1.0, **payload([], status="FINISHED")})

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


def fit(client: MlflowClient, folder: Path, space: dict[str, Any], **tuning: Any) -> None:
    """Run trials that last so long."""
    tune.Tuner(
        trainable(),
        param_space=space,
        tune_config=tune.TuneConfig(reuse_actors=True, **tuning),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            callbacks=[SystemMetricsCallback(client.tracking_uri, experiment_id="1", views=False)],
            verbose=0,
        ),
    ).fit()


def test_trial_is_ended_by_the_tag_of_its_run(local_ray: None, client: MlflowClient, tmp_path: Path) -> None:
    """As a scheduler would, long before its own end; the next trial runs to its end. Another study's tag stays."""
    others = client.create_run("1", tags={STOP: "enough"})
    thread, began = tag_once_it_runs(client, "trial"), time.monotonic()
    fit(client, tmp_path / "tune", {"seconds": tune.grid_search([45.0, 0.2])})
    thread.join(LIMIT_S)
    assert time.monotonic() - began < 40
    stopped, other = sorted(runs_of(client, "trial"), key=lambda run: -float(run.data.params["seconds"]))
    assert (stopped.info.status, other.info.status) == ("KILLED", "FINISHED")
    assert stopped.data.tags[STOPPED_BY] == BY_PERSON
    assert stopped.data.tags[STOP_REASON] == "the tag sysmetrics.stop was set to 'enough'"
    assert STOP not in stopped.data.tags
    assert stopped.data.metrics["elapsed_s"] > 0
    assert STOPPED_BY not in other.data.tags
    assert runs_of(client, "study")[0].info.status == "FINISHED"
    assert client.get_run(others.info.run_id).data.tags[STOP] == "enough"


def test_trial_that_came_to_its_end_is_not_said_to_be_stopped_by_a_person(
    local_ray: None, client: MlflowClient, tmp_path: Path
) -> None:
    """Somebody asked, and its next result said that it is done."""
    thread = tag_once_it_runs(client, "trial")
    fit(client, tmp_path / "tune", {"seconds": 0.01, "says": True})
    thread.join(LIMIT_S)
    (run,) = runs_of(client, "trial")
    assert (run.info.status, STOPPED_BY in run.data.tags) == ("FINISHED", False)


def test_experiment_is_ended_by_the_tag_of_the_run_around_its_trials(
    local_ray: None, client: MlflowClient, tmp_path: Path
) -> None:
    """As by Ctrl-C, which Tune heeds by itself in a script: no run is left RUNNING, and no trial begins any more."""
    thread, began = tag_once_it_runs(client, "study"), time.monotonic()
    fit(client, tmp_path / "tune", {"seconds": tune.grid_search([45.0, 45.0])})
    thread.join(LIMIT_S)
    assert time.monotonic() - began < 40
    (study,) = runs_of(client, "study")
    assert study.info.status == "KILLED"
    assert study.data.tags[STOPPED_BY] == BY_PERSON
    (trial,) = runs_of(client, "trial")  # the other did not begin
    assert trial.info.status == "KILLED"
    assert 0 < trial.data.metrics["elapsed_s"] < 1e-3 * (trial.info.end_time - trial.info.start_time)
    assert {"cpu_seconds", "peak_memory_mb"} <= trial.data.metrics.keys()
    assert CAUSE_OF_DEATH not in trial.data.tags  # Tune ended its process


def test_tag_that_is_found_after_the_experiment_ends_nothing(
    local_ray: None, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store was slow to answer: whatever the script does now goes on."""
    asked, ended = threading.Event(), threading.Event()
    buttons: list[threading.Thread] = []

    class Slow(Store):
        def running_with(self, experiment_id: str, tag: str) -> dict[str, str]:
            found = super().running_with(experiment_id, tag)
            if found:
                buttons.append(threading.current_thread())
                asked.set()
                ended.wait(LIMIT_S)
            return found

    monkeypatch.setattr(runs, "Store", Slow)
    thread = tag_once_it_runs(client, "study")
    fit(client, tmp_path / "tune", {"seconds": 6.0})
    thread.join(LIMIT_S)
    assert asked.wait(LIMIT_S)
    signals: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: signals.append(number))
    ended.set()
    buttons[0].join(LIMIT_S)
    signal.signal(signal.SIGINT, before)
    assert not signals
