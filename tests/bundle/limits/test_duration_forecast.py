"""The forecast of a study's time: each kind of trial is timed, everything that trials do is counted and handed out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from reference import MLP_CLASSIFIER, bundled, configured

from entrypoints.limits import duration_forecast
from entrypoints.limits.duration_forecast import (
    BETWEEN_TRIALS_S,
    MIN_STEPS,
    Timing,
    figures,
    kind,
    one_of_each,
    search_seconds,
    time_kinds,
    trial_seconds,
)
from entrypoints.models.configuration import Configuration

FOLDS = 4
NO_TIME = Timing(step_s=0.0, fit_s=0.0, validate_s=0.0, test_s=0.0, latency_s=0.0)


@pytest.mark.parametrize(
    ("limits", "timing", "seconds"),
    [
        pytest.param({"max_steps": 100}, {"step_s": 0.5}, FOLDS * 100 * 0.5, id="steps of all folds"),
        pytest.param(
            {"max_steps": 500, "max_epochs": 2, "batch_size": 100}, {"step_s": 1.0}, FOLDS * 18, id="first limit"
        ),
        # 250 steps are reports at 100, 200 and 250; once more the held-out rows are read for the folds' figures.
        pytest.param({"max_steps": 250}, {"validate_s": 2.0}, FOLDS * (3 + 1) * 2.0, id="reports"),
        pytest.param({"max_steps": 250, "report_every": 50}, {"validate_s": 2.0}, FOLDS * 6 * 2.0, id="more reports"),
        pytest.param({"max_steps": 250}, {"test_s": 3.0}, FOLDS * 3.0, id="test part once"),
        pytest.param({"max_steps": 250}, {"latency_s": 5.0}, FOLDS * 5.0, id="latency once"),
        pytest.param({"max_steps": 250}, {}, 0.0, id="nothing else"),
    ],
)
def test_forecast_counts_what_a_trial_does(limits: dict[str, int], timing: dict[str, float], seconds: float) -> None:
    """All folds' steps, the validation at each report, and the evaluation at the end."""
    configuration = configured(**limits)
    timings = {kind(configuration): replace(NO_TIME, **timing)}
    (trial_s,) = trial_seconds([configuration], bundled("red_wine", FOLDS), timings)
    assert trial_s == pytest.approx(seconds + BETWEEN_TRIALS_S)


@pytest.mark.parametrize(
    ("trials_s", "cpus", "longest_s"),
    [
        pytest.param([10, 10, 10, 10], 2, 20, id="evenly"),
        pytest.param([10, 10, 10], 2, 20, id="one core idles at the end"),
        pytest.param([10, 10, 10, 90], 2, 100, id="long trial last"),
        pytest.param([90, 10, 10, 10], 2, 90, id="long trial first"),
        pytest.param([10, 20], 1, 30, id="one core"),
        pytest.param([10, 20, 30], 3, 30, id="a core each"),
    ],
)
def test_trials_are_handed_out_in_order_to_the_first_free_core(
    trials_s: list[float], cpus: int, longest_s: float
) -> None:
    """The search takes as long as its busiest core, which a long trial at the end makes idle others wait for."""
    assert search_seconds(trials_s, cpus) == longest_s


def test_each_trial_has_the_time_of_its_kind() -> None:
    """In the order of the configurations."""
    configurations = [configured(batch_size=size, max_steps=10) for size in (8, 64, 8)]
    of_each = zip(configurations[:2], (1.0, 7.0), strict=True)
    timings = {kind(configuration): replace(NO_TIME, step_s=step_s) for configuration, step_s in of_each}
    trials_s = trial_seconds(configurations, bundled("red_wine", FOLDS), timings)
    assert trials_s == pytest.approx([FOLDS * 10, FOLDS * 70, FOLDS * 10], abs=1)


@pytest.mark.parametrize(
    ("algorithm", "change", "same"),
    [
        pytest.param("linear", {"learning_rate": 0.5}, True, id="rate"),
        pytest.param("linear", {"alpha": 0.5}, True, id="penalty"),
        pytest.param("linear", {"seed": 3}, True, id="seed"),
        pytest.param("linear", {"max_steps": 7}, True, id="length"),
        pytest.param("linear", {"batch_size": 64}, False, id="batch size"),
        pytest.param(MLP_CLASSIFIER, {"learning_rate_init": 0.5}, True, id="rate of a network"),
        pytest.param(MLP_CLASSIFIER, {"hidden_layer_sizes": [64]}, False, id="layer sizes"),
        pytest.param(MLP_CLASSIFIER, {"activation": "relu"}, False, id="word"),
        pytest.param(MLP_CLASSIFIER, {"nesterovs_momentum": False}, False, id="switch"),
    ],
)
def test_kind_is_what_a_trials_time_depends_on(algorithm: str, change: dict[str, Any], same: bool) -> None:
    """Fractions do not change what a step costs; sizes and words may."""
    assert (kind(configured(algorithm)) == kind(configured(algorithm, **change))) is same


def test_kind_of_another_algorithm_is_another() -> None:
    """With the same hyperparameters."""
    assert kind(configured("logistic")) != kind(configured("svm"))


class Clock:
    """The timed intervals take the given seconds, one after the other; after the last one they take none."""

    def __init__(self, *durations: float) -> None:
        self._times = self._looks(durations)

    def _looks(self, durations: tuple[float, ...]) -> Iterator[float]:
        now = 0.0
        yield from (now, now)  # the beginning, and whether there is time left for the first kind
        for duration in durations:
            yield now
            now += duration
            yield now
        while True:
            yield now

    def __call__(self) -> float:
        return next(self._times)


def test_step_time_is_not_moved_by_one_slow_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The median of a few steps is what counts."""
    clock = Clock(60.0, *[1.0] * (MIN_STEPS - 1), 5.0)
    monkeypatch.setattr(duration_forecast, "time", SimpleNamespace(perf_counter=clock))
    (timing,) = time_kinds([configured()], bundled("red_wine", FOLDS))
    data = bundled("red_wine", FOLDS)
    assert (timing.step_s, timing.validate_s) == (1.0, 5.0)
    assert timing.test_s == pytest.approx(5.0 * len(data.split.test) / len(data.split.folds[0][1]))


def test_time_that_others_had_the_core_is_no_time_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, as far as the system says; the wall time of a step has it."""
    monkeypatch.setattr(duration_forecast, "time", SimpleNamespace(perf_counter=Clock(*[1.0] * MIN_STEPS, 5.0)))
    waited_s = count()
    monkeypatch.setattr(duration_forecast, "CoreWait", lambda: lambda: float(next(waited_s)))
    (timing,) = time_kinds([configured()], bundled("red_wine", FOLDS))
    assert (timing.step_s, timing.fit_s) == (1.0, 0.0)


def test_larger_models_and_batches_are_timed_as_such() -> None:
    """Real steps, on the real clock."""
    small, large = time_kinds(
        [configured(MLP_CLASSIFIER, hidden_layer_sizes=[2]), configured(MLP_CLASSIFIER, hidden_layer_sizes=[800, 800])],
        bundled("diabetes"),
    )
    assert 0 < small.step_s < large.step_s
    for timing in (small, large):
        assert 0 < timing.fit_s < timing.step_s
        assert min(timing.validate_s, timing.test_s, timing.latency_s) > 0
        assert not timing.guessed


def test_kinds_without_time_left_get_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many kinds there are, the forecast itself is bounded."""
    configurations = [configured(batch_size=size) for size in (8, 64, 512)]
    monkeypatch.setattr(duration_forecast, "ALL_WITHIN_S", 0.001)  # the first kind takes longer
    first, *others = time_kinds(configurations, bundled("red_wine", FOLDS))
    assert others == [replace(first, guessed=True)] * 2
    assert first.step_s > 0


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(configured(learning_rate=1e300), id="overflows at once"),
        pytest.param(configured("sklearn.naive_bayes.MultinomialNB"), id="raises"),
    ],
)
def test_kind_that_cannot_be_trained_does_not_end_the_forecast(wrong: Configuration) -> None:
    """It gets the mean of the others, or nothing: what is wrong, its trial will say."""
    name = "red_wine" if wrong.algorithm == "linear" else "diabetes"
    sound = configured(wrong.algorithm if name == "red_wine" else "logistic")
    before, timing, after = time_kinds([sound, wrong, configured(sound.algorithm, batch_size=64)], bundled(name))
    assert timing.step_s == pytest.approx((before.step_s + after.step_s) / 2)
    assert timing.guessed
    assert time_kinds([wrong], bundled(name)) == [replace(NO_TIME, guessed=True)]


def test_kind_that_overflows_after_some_steps_is_timed_by_those() -> None:
    """Until then its steps are like any other's."""
    (timing,) = time_kinds([configured(learning_rate=1e60, max_steps=100)], bundled("red_wine"))
    assert timing.step_s > 0


def test_forecast_of_real_trials_is_a_positive_time() -> None:
    """One for each trial, the mean of what several processes have timed."""
    configurations = [configured(batch_size=size, learning_rate=rate) for size in (8, 64) for rate in (0.1, 0.01)]
    data, kinds = bundled("red_wine", FOLDS), one_of_each(configurations)
    assert [configuration.batch_size for configuration in kinds] == [64, 8]
    rounds = [time_kinds(kinds, data) for _ in range(2)]
    expected = duration_forecast.forecast(configurations, data, 1, rounds)
    assert len(expected.trials_s) == 4
    assert min(expected.trials_s) > BETWEEN_TRIALS_S
    assert expected.trials_s[0] == expected.trials_s[1] != expected.trials_s[2]
    assert expected.search_s == pytest.approx(sum(expected.trials_s))
    alone = [duration_forecast.forecast(configurations, data, 1, [each]).search_s for each in rounds]
    assert expected.search_s == pytest.approx(sum(alone) / 2)


def test_figures_are_those_of_a_trial_that_takes_as_long_as_was_timed() -> None:
    """They are what the ledger knows before the first trial."""
    data, kinds = bundled("red_wine", FOLDS), [configured(batch_size=size) for size in (64, 8)]
    timings = time_kinds(kinds, data)
    seen = figures(kinds, data, timings)
    assert [configuration for configuration, _ in seen] == kinds
    for configuration, costs in seen:
        assert 0 < costs["training_time_s"] < costs["elapsed_s"] < FOLDS * costs["training_time_s"] * 10
        assert costs["mean_step_time_ms"] * configuration.max_steps == pytest.approx(costs["training_time_s"] * 1e3)
    assert figures(kinds, data, [timings[0], replace(timings[1], guessed=True)]) == seen[:1]
