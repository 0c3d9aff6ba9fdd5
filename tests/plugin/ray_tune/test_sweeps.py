"""Sweeps that Ray's own callback ends or leaves behind: `benchmarks/stock_defects.py` has what it does there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import runs_of_kind
from mlflow import MlflowClient
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from sqlalchemy import event
from sqlalchemy.engine import Engine
from tune_sweeps import fit, perturbing, tuner

LONG = {"steps": 10_000, "step_s": 0.1}


@pytest.fixture(autouse=True)
def _recorded(local_ray: None, store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps have no callback of their own: a variable names it."""
    monkeypatch.setenv("RAY_TUNE_CALLBACKS", "mlflow_sysmetrics.ray_tune.SystemMetricsCallback")


class StopAll(tune.Stopper):
    """Ends the whole sweep when both trials have begun, as a time budget does."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.seen.add(trial_id)
        return False

    def stop_all(self) -> bool:
        return len(self.seen) == 2


@pytest.mark.parametrize("end", ["stop-all", pytest.param("fail-fast", marks=pytest.mark.slow)])
def test_sweep_that_tune_ends_leaves_no_run_running(store_in_use: MlflowClient, tmp_path: Path, end: str) -> None:
    """Two trials would go on for long; the run around them is KILLED with those that are ended."""
    begun = str(tmp_path / "begun")
    ends: dict[str, Any] = {"stop": StopAll()}
    fails: dict[str, Any] = {}
    if end == "fail-fast":
        ends, fails = {"failure_config": tune.FailureConfig(fail_fast=True)}, {"fails": 3, "after": begun}
    fit(tuner([], [LONG | fails, LONG | {"begun": begun}], cpus=0.5, **ends))
    statuses = sorted(run.info.status for run in store_in_use.search_runs(["0"]))
    assert statuses == ["FAILED" if fails else "KILLED", "KILLED", "KILLED"]


def test_hyperparameter_that_a_scheduler_changes_is_a_tag_and_a_curve(store_in_use: MlflowClient) -> None:
    """The parameter of the run is the one that it began with, which MLflow lets nobody change."""
    error = fit(
        tuner(
            [],
            [{"steps": 3, "loss": 1.0}, {"steps": 3, "loss": 9.0}],
            space={"rate": 1},
            tuning={"scheduler": perturbing(), "metric": "loss", "mode": "min", "reuse_actors": True},
            cpus=0.5,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=2),
        )
    )
    assert error is None
    runs = runs_of_kind(store_in_use, "trial")
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert {run.data.params["rate"] for run in runs} == {"1"}
    (changed,) = (run for run in runs if run.data.tags.get("sysmetrics.changed.rate") == "7")
    assert changed.data.metrics["perturbed/rate"] == 7


def test_trial_that_a_scheduler_stops_is_killed_and_values_are_written_many_at_once(store_in_use: MlflowClient) -> None:
    """The other, which runs to its end, reports 31 metrics ten times. Both say who ran them and from what."""
    asha = AsyncHyperBandScheduler(time_attr="training_iteration", max_t=100, grace_period=1, reduction_factor=2)
    cases = [{"loss": 1.0, "steps": 10, "more": {f"metric_{number}": 1.0 for number in range(30)}}, {"loss": 9.0}]
    tuning = {"scheduler": asha, "metric": "loss", "mode": "min", "max_concurrent_trials": 1}
    commits: list[object] = []
    count = commits.append
    event.listen(Engine, "commit", count)
    try:
        fit(tuner([], cases, tuning=tuning))
    finally:
        event.remove(Engine, "commit", count)
    stopped, ended = runs_of_kind(store_in_use, "trial")
    assert [ended.info.status, stopped.info.status] == ["FINISHED", "KILLED"]
    assert stopped.data.tags["sysmetrics.stop_reason"] == "Tune ended it at iteration 1"
    assert len(store_in_use.get_metric_history(ended.info.run_id, "metric_9")) == 10
    assert len(commits) < 310 / 2
    for run in (ended, stopped):
        assert all(run.data.tags[name] for name in ("mlflow.user", "mlflow.source.name", "mlflow.source.type"))
