"""The limits of a study: texts that are read or refused, patience, and what relative limits come to."""

import math

import pytest
from cases import cases

from entrypoints.limits.grammar import Limits, TrialMetric, Waiting
from entrypoints.limits.judging import resolved, violations
from mlflow_sysmetrics.limits import Kind, LimitsError, Stop

METRICS = (
    TrialMetric("peak_memory_mb", Kind.GROWING),
    TrialMetric("training_time_s", Kind.GROWING),
    TrialMetric("model_size_kb", Kind.FACT),
    TrialMetric("val_loss", Kind.CURVE),
    TrialMetric("val_accuracy", Kind.CURVE, higher_is_better=True),
)


def parsed(text):
    return Limits.parse(text, METRICS)


def split(table):
    return [" ".join(text.split()) for text in table.split("|")]


NORMAL = """
    peak_memory_mb<300 | val_loss<1 after 10m | training_time_s<1.5x mean | val_accuracy>=0.9x best after 8 |
    val_loss<=10, val_loss<=2x median | val_loss<=1x best, val_loss>=2 | val_loss<1, val_loss patience 3 min_delta 0.001
    | val_loss patience 3, val_accuracy patience 4
"""
SHORTER = {
    "training_time_s <= 2.0 x  median after 5": "training_time_s<=2x median",
    "val_loss  patience  1 min_delta 0": "val_loss patience 1",
}


@pytest.mark.parametrize(("text", "normal"), [*((text, text) for text in split(NORMAL)), *SHORTER.items()])
def test_correct_text_is_read_and_written_in_the_shortest_way(text, normal):
    limits = parsed(text)
    assert str(limits) == normal
    assert parsed(normal) == limits
    assert hash(parsed(normal)) == hash(limits)


FORM = "write name<=3, name>=3 after 10m, name<=2x median after 8 or name patience 3 min_delta 0.1; a comma between two"
NO_FORM = """
    val_loss<=300, | val_losspatience 3 | val_loss<=2x | val_loss<=0x median | val_loss<=-1 x median |
    val_loss<=2x median after 0 | val_loss<=2x median after 10m | val_loss<=2 after 8 | val_loss patience 0 |
    val_loss patience 2.5 | val_loss patience 3 min_delta -1 | val_loss patience 3 min_delta 1e | x median |
    val_loss<=2 after 10m x median
"""


@pytest.mark.parametrize("text", split(NO_FORM))
def test_text_without_the_form_of_a_limit_is_answered_with_the_form(text):
    """In one line that names the part that is wrong."""
    with pytest.raises(LimitsError) as caught:
        parsed(text)
    assert str(caught.value) in [f'limits={text}: "{part.strip()}" is not a limit; {FORM}' for part in text.split(",")]


@cases(
    "text, said",
    {
        "curve": ("val_los patience 3", "; did you mean val_loss?"),
        "cost": ("peak_memory_mb patience 3", "only a curve has patience; use one of val_acc"),
        "below 0": ("training_time_s<=-1", "training_time_s is never negative"),
        "none between": ("val_loss<=1, val_loss>=2", "cannot both be met"),
    },
)
def test_mistake_in_a_limit_says_what_may_stand_there(text, said):
    """In one line."""
    with pytest.raises(LimitsError) as caught:
        parsed(text)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@cases(
    "text, curve, stops_at, best",
    {
        "worse twice": ("val_loss patience 2", [5, 4, 6, 6], 3, 4),
        "an improvement restarts the count": ("val_loss patience 2", [5, 6, 4, 6, 3, 6], None, None),
        "better than the last is not better than the best": ("val_loss patience 2", [5, 7, 6], 2, 5),
        "by min_delta is not by more": ("val_loss patience 2 min_delta 1", [5, 4.5, 4], 2, 5),
        "slow gains add up": ("val_loss patience 2 min_delta 1", [5, 4.5, 3.9, 3], None, None),
        "higher by too little": ("val_accuracy patience 2 min_delta 0.1", [0.5, 0.55, 0.58], 2, 0.5),
        "gaps between do not count": ("val_loss patience 2", [5, 6, math.nan, math.inf, None, 6], 5, 5),
        "a gap does not keep the count": ("val_loss patience 2", [5, 6, math.nan, 4, 6], None, None),
    },
)
def test_patience_ends_after_reports_without_improvement(text, curve, stops_at, best):
    """The stop comes at the report with which patience runs out, and names the value to beat."""
    metric, judge = text.split()[0], Waiting(parsed(text).patience)
    stops = [judge.see({} if value is None else {metric: value}, step) for step, value in enumerate(curve)]
    first = next((stop for stop in stops if stop), None)
    assert first == (None if stops_at is None else Stop(text, metric, curve[stops_at], best, stops_at))


TIMES = (1.0, 2.0, 3.0, 4.0, 10.0)


@cases(
    "text, values, limit",
    {
        "median": ("training_time_s<=2x median", TIMES, 6),
        "mean": ("training_time_s<=2x mean", TIMES, 8),
        "best of an upper limit is the smallest": ("training_time_s<=2x best", TIMES, 2),
        "best of a lower limit is the largest": ("model_size_kb>=0.5x best", TIMES, 5),
        "too few": ("training_time_s<=2x median", TIMES[:-1], None),
        "beyond all numbers": ("training_time_s<=2x mean after 1", (1e308, 1e308), None),
        "negative median": ("training_time_s<=2x median", (-3, -2, -1, 4, 5), None),
    },
)
def test_relative_limit_comes_from_finished_trials(text, values, limit):
    """It is the factor times the statistic, active from the given number of trials on."""
    (metric,) = parsed(text).metrics
    others = [{"val_loss": 1.0}] * 5  # finished, but without the metric
    finished = [*({metric: value} for value in values), *others]
    value = 11.0 if "<" in text else 1.0
    stops = violations(resolved(parsed(text), iter(finished)), {metric: value})
    assert stops == ([] if limit is None else [Stop(text, metric, value, limit)])
