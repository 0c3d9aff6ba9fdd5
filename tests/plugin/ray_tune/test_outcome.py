"""What became of an experiment's trials, in figures and in words."""

from __future__ import annotations

from mlflow_sysmetrics.ray_tune.endings import FINISHED, SWEPT, Ending
from mlflow_sysmetrics.ray_tune.outcome import Tally


def outcome(*endings: Ending) -> Tally:
    """Of trials that ended so."""
    counted = Tally({})
    for number, ending in enumerate(endings):
        counted.end(f"trial-{number}", ending)
    return counted


def test_each_ending_counts_once() -> None:
    """A trial that Tune stopped has not failed, and the first error is told."""
    stopped = Ending("KILLED", {"sysmetrics.stop_reason": "x"})
    first, second = (Ending("FAILED", {"sysmetrics.error": f"ValueError: {word}"}) for word in ("first", "second"))
    counted = outcome(FINISHED, stopped, first, second, FINISHED)
    assert counted.status == "FINISHED"
    assert counted.figures == {"trials": 5.0, "stopped": 1.0, "failed": 2.0, "restarts": 0.0}
    text = counted.text(0, 0)
    assert "**5 trials**: 2 came to an end, 1 stopped before, 2 failed." in text
    assert "`ValueError: first`" in text
    assert "second" not in text


def test_experiment_that_ended_before_its_trials_is_killed() -> None:
    """By a person, a budget, or the first failure of another."""
    counted = outcome(FINISHED, SWEPT)
    assert counted.status == "KILLED"
    assert "Still running when the experiment ended: 1." in counted.text(0, 0)


def test_what_mlflow_did_not_take_is_said() -> None:
    """Lost points, refused entries, and the time it was away; none of it where there was none."""
    text = outcome(FINISHED).text(3, 2, 12.4)
    assert "3 points could not be kept" in text
    assert "refused 2 entries" in text
    assert "took no data for 12 s" in text
    assert outcome().text(0, 0, 0.2) == "**0 trials**: none began."


def test_what_mlflow_did_not_take_to_the_end_is_said_however_short() -> None:
    """It is the reason why the run came late; who reads it has synced."""
    text = outcome(FINISHED).text(0, 0, 0.2, left=True)
    assert "took no data for 0 s, and none at the end; `mlflow-sysmetrics sync` wrote what waited." in text


def test_trial_that_begins_again_counts_once() -> None:
    """By its last end; how often that happened is a figure and a sentence."""
    counted = outcome(Ending("FAILED", {"sysmetrics.error": "OSError: gone"}), FINISHED)
    counted.restart()
    counted.end("trial-0", FINISHED)
    assert counted.figures == {"trials": 2.0, "stopped": 0.0, "failed": 0.0, "restarts": 1.0}
    assert counted.text(0, 0) == "**2 trials**: 2 came to an end. Attempts that failed and were repeated: 1."


def test_experiment_that_went_on_counts_what_had_ended() -> None:
    """With the trials that ended before the interruption, those that end now, and a word of it."""
    counted = Tally({"before": FINISHED, "unfinished": None, "repeated": Ending("FAILED")})
    counted.end("unfinished", FINISHED)
    counted.end("repeated", FINISHED)
    assert counted.figures == {"trials": 3.0, "stopped": 0.0, "failed": 0.0, "restarts": 0.0}
    assert counted.text(0, 0) == "**3 trials**: 3 came to an end. The experiment was interrupted and went on."
