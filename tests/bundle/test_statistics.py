"""The tests behind reports: examples by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from entrypoints.statistics import holm, over_folds, range_by_chance


def _table(*rows):
    return pd.DataFrame(rows)


def test_t_test_over_folds_by_hand():
    """Differences 1, 2, 3 have mean 2 and variance 1; with 1/3 + 1/2 the error is the root of 5/6."""
    mean, low, high, p = over_folds(np.array([1.0, 2.0, 3.0]))
    assert (mean, low) == (2, pytest.approx(4 - high))
    assert p == pytest.approx(2 * stats.t.sf(2 / math.sqrt(5 / 6), 2))
    assert high - mean == pytest.approx(4.303 * math.sqrt(5 / 6), abs=1e-3)


def test_differences_without_spread_have_no_p_value():
    """Their error is not known."""
    mean, *unknown = over_folds(np.full(10, 0.1))
    assert mean == pytest.approx(0.1)
    assert np.isnan(unknown).all()


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
