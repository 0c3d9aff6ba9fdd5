"""What limits and racing saved: against the full study or a forecast, in whichever order the studies are given.

What is said of it is in the golden pages of test_pages.
"""

import pytest
from cases import cases
from frames import stopped, study, together

from entrypoints.reporting.questions.limits_saved import saving

CPU_S = {8: 16.0, 64: 2.0, 256: 1.0, 512: 0.5, 1024: 0.5}
COSTS = ("training_time_s", "cpu_seconds", "elapsed_s")
UNDER = {"limits": "training_time_s<=1.5, model_memory_mb<=100"}
# Of a trial: its batch size, what it had cost, who stopped it, by which metric and how.
TWO = [(8, 1.0, "limits", "training_time_s", "crossed"), (64, 0.0, "limits", "model_memory_mb", "crossed")]
RACED = [(8, 4.0, "race", None, "raced"), (64, 1.5, "limits", "training_time_s", "crossed")]


def made(*stops, **of_study):
    """A study of five trials without noise, of which some were stopped."""
    costs = dict.fromkeys(COSTS, lambda row: CPU_S[row["batch_size"]])
    about = {"seed": len(of_study), "name": str(of_study), "of_study": of_study}
    frame = study({"batch_size": [*CPU_S]}, costs, noise=0.0, **about)
    for size, spent_s, by, metric, how in stops:
        spent = dict.fromkeys(COSTS, spent_s)
        frame = stopped(frame, size, stopped_by=by, stop_metric=metric, stop_how=how, **spent)
    return frame


@cases("order", [1, -1])
def test_stopped_trials_save_what_they_cost_in_the_full_study_less_what_they_spent(order):
    """17 of 20 s: 15 s by the first limit, 2 s by the second, before its first step."""
    saved = saving(together(*[made(), made(*TWO, **UNDER)][::order]))
    assert saved.unknown == 0
    assert saved.figures["spent_cpu_s"] == 3.0
    assert saved.figures["saved_cpu_s"] == 17.0
    assert saved.figures["saved_cpu_percent"] == 85.0
    reasons = saved.reasons.set_index("reason")[["trials", "saved_cpu_s"]]
    assert reasons.T.to_dict("list") == {
        "`training_time_s<=1.5`": [1, 15.0],
        "`model_memory_mb<=100`": [1, 2.0],
    }


def test_trial_that_cost_more_than_in_the_full_study_counts_against_the_saving():
    """Costs differ from run to run: with a floor at 0 noise alone would look like a saving."""
    stops = (64, 2.5, "limits", "training_time_s", "crossed"), (256, 0.9, "person", None, None)
    saved = saving(together(made(), made(*stops, **UNDER)))
    assert saved.figures["saved_cpu_s"] == pytest.approx(-0.4)
    assert saved.reasons["reason"].tolist() == ["a person", "`training_time_s<=1.5`"]
    assert saved.is_small


def test_study_of_other_data_is_no_full_study():
    """Nothing is known of a saving then."""
    assert saving(together(made(*TWO, **UNDER, key="other"), made())) is None


@cases("by", ["limits", "race"])
def test_diverged_trials_are_not_counted_as_stopped(by):
    """Ending them saved as well, but the counts of the study name them apart."""
    own = made((8, 1.0, by, None, "crossed"), TWO[1], **UNDER)
    own.trials["diverged"] = own.trials["batch_size"] == 8
    reasons = saving(together(made(), own)).reasons
    assert reasons["reason"].tolist() == ["a loss that had diverged", "`model_memory_mb<=100`"]


def test_racing_and_limits_each_say_what_they_saved():
    """The race 12 s and the limit half a second of 20 s."""
    reasons = saving(together(made(), made(*RACED, **UNDER))).reasons
    assert reasons["reason"].tolist() == ["racing", "`training_time_s<=1.5`"]
    assert reasons["saved_cpu_percent"].tolist() == [60.0, 2.5]


def test_racing_without_limits_has_saved_what_a_forecast_says():
    """Without one there is nothing to say."""
    frame = made(RACED[0])
    assert saving(frame) is None
    forecast = frame.trials["batch_size"].map(CPU_S)
    for name in ("full_cpu_s", "full_wall_s"):
        frame.trials[name] = forecast
    saved = saving(frame)
    assert (saved.full, saved.figures["saved_cpu_s"]) == (None, 12.0)
