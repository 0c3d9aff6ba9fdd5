"""At which level metrics are while trials train, and whether they rise, fall or stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from entrypoints.limits.noise import Noise
from entrypoints.reporting.training.curves import STEPS
from entrypoints.reporting.training.drift import by_batch_size, drift


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
    assert (row["change"], row["low"], row["high"]) == pytest.approx((13, 10, 16))
    assert (row["level"], row["start"], row["end"]) == pytest.approx((100, 93.5, 106.5))
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


def test_level_is_the_usual_value_after_the_warm_up() -> None:
    """The median over trials of each curve's median, in the metric's unit; the change is in it, too."""
    row = _row(
        _table(*[[300.0, 50 + place, 51 + place, 52 + place, 53 + place] for place in range(7)], metric="cpu_percent")
    )
    assert row["level"] == 54.5
    assert row["change"] == pytest.approx(3)
    assert row["change_percent"] == pytest.approx(100 * 3 / 54.5)


@pytest.mark.parametrize(
    ("metric", "change", "noise", "verdict"),
    [
        pytest.param("memory_mb", 0.5, 0.0, "rises", id="half a megabyte"),
        pytest.param("memory_mb", 0.09, 0.0, "steady", id="some pages"),
        pytest.param("memory_mb", 0.5, 0.01, "steady", id="within noise"),
        pytest.param("cpu_percent", 0.5, 0.0, "steady", id="no memory"),
    ],
)
def test_rise_of_memory_is_judged_in_megabytes(metric: str, change: float, noise: float, verdict: str) -> None:
    """5 % of a process are more than most models; of other metrics less than 5 % is steady."""
    trials = [(177 + change * np.linspace(-0.5, 0.5, 11)).tolist() for _ in range(8)]
    known = {metric: Noise(metric, noise, "share", 2.77 * noise, 9, "kinds")}
    (row,) = drift(_table(*trials, metric=metric), known).to_dict("records")
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
    [("cpu_percent", 4.0, 4), ("step_time_ms", 4.0, 4), ("memory_mb", 9.0, 8), ("val_loss", 9.0, 8)],
)
def test_warm_up_is_no_part_of_the_trend_of_a_rate(metric: str, start: float, trials: int) -> None:
    """The first interval of a trial; what memory and losses were at the first report counts."""
    row = _row(_table(*[[9.0, 4.0, 3.0, 2.0, 1.0]] * 4, *[[9.0, 4.0, 3.0, 2.0]] * 4, metric=metric))
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
    walks = 100 + random.normal(size=(40, 8, 12)).cumsum(axis=2)
    tables = [_table(*walk.tolist(), group=str(place)) for place, walk in enumerate(walks)]
    found = drift(pd.concat(tables))
    assert (found["p_value"] < 0.05).mean() <= stats.binom.ppf(0.975, 40, 0.05) / 40
    assert not found["verdict"].isin(["rises", "falls"]).any()


def _sized(changes: dict[float, list[float]], metric: str = "step_time_ms") -> pd.DataFrame:
    """Trials of each batch size whose curves change by these percentages, after a first interval."""
    parts = [
        _table(*[[500.0, *line] for line in _lines(*each)], metric=metric, group="linear").assign(batch_size=size)
        for size, each in changes.items()
    ]
    for size, part in zip(changes, parts, strict=True):
        part["run_id"] += f" of {size}"
    return pd.concat(parts)


SLOW, FAST = np.linspace(-1, 1, 10).tolist(), np.linspace(19, 21, 10).tolist()


def test_batch_size_that_differs_from_the_others_is_told() -> None:
    """By more than 5 %, after the correction; those that are like the rest are not."""
    curves = _sized({8: SLOW, 16: SLOW, 32: FAST})
    table = drift(curves)
    assert table["p_batch_size"].item() == pytest.approx(stats.kruskal(SLOW, SLOW, FAST).pvalue)
    assert table["p_batch_size_holm"].item() == pytest.approx(2 * table["p_batch_size"].item())
    found = by_batch_size(curves, table)
    assert found["batch_size"].tolist() == [8, 16, 32]
    assert found["told"].tolist() == [False, False, True]
    assert found["change_percent"].tolist() == pytest.approx([0, 0, 20], abs=0.1)
    assert found["rest_percent"].tolist() == pytest.approx([10, 10, 0], abs=10)
    assert found["trials"].tolist() == [10, 10, 10]


@pytest.mark.parametrize(
    ("changes", "metric", "noise"),
    [
        pytest.param({8: SLOW, 32: np.linspace(3, 4, 10).tolist()}, "step_time_ms", 0.0, id="by 3 %"),
        pytest.param({8: SLOW, 32: FAST}, "step_time_ms", 0.3, id="within noise"),
        pytest.param({8: SLOW, 32: FAST[:5]}, "step_time_ms", 0.0, id="five trials"),
        pytest.param({8: FAST}, "step_time_ms", 0.0, id="one batch size"),
        pytest.param(
            {8: [-20.0, 40.0] * 10, 16: SLOW * 2, 32: np.linspace(3, 4, 20).tolist()},
            "step_time_ms",
            0.0,
            id="half of them up, half down",
        ),
        pytest.param({8: SLOW, 32: FAST}, "val_loss", 0.0, id="a loss"),
    ],
)
def test_batch_sizes_that_hardly_differ_are_not_told(
    changes: dict[float, list[float]], metric: str, noise: float
) -> None:
    """Nor are those with too few trials, and what is not a cost."""
    curves, known = _sized(changes, metric), {metric: Noise(metric, noise, "share", 2.77 * noise, 9, "kinds")}
    sizes = by_batch_size(curves, drift(curves, known), known)
    assert sizes.empty or not sizes["told"].any()


def test_batch_sizes_are_tested_in_one_family_with_the_trends() -> None:
    """So that what studies without differences say stays rare, with batch sizes and without."""
    table = drift(_sized({8: SLOW, 32: FAST}))
    alone = _row(_sized({8: SLOW + FAST}))
    assert alone["p_holm"] == alone["p_value"] == table["p_value"].item()
    assert sorted([table["p_holm"].item(), table["p_batch_size_holm"].item()])[0] == pytest.approx(
        2 * min(table["p_value"].item(), table["p_batch_size"].item())
    )


def test_equal_batch_sizes_are_rarely_told_to_differ() -> None:
    """12 groups of noise, in which small batches have longer and so steadier curves."""
    random = np.random.default_rng(0)
    parts = [
        _table(*(100 + 30 * random.normal(size=(6, points))).tolist(), metric="cpu_percent", group=f"{group} {size} ")
        .assign(batch_size=size)
        .replace({"group": {f"{group} {size} ": str(group)}})
        for group in range(12)
        for size, points in ((2, 11), (8, 7), (32, 5))
    ]
    curves = pd.concat(parts)
    found = drift(curves)
    assert (found["p_batch_size"] < 0.05).mean() <= stats.binom.ppf(0.975, 12, 0.05) / 12
    assert not by_batch_size(curves, found)["told"].any()
