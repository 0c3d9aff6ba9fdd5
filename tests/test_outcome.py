"""What became of an experiment's trials, in figures and in words."""

from __future__ import annotations

from mlflow_sysmetrics.ray_tune.endings import FINISHED, SWEPT, Ending
from mlflow_sysmetrics.ray_tune.outcome import Outcome


def outcome(*endings: Ending) -> Outcome:
    """Of trials that ended so."""
    counted = Outcome()
    for ending in endings:
        counted.count(ending)
    return counted


def test_each_ending_counts_once() -> None:
    """A trial that Tune stopped is no failure, and the first error is told."""
    stopped = Ending("KILLED", {"sysmetrics.stop_reason": "x"})
    first, second = (Ending("FAILED", {"sysmetrics.error": f"ValueError: {word}"}) for word in ("first", "second"))
    counted = outcome(FINISHED, stopped, first, second, FINISHED)
    assert counted.status == "FINISHED"
    assert counted.figures == {"trials": 5.0, "stopped": 1.0, "failed": 2.0}
    text = counted.text(0, 0)
    assert "**5 trials**: 2 came to their end, 1 were stopped before, 2 failed." in text
    assert "`ValueError: first`" in text
    assert "second" not in text


def test_experiment_that_ended_before_its_trials_is_killed() -> None:
    """By a person, a budget, or the first failure of another."""
    counted = outcome(FINISHED, SWEPT)
    assert counted.status == "KILLED"
    assert "1 were still running when the experiment ended." in counted.text(0, 0)


def test_what_mlflow_did_not_take_is_said() -> None:
    """Lost points, refused entries, and the time it was away; none of it where there was none."""
    text = outcome(FINISHED).text(3, 2, 12.4)
    assert "3 points could not be kept" in text
    assert "refused 2 entries" in text
    assert "took no data for 12 s" in text
    assert outcome().text(0, 0, 0.2) == "**0 trials**: none began."
