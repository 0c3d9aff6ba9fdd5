"""What a configuration will cost, by others of its kind: levels, intervals, and when to say nothing."""

import pytest
from cases import cases
from reference import MLP_CLASSIFIER, configured

from entrypoints.limits.cost_model import MIN_ENDED, CostModel
from entrypoints.limits.noise import MIN_DEGREES, kind

ROWS = 1000
STEP, PEAK = "mean_step_time_ms", "peak_memory_mb"
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)


def _of(size, **changes):
    return configured(batch_size=size, **changes)


def _learned(metric=STEP, cost=1.0):
    """A model that has seen three trials of each kind."""
    model = CostModel(ROWS)
    for size in SIZES * 3:
        model.observe(_of(size), {metric: cost})
    return model


def test_cost_is_the_median_of_the_kind():
    """One odd trial does not move it, nor do trials of other kinds. Of a kind that nobody has tried nothing is said."""
    model = CostModel(ROWS)
    for size in SIZES:
        for factor in (0.99, 1.0, 1.01, 7.0 if size == 32 else 1.0):
            model.observe(_of(size), {STEP: factor * size})
    asked = [_of(32), _of(512, learning_rate=0.5), _of(48)]
    usual = model.usual(STEP)
    expected = [usual.expected(each) for each in asked]
    assert expected == [pytest.approx(32, rel=0.01), pytest.approx(512, rel=0.01), None]
    first, second, unknown = (usual.predict(each) for each in asked)
    assert first.low < 32 < first.high
    assert second.low < 512 < second.high
    assert unknown is None


def test_total_is_learned_by_the_step():
    """A trial of twice the length costs twice as much, whatever its kind has had."""
    model = _learned("training_time_s", cost=6.0)  # of 60 steps
    assert model.usual("training_time_s").expected(_of(32, steps=120)) == pytest.approx(12.0)


def test_kind_is_all_that_a_cost_depends_on():
    """Amounts, shares, words and switches; not rates and penalties, nor what all trials of a study share."""
    usual = kind(configured(MLP_CLASSIFIER))
    for same in ({"steps": 61}, {"seed": 8}, {"learning_rate_init": 0.5}, {"alpha": 0.25}):
        assert kind(configured(MLP_CLASSIFIER, **same)) == usual, same
    others = (
        {"hidden_layer_sizes": [16]},
        {"hidden_layer_sizes": [4, 4]},
        {"n_iter_no_change": 20},
        {"batch_size": 64},
        {"activation": "relu"},
        {"tol": 0.1},
        {"max_features": 0.5},
        {"C": 10.0},
    )
    for other in others:
        assert kind(configured(MLP_CLASSIFIER, **other)) != usual, other


@cases(
    "metric, cost, noise, times, within",
    {
        # No kind is known better than to 5 %, and a bound of 99 % lies 2.326 standard deviations away.
        "time": ("training_time_s", 0.004, 0.0, 1.1234, 0.0),
        "time with noise": ("training_time_s", 0.004, 0.3, 2.009, 0.0),
        "memory of a small model": ("model_memory_mb", 0.004, 0.0, 1.1234, 0.1),
    },
)
def test_interval_holds_the_noise_and_the_pages_that_come_by_chance(metric, cost, noise, times, within):
    """Memory differs by 0.1 MB, and is never below 0."""
    prediction = _learned(metric, cost).usual(metric).predict(_of(32), noise)
    low, high = min(cost / times, cost - within), max(cost * times, cost + within)
    assert (prediction.low, prediction.high) == (pytest.approx(max(0.0, low), rel=0.01), pytest.approx(high, rel=0.01))


@cases(
    "ended, timed, foreseen",
    {
        "timings and too few trials": (MIN_ENDED - 1, 30, False),
        "timings and trials": (MIN_ENDED, 30, True),
        "too few trials of one kind": (MIN_DEGREES, 0, False),
        "enough": (MIN_DEGREES + 1, 0, True),
    },
)
def test_interval_needs_trials_that_have_ended_and_repetitions(ended, timed, foreseen):
    """What is expected needs neither. Trials without the figure, or with 0 for it, do not count."""
    model = CostModel(ROWS)
    for count, has_ended in ((timed, False), (ended, True)):
        for _ in range(count):
            model.observe(_of(32), {STEP: 1.0}, ended=has_ended)
    for figures in ({STEP: 0.0}, {PEAK: 1.0}):
        model.observe(_of(32), figures)
    assert model.usual(STEP).expected(_of(32)) == pytest.approx(1.0)
    assert (model.usual(STEP).predict(_of(32)) is not None) is foreseen
    assert model.usual(PEAK).predict(_of(32)) is None


@cases("last_ms", {"faster": 1.0, "slower": 4.0})
def test_expected_cost_follows_a_machine_that_changes(last_ms):
    """It is that of the last trials; the interval still holds what all trials say, so nothing is skipped sooner."""
    model = _learned(cost=2.0)
    for size in SIZES:
        model.observe(_of(size), {STEP: last_ms})
    prediction = model.usual(STEP).predict(_of(32))
    assert prediction.value == pytest.approx(last_ms)
    assert model.usual(STEP).expected(_of(32)) == pytest.approx(last_ms)
    factor = 3.731  # 2.326 standard deviations: one of four trials of each kind lies a factor of two away
    assert prediction.low == pytest.approx(min(last_ms, 2.0) / factor, rel=0.001)
    assert prediction.high == pytest.approx(max(last_ms, 2.0) * factor, rel=0.001)
