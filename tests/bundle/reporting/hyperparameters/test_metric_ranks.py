"""What the place in the order explains of a metric, and what is left when it is taken out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from entrypoints.reporting.hyperparameters.metric_ranks import smallest_p, without_place

PLACES = np.random.default_rng(0).permutation(40) + 1.0
DESIGN = np.column_stack([np.ones(40), np.repeat([0, 1], 20)])


def test_drift_is_taken_out_of_the_ranks() -> None:
    """What is left does not go with the place, and what the level does is still there."""
    noise = np.random.default_rng(1).normal(scale=0.1, size=40)
    values = PLACES / 20 + DESIGN[:, 1] + noise
    placed = without_place(values, PLACES, DESIGN, matters=True)
    assert placed.taken_out
    assert placed.share > 0.3
    left, level = stats.rankdata(placed.values), DESIGN[:, 1]
    partial = [each - DESIGN @ np.linalg.lstsq(DESIGN, each, rcond=None)[0] for each in (left, PLACES)]
    assert abs(np.corrcoef(partial)[0, 1]) < 0.1
    assert abs(stats.spearmanr(left, level).statistic) > abs(stats.spearmanr(values, level).statistic) + 0.1


@pytest.mark.parametrize("shift", [0.0, -5.0], ids=["above 0", "not above 0"])
def test_steady_values_are_those_in_the_middle_of_the_order(shift: float) -> None:
    """A rise by a half over the order is gone, and what the level does is as it was in the middle."""
    noise = np.random.default_rng(1).normal(scale=0.02, size=40)
    values = (1 + DESIGN[:, 1]) * (1 + 0.5 * PLACES / 40) + noise + shift
    steady = without_place(values, PLACES, DESIGN, matters=True).steady - shift
    medians = [np.median(steady[DESIGN[:, 1] == level]) for level in (0, 1)]
    assert medians == pytest.approx([1.25, 2.5], rel=0.05)
    spreads = [each[DESIGN[:, 1] == 0].std() for each in (steady, values)]
    assert spreads[0] < 0.5 * spreads[1]


@pytest.mark.parametrize(
    ("places", "design"),
    [
        pytest.param(np.full(40, np.nan), DESIGN, id="place unknown"),
        pytest.param(np.append(PLACES[:-1], np.nan), DESIGN, id="one place unknown"),
        pytest.param(PLACES, np.eye(40), id="no degrees of freedom"),
        pytest.param(np.ones(40), DESIGN, id="one place"),
    ],
)
def test_what_cannot_be_judged_is_left_as_it_is(places: np.ndarray, design: np.ndarray) -> None:
    """The share is unknown."""
    values = PLACES.copy()
    placed = without_place(values, places, design, matters=True)
    assert np.isnan(placed.share)
    assert not placed.taken_out
    assert (placed.values == values).all()
    assert (placed.steady == values).all()


def test_cost_that_may_be_zero_is_not_below_it_without_its_drift() -> None:
    """Such as the memory of a small model, which rises a little with the place."""
    values = np.where(PLACES % 4 == 0, 0.0, PLACES / 20)
    placed = without_place(values, PLACES, DESIGN, matters=True)
    assert placed.taken_out
    assert placed.steady.min() == 0


def test_trials_without_the_metric_stay_without() -> None:
    """The others are judged as if they were alone."""
    values = np.where(np.arange(40) < 30, PLACES, np.nan)
    placed = without_place(values, PLACES, DESIGN, matters=True)
    assert placed.taken_out
    assert (np.isnan(placed.values) == np.isnan(values)).all()


def test_place_that_is_not_told_to_matter_is_left_in() -> None:
    """What it explains is known all the same."""
    values = PLACES / 20 + DESIGN[:, 1]
    placed = without_place(values, PLACES, DESIGN, matters=False)
    assert not placed.taken_out
    assert (placed.values == values).all()
    assert (placed.steady == values).all()
    assert placed.share > 0.3


@pytest.mark.parametrize("sizes", [(4, 4), (3, 5, 2), (2, 2, 2, 9)])
def test_smallest_p_is_that_of_groups_that_do_not_overlap(sizes: tuple[int, ...]) -> None:
    """In whatever order they lie."""
    for order in (sizes, sizes[::-1]):
        groups = np.split(np.arange(sum(order)), np.cumsum(order)[:-1])
        assert smallest_p(sizes) == pytest.approx(stats.kruskal(*groups).pvalue)


def test_one_group_has_no_p() -> None:
    """Nothing is compared."""
    assert np.isnan(smallest_p([5]))
