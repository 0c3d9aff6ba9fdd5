"""What a configuration will cost, learned from others: straight lines, words, lists, and when to say nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
from reference import MLP_CLASSIFIER, configured

from entrypoints.limits.cost_model import MIN_FORESEEN, MIN_TRIALS, CostModel, features
from entrypoints.limits.extrapolation import Prediction
from entrypoints.models.configuration import Configuration

ROWS = 1000
STEP, PEAK = "mean_step_time_ms", "peak_memory_mb"
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)


def _step_time(configuration: Configuration) -> float:
    """The overhead of a call, and something for each row."""
    return 0.2 + 0.001 * configuration.batch_size


def _learned(
    configurations: Collection[Configuration], cost: Callable[[Configuration], float], metric: str = STEP
) -> CostModel:
    """A model that has seen enough trials of these configurations, at most 2 % from what they cost on either side."""
    random, model = np.random.default_rng(0), CostModel(ROWS)
    for configuration in configurations:
        for _ in range(math.ceil(MIN_FORESEEN / len(configurations))):
            model.observe(configuration, {metric: cost(configuration) * random.uniform(0.98, 1.02)})
    return model


def _predicted(model: CostModel, configuration: Configuration, metric: str = STEP) -> Prediction:
    (prediction,) = model.predict([configuration], metric)
    assert prediction is not None
    return prediction


def _of(size: int) -> Configuration:
    return configured(batch_size=size)


def _epochs(size: int) -> Configuration:
    return configured(batch_size=size, max_steps=0, max_epochs=2)


def _network(size: int = 32, layers: tuple[int, ...] = (8,), activation: str = "relu") -> Configuration:
    return configured(MLP_CLASSIFIER, batch_size=size, hidden_layer_sizes=list(layers), activation=activation)


def _of_words(network: Configuration) -> float:
    return {"relu": 1.0, "tanh": 3.0}[network.hyperparameters["activation"]] * _step_time(network)


def _of_layers(network: Configuration) -> float:
    return 0.05 * float(sum(network.hyperparameters["hidden_layer_sizes"])) ** 0.8


TRIED = [_of(size) for size in SIZES]
WIDE = [_network(layers=layers) for size in (8, 32, 128, 512) for layers in ((size,), (size, size))]


@pytest.mark.parametrize(
    ("tried", "asked", "cost", "metric"),
    [
        pytest.param(TRIED, [8, 24, 96, 384, 1024], _step_time, STEP, id="overhead and rows"),
        pytest.param(TRIED, [8, 24, 96, 384, 1024], lambda each: 200 + 0.05 * each.batch_size, PEAK, id="memory"),
        # At equal epochs small batches are the expensive ones.
        pytest.param(
            *([_epochs(size) for size in SIZES], [_epochs(size) for size in range(8, 1025, 127)]),
            *(lambda each: each.steps(ROWS) * _step_time(each) / 1e3, "training_time_s"),
            id="total of epochs",
        ),
        pytest.param(
            *([_of(size) for size in SIZES], [24, 96], lambda each: 2 + 0.5 * _step_time(each), "elapsed_s"),
            id="total of equal steps",
        ),
        pytest.param(
            [_network(size, activation=word) for size in SIZES for word in ("relu", "tanh")],
            [_network(48, activation=word) for word in ("relu", "tanh")],
            *(_of_words, STEP),
            id="each word has its price",
        ),
        pytest.param(
            WIDE,
            [_network(layers=(64,)), _network(layers=(100, 30))],
            _of_layers,
            STEP,
            id="layer sizes between others",
        ),
    ],
)
def test_cost_of_what_was_not_tried_lies_in_the_interval(
    tried: list[Configuration], asked: list[Any], cost: Callable[[Configuration], float], metric: str
) -> None:
    """As straight lines, words and lists say; the interval is of some use."""
    model = _learned(tried, cost, metric)
    for configuration in (_of(each) if isinstance(each, int) else each for each in asked):
        prediction = _predicted(model, configuration, metric)
        assert prediction.low < cost(configuration) < prediction.high
        assert prediction.low < prediction.value < prediction.high < 3 * prediction.low


@pytest.mark.parametrize(
    ("tried", "asked", "known"),
    [
        pytest.param([_of(size) for size in (32, 64, 128, 256)], _of(15), False, id="far below"),
        pytest.param([_of(size) for size in (32, 64, 128, 256)], _of(16), True, id="half the smallest"),
        pytest.param([_of(size) for size in (32, 64, 128, 256)], _of(512), True, id="twice the largest"),
        pytest.param([_of(size) for size in (32, 64, 128, 256)], _of(513), False, id="far above"),
        pytest.param([_network(size) for size in SIZES], _network(48, activation="tanh"), False, id="another word"),
        pytest.param(WIDE, _network(layers=(4096,)), False, id="much larger layer"),
    ],
)
def test_prediction_reaches_one_doubling_beyond_what_was_tried(
    tried: list[Configuration], asked: Configuration, known: bool
) -> None:
    """A line is not followed to where nobody has been."""
    model = _learned(tried, _step_time)
    for predicted in (model.predict([asked], STEP), model.expected([asked], STEP)):
        assert [each is not None for each in predicted] == [known]


def test_every_hyperparameter_is_a_feature_of_a_cost() -> None:
    """Amounts, rates, also one of 0, words and switches; not what all trials of a study share."""
    usual = features(configured(MLP_CLASSIFIER))
    for same in ({"max_steps": 61}, {"seed": 8}):
        assert features(configured(MLP_CLASSIFIER, **same)) == usual, same
    sizes = ({"hidden_layer_sizes": [16]}, {"hidden_layer_sizes": [4, 4]}, {"n_iter_no_change": 20}, {"batch_size": 64})
    rates = ({"learning_rate_init": 0.5}, {"alpha": 0.25}, {"alpha": 0.0})
    for other in (*sizes, *rates, {"activation": "relu"}, {"nesterovs_momentum": False}):
        assert features(configured(MLP_CLASSIFIER, **other)) != usual, other


@pytest.mark.parametrize(
    ("metric", "cost", "noise", "times", "within"),
    [
        # No model is better than 5 %, and a bound of 99 % lies 2.326 standard deviations away.
        pytest.param("training_time_s", 0.004, 0.0, 1.1234, 0.0, id="time"),
        pytest.param("training_time_s", 0.004, 0.3, 2.009, 0.0, id="time with noise"),
        pytest.param(PEAK, 200.0, 0.0, 1.1234, 0.0, id="much memory"),
        pytest.param("memory_growth_mb", 0.5, 0.0, 1.1234, 0.1, id="growth"),
        pytest.param("model_memory_mb", 0.004, 0.0, 1.1234, 0.1, id="memory of a small model"),
    ],
)
def test_interval_holds_the_noise_and_the_pages_that_come_by_chance(
    metric: str, cost: float, noise: float, times: float, within: float
) -> None:
    """A smooth law says nothing of how equal trials differ. Memory differs by 0.1 MB, and is never below 0."""
    model = CostModel(ROWS)
    for size in SIZES * 3:
        model.observe(_of(size), {metric: cost})
    (prediction,) = model.predict([_of(32)], metric, noise)
    assert prediction is not None
    low, high = min(cost / times, cost - within), max(cost * times, cost + within)
    assert (prediction.low, prediction.high) == (pytest.approx(max(0.0, low), rel=0.01), pytest.approx(high, rel=0.01))


@pytest.mark.parametrize(
    ("trials", "expected", "foreseen"),
    [
        pytest.param(7, False, False, id="seven trials"),
        pytest.param(8, True, False, id="eight"),
        pytest.param(19, True, False, id="nineteen"),
        pytest.param(20, True, True, id="twenty"),
    ],
)
def test_cost_is_expected_from_eight_trials_of_the_metric_and_bounded_from_twenty(
    trials: int, expected: bool, foreseen: bool
) -> None:
    """Trials without the figure, or with 0 for it, do not count."""
    assert (MIN_TRIALS, MIN_FORESEEN) == (8, 20)
    model = CostModel(ROWS)
    for size in (SIZES * 3)[:trials]:
        model.observe(_of(size), {STEP: 1.0})
    for figures in ({}, {STEP: 0.0}, {PEAK: 1.0}):
        model.observe(_of(32), figures)
    assert (model.expected([_of(32)], STEP) != [None]) is expected
    assert (model.predict([_of(32)], STEP) != [None]) is foreseen
    assert model.predict([_of(32)], PEAK) == [None]


@pytest.mark.parametrize("last_ms", [pytest.param(1.0, id="faster"), pytest.param(4.0, id="slower")])
def test_expected_cost_follows_a_machine_that_changes(last_ms: float) -> None:
    """It is that of the last trials; the interval still holds what all trials say, so nothing is skipped sooner."""
    model, before = CostModel(ROWS), CostModel(ROWS)
    for ms in (2.0, 2.0, 2.0, last_ms):
        for size in SIZES:
            model.observe(_of(size), {STEP: ms})
            if ms == 2.0:
                before.observe(_of(size), {STEP: ms})
    asked = _of(32)
    prediction = _predicted(model, asked)
    assert _predicted(before, asked).value == pytest.approx(2.0)
    assert prediction.value == pytest.approx(last_ms)
    assert model.expected([asked], STEP) == [pytest.approx(last_ms)]
    of_all = 2.0 * (last_ms / 2.0) ** (1 / 4)
    below, above = min(last_ms, of_all) / prediction.low, prediction.high / max(last_ms, of_all)
    assert below == pytest.approx(above)
    assert below > 2.0
