"""Sweeps that Ray's own callback ends or leaves behind: `benchmarks/stock.py` has what it does there."""

import pytest
from commands import runs_of_kind
from ray import tune
from tune_sweeps import fit, perturbing, tuner

LONG = {"steps": 10_000, "step_s": 0.1}


@pytest.fixture(autouse=True)
def _recorded(local_ray, store_in_use, monkeypatch):
    """Sweeps have no callback of their own: a variable names it."""
    monkeypatch.setenv("RAY_TUNE_CALLBACKS", "mlflow_sysmetrics.ray_tune.SystemMetricsCallback")


@pytest.mark.slow
def test_sweep_that_a_failed_trial_ends_leaves_no_run_running(store_in_use, tmp_path):
    """Two trials would go on for long; the run around them is KILLED with the one that is ended."""
    begun = str(tmp_path / "begun")
    fails, other = LONG | {"fails": 3, "after": begun}, LONG | {"begun": begun}
    fit(tuner([], [fails, other], cpus=0.5, failure_config=tune.FailureConfig(fail_fast=True)))
    statuses = sorted(run.info.status for run in store_in_use.search_runs(["0"]))
    assert statuses == ["FAILED", "KILLED", "KILLED"]


def test_hyperparameter_that_a_scheduler_changes_is_a_tag(store_in_use):
    """The parameter of the run is the one that it began with, which MLflow lets nobody change.

    Trials take turns on a core here, and the time in which one waits for the other is not its own.
    """
    tuner(
        [],
        [{"loss": 1.0, "step_s": 0.3}, {"loss": 9.0, "step_s": 0.3}],
        space={"rate": 1},
        tuning={"scheduler": perturbing(), "metric": "loss", "mode": "min", "reuse_actors": True},
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=2),
    ).fit()
    runs = runs_of_kind(store_in_use, "trial")
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert {run.data.params["rate"] for run in runs} == {"1"}
    assert "7" in [run.data.tags.get("sysmetrics.changed.rate") for run in runs]
    took_ms = max(run.info.end_time for run in runs) - min(run.info.start_time for run in runs)
    assert sum(run.data.metrics["elapsed_s"] for run in runs) < took_ms / 1000
