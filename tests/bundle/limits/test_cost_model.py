"""What a configuration will cost, by others of its kind: levels, intervals, and when to say nothing."""

import pytest
from cases import cases, tables
from reference import MLP_CLASSIFIER, configured

from entrypoints.limits.cost_model import UsualCosts
from entrypoints.limits.noise import kind

TABLES = tables(__file__, "cost_model.yaml")
ROWS = 1000
STEP = "mean_step_time_ms"
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)


def _of(size, **changes):
    return configured(batch_size=size, **changes)


def _learned(metric=STEP, cost=1.0):
    """The costs that three trials of each kind have shown."""
    usual = UsualCosts(metric, ROWS)
    for size in SIZES * 3:
        usual.see(_of(size), cost)
    return usual


@cases("asked, cost", [(_of(32), 32), (_of(512, learning_rate=0.5), 512)])
def test_cost_is_the_median_of_the_kind(asked, cost):
    """One odd trial does not move it, nor do trials of other kinds."""
    usual = UsualCosts(STEP, ROWS)
    for size in SIZES:
        for factor in (0.99, 1.0, 1.01, 7.0 if size == 32 else 1.0):
            usual.see(_of(size), factor * size)
    assert usual.expected(asked) == pytest.approx(cost, rel=0.01)


def test_nothing_is_said_of_a_kind_that_nobody_has_tried():
    """Its trials begin."""
    usual = _learned()
    assert usual.expected(_of(48)) is None


def test_total_is_learned_by_the_step():
    """A trial of twice the length costs twice as much, whatever its kind has had."""
    usual = _learned("training_time_s", cost=6.0)  # of 60 steps
    assert usual.expected(_of(32, steps=120)) == pytest.approx(12.0)


USUAL = kind(configured(MLP_CLASSIFIER))


@cases("changes", TABLES["same kind"])
def test_rates_and_penalties_are_no_kind_of_their_own(changes):
    """Nor what all trials of a study share."""
    assert kind(configured(MLP_CLASSIFIER, **changes)) == USUAL


@cases("changes", TABLES["another kind"])
def test_kind_is_all_that_a_cost_may_depend_on(changes):
    """Amounts, shares, words and switches."""
    assert kind(configured(MLP_CLASSIFIER, **changes)) != USUAL


@cases("last_ms", {"faster": 1.0, "slower": 4.0})
def test_expected_cost_follows_a_machine_that_changes(last_ms):
    """It is that of the last trials."""
    usual = _learned(cost=2.0)
    for size in SIZES:
        usual.see(_of(size), last_ms)
    assert usual.expected(_of(32)) == pytest.approx(last_ms)


def test_timings_and_costs_of_0_do_not_say_how_fast_the_machine_is():
    """They were taken before the first trial, or not at all."""
    usual = _learned(cost=2.0)
    for size in SIZES:
        usual.see(_of(size), 4.0, ended=False)
        usual.see(_of(size), 0.0)
    assert usual.expected(_of(32)) == pytest.approx(2.0)
