"""The forecast of a study's time: models are timed, everything that trials do is counted and handed out."""

from __future__ import annotations

import pytest
from reference import MLP_CLASSIFIER, bundled, configured

from entrypoints.limits import duration_forecast
from entrypoints.limits.duration_forecast import (
    BETWEEN_TRIALS_S,
    Timing,
    forecast,
    one_of_each,
    search_seconds,
    time_kinds,
    trial_costs,
)
from entrypoints.models.configuration import Configuration

FOLDS = 4
NO_TIME = Timing(0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("limits", "timing", "seconds"),
    [
        pytest.param({"max_steps": 100}, {"step_s": 0.5}, 100 * 0.5, id="steps"),
        pytest.param({"max_steps": 500, "max_epochs": 2, "batch_size": 100}, {"step_s": 1.0}, 18, id="first-limit"),
        pytest.param({"max_steps": 250, "report_every": 100}, {"validate_s": 2.0}, 3 * 2.0, id="reports"),
        pytest.param({"max_steps": 250, "report_every": None}, {"validate_s": 2.0}, 21 * 2.0, id="reports-by-length"),
        pytest.param({"max_steps": 250}, {"ending_s": 3.0}, 3.0, id="ending-once"),
        pytest.param({"max_steps": 250}, {"fit_s": 4.0}, 0.0, id="fit-is-in-the-step"),
    ],
)
def test_trial_costs_what_all_that_it_does_takes(
    limits: dict[str, int], timing: dict[str, float], seconds: float
) -> None:
    """On all folds: the steps, the validation at each report, and the evaluation at the end."""
    costs = trial_costs(configured(**limits), bundled("red_wine", FOLDS), NO_TIME._replace(**timing))
    assert costs["elapsed_s"] == pytest.approx(FOLDS * seconds + BETWEEN_TRIALS_S)
    fit_s = timing.get("fit_s", 0.0)
    assert (costs["mean_step_time_ms"], costs["training_time_s"]) == (1e3 * fit_s, limits["max_steps"] * fit_s)


def test_trials_are_handed_out_in_order_to_the_first_free_core() -> None:
    """The search takes as long as its busiest core, which a long trial at the end makes idle others wait for."""
    assert search_seconds([10, 20], cpus=1) == 30
    assert search_seconds([10, 10, 10], cpus=2) == 20
    assert search_seconds([10, 10, 10, 90], cpus=2) == 100
    assert search_seconds([90, 10, 10, 10], cpus=2) == 90


def test_trial_has_the_time_of_its_algorithm_and_batch_size() -> None:
    """The mean of what several processes have timed; a kind that none could time has the mean of the others."""
    trials = [configured(batch_size=size, learning_rate=rate) for size in (8, 64, 512) for rate in (0.1, 0.01)]
    kinds = one_of_each(trials)
    assert {(each.batch_size, each.hyperparameters["learning_rate"]) for each in kinds} == {
        *((8, 0.1), (64, 0.1), (512, 0.1))
    }
    timed = ({8: 1.0, 64: 7.0}, {8: 3.0, 64: 5.0})
    rounds = [[{"elapsed_s": of[each.batch_size]} if each.batch_size in of else None for each in kinds] for of in timed]
    expected = forecast(trials, 1, rounds)
    assert expected.trials_s == [2.0, 2.0, 6.0, 6.0, 4.0, 4.0]
    assert expected.search_s == 24.0


def test_larger_models_are_timed_as_such() -> None:
    """Real steps, on the real clock; what is between them is not training time."""
    layers = ([2], [800, 800])
    trials = [configured(MLP_CLASSIFIER, hidden_layer_sizes=each) for each in layers]
    small, large = (costs for costs in time_kinds(trials, bundled("diabetes")) if costs)
    for name, cost in small.items():
        assert 0 < cost < large[name]
    for costs in (small, large):
        assert 3 * costs["training_time_s"] < costs["elapsed_s"]


def test_time_for_the_forecast_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many kinds there are."""
    monkeypatch.setattr(duration_forecast, "ALL_WITHIN_S", 0.001)  # the first kind takes longer
    first, *others = time_kinds([configured(batch_size=size) for size in (8, 64, 512)], bundled("red_wine", FOLDS))
    assert first
    assert others == [None, None]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("wrong", "timed"),
    [
        pytest.param(configured(learning_rate=1e300), False, id="overflows-at-once"),
        pytest.param(configured(learning_rate=1e60), True, id="overflows-after-some-steps"),
        pytest.param(configured("sklearn.naive_bayes.MultinomialNB"), False, id="raises"),
    ],
)
def test_model_that_cannot_be_trained_does_not_end_the_forecast(wrong: Configuration, timed: bool) -> None:
    """What is wrong, its trial will say; steps before an overflow are like any other's."""
    (timing,) = time_kinds([wrong], bundled("red_wine" if wrong.algorithm == "linear" else "diabetes"))
    assert bool(timing) is timed
