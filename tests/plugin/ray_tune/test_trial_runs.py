"""The view of an experiment's trials that the callback saves at the end: in a real store, of trials without Ray."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from saved_views import listed, tags_of

from mlflow_sysmetrics.ray_tune import SystemMetricsCallback

COSTS = {"elapsed_s": 2.0, "peak_memory_mb": 120.0}
NOWHERE = "http://127.0.0.1:9"  # nobody listens there


def ended(uri: str, figures: dict[str, float] | None = None, **settings: Any) -> SystemMetricsCallback:
    """A callback that was told of an experiment of two trials, from beginning to end."""
    callback = SystemMetricsCallback(uri, run_name=lambda trial: trial.trial_id, **{"experiment_id": "1"} | settings)
    callback.setup()
    for number in (1, 2):
        trial = SimpleNamespace(
            trial_id=f"t{number}",
            config={"alpha": 0.5 * number, "seed": 0},
            run_metadata=SimpleNamespace(last_result={}),
            temporary_state=SimpleNamespace(ray_actor=None),
            status="RUNNING",
            get_trainable_cls=lambda: None,
            get_error=lambda: None,
            error_file=None,
        )
        callback.on_trial_start(0, [], trial)
        callback.on_trial_result(0, [], trial, {"loss": 0.5, "training_iteration": 1, **(figures or {})})
        callback.on_trial_complete(0, [], trial)
    callback.on_experiment_end([])
    return callback


@pytest.mark.parametrize("is_nested", [True, False], ids=["under a run", "under a run of its own"])
def test_view_compares_the_trials_of_the_experiment(
    client: MlflowClient, caplog: pytest.LogCaptureFixture, is_nested: bool
) -> None:
    """By what they cost, under the parameters that differ; its link is logged. No other run is in it."""
    parent = client.create_run("1", tags={"sysmetrics.kind": "study"}) if is_nested else None
    client.create_run("1", tags={"sysmetrics.kind": "trial", "mlflow.parentRunId": "another"})
    if parent:
        client.create_run("1", tags={"sysmetrics.kind": "prepare", "mlflow.parentRunId": parent.info.run_id})
    with caplog.at_level(logging.INFO):
        callback = ended(client.tracking_uri, COSTS, parent_run_id=parent and parent.info.run_id)
    (view,) = listed(client, "1").values()
    assert view.name.startswith("What trials cost, ")
    found = client.search_runs(["1"], view.state["searchFilter"])
    assert {run.info.run_id for run in found} == {callback.run_id("t1"), callback.run_id("t2")}
    shown = [column.split("`")[1] for column in view.state["selectedColumns"]]
    assert shown == ["alpha", "loss", "elapsed_s", "peak_memory_mb", "sysmetrics.stop_reason"]
    (said,) = [record.getMessage() for record in caplog.records if "what the trials cost" in record.getMessage()]
    assert f"#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey={view.id}&" in said
    (run,) = [run for run in client.search_runs(["1"]) if run.data.tags.get("sysmetrics.kind") == "study"]
    assert run.info.run_id in view.id  # so that it goes when that is deleted


def test_each_experiment_of_tune_has_a_view_of_its_own(client: MlflowClient) -> None:
    """The second does not write over the first."""
    for _ in range(2):
        ended(client.tracking_uri, COSTS)
    assert len(tags_of(client, "1")) == 2


@pytest.mark.parametrize(
    ("figures", "settings"),
    [pytest.param(COSTS, {"views": False}, id="turned off"), pytest.param({}, {}, id="no figures")],
)
def test_no_view_is_saved_where_none_is_wanted_or_nothing_is_to_be_seen(
    client: MlflowClient, caplog: pytest.LogCaptureFixture, figures: dict[str, float], settings: dict[str, Any]
) -> None:
    """Nor is a link logged."""
    with caplog.at_level(logging.INFO):
        ended(client.tracking_uri, figures, **settings)
    assert tags_of(client, "1") == {}
    assert "viewStateShareKey" not in caplog.text


def test_link_is_a_plain_one_where_the_ui_has_no_such_views(
    client: MlflowClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trials are shown all the same."""
    monkeypatch.setattr(mlflow, "__version__", "4.0.0")
    with caplog.at_level(logging.INFO):
        ended(client.tracking_uri, COSTS)
    assert tags_of(client, "1") == {}
    assert "#/experiments/1/runs?workflowType=machine_learning&searchFilter=" in caplog.text


def test_store_that_is_away_ends_nothing(
    tmp_path: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No view, no error: what was measured waits on disk."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(tmp_path))
    ended(NOWHERE, COSTS, close_timeout_s=0.2)
    assert "training goes on" not in caplog.text


def test_experiment_that_takes_no_view_ends_all_the_same(
    client: MlflowClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs are written, and the link is a plain one."""

    def refuse(*arguments: object) -> None:
        raise PermissionError("you may not change this experiment")

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    with caplog.at_level(logging.INFO):
        callback = ended(client.tracking_uri, COSTS)
    assert "you may not change this experiment" in caplog.text
    assert "#/experiments/1/runs?workflowType=machine_learning&searchFilter=" in caplog.text
    assert "training goes on" not in caplog.text
    run_id = callback.run_id("t1")
    assert run_id is not None
    assert client.get_run(run_id).info.status == "FINISHED"
