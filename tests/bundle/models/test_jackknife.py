"""The error of a score of rows, by the rows without each block."""

import math

import numpy as np
import pandas as pd
import pytest
from cases import cases
from scipy import stats

from entrypoints.models.jackknife import BLOCKS, blocks_of, jackknife

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
