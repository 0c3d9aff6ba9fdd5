"""What a study adds to limits: noise and errors before the end, and what is broken at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from entrypoints.limits.judging import NoisyJudge, Z, excess, resolved, violations
from mlflow_sysmetrics.limits import Kind, Limits, Metric, Stop

METRICS = (
    Metric("peak_memory_mb", Kind.GROWING),
    Metric("training_time_s", Kind.GROWING),
    Metric("mean_step_time_ms", Kind.MEAN),
    Metric("model_size_kb", Kind.FACT),
    Metric("val_loss", Kind.CURVE),
    Metric("val_accuracy", Kind.CURVE, higher_is_better=True),
)
NOISE = 0.1  # so that three standard deviations of a figure at a limit of 5 are 1.5


def parsed(text: str) -> Limits:
    return Limits.parse(text, METRICS)


def trials(name: str, *values: float) -> list[dict[str, float]]:
    """Finished trials with these values."""
    return [{name: value} for value in values]


@pytest.mark.parametrize(
    ("text", "value", "error", "noise", "seen", "crossed"),
    [
        # A broken limit stops at once only where that is final.
        pytest.param("peak_memory_mb>=5", 4.0, None, 0, False, False, id="growing lower"),
        pytest.param("val_loss>=5", 4.0, None, 0, False, False, id="curve lower"),
        # A mean has to be Z standard errors beyond its limit; other kinds have no errors.
        pytest.param("mean_step_time_ms<=5", 99.0, None, 0, False, False, id="mean without an error"),
        pytest.param("mean_step_time_ms<=5", 5 + Z + 0.1, 1.0, 0, True, False, id="mean above by more than Z errors"),
        pytest.param("mean_step_time_ms<=5", 5 + Z - 0.1, 1.0, 0, False, False, id="mean above by less"),
        pytest.param("mean_step_time_ms>=5", 5 - Z - 0.1, 1.0, 0, True, False, id="mean below by more than Z errors"),
        pytest.param("mean_step_time_ms<=5", 5.1, 0.0, 0, True, False, id="mean with no error at all"),
        pytest.param("mean_step_time_ms<=5", 99.0, math.nan, 0, False, False, id="mean with an unknown error"),
        pytest.param("peak_memory_mb<=5", 5.1, 1.0, 0, True, True, id="an error of what is not a mean"),
        # Noise has to be exceeded by Z standard deviations; with an error of a mean it adds up in squares: 2.5 of both.
        pytest.param("peak_memory_mb<=5", 6.4, None, NOISE, False, False, id="growing within the noise"),
        pytest.param("peak_memory_mb<=5", 6.6, None, NOISE, True, True, id="growing beyond it"),
        pytest.param("model_size_kb>=5", 3.4, None, NOISE, True, False, id="fact beyond it"),
        pytest.param("mean_step_time_ms<=5", 7.49, 2 / 3, NOISE, False, False, id="mean within both"),
        pytest.param("mean_step_time_ms<=5", 7.51, 2 / 3, NOISE, True, False, id="mean beyond both"),
    ],
)
def test_a_limit_is_judged_as_early_as_its_kind_and_chance_allow(
    text: str, value: float, error: float | None, noise: float, seen: bool, crossed: bool
) -> None:
    """At the end it always shows, whatever the noise."""
    (metric,) = parsed(text).metrics
    judge, stop = NoisyJudge(parsed(text), noise={metric: noise}), Stop(text, metric, value, 5.0, 7)
    errors = {} if error is None else {metric: error}
    assert judge.see({metric: value}, 7, errors) == (stop if seen else None)
    assert judge.crossed({metric: value}, 7) == (stop if crossed else None)
    assert judge.final({metric: value}, 7) == stop


def test_relative_limit_on_memory_lies_a_megabyte_above_its_statistic() -> None:
    """Less is not worth a trial: small models differ by a few pages. Other limits are as they are."""
    numbers = {"<=1.2x median": 4.0, "<=2x mean": 8.0, "<=0.5x median": 4.0, "<=3.5": 3.5, ">=0.5x median": 1.5}
    finished = trials("peak_memory_mb", 1.0, 2.0, 3.0, 4.0, 10.0)
    for limit, number in numbers.items():
        assert resolved(parsed(f"peak_memory_mb{limit}"), finished).bounds[0].number == number


@pytest.mark.parametrize(
    ("figures", "broken", "sum_of"),
    [
        pytest.param({"peak_memory_mb": 300.0, "val_accuracy": 0.9}, [], 0.0, id="feasible"),
        pytest.param({"peak_memory_mb": 330.0, "val_accuracy": 0.9}, ["peak_memory_mb<=300"], 0.1, id="a tenth above"),
        pytest.param(
            *({"peak_memory_mb": 330.0, "val_accuracy": 0.4}, ["val_accuracy>=0.8", "peak_memory_mb<=300"], 0.6),
            id="two broken limits add up",
        ),
        pytest.param({"val_loss": 1.0}, ["val_loss<=-2"], 1.5, id="relative to a negative limit"),
        pytest.param({"training_time_s": 9.0}, ["training_time_s<=6"], 0.5, id="relative limit"),
        pytest.param({}, [], 0.0, id="unknown is not broken"),
    ],
)
def test_trial_shows_at_its_end_all_that_it_breaks(
    figures: Mapping[str, float], broken: list[str], sum_of: float
) -> None:
    """In the text's order, each by its share of the limit, so that metrics of different units add up.

    Patience is not a limit, and one that too few have finished for is left out.
    """
    limits = parsed(
        "val_loss patience 1, val_accuracy>=0.8, peak_memory_mb<=300, val_loss<=-2, training_time_s<=2x median, "
        "model_size_kb<=2x median"
    )
    numbers = resolved(limits, iter(trials("training_time_s", 1.0, 2.0, 3.0, 4.0, 10.0)))
    assert str(numbers).endswith("training_time_s<=6, val_loss patience 1")
    assert [stop.rule for stop in violations(numbers, {**figures, "model_size_kb": 9.0})] == broken
    assert excess(numbers, figures) == pytest.approx(sum_of)


def test_excess_orders_trials_by_a_limit_of_zero() -> None:
    """A limit of 0 divides by no zero, and the smaller violation is still the smaller excess."""
    limits = parsed("val_loss<=0")
    assert 0 < excess(limits, {"val_loss": 1.0}) < excess(limits, {"val_loss": 2.0}) < math.inf
