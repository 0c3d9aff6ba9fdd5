"""The limits of a study: texts that are read or refused, relative limits, and what breaks them."""

import math

import pytest
from cases import cases, tables

from entrypoints.limits.grammar import Limits, TrialMetric
from entrypoints.limits.judging import excess, resolved, violations
from mlflow_sysmetrics.limits import Kind, LimitsError, Stop

METRICS = (
    TrialMetric("peak_memory_mb", Kind.GROWING),
    TrialMetric("training_time_s", Kind.GROWING),
    TrialMetric("model_size_kb", Kind.FACT),
    TrialMetric("val_loss", Kind.CURVE),
    TrialMetric("val_accuracy", Kind.CURVE, higher_is_better=True),
)
TABLES = tables(__file__, "limits.yaml")
SHORTEST = {text: text for text in TABLES["written in the shortest way"]}
FORM = "write name<=3, name>=3 after 10m or name<=2x median after 8; a comma between two"


def parsed(text):
    return Limits.parse(text, METRICS)


@cases("text, normal", (SHORTEST | TABLES["can be shorter"]).items())
def test_correct_text_is_read_and_written_in_the_shortest_way(text, normal):
    limits = parsed(text)
    assert str(limits) == normal
    assert parsed(normal) == limits
    assert hash(parsed(normal)) == hash(limits)


@cases("text", TABLES["without the form of a limit"])
def test_text_without_the_form_of_a_limit_is_answered_with_the_form(text):
    """In one line that names the part that is wrong."""
    with pytest.raises(LimitsError) as caught:
        parsed(text)
    assert str(caught.value) in [f'limits={text}: "{part.strip()}" is not a limit; {FORM}' for part in text.split(",")]


@cases("text, said", TABLES["mistakes"])
def test_mistake_in_a_limit_says_what_may_stand_there(text, said):
    """In one line."""
    with pytest.raises(LimitsError) as caught:
        parsed(text)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@cases("text, values, number", TABLES["relative"])
def test_relative_limit_comes_from_finished_trials(text, values, number):
    """It is the factor times the median, active from the given number of trials on. Without it nothing is broken."""
    (metric,) = parsed(text).metrics
    others = [{"val_loss": 1.0}] * 5  # finished, but without the metric
    limits = resolved(parsed(text), iter([*({metric: value} for value in values), *others]))
    value = 11.0 if "<" in text else 1.0
    assert violations(limits, {metric: value}) == ([] if number is None else [Stop(text, metric, value, number)])


@cases("figures, broken, sum_of", TABLES["broken"])
def test_trial_shows_at_its_end_all_that_it_breaks(figures, broken, sum_of):
    """In the text's order, each by its share of the limit, so that metrics of different units add up.

    A limit that too few have finished for is left out.
    """
    limits = parsed(TABLES["judged"])
    numbers = resolved(limits, [{"training_time_s": value} for value in (1.0, 2.0, 3.0, 4.0, 10.0)])
    assert str(numbers) == str(limits)  # each as the user wrote it
    assert [stop.rule for stop in violations(numbers, {**figures, "model_size_kb": 9.0})] == broken
    assert excess(numbers, figures) == pytest.approx(sum_of)


def test_excess_orders_trials_by_a_limit_of_zero():
    """A limit of 0 divides by no zero, and the smaller violation is still the smaller excess."""
    limits = parsed("val_loss<=0")
    assert 0 < excess(limits, {"val_loss": 1.0}) < excess(limits, {"val_loss": 2.0}) < math.inf
