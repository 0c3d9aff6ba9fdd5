"""The curves of trials in a real store, read back as one table."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run

from entrypoints.reporting.studies import ABOUT, Study
from entrypoints.reporting.training.curves import MAX_POINTS, SECONDS, STEPS, read
from entrypoints.reporting.training.drift import drift

BEGAN_MS = 1_700_000_000_000
OURS = {
    "training_time_s": {100: 0.1, 200: 0.3, 250: 0.5},
    "mean_step_time_ms": {0: 2.0},
    "step_time_ms": {100: 1.0, 200: 2.0, 250: 4.0},
    "val_loss": {0: 1.0, 100: 0.5, 200: 0.4, 250: 0.3},
    "val_rmse": {100: 0.9, 200: 0.8, 250: 0.7},
    "peak_memory_mb": {0: 92.0},
    "test_rmse": {0: 0.7},
}


def _trial(
    client: MlflowClient, points: dict[str, dict[int, float]], every_ms: int = 1000, algorithm: str = "linear"
) -> str:
    """The run of a trial whose points come this many ms apart; its id."""
    run_id = str(client.create_run("0").info.run_id)
    metrics = [
        Metric(name, value, BEGAN_MS + place * every_ms, step)
        for name, curve in points.items()
        for place, (step, value) in enumerate(curve.items())
    ]
    client.log_batch(run_id, metrics, [Param("algorithm", algorithm)] if algorithm else [])
    return run_id


def _study(client: MlflowClient, *run_ids: str, score: str | None = "val_rmse", **columns: Any) -> Study:
    """A study of these trials, with their figures; all of them ended well unless the columns say otherwise."""
    runs: list[Run] = [client.get_run(run_id) for run_id in run_ids]
    about: dict[str, Any] = {name: [None] * len(runs) for name in ABOUT}
    about |= {"run_id": run_ids, "status": "FINISHED", "diverged": False} | columns
    figures: pd.DataFrame = pd.DataFrame([run.data.metrics for run in runs])
    trials: pd.DataFrame = pd.concat([pd.DataFrame(about), figures], axis=1)
    return Study(runs[0], trials, pd.DataFrame(), [], score, False)


def _curve(table: pd.DataFrame, metric: str) -> dict[float, float]:
    part = table[table["metric"] == metric]
    return dict(zip(part["at"], part["value"], strict=True))


def test_curves_of_a_trial_by_step(client: MlflowClient) -> None:
    """Losses, score and step times from the first report on; what is a total or of the whole trial is not a curve."""
    run_id = _trial(client, OURS)
    table = read(client, _study(client, run_id))
    assert set(table["metric"]) == {"val_loss", "val_rmse", "step_time_ms"}
    assert _curve(table, "val_rmse") == OURS["val_rmse"]
    assert _curve(table, "val_loss") == {100: 0.5, 200: 0.4, 250: 0.3}
    assert _curve(table, "step_time_ms") == OURS["step_time_ms"]
    assert set(table["axis"]) == {STEPS}
    assert set(table["group"]) == {"linear"}
    assert set(table["run_id"]) == {run_id}


@pytest.mark.parametrize(("given", "expected"), [("64", 64.0), ("auto", None), (None, None)])
def test_points_have_the_batch_size_of_their_trial(
    client: MlflowClient, given: str | None, expected: float | None
) -> None:
    """As a number; a trial without one has none."""
    run_id = _trial(client, OURS)
    if given is not None:
        client.log_param(run_id, "batch_size", given)
    sizes = read(client, _study(client, run_id))["batch_size"]
    assert sizes.isna().all() if expected is None else set(sizes) == {expected}


def test_score_has_its_spread_over_folds_beside_it(client: MlflowClient) -> None:
    """At the same steps, where it was logged; it is not a curve of its own, and other curves have none."""
    run_id = _trial(client, OURS | {"val_rmse_sd": {100: 0.05, 250: 0.03}})
    table = read(client, _study(client, run_id))
    assert table[table["metric"] == "val_rmse"]["sd"].tolist() == pytest.approx([0.05, float("nan"), 0.03], nan_ok=True)
    assert table[table["metric"] != "val_rmse"]["sd"].isna().all()
    assert set(table["metric"]) == {"val_loss", "val_rmse", "step_time_ms"}


def test_series_of_the_thread_by_seconds(client: MlflowClient) -> None:
    """Since the first sample of either; other series of the thread are not read."""
    series = {
        "system/process_memory_mb": {1: 90.0, 2: 91.0, 3: 92.0},
        "system/process_cpu_percent": {2: 50.0, 3: 60.0},
        "system/process_threads": {1: 4.0, 2: 4.0},
    }
    table = read(client, _study(client, _trial(client, OURS | series, every_ms=500)))
    seconds = table[table["axis"] == SECONDS]
    assert _curve(seconds, "system/process_memory_mb") == {0: 90, 0.5: 91, 1: 92}
    assert _curve(seconds, "system/process_cpu_percent") == {0: 50, 0.5: 60}
    assert seconds["metric"].nunique() == 2


def test_other_scripts_have_the_curves_that_they_log(client: MlflowClient) -> None:
    """Every metric with more than one step, except for figures so far; without an algorithm there is one group."""
    points = {"loss": {1: 3.0, 2: 2.0}, "accuracy": {5: 0.9}, "system/process_memory_mb": {1: 90.0, 2: 91.0}}
    points |= {"elapsed_s": {1: 1.0, 2: 2.0}, "mean_cpu_percent": {1: 50.0, 2: 60.0}}
    table = read(client, _study(client, _trial(client, points, algorithm=""), score=None))
    assert table["metric"].unique().tolist() == ["loss", "system/process_memory_mb"]
    assert set(table["group"]) == {""}


def test_only_complete_trials_have_curves(client: MlflowClient) -> None:
    """Neither those that were stopped nor those that diverged."""
    run_ids = [_trial(client, OURS) for _ in range(3)]
    study = _study(client, *run_ids, status=["FINISHED", "KILLED", "FINISHED"], diverged=[False, False, True])
    assert read(client, study)["run_id"].unique().tolist() == run_ids[:1]


def test_trials_are_taken_evenly_over_the_order_of_start(client: MlflowClient) -> None:
    """The first, the last, and those between at equal distances, whatever their scores."""
    run_ids = [_trial(client, OURS | {"val_rmse": {100: 1.0 / (place % 3 + 1)}}) for place in range(9)]
    assert read(client, _study(client, *run_ids), most=3)["run_id"].unique().tolist() == run_ids[::4]


def test_long_curves_are_thinned(client: MlflowClient) -> None:
    """The first and the last point stay; what is not finite goes; the last value of a step counts."""
    long = {step: float(step) for step in range(1, 1001)}
    run_id = _trial(client, {"loss": long | {1000: float("nan")}})
    for seconds_later, value in ((10_000, 7.0), (-10, 8.0)):
        client.log_metric(run_id, "loss", value, timestamp=BEGAN_MS + seconds_later * 1000, step=1)
    curve = _curve(read(client, _study(client, run_id, score=None)), "loss")
    assert len(curve) == MAX_POINTS
    assert (min(curve), max(curve), curve[1]) == (1, 999, 7)


class _Backwards(MlflowClient):
    """A store that gives the newest points first."""

    def get_metric_history(self, run_id: str, key: str, *args: Any, **kwargs: Any) -> Any:
        """Reversed."""
        return list(reversed(super().get_metric_history(run_id, key, *args, **kwargs)))


def test_order_of_the_store_does_not_matter(client: MlflowClient) -> None:
    """Points come by step and by time; of two at one step the newer one counts."""
    run_id = _trial(client, OURS | {"system/process_memory_mb": {1: 90.0, 2: 91.0}})
    client.log_metric(run_id, "val_loss", 7.0, timestamp=BEGAN_MS + 10_000_000, step=100)
    study = _study(client, run_id)
    table = read(_Backwards(client.tracking_uri), study)
    assert _curve(table, "val_loss")[100] == 7
    pd.testing.assert_frame_equal(table, read(client, study))


def test_study_without_complete_trials_has_no_curves(client: MlflowClient) -> None:
    """An empty table with its columns, and no drift."""
    table = read(client, _study(client, _trial(client, OURS), status="FAILED"))
    assert table.columns.tolist() == ["run_id", "group", "batch_size", "metric", "axis", "at", "value", "sd"]
    assert table.empty
    assert drift(table).empty
