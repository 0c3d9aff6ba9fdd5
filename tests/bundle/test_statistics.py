"""Estimates and tests: examples by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from cases import cases
from scipy import stats

from entrypoints.statistics import BLOCKS, FoldNoise, blocks_of, holm, jackknife, over_folds, range_by_chance


def _table(*rows):
    return pd.DataFrame(rows)


def test_t_test_over_folds_by_hand():
    """Differences 1, 2, 3 have mean 2 and variance 1; with 1/3 + 1/2 the error is the root of 5/6."""
    found = over_folds(np.array([1.0, 2.0, 3.0]))
    assert (found.value, found.low) == (2, pytest.approx(4 - found.high))
    assert found.p_value == pytest.approx(2 * stats.t.sf(2 / math.sqrt(5 / 6), 2))
    assert found.high - found.value == pytest.approx(4.303 * math.sqrt(5 / 6), abs=1e-3)


def test_differences_without_spread_have_no_p_value():
    """Their error is not known."""
    found = over_folds(np.full(10, 0.1))
    assert found.value == pytest.approx(0.1)
    assert np.isnan([found.low, found.high, found.p_value]).all()


def test_range_of_rank_sums_is_that_of_rankings_by_chance():
    """Of two blocks of three 6 of 36 pairs of rankings agree, which is as far apart as rank sums can be."""
    p = 6 / 36
    error = math.sqrt(p * (1 - p) / 9999)
    assert range_by_chance(_table((1, 2, 3), (1, 2, 3))) == pytest.approx(p, abs=4 * error)


def test_best_and_worst_need_not_differ_where_some_levels_do():
    """Friedman's test says only that some two of them differ."""
    scores = _table((0, 1, 4, 2, 3), (0, 1, 2, 4, 3), (0, 1, 4, 3, 2), (1, 0, 2, 3, 4))
    assert stats.friedmanchisquare(*scores.to_numpy().T).pvalue < 0.05 < range_by_chance(scores)


def test_holm_by_hand_leaves_out_what_is_unknown():
    """Of three the smallest counts three times; a p-value that is not known keeps none and weakens no other."""
    adjusted = holm([0.02, math.nan, 0.01, 0.04])
    assert np.isnan(adjusted[1])
    assert adjusted[[2, 0, 3]] == pytest.approx([0.03, 0.04, 0.04])
    assert holm([]).tolist() == []


VALUES = np.random.default_rng(0).normal(3.0, 1.0, BLOCKS)
ERROR = stats.sem(VALUES)


def _mean_of(values):
    return lambda rows: float(values[rows].mean())


def test_error_of_a_mean_is_that_of_its_rows():
    """With a row in each block it is the formula's; the interval is Student's."""
    found = jackknife(_mean_of(VALUES), blocks_of(np.arange(BLOCKS)))
    mean = VALUES.mean()
    assert found.value == pytest.approx(mean)
    assert found.error == pytest.approx(ERROR)
    low, high = stats.t.interval(0.95, BLOCKS - 1, mean, ERROR)
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)


def test_rows_of_a_group_count_as_one():
    """Ten equal rows say no more than one does."""
    rows = np.repeat(VALUES, 10)
    groups = np.repeat(np.arange(BLOCKS), 10)
    assert jackknife(_mean_of(rows), blocks_of(groups)).error == pytest.approx(ERROR)
    assert jackknife(_mean_of(rows), blocks_of(np.arange(len(rows)))).error < 0.6 * ERROR


def test_blocks_are_of_equal_size_and_each_group_lies_in_one():
    """Of fewer groups than blocks each is a block."""
    assert np.bincount(blocks_of(np.arange(100))).tolist() == [5] * BLOCKS
    groups = np.random.default_rng(0).integers(0, 60, 1000)
    blocks = pd.Series(blocks_of(groups))
    assert (blocks.groupby(groups).nunique() == 1).all()
    assert len(np.unique(blocks_of(groups % 7))) == 7


@cases(
    "score, groups, why",
    {
        "constant": (lambda rows: 1.0, np.arange(50), "it is the same without any of the rows"),
        "undefined": (
            lambda rows: 1.0 if 7 in rows else math.nan,
            np.arange(50),
            "without some of the rows the score is not defined",
        ),
        "one group": (lambda rows: 1.0, np.zeros(50), "all rows are of one group"),
    },
)
def test_there_is_no_interval_where_the_rows_do_not_tell_one(score, groups, why):
    """It is said why; the score itself is there."""
    found = jackknife(score, blocks_of(groups))
    assert found.why_unknown == why
    assert found.value == 1.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@cases("differs, share", {"as others do": (1.0, 1.0), "hardly": (0.0, 0.55), "three times as much": (3.0, 2.5)})
def test_error_of_a_pair_is_its_own_beside_that_of_others(differs, share):
    """Ten folds of its own count more than the four that stand for others (Nadeau and Bengio's error)."""
    noise = FoldNoise(0.02, 10, 8)
    own = differs * 0.02 * np.array([-1, 1] * 5) * np.sqrt(9 / 10)
    assert noise.error() == pytest.approx(0.02 * np.sqrt(1 / 10 + 1 / 9))
    assert noise.error(own) == pytest.approx(share * noise.error(), rel=0.05)
