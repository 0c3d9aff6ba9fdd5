"""Limits: tables of texts that are read or refused, and of values that are judged."""

import pytest
from cases import cases

from mlflow_sysmetrics.limits import (
    Limits,
    LimitsError,
    check_attainable,
    process_limits,
)
from mlflow_sysmetrics.limits.rules import Kind, Metric, Stop

PEAK = Metric("peak_memory_mb", Kind.GROWING)
TIME = Metric("training_time_s", Kind.GROWING)
STEP = Metric("mean_step_time_ms", Kind.MEAN)
SIZE = Metric("model_size_kb", Kind.FACT)
LOSS = Metric("val_loss", Kind.CURVE)
ACCURACY = Metric("val_accuracy", Kind.CURVE)
METRICS = (PEAK, TIME, STEP, SIZE, LOSS, ACCURACY)


def parsed(text):
    return Limits.parse(text, METRICS)


def split(table):
    return [" ".join(text.split()) for text in table.split("|")]


NORMAL = """
    peak_memory_mb<300 | val_accuracy>=0.7 | val_loss>-2 | peak_memory_mb<=1e+16 | val_loss<=1e-07 |
    val_loss<=1, val_loss>=1 | val_loss<1 after 1.5s | val_loss<1 after 10m | val_loss<=1 after 5m, val_loss>=2
"""
SHORTER = {
    "peak_memory_mb<=1e3": "peak_memory_mb<=1000",
    "val_loss<.5": "val_loss<0.5",
    "  peak_memory_mb\n<=\t300.0  ": "peak_memory_mb<=300",
    "val_loss<1 after .5h": "val_loss<1 after 30m",
}


@cases("text, normal", [*((text, text) for text in split(NORMAL)), *SHORTER.items()])
def test_correct_text_is_read_and_written_in_the_shortest_way(text, normal):
    limits = parsed(text)
    assert str(limits) == normal
    assert parsed(normal) == limits
    assert hash(parsed(normal)) == hash(limits)


FORM = "write name<=3 or name>=3 after 10m; a comma between two"
NO_FORM = """
    val_loss<=300, | val_loss<3;val_accuracy>1 | val_loss=3 | val_loss<=inf | val_loss<=1e999 | val_loss<=300MB |  |
    val_loss<=2 after 8 | val_loss<=2x median | val_loss patience 3
"""


@cases("text", split(NO_FORM))
def test_text_without_the_form_of_a_limit_is_answered_with_the_form(text):
    """In one line that names the part that is wrong."""
    with pytest.raises(LimitsError) as caught:
        parsed(text)
    assert str(caught.value) in [f'limits={text}: "{part.strip()}" is not a limit; {FORM}' for part in text.split(",")]


@cases(
    "text, said",
    {
        "unknown": ("peak_memory<=3", "; did you mean peak_memory_mb?"),
        "capitals": ("VAL_LOSS<=3", "; did you mean val_loss?"),
        "far": ("val_loss<1,\nq<=3", "unknown metric 'q'; use one of mean_step_time_ms, "),
        "below 0": ("training_time_s<=-1", '"training_time_s<=-1" cannot be met'),
        "0 itself": ("mean_step_time_ms<0", '"mean_step_time_ms<0" cannot be met'),
        "none between": ("model_size_kb>=2, model_size_kb<=1", 'model_size_kb>=2" cannot both be met'),
        "not the number": ("val_loss<1, val_loss>=1", 'val_loss>=1" cannot both be met'),
    },
)
def test_mistake_in_a_limit_says_what_may_stand_there(text, said):
    """In one line."""
    with pytest.raises(LimitsError) as caught:
        parsed(text)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@cases("op, value", [("<=", 6.0), ("<", 5.0), (">=", 4.0), (">", 5.0)])
@cases("metric, final", [(PEAK, "<"), (SIZE, "<>"), (STEP, ""), (LOSS, "")])
def test_limit_stops_as_early_as_its_kind_allows(metric, final, op, value):
    """At once only where that is final; else from the time that it names, without which it is of no use."""
    text, name, at_once = f"{metric.name}{op}5", metric.name, op[0] in final
    limits, later = parsed(text), parsed(f"{text} after 10m")
    stop = Stop(text, name, value, 5.0, 7) if at_once else None
    assert limits.crossed({name: value}, 7) == stop
    assert later.crossed({name: value, "elapsed_s": 599.0}) is None
    assert later.crossed({name: value}) is None
    assert (later.crossed({name: 5.0, "elapsed_s": 600.0}) is None) == ("=" in op)
    assert later.crossed({name: value, "elapsed_s": 600.0}) is not None


@cases(
    "stop, text",
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
def test_stop_reads_as_a_reason(stop, text):
    """What was measured and its limit come first, told apart; then what the limit is of, and the step."""
    assert str(stop) == text


def test_limit_on_a_process_is_judged_at_each_reading():
    """Of whatever it costs; what could still be met until the end is refused."""
    costs = [f"{mode}cpu_seconds" for mode in ("", "user_", "system_")]
    costs += ["elapsed_s", "peak_memory_mb", "memory_growth_mb", "peak_rss_mb", "peak_gpu_memory_mb"]
    limits = process_limits(", ".join(f"{name}<=1" for name in costs))
    assert [limits.crossed({name: 1.1}) for name in costs] == [Stop(f"{name}<=1", name, 1.1, 1) for name in costs]
    with pytest.raises(LimitsError, match=r"^limits=.* such as mean_cpu_percent<=90 after 10m$"):
        process_limits("mean_cpu_percent<=90")
    with pytest.raises(LimitsError, match=r'^limits=.*"mean_cpu_percent>=5" can still be met until the end'):
        process_limits("elapsed_s<=60, mean_cpu_percent>=5")


def test_memory_alone_can_break_a_limit_before_the_work_begins():
    limits = process_limits("peak_memory_mb<=100, elapsed_s<=5")
    check_attainable(limits, {"elapsed_s": 9.0, "peak_memory_mb": 50.0})
    with pytest.raises(LimitsError, match="the process has peak_memory_mb 200 before the work begins"):
        check_attainable(limits, {"peak_memory_mb": 200.0})
