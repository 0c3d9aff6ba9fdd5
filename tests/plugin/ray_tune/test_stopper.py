"""LimitsStopper, given the results that Tune would give it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from mlflow_sysmetrics import Limits, LimitsError
from mlflow_sysmetrics.ray_tune import STOP_KEY, LimitsStopper


def see(stopper: LimitsStopper, trial_id: str, number: int = 1, /, **values: Any) -> bool:
    """Its decision on the result of a trial with this number."""
    return stopper(trial_id, {**values, "training_iteration": number})


def test_stopper_has_patience_with_each_trial_on_its_own() -> None:
    """Two reports without an improvement end the trial that they are of, and the result says why."""
    stopper = LimitsStopper(Limits.parse("loss patience 2, cpu_seconds<=2x median"))
    for number in (1, 2):
        assert see(stopper, "stalls", number, loss=1.0) is False
        assert see(stopper, "improves", number, loss=1 / number) is False
        assert see(stopper, f"t{number}", cpu_seconds=1.0, done=True) is False  # the ends of others change nothing
    result = {"loss": 1.0, "training_iteration": 3}
    assert stopper("stalls", result) is True
    assert see(stopper, "improves", 3, loss=0.1) is False
    assert result[STOP_KEY] == {
        "sysmetrics.stopped_by": "limits",
        "sysmetrics.stop_reason": "loss 1, best 1 (patience 2, step 3)",
        "sysmetrics.stop_metric": "loss",
    }


def test_stopper_counts_what_it_has_stopped_in_relative_limits() -> None:
    """Or each stop would lower the limit of those that follow: of 1, 2, 3 and three of 9 or more, the median is 6.

    It counts at the next result of a trial that began before any had ended, too; and only where it broke its limit:
    its memory so far is not what it would have taken.
    """
    stopper = LimitsStopper(Limits.parse("costs/cpu_seconds<=1.5x median after 3, memory_mb<=2x median after 3"))
    assert see(stopper, "last", costs={"cpu_seconds": 1.0}) is False
    for number, cost in enumerate((1.0, 2.0, 3.0, 9.0, 9.0, 9.0)):
        values = {"costs": {"cpu_seconds": cost}, "memory_mb": 10.0 if cost < 9 else 1.0}
        assert see(stopper, f"t{number}", **values, done=cost < 9) is (cost == 9)
    assert see(stopper, "next", costs={"cpu_seconds": 8.5}, memory_mb=15.0) is False
    assert see(stopper, "last", 2, costs={"cpu_seconds": 9.5}) is True


def test_stopper_does_not_stop_what_has_ended() -> None:
    """Tune shows the last result of a function once more when it returns: that is not another report."""
    stopper = LimitsStopper(Limits.parse("loss patience 2"))
    assert see(stopper, "t1", 1, loss=1.0) is see(stopper, "t1", 2, loss=1.0) is False
    result = {"loss": 1.0, "training_iteration": 2, "done": True}
    assert stopper("t1", result) is False
    assert STOP_KEY not in result


@pytest.mark.parametrize(
    ("again", "stops"),
    [
        pytest.param({3: 0.6, 4: 0.55}, False, id="from an older checkpoint"),
        pytest.param({5: 0.5, 6: 0.45}, False, id="at the same iteration"),
        pytest.param({6: 0.5, 7: 0.4}, True, id="from where it was"),
        pytest.param({1: 1.0, 2: 1.0, 3: 1.0}, True, id="from its start without an improvement"),
    ],
)
def test_stopper_has_new_patience_with_a_trial_that_begins_again(again: dict[int, float], stops: bool) -> None:
    """Its reports are compared with those of the same attempt, also by a stopper that Tune has restored."""
    stopper = LimitsStopper(Limits.parse("loss patience 2"))
    assert not any(see(stopper, "t1", number, loss=loss) for number, loss in enumerate((1.0, 0.8, 0.6, 0.5, 0.4), 1))
    restored = pickle.loads(pickle.dumps(stopper))
    decisions = [see(restored, "t1", number, loss=loss) for number, loss in again.items()]
    assert decisions == [False] * (len(again) - 1) + [stops]


def test_stopper_tells_the_time_of_any_trainable() -> None:
    """By Tune's own count of its seconds, unless the results have ``elapsed_s``."""
    stopper = LimitsStopper(Limits.parse("loss<=1 after 10m, elapsed_s<=3600"))
    assert see(stopper, "early", loss=2.0, time_total_s=599.0) is False
    assert see(stopper, "early", loss=2.0, time_total_s=600.0, elapsed_s=1.0) is False
    assert see(stopper, "late", loss=2.0, time_total_s=600.0) is True
    assert see(stopper, "long", loss=1.0, time_total_s=3601.0) is True


@pytest.mark.parametrize(
    ("text", "such"),
    [
        pytest.param("val_accuracy>=0.8", "val_accuracy>=0.8 after 10m", id="lower"),
        pytest.param("loss<=2x median", "loss<=3 after 10m", id="relative"),
    ],
)
def test_stopper_refuses_a_limit_that_is_met_or_not_at_the_end(text: str, such: str) -> None:
    """Judged at a trial's first result it would end every trial, and at the end there is nothing left to stop."""
    with pytest.raises(LimitsError, match=f"so it would stop nothing; say from when it counts, such as {such}$"):
        LimitsStopper(Limits.parse(text))
    name = such.partition("<")[0].partition(">")[0]
    assert see(LimitsStopper(Limits.parse(such)), "t1", **{name: 0.7}, time_total_s=1.0) is False
