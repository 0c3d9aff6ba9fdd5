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
    prediction = usual.predict(asked)
    assert prediction.low < cost < prediction.high


def test_nothing_is_said_of_a_kind_that_nobody_has_tried():
    """Its trials begin."""
    usual = _learned()
    assert usual.expected(_of(48)) is None
    assert usual.predict(_of(48)) is None


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


@cases("metric, cost, noise, times, within", TABLES["intervals"])
def test_interval_holds_the_noise_and_the_pages_that_come_by_chance(metric, cost, noise, times, within):
    """Memory differs by 0.1 MB, and is never below 0."""
    prediction = _learned(metric, cost).predict(_of(32), noise)
    assert prediction.low == pytest.approx(max(0.0, min(cost / times, cost - within)), rel=0.01)
    assert prediction.high == pytest.approx(max(cost * times, cost + within), rel=0.01)


@cases("ended, timed, foreseen", TABLES["evidence"])
def test_interval_needs_trials_that_have_ended_and_repetitions(ended, timed, foreseen):
    """What is expected needs neither. Trials without the figure, or with 0 for it, do not count."""
    usual = UsualCosts(STEP, ROWS)
    for number in range(timed + ended):
        usual.see(_of(32), 1.0, ended=number >= timed)
    usual.see(_of(32), 0.0)
    assert usual.expected(_of(32)) == pytest.approx(1.0)
    assert (usual.predict(_of(32)) is not None) is foreseen


@cases("last_ms", {"faster": 1.0, "slower": 4.0})
def test_expected_cost_follows_a_machine_that_changes(last_ms):
    """It is that of the last trials; the interval still holds what all trials say, so nothing is skipped sooner."""
    usual = _learned(cost=2.0)
    for size in SIZES:
        usual.see(_of(size), last_ms)
    prediction = usual.predict(_of(32))
    assert prediction.value == pytest.approx(last_ms)
    factor = 3.731  # 2.326 standard deviations: one of four trials of each kind lies a factor of two away
    assert prediction.low == pytest.approx(min(last_ms, 2.0) / factor, rel=0.001)
    assert prediction.high == pytest.approx(max(last_ms, 2.0) * factor, rel=0.001)
