"""How much a metric changes between two levels, in words and with intervals that hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from entrypoints.reporting.hyperparameters.change import change, is_factor

TEN: pd.Series[float] = pd.Series(np.arange(1.0, 11))
ONE: pd.Series[float] = pd.Series(np.ones(10))


@pytest.mark.parametrize(
    ("metric", "first", "second", "as_factor", "expected"),
    [
        pytest.param("training_time_s", 240 * ONE, ONE, True, (240, "times less"), id="a factor"),
        pytest.param("training_time_s", ONE, 240 * ONE, True, (240, "times more"), id="a factor upwards"),
        pytest.param("training_time_s", ONE, 0.9 * ONE, True, (10, "% less"), id="below a factor of two"),
        pytest.param("training_time_s", ONE, 1.9 * ONE, True, (90, "% more"), id="just below a factor of two"),
        pytest.param("memory_growth_mb", 0 * ONE, 5 * ONE, False, (5, "MB more"), id="from zero"),
        pytest.param("val_accuracy", 0.78 * ONE, 0.62 * ONE, False, (0.16, "less"), id="a score"),
        pytest.param("mean_cpu_percent", 95 * ONE, 80 * ONE, False, (15, "points less"), id="a percentage"),
    ],
)
def test_change_is_said_in_units(metric: str, first: Any, second: Any, as_factor: bool, expected: Any) -> None:
    """What is above 0 in the direction that the words name."""
    found = change(metric, first, second, as_factor=as_factor)
    amount, words = expected
    assert (found.amount, found.low, found.high) == pytest.approx((amount, amount, amount))
    assert (found.words, found.first, found.second) == (words, first.median(), second.median())


def test_interval_of_matched_configurations_is_that_of_the_sign_test() -> None:
    """Each against itself, however much configurations differ: of ten the second and the ninth difference."""
    found = change("elapsed_s", 1000 * TEN, 1000 * TEN + TEN, as_factor=False)
    assert (found.matched, found.amount, found.low, found.high) == (10, 5.5, 2, 9)
    assert stats.binom.cdf(1, 10, 0.5) < 0.025 < stats.binom.cdf(2, 10, 0.5)


def test_interval_of_other_configurations_is_that_of_mann_and_whitney() -> None:
    """The differences that the test does not reject: beyond both ends it does, within it does not."""
    random = np.random.default_rng(0)
    first: pd.Series[float] = pd.Series(random.normal(size=12))
    second: pd.Series[float] = pd.Series(random.normal(size=9) + 3, index=range(100, 109))
    found = change("elapsed_s", first, second, as_factor=False)
    assert found.matched == 0
    assert found.amount == pytest.approx(np.median(np.subtract.outer(second.to_numpy(), first.to_numpy())))
    for end, way in ((found.low, -1), (found.high, 1)):
        inside, outside = (stats.mannwhitneyu(first + end - step * way, second).pvalue for step in (1e-6, -1e-6))
        assert outside < 0.05 < inside


def test_medians_that_differ_by_something_else_are_marked() -> None:
    """Two thirds less for the slow, a tenth less for most: the medians are of two different configurations."""
    before: pd.Series[float] = pd.Series([1.0] * 9 + [2.0] * 2 + [100.0] * 10)
    after = before * ([0.9] * 9 + [0.1] * 2 + [0.9] * 10)
    found = change("elapsed_s", before, after, as_factor=True)
    assert (found.amount, found.low, found.high) == pytest.approx((10, 10, 10))
    assert not found.medians_agree
    assert change("elapsed_s", before, 0.9 * before, as_factor=True).medians_agree


def test_levels_that_hardly_share_configurations_are_not_matched() -> None:
    """Two of ten, as a random search has by chance."""
    other: pd.Series[float] = pd.Series(2 * ONE.to_numpy(), index=range(8, 18))
    assert change("elapsed_s", TEN, other, as_factor=False).matched == 0


@pytest.mark.parametrize(
    ("trials", "comparisons", "known"),
    [(3, 1, False), (4, 1, True), (4, 6, False), (6, 1, True), (6, 36, False), (9, 36, True)],
)
def test_few_trials_have_no_interval(trials: int, comparisons: int, known: bool) -> None:
    """A pair of levels that was chosen among several needs more. All of one against all of the other do sooner."""
    found = change("elapsed_s", ONE[:trials], 3 * ONE[:trials], as_factor=True, comparisons=comparisons)
    assert np.isfinite([found.low, found.high]).all() == known
    assert found.amount == pytest.approx(3)


@pytest.mark.parametrize(
    ("size", "matched"),
    [
        pytest.param(12, True, id="by pairs"),
        pytest.param(7, True, id="too few pairs"),
        pytest.param(12, False, id="without pairs"),
    ],
)
def test_interval_holds_for_the_two_levels_that_differ_most(size: int, matched: bool) -> None:
    """Of four equal levels the lowest and the highest are compared, in 200 studies: 0 is left out in at most 5 %."""
    random, missed = np.random.default_rng(0), 0
    for _ in range(200):
        levels = [
            pd.Series(random.normal(size=size), index=np.arange(size) + size * n * (not matched)) for n in range(4)
        ]
        first, *_, second = sorted(levels, key=lambda level: float(level.median()))
        found = change("elapsed_s", first, second, as_factor=False, comparisons=6)
        assert np.isfinite(found.low)
        missed += found.low > 0
    assert missed <= 10


@pytest.mark.parametrize(
    ("metric", "least", "expected"),
    [
        ("training_time_s", 0.1, True),
        ("training_time_s", 0.0, False),
        ("memory_growth_mb", -1.0, False),
        ("loss", 1.0, False),
        ("val_loss", 1.0, False),
        ("test_rmse", 1.0, False),
        ("mean_cpu_percent", 1.0, False),
    ],
)
def test_factors_are_for_costs_above_zero(metric: str, least: float, expected: bool) -> None:
    """Not for the score, here ``loss``, nor for what it is made of, nor for percentages."""
    assert is_factor(metric, "loss", np.array([least, 5.0])) is expected
