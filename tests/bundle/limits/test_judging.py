"""What relative limits come to, and what a trial breaks at its end, and by how much."""

import math

import pytest
from cases import cases

from entrypoints.limits.grammar import Limits, TrialMetric
from entrypoints.limits.judging import excess, resolved, violations
from mlflow_sysmetrics.limits import Kind

METRICS = (
    TrialMetric("peak_memory_mb", Kind.GROWING),
    TrialMetric("training_time_s", Kind.GROWING),
    TrialMetric("model_size_kb", Kind.FACT),
    TrialMetric("val_loss", Kind.CURVE),
    TrialMetric("val_accuracy", Kind.CURVE, higher_is_better=True),
)


def parsed(text):
    return Limits.parse(text, METRICS)


def trials(name, *values):
    """Finished trials with these values."""
    return [{name: value} for value in values]


def test_relative_limit_on_memory_lies_a_megabyte_above_its_statistic():
    """Less is not worth a trial: small models differ by a few pages. Other limits are as they are."""
    numbers = {"<=1.2x median": 4.0, "<=2x mean": 8.0, "<=0.5x median": 4.0, "<=3.5": 3.5, ">=0.5x median": 1.5}
    finished = trials("peak_memory_mb", 1.0, 2.0, 3.0, 4.0, 10.0)
    for limit, number in numbers.items():
        assert resolved(parsed(f"peak_memory_mb{limit}"), finished).bounds[0].number == number


@cases(
    "figures, broken, sum_of",
    {
        "feasible": ({"peak_memory_mb": 300.0, "val_accuracy": 0.9}, [], 0.0),
        "a tenth above": ({"peak_memory_mb": 330.0, "val_accuracy": 0.9}, ["peak_memory_mb<=300"], 0.1),
        "two broken limits add up": (
            {"peak_memory_mb": 330.0, "val_accuracy": 0.4},
            ["val_accuracy>=0.8", "peak_memory_mb<=300"],
            0.6,
        ),
        "relative limit": ({"training_time_s": 9.0}, ["training_time_s<=2x median"], 0.5),
        "unknown is not broken": ({}, [], 0.0),
    },
)
def test_trial_shows_at_its_end_all_that_it_breaks(figures, broken, sum_of):
    """In the text's order, each by its share of the limit, so that metrics of different units add up.

    Patience is not a limit, and one that too few have finished for is left out.
    """
    limits = parsed(
        "val_loss patience 1, val_accuracy>=0.8, peak_memory_mb<=300, val_loss<=-2, training_time_s<=2x median, "
        "model_size_kb<=2x median"
    )
    numbers = resolved(limits, iter(trials("training_time_s", 1.0, 2.0, 3.0, 4.0, 10.0)))
    assert str(numbers) == str(Limits((*limits.bounds, *limits.patience)))  # each as the user wrote it
    assert numbers.bounds[3].number == 6
    assert [stop.rule for stop in violations(numbers, {**figures, "model_size_kb": 9.0})] == broken
    assert excess(numbers, figures) == pytest.approx(sum_of)


def test_excess_orders_trials_by_a_limit_of_zero():
    """A limit of 0 divides by no zero, and the smaller violation is still the smaller excess."""
    limits = parsed("val_loss<=0")
    assert 0 < excess(limits, {"val_loss": 1.0}) < excess(limits, {"val_loss": 2.0}) < math.inf


def test_relative_limit_without_its_number_is_not_broken():
    assert violations(parsed("training_time_s<=2x median"), {"training_time_s": 9.0}) == []
