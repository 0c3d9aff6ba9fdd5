"""Limits: tables of texts that are read or refused, and of values that are judged."""

import itertools
import re

import pytest
from cases import cases, rows

from mlflow_sysmetrics.limits import Limits, LimitsError, process_limits
from mlflow_sysmetrics.limits.rules import Kind, Metric, Stop
from mlflow_sysmetrics.measurement import check_attainable

KINDS = {
    "peak_memory_mb": Kind.GROWING,
    "training_time_s": Kind.GROWING,
    "mean_step_time_ms": Kind.MEAN,
    "model_size_kb": Kind.FACT,
    "val_loss": Kind.CURVE,
    "val_accuracy": Kind.CURVE,
}


def parsed(text):
    return Limits.parse(text.replace("\\n", "\n"), itertools.starmap(Metric, KINDS.items()))


@cases("text, normal", rows(__file__, "read.txt"))
def test_correct_text_is_read_and_written_in_the_shortest_way(text, normal):
    limits = parsed(text)
    assert str(limits) == normal
    assert parsed(normal) == limits
    assert hash(parsed(normal)) == hash(limits)


@cases("text, why", rows(__file__, "refused.txt"))
def test_mistake_is_answered_with_what_may_stand_there(text, why):
    """In one line."""
    with pytest.raises(LimitsError, match=re.escape(why)) as caught:
        parsed(text)
    assert len(str(caught.value).splitlines()) == 1


@cases("op, value", [("<=", 6.0), ("<", 5.0), (">=", 4.0), (">", 5.0)])
@cases("name, final", [("peak_memory_mb", "<"), ("model_size_kb", "<>"), ("mean_step_time_ms", ""), ("val_loss", "")])
def test_limit_stops_as_early_as_its_kind_allows(name, final, op, value):
    """At once only where that is final; else from the time that it names, without which it is of no use.

    The limit itself meets `<=` and `>=`.
    """
    text = f"{name}{op}5"
    limits, later = parsed(text), parsed(f"{text} after 10m")
    stop = Stop(text, name, value, 5.0, 7) if op[0] in final else None
    assert limits.crossed({name: value}, 7) == stop
    assert later.crossed({name: value, "elapsed_s": 599.0}) is None
    assert later.crossed({name: value}) is None
    assert (later.crossed({name: 5.0, "elapsed_s": 600.0}) is None) == ("=" in op)
    assert later.crossed({name: value, "elapsed_s": 600.0}) is not None


@cases("rule, value, limit, step, text", rows(__file__, "reasons.txt"))
def test_stop_reads_as_a_reason(rule, value, limit, step, text):
    """What was measured and its limit come first, told apart; then what the limit is of, and the step."""
    (metric,) = re.findall(r"^\w+", rule)
    assert str(Stop(rule, metric, float(value), float(limit), int(step) if step else None)) == text


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


@cases("name", ["peak_memory_mb", "peak_rss_mb"])
def test_memory_alone_can_break_a_limit_before_the_work_begins(name):
    limits = process_limits(f"{name}<=100, elapsed_s<=5")
    check_attainable(limits, {"elapsed_s": 9.0, name: 50.0})
    with pytest.raises(LimitsError, match=f"the process has {name} 200 before the work begins"):
        check_attainable(limits, {name: 200.0})
