"""The curves of trials in a real store, and whether metrics rise, fall or stay while trials train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import store_uri
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from scipy import stats

from entrypoints.limits.noise import Noise
from entrypoints.reporting.drift import MAX_POINTS, SECONDS, STEPS, curves, drift
from entrypoints.reporting.studies import ABOUT, Study

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


@pytest.fixture
def client(empty_store: Path) -> MlflowClient:
    """A store of nothing."""
    return MlflowClient(store_uri(empty_store))


def _trial(
    client: MlflowClient, points: dict[str, dict[int, float]], every_ms: int = 1000, algorithm: str = "linear"
) -> str:
    """The run of a trial whose points come so many ms after each other; its id."""
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
    table = curves(client, _study(client, run_id))
    assert set(table["metric"]) == {"val_loss", "val_rmse", "step_time_ms"}
    assert _curve(table, "val_rmse") == OURS["val_rmse"]
    assert _curve(table, "val_loss") == {100: 0.5, 200: 0.4, 250: 0.3}
    assert _curve(table, "step_time_ms") == OURS["step_time_ms"]
    assert set(table["axis"]) == {STEPS}
    assert set(table["group"]) == {"linear"}
    assert set(table["run_id"]) == {run_id}


def test_series_of_the_thread_by_seconds(client: MlflowClient) -> None:
    """Since the first sample of either; other series of the thread are not read."""
    series = {
        "system/process_memory_mb": {1: 90.0, 2: 91.0, 3: 92.0},
        "system/process_cpu_percent": {2: 50.0, 3: 60.0},
        "system/process_threads": {1: 4.0, 2: 4.0},
    }
    table = curves(client, _study(client, _trial(client, OURS | series, every_ms=500)))
    seconds = table[table["axis"] == SECONDS]
    assert _curve(seconds, "system/process_memory_mb") == {0: 90, 0.5: 91, 1: 92}
    assert _curve(seconds, "system/process_cpu_percent") == {0: 50, 0.5: 60}
    assert seconds["metric"].nunique() == 2


def test_other_scripts_have_the_curves_that_they_log(client: MlflowClient) -> None:
    """Every metric with more than one step, whatever its name; without an algorithm there is one group."""
    points = {"loss": {1: 3.0, 2: 2.0}, "accuracy": {5: 0.9}, "system/process_memory_mb": {1: 90.0, 2: 91.0}}
    table = curves(client, _study(client, _trial(client, points, algorithm=""), score=None))
    assert table["metric"].unique().tolist() == ["loss", "system/process_memory_mb"]
    assert set(table["group"]) == {""}


def test_only_complete_trials_have_curves(client: MlflowClient) -> None:
    """Neither those that were stopped nor those that diverged."""
    run_ids = [_trial(client, OURS) for _ in range(3)]
    study = _study(client, *run_ids, status=["FINISHED", "KILLED", "FINISHED"], diverged=[False, False, True])
    assert curves(client, study)["run_id"].unique().tolist() == run_ids[:1]


def test_trials_are_taken_evenly_over_the_order_of_start(client: MlflowClient) -> None:
    """The first, the last, and those between at equal distances, whatever their scores."""
    run_ids = [_trial(client, OURS | {"val_rmse": {100: 1.0 / (place % 3 + 1)}}) for place in range(9)]
    assert curves(client, _study(client, *run_ids), most=3)["run_id"].unique().tolist() == run_ids[::4]


def test_long_curves_are_thinned(client: MlflowClient) -> None:
    """The first and the last point stay; what is not finite goes; the last value of a step counts."""
    long = {step: float(step) for step in range(1, 1001)}
    run_id = _trial(client, {"loss": long | {1000: float("nan")}})
    for seconds_later, value in ((10_000, 7.0), (-10, 8.0)):
        client.log_metric(run_id, "loss", value, timestamp=BEGAN_MS + seconds_later * 1000, step=1)
    curve = _curve(curves(client, _study(client, run_id, score=None)), "loss")
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
    table = curves(_Backwards(client.tracking_uri), study)
    assert _curve(table, "val_loss")[100] == 7
    pd.testing.assert_frame_equal(table, curves(client, study))


def test_study_without_complete_trials_has_no_curves(client: MlflowClient) -> None:
    """An empty table with its columns, and no drift."""
    table = curves(client, _study(client, _trial(client, OURS), status="FAILED"))
    assert table.columns.tolist() == ["run_id", "group", "metric", "axis", "at", "value"]
    assert table.empty
    assert drift(table).empty


def _table(*trials: list[float], metric: str = "val_loss", group: str = "") -> pd.DataFrame:
    """The curves of trials with a point every 100 steps."""
    parts = [
        pd.DataFrame({"at": np.arange(1, len(values) + 1) * 100.0, "value": values, "run_id": f"{group}{place}"})
        for place, values in enumerate(trials)
    ]
    return pd.concat(parts).assign(axis=STEPS, metric=metric, group=group)


def _row(table: pd.DataFrame) -> dict[str, Any]:
    (row,) = drift(table).to_dict("records")
    return row


def _lines(*changes: float) -> list[list[float]]:
    """Curves around 100 that change by so much from beginning to end, with a wave of their own."""
    return [[100 + change * (part - 0.5) for part in np.linspace(0, 1, 11)] for change in changes]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        pytest.param(np.arange(10, 20), "rises", id="all rise"),
        pytest.param(-np.arange(10, 20), "falls", id="all fall"),
        pytest.param(np.arange(1, 4, 0.2), "steady", id="all rise by little"),
        pytest.param([0] * 8, "steady", id="nothing changes"),
        pytest.param([-30, -20, -10, -5, 4, 11, 21, 32], "unclear", id="some rise and some fall"),
        pytest.param([20] * 5, "too few trials", id="five trials"),
    ],
)
def test_verdict(changes: Any, verdict: str) -> None:
    """In words."""
    assert _row(_table(*_lines(*changes)))["verdict"] == verdict


def test_figures_of_a_drift_by_hand() -> None:
    """Seven lines around 100: the median of their changes, its exact interval, and the smallest p-value there is."""
    row = _row(_table(*_lines(10, 11, 12, 13, 14, 15, 16)))
    assert row["trials"] == 7
    assert row["change_percent"] == pytest.approx(13)
    # Of seven, all lie on one side of the median in 2 / 2^7 = 1.6 %, and all but one in 12.5 %.
    assert (row["low_percent"], row["high_percent"]) == pytest.approx((10, 16))
    assert row["p_value"] == row["p_holm"] == pytest.approx(2 / 2**7)
    assert (row["start"], row["end"]) == pytest.approx((93.5, 106.5))
    assert row["rising_share"] == 1


def test_interval_of_eight_trials_leaves_out_none() -> None:
    """That all but one lie on one side has a chance of 7 %, more than 5: the interval is from the first to the last."""
    row = _row(_table(*_lines(*range(10, 18))))
    assert (row["low_percent"], row["high_percent"]) == pytest.approx((10, 17))


def test_verdict_is_by_the_p_value_of_all_rows() -> None:
    """Eight rising trials alone are evidence; as one of four groups they are not."""
    of_four = pd.concat([_table(*_lines(*range(10, 18)), group=group) for group in "abcd"])
    assert _row(_table(*_lines(*range(10, 18))))["verdict"] == "rises"
    rows = drift(of_four)
    assert rows["p_value"].max() < 0.01 < rows["p_holm"].min()
    assert set(rows["verdict"]) == {"unclear"}


@pytest.mark.parametrize("metric", ["memory_mb", "system/process_memory_mb"])
@pytest.mark.parametrize(("noise", "verdict"), [(0.1, "rises"), (0.2, "unclear")])
def test_change_within_noise_is_not_told(metric: str, noise: float, verdict: str) -> None:
    """15 %, where one configuration's memory differs by so much from run to run; a series has its curve's noise."""
    known = {"memory_mb": Noise("memory_mb", noise, "share", 2.77 * noise, 9, "kinds")}
    (row,) = drift(_table(*_lines(*range(10, 20)), metric=metric), known).to_dict("records")
    assert row["verdict"] == verdict


def test_change_is_not_moved_by_one_outlier() -> None:
    """Theil and Sen's line is the median of the slopes between all points."""
    values = [100.0, 101, 102, 103, 500, 105, 106, 107, 108, 109, 110]
    expected = 100 * stats.theilslopes(values, np.arange(11)).slope * 10 / np.median(values)
    row = _row(_table(*[values] * 6))
    assert row["change_percent"] == pytest.approx(expected)
    assert row["change_percent"] == pytest.approx(100 * 10 / 105, rel=0.05)


def test_curve_that_never_changes_is_steady() -> None:
    """Neither a rise nor evidence of one."""
    nothing = _row(_table(*[[0.0] * 4] * 6, metric="memory_mb"))
    assert (nothing["change_percent"], nothing["rising_share"], nothing["p_value"]) == (0, 0, 1)


def test_one_step_shows_in_the_rising_share() -> None:
    """The Theil-Sen line of a curve with one late step is level."""
    row = _row(_table(*[[1.0] * 10 + [2.0]] * 8))
    assert (row["change_percent"], row["rising_share"], row["start"], row["end"]) == (0, 1, 1, 2)


def test_change_of_a_curve_whose_median_is_0_is_of_its_mean_size() -> None:
    """From -2 to 2 by 1: a change of 4, of a mean size of 6 / 5."""
    assert _row(_table(*[[-2.0, -1, 0, 1, 2]] * 6))["change_percent"] == pytest.approx(100 * 4 / 1.2)


@pytest.mark.parametrize(
    ("metric", "start", "trials"),
    [("cpu_percent", 4.0, 6), ("step_time_ms", 4.0, 6), ("memory_mb", 9.0, 12), ("val_loss", 9.0, 12)],
)
def test_warm_up_is_no_part_of_the_trend_of_a_rate(metric: str, start: float, trials: int) -> None:
    """The first interval of a trial; what memory and losses were at the first report counts."""
    row = _row(_table(*[[9.0, 4.0, 3.0, 2.0, 1.0]] * 6, *[[9.0, 4.0, 3.0, 2.0]] * 6, metric=metric))
    assert (row["start"], row["trials"]) == (start, trials)


def test_short_trials_do_not_count() -> None:
    """At least four points; a row stays to say that there are none."""
    row = _row(_table(*[[1.0, 2.0, 3.0]] * 8))
    assert (row["trials"], row["verdict"]) == (0, "too few trials")
    assert np.isnan([row["start"], row["change_percent"], row["p_value"], row["p_holm"]]).all()
    mixed = _row(_table(*[[1.0, 2.0, 3.0]] * 8, *[[1.0, 2.0, 3.0, 4.0]] * 2))
    assert (mixed["trials"], mixed["end"]) == (2, 4)


def test_trials_that_do_not_change_count_for_either_side() -> None:
    """Six of 14 rise: ranks 9 to 14 and half of 1 to 8 make 87, of 52.5 expected with a variance of 243.25."""
    row = _row(_table(*_lines(*[0] * 8, 10, 11, 12, 13, 14, 15)))
    assert row["p_value"] == pytest.approx(2 * stats.norm.sf((87 - 52.5) / np.sqrt(243.25)))
    assert row["verdict"] == "unclear"


def test_each_metric_and_group_has_a_row() -> None:
    """P-values are adjusted over all of them, those without one not counted."""
    rising, few = _lines(*range(10, 20)), _lines(20, 30)
    table = pd.concat(
        [_table(*rising, group="linear"), _table(*few, group="svm"), _table(*rising, metric="cpu_percent")]
    )
    found = drift(table)
    assert found[["metric", "group"]].to_numpy().tolist() == [
        ["val_loss", "linear"],
        ["val_loss", "svm"],
        ["cpu_percent", ""],
    ]
    assert found["p_holm"].tolist() == pytest.approx([4 / 2**10, np.nan, 4 / 2**10], nan_ok=True)
    assert found["verdict"].tolist() == ["rises", "too few trials", "rises"]


def test_trials_that_only_wander_are_rarely_said_to_drift() -> None:
    """Random walks have trends of their own, but as many up as down: trials count, not their points."""
    random = np.random.default_rng(0)
    walks = 100 + random.normal(size=(100, 12, 20)).cumsum(axis=2)
    tables = [_table(*walk.tolist(), group=str(place)) for place, walk in enumerate(walks)]
    found = drift(pd.concat(tables))
    assert (found["p_value"] < 0.05).mean() <= stats.binom.ppf(0.975, 100, 0.05) / 100
    assert not found["verdict"].isin(["rises", "falls"]).any()
