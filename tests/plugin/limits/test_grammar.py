"""Limits: tables of texts that are read or refused, and of values that are judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import pytest

from mlflow_sysmetrics.limits import (
    Limits,
    LimitsError,
    check_attainable,
    process_limits,
)
from mlflow_sysmetrics.limits.rules import Kind, Limit, Metric, Stop

PEAK = Metric("peak_memory_mb", Kind.GROWING)
TIME = Metric("training_time_s", Kind.GROWING)
STEP = Metric("mean_step_time_ms", Kind.MEAN)
SIZE = Metric("model_size_kb", Kind.FACT)
LOSS = Metric("val_loss", Kind.CURVE)
ACCURACY = Metric("val_accuracy", Kind.CURVE, higher_is_better=True)
METRICS = (PEAK, TIME, STEP, SIZE, LOSS, ACCURACY)


def parsed(text: str) -> Limits:
    return Limits.parse(text, METRICS)


def split(table: str) -> list[str]:
    return [" ".join(text.split()) for text in table.split("|")]


NORMAL = """
    peak_memory_mb<300 | val_accuracy>=0.7 | val_loss>-2 | peak_memory_mb<=1e+16 | val_loss<=1e-07 |
    val_loss<=1, val_loss>=1 |
    training_time_s<1.5x mean | val_accuracy>=0.9x best after 8 | val_loss<1 after 1.5s | val_loss<1 after 10m |
    val_loss<=10, val_loss<=2x median | val_loss<=1x best, val_loss>=2 | val_loss<1, val_loss patience 3 min_delta 0.001
    | val_loss patience 3, val_accuracy patience 4
"""
SHORTER = {
    "peak_memory_mb<=1e3": "peak_memory_mb<=1000",
    "val_loss<.5": "val_loss<0.5",
    "  peak_memory_mb\n<=\t300.0  ": "peak_memory_mb<=300",
    "training_time_s <= 2.0 x  median after 5": "training_time_s<=2x median",
    "val_loss<1 after .5h": "val_loss<1 after 30m",
    "val_loss  patience  1 min_delta 0": "val_loss patience 1",
}


@pytest.mark.parametrize(("text", "normal"), [*((text, text) for text in split(NORMAL)), *SHORTER.items()])
def test_correct_text_is_read_and_written_in_the_shortest_way(text: str, normal: str) -> None:
    limits = parsed(text)
    assert str(limits) == normal
    assert parsed(normal) == limits
    assert hash(parsed(normal)) == hash(limits)


FORM = "write name<=3, name>=3 after 10m, name<=2x median after 8 or name patience 3 min_delta 0.1; a comma between two"
NO_FORM = """
    val_loss<=300, | val_loss<3;val_accuracy>1 | val_loss=3 | val_loss<=inf | val_loss<=1e999 | val_loss<=300MB |  |
    val_losspatience 3 | val_loss<=2x | val_loss<=0x median | val_loss<=-1 x median | val_loss<=2x median after 0 |
    val_loss<=2x median after 10m | val_loss<=2 after 8 | val_loss patience 0 | val_loss patience 2.5 |
    val_loss patience 3 min_delta -1
"""


@pytest.mark.parametrize("text", split(NO_FORM))
def test_text_without_the_form_of_a_limit_is_answered_with_the_form(text: str) -> None:
    """In one line that names the part that is wrong."""
    with pytest.raises(LimitsError) as caught:
        parsed(text)
    assert str(caught.value) in [f'limits={text}: "{part.strip()}" is not a limit; {FORM}' for part in text.split(",")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("peak_memory<=3", "the closest is peak_memory_mb", id="unknown"),
        pytest.param("VAL_LOSS<=3", "the closest is val_loss", id="capitals"),
        pytest.param("val_loss<1,\nq<=3", '"q<=3" is not a limit; name one of mean_step_time_ms', id="far"),
        pytest.param("val_los patience 3", "to one of val_accuracy, val_loss, the closest is val_l", id="curve"),
        pytest.param("peak_memory_mb patience 3", "; give patience to one of val_acc", id="patience, cost"),
    ],
)
def test_mistake_in_a_limit_says_what_may_stand_there(text: str, said: str) -> None:
    """In one line."""
    with pytest.raises(LimitsError) as caught:
        parsed(text)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, Kind.GROWING) for name in ("elapsed_s", "training_iteration", "memory_mb", "costs/memory_mb")),
        *((name, Kind.CURVE) for name in ("ray/tune/loss:0-a.b", "mean_cpu_percent", "my_memory_mb", "memory_mb/x")),
    ],
)
def test_undeclared_metric_is_a_curve_unless_it_is_a_known_cost(name: str, kind: Kind) -> None:
    """Other people's metrics are taken as named; each value counts of what a process costs, in any group of results."""
    assert Limits.parse(f"{name}<=3").rules == (Limit(Metric(name, kind), "<=", 3),)


@pytest.mark.parametrize("name", ["val_accuracy", "neg_log_loss", "glossary"])
def test_patience_with_a_metric_of_unknown_direction_is_a_mistake(name: str) -> None:
    """It would stop what improves; with a mode it stops what does not."""
    with pytest.raises(LimitsError, match=rf'pass modes={{"{name}": "max"}} to Limits.parse'):
        Limits.parse(f"{name} patience 2")
    for mode, stops in {"min": [False, False, True, True], "max": [False] * 4}.items():
        judge = Limits.parse(f"{name} patience 2", modes={name: mode}).judge()
        assert [judge.see({name: value}) is not None for value in (0.5, 0.6, 0.7, 0.8)] == stops
    with pytest.raises(ValueError, match=rf"^modes={{'{name}': 'higher'}}: give .min. or .max. for each metric$"):
        Limits.parse(f"{name} patience 2", modes={name: "higher"})


@pytest.mark.parametrize("name", ["ray/Loss", "mean_squared_error", "test-rmse"])
def test_patience_with_a_loss_or_an_error_needs_no_mode(name: str) -> None:
    """Lower is better, unless a mode says otherwise."""
    assert not Limits.parse(f"{name} patience 2").rules[0].metric.higher_is_better
    assert Limits.parse(f"{name} patience 2", modes={name: "max"}).rules[0].metric.higher_is_better


@pytest.mark.parametrize(("op", "value"), [("<=", 6.0), ("<", 5.0), (">=", 4.0), (">", 5.0)])
@pytest.mark.parametrize(("metric", "final"), [(PEAK, "<"), (SIZE, "<>"), (STEP, ""), (LOSS, "")], ids=str)
def test_limit_stops_as_early_as_its_kind_allows(metric: Metric, final: str, op: str, value: float) -> None:
    """At once only where that is final; else from the time that it names, without which it is of no use."""
    text, name, at_once = f"{metric.name}{op}5", metric.name, op[0] in final
    judge, later = parsed(text).judge(), parsed(f"{text} after 10m")
    stop = Stop(text, name, value, 5.0, 7) if at_once else None
    assert judge.see({name: value}, 7) == judge.crossed({name: value}, 7) == stop
    later.check_stops()
    assert later.judge().crossed({name: value, "elapsed_s": 599.0}) is None
    assert later.judge().crossed({name: value}) is None
    assert (later.judge().crossed({name: 5.0, "elapsed_s": 600.0}) is None) == ("=" in op)
    assert later.judge().crossed({name: value, "elapsed_s": 600.0}) is not None
    useless = pytest.raises(LimitsError, match=rf'"{text}" can still be met until the end.*such as {text} after 10m$')
    with nullcontext() if at_once else useless:
        parsed(f"training_time_s<1, {text}").check_stops()


@pytest.mark.parametrize(
    ("text", "curve", "stops_at", "best"),
    [
        pytest.param("val_loss patience 2", [5, 4, 6, 6], 3, 4, id="worse twice"),
        pytest.param("val_loss patience 2", [5, 6, 4, 6, 3, 6], None, None, id="an improvement restarts the count"),
        pytest.param("val_loss patience 2", [5, 7, 6], 2, 5, id="better than the last is not better than the best"),
        pytest.param("val_loss patience 2 min_delta 1", [5, 4.5, 4], 2, 5, id="by min_delta is not by more"),
        pytest.param("val_loss patience 2 min_delta 1", [5, 4.5, 3.9, 3], None, None, id="slow gains add up"),
        pytest.param("val_accuracy patience 2 min_delta 0.1", [0.5, 0.55, 0.58], 2, 0.5, id="higher by too little"),
        pytest.param("val_loss patience 2", [5, 6, math.nan, math.inf, None, 6], 5, 5, id="gaps between do not count"),
        pytest.param("val_loss patience 2", [5, 6, math.nan, 4, 6], None, None, id="a gap does not keep the count"),
    ],
)
def test_patience_ends_after_reports_without_improvement(
    text: str, curve: Sequence[float | None], stops_at: int | None, best: float | None
) -> None:
    """The stop comes at the report with which patience runs out, and names the value to beat."""
    metric, judge = text.split()[0], parsed(text).judge()
    stops = [judge.see({} if value is None else {metric: value}, step) for step, value in enumerate(curve)]
    first = next((stop for stop in stops if stop), None)
    assert first == (None if stops_at is None else Stop(text, metric, curve[stops_at], best, stops_at))  # type: ignore[arg-type]


TIMES = (1.0, 2.0, 3.0, 4.0, 10.0)


@pytest.mark.parametrize(
    ("text", "values", "limit"),
    [
        pytest.param("training_time_s<=2x median", TIMES, 6, id="median"),
        pytest.param("training_time_s<=2x mean", TIMES, 8, id="mean"),
        pytest.param("training_time_s<=2x best", TIMES, 2, id="best of an upper limit is the smallest"),
        pytest.param("model_size_kb>=0.5x best", TIMES, 5, id="best of a lower limit is the largest"),
        pytest.param("training_time_s<=2x median", TIMES[:-1], None, id="too few"),
        pytest.param("training_time_s<=2x mean after 1", (1e308, 1e308), None, id="beyond all numbers"),
        pytest.param("training_time_s<=2x median", (-3, -2, -1, 4, 5), None, id="negative median"),
    ],
)
def test_relative_limit_comes_from_finished_trials(text: str, values: Sequence[float], limit: float | None) -> None:
    """It is the factor times the statistic, active from the given number of trials on."""
    (metric,) = parsed(text).metrics
    others = [{"val_loss": 1.0}] * 5  # finished, but without the metric
    judge = parsed(text).judge(iter([*({metric: value} for value in values), *others]))
    value = 11.0 if "<" in text else 1.0
    stop = None if limit is None else Stop(text, metric, value, limit)
    assert judge.see({metric: value}) == judge.crossed({metric: value}) == stop


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (Stop("peak_memory_mb<=300", "peak_memory_mb", 412.345, 300, 100), "peak_memory_mb 412.3 > 300 (step 100)"),
        (Stop("peak_memory_mb<=16000", "peak_memory_mb", 16012.3, 16000), "peak_memory_mb 16012 > 16000"),
        (Stop("elapsed_s<=43200", "elapsed_s", 43200.1, 43200), "elapsed_s 43200.1 > 43200"),
        (Stop("val_loss<1", "val_loss", 1.0, 1.0), "val_loss 1 >= 1"),
        (Stop("mean_cpu_percent>50", "mean_cpu_percent", 50.0, 50.0), "mean_cpu_percent 50 <= 50"),
        (Stop("time_s<=2x best after 8", "time_s", 4.1, 3.2, 0), "time_s 4.1 > 3.2 (2x best after 8, step 0)"),
        (Stop("val_loss patience 3", "val_loss", 0.61, 0.58, 400), "val_loss 0.61, best 0.58 (patience 3, step 400)"),
        (Stop("patience<=3", "patience", 4, 3, 1), "patience 4 > 3 (step 1)"),
    ],
)
def test_stop_reads_as_a_reason(stop: Stop, text: str) -> None:
    """What was measured and its limit come first, told apart; then what the limit is of, and the step."""
    assert str(stop) == text


def test_limit_on_a_process_is_judged_at_each_reading() -> None:
    """Of whatever it costs; what could still be met until the end is refused."""
    costs = [f"{mode}cpu_seconds" for mode in ("", "user_", "system_")]
    costs += ["elapsed_s", "peak_memory_mb", "memory_growth_mb", "peak_rss_mb", "peak_gpu_memory_mb"]
    judge = process_limits(", ".join(f"{name}<=1" for name in costs)).judge()
    assert [judge.crossed({name: 1.1}) for name in costs] == [Stop(f"{name}<=1", name, 1.1, 1) for name in costs]
    with pytest.raises(LimitsError, match=r"^limits=.* such as mean_cpu_percent<=90 after 10m$"):
        process_limits("mean_cpu_percent<=90")
    with pytest.raises(LimitsError, match=r"^limits=.* is not a limit; write a limit$"):
        process_limits("elapsed_s patience 3")


def test_memory_alone_can_break_a_limit_before_the_work_begins() -> None:
    limits = process_limits("peak_memory_mb<=100, elapsed_s<=5")
    check_attainable(limits, {"elapsed_s": 9.0, "peak_memory_mb": 50.0})
    with pytest.raises(LimitsError, match="the process has peak_memory_mb 200 before the work begins"):
        check_attainable(limits, {"peak_memory_mb": 200.0})
