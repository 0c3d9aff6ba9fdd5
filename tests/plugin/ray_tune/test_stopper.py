"""CriteriaStopper, given the results that Tune would give it."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from mlflow_sysmetrics import Criteria, CriteriaError
from mlflow_sysmetrics.ray_tune import STOP_KEY, CriteriaStopper


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="nothing"),
        pytest.param("text", id="text"),
        pytest.param([1, 2], id="list"),
        pytest.param(math.nan, id="not-a-number"),
        pytest.param(math.inf, id="infinity"),
        pytest.param(10**400, id="larger-than-any-float"),
        pytest.param({}, id="empty"),
        pytest.param({"deep": 9.0}, id="nested"),
        pytest.param(object(), id="object"),
    ],
)
def test_stopper_never_raises_on_what_is_no_number(value: object) -> None:
    """It decides nothing, and neither does a metric that is absent; the next number counts."""
    stopper = CriteriaStopper(Criteria.parse("memory_mb<=1, loss patience 2"))
    for number in range(1, 5):
        assert stopper("t1", {"loss": value, "memory_mb": value, "training_iteration": number}) is False
    assert stopper("t1", {"training_iteration": 5}) is False
    assert stopper("t1", {"memory_mb": 2.0, "training_iteration": 6}) is True
    assert stopper.stop_all() is False


def test_stopper_has_patience_with_each_trial_on_its_own() -> None:
    """Two reports without an improvement end the trial that they are of, and the result says why."""
    stopper = CriteriaStopper(Criteria.parse("loss patience 2"))
    for number in (1, 2):
        for trial_id in ("stalls", "improves"):
            loss = 1.0 if trial_id == "stalls" else 1 / number
            assert stopper(trial_id, {"loss": loss, "training_iteration": number}) is False
    result = {"loss": 1.0, "training_iteration": 3}
    assert stopper("stalls", result) is True
    assert stopper("improves", {"loss": 0.1, "training_iteration": 3}) is False
    assert result[STOP_KEY] == {
        "sysmetrics.stopped_by": "criteria",
        "sysmetrics.stop_reason": "loss 1, best 1 (patience 2, step 3)",
        "sysmetrics.stop_metric": "loss",
        "sysmetrics.stop_step": "3",
    }


def test_stopper_counts_what_it_has_stopped_in_relative_limits() -> None:
    """Or each stop would lower the limit of those that follow: of 1, 2, 3 and three of 9 or more, the median is 6."""
    stopper = CriteriaStopper(Criteria.parse("costs/cpu_seconds<=1.5x median after 3"))
    for number, cost in enumerate((1.0, 2.0, 3.0, 9.0, 9.0, 9.0)):
        assert stopper(f"t{number}", {"costs": {"cpu_seconds": cost}, "training_iteration": 1, "done": cost < 9}) is (
            cost == 9
        )
    assert stopper("next", {"costs": {"cpu_seconds": 8.5}, "training_iteration": 1}) is False
    assert stopper("last", {"costs": {"cpu_seconds": 9.5}, "training_iteration": 1}) is True


def test_stopper_does_not_stop_what_has_ended() -> None:
    """Tune shows the last result of a function once more when it returns: that is not another report."""
    stopper = CriteriaStopper(Criteria.parse("loss patience 2"))
    result = {"loss": 1.0, "training_iteration": 1}
    assert stopper("t1", result) is False
    result = {"loss": 1.0, "training_iteration": 2}
    assert stopper("t1", result) is False
    result["done"] = True
    assert stopper("t1", result) is False
    assert STOP_KEY not in result


def test_stopper_judges_a_running_trial_by_those_that_end_meanwhile() -> None:
    """At its next result, though nothing had ended at its first."""
    stopper = CriteriaStopper(Criteria.parse("cpu_seconds<=2x median"))
    assert stopper("slow", {"cpu_seconds": 1.0, "training_iteration": 1}) is False
    for number in range(5):
        assert stopper(f"t{number}", {"cpu_seconds": 2.0, "training_iteration": 1, "done": True}) is False
    assert stopper("slow", {"cpu_seconds": 4.0, "training_iteration": 2}) is False
    result: dict[str, Any] = {"cpu_seconds": 4.1, "training_iteration": 3}
    assert stopper("slow", result) is True
    assert result[STOP_KEY]["sysmetrics.stop_reason"] == "cpu_seconds 4.1 > 4 (2x median, step 3)"


def test_stopper_keeps_its_patience_when_other_trials_end() -> None:
    """What it has seen of a curve does not depend on what its limits compare with."""
    stopper = CriteriaStopper(Criteria.parse("loss patience 2, cpu_seconds<=2x median"))
    for number in (1, 2):
        assert stopper("stalls", {"loss": 1.0, "training_iteration": number}) is False
        assert stopper(f"t{number}", {"cpu_seconds": 1.0, "training_iteration": 1, "done": True}) is False
    assert stopper("stalls", {"loss": 1.0, "training_iteration": 3}) is True


@pytest.mark.parametrize(
    ("again", "stops"),
    [
        pytest.param({1: 1.0, 2: 0.8, 3: 0.6}, False, id="from its start"),
        pytest.param({3: 0.6, 4: 0.55}, False, id="from an older checkpoint"),
        pytest.param({5: 0.5, 6: 0.45}, False, id="at the same iteration"),
        pytest.param({6: 0.5, 7: 0.4}, True, id="from where it was"),
        pytest.param({1: 1.0, 2: 1.0, 3: 1.0}, True, id="from its start without an improvement"),
    ],
)
def test_stopper_has_new_patience_with_a_trial_that_begins_again(again: dict[int, float], stops: bool) -> None:
    """Its reports are compared with those of the same attempt, also by a stopper that Tune has restored."""
    stopper = CriteriaStopper(Criteria.parse("loss patience 2"))
    for number, loss in enumerate((1.0, 0.8, 0.6, 0.5, 0.4), start=1):
        assert stopper("t1", {"loss": loss, "training_iteration": number}) is False
    restored = pickle.loads(pickle.dumps(stopper))
    decisions = [restored("t1", {"loss": loss, "training_iteration": number}) for number, loss in again.items()]
    assert decisions == [False] * (len(again) - 1) + [stops]


def test_stopper_tells_the_time_of_any_trainable() -> None:
    """By Tune's own count of its seconds, unless the results have ``elapsed_s``."""
    stopper = CriteriaStopper(Criteria.parse("loss<=1 after 10m, elapsed_s<=3600"))
    late = {"loss": 2.0, "time_total_s": 600.0}
    assert stopper("early", late | {"time_total_s": 599.0}) is False
    assert stopper("early", late | {"elapsed_s": 1.0}) is False
    assert stopper("late", late) is True
    assert stopper("long", {"loss": 1.0, "time_total_s": 3601.0}) is True


@pytest.mark.parametrize(
    ("text", "such"),
    [
        pytest.param("val_accuracy>=0.8", "val_accuracy>=0.8 after 10m", id="lower"),
        pytest.param("loss<=0.5", "loss<=0.5 after 10m", id="upper, of what may still fall"),
        pytest.param("peak_memory_mb<=9, cpu_seconds>=60", "cpu_seconds>=60 after 10m", id="lower, of a cost"),
        pytest.param("loss<=2x median", "loss<=3 after 10m", id="relative"),
    ],
)
def test_stopper_refuses_a_limit_that_is_met_or_not_at_the_end(text: str, such: str) -> None:
    """Judged at a trial's first result it would end every trial, and at the end there is nothing left to stop."""
    with pytest.raises(CriteriaError, match=f"so it would stop nothing; say from when it counts, such as {such}$"):
        CriteriaStopper(Criteria.parse(text))
    stopper = CriteriaStopper(Criteria.parse(such))
    name, value = such[: such.index(such.lstrip("abcdefghijklmnopqrstuvwxyz_"))], 0.7
    assert stopper("t1", {name: value, "training_iteration": 1, "time_total_s": 1.0}) is False
