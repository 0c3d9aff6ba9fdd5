"""What limits saved: against the full study or a forecast, by one formula, in whichever order the studies are given."""

from dataclasses import replace

import pytest
from made_up_frames import stopped, study, together

from entrypoints.reporting.questions.limits_saved import answer, saving

CPU_S = {8: 16.0, 64: 2.0, 256: 1.0, 512: 0.5, 1024: 0.5}
COSTS = {name: lambda row: CPU_S[row["batch_size"]] for name in ("training_time_s", "cpu_seconds", "elapsed_s")}
LIMITS = "training_time_s<=1.5, model_memory_mb<=100"


def made(about=None, **of_study):
    """A study of five trials without noise."""
    return study({"batch_size": list(CPU_S)}, COSTS, noise=0.0, about=about, of_study=of_study)


def limited(*stops, **changes):
    """The same under limits: stops are a batch size, what it had cost, who stopped it, by which metric and how."""
    of_study = {"limits": LIMITS} | changes
    frame = study({"batch_size": list(CPU_S)}, COSTS, noise=0.0, seed=1, name="early_stop", of_study=of_study)
    for size, spent_s, by, metric, how in stops:
        frame = stopped(frame, size, stopped_by=by, stop_metric=metric, stop_how=how, **dict.fromkeys(COSTS, spent_s))
    return frame


TWO = ((8, 1.0, "limits", "training_time_s", "crossed"), (64, 0.0, "limits", "model_memory_mb", "skipped"))


@pytest.mark.parametrize("order", [1, -1])
def test_stopped_trials_save_what_they_cost_in_the_full_study_less_what_they_spent(order):
    """17 of 20 s: 15 s by the first limit, 2 s by the second, before its first step."""
    frame = together(*[made(), limited(*TWO)][::order])
    saved = saving(frame)
    assert saved is not None
    names = ("spent_cpu_s", "saved_cpu_s", "saved_cpu_percent")
    assert ([saved.figures[name] for name in names], saved.unknown) == ([3.0, 17.0, 85.0], 0)
    assert saved.reasons["reason"].tolist() == ["`training_time_s<=1.5`", "`model_memory_mb<=100`"]
    assert saved.reasons[["trials", "skipped", "saved_cpu_s"]].to_numpy().tolist() == [[1, 0, 15.0], [1, 1, 2.0]]
    assert answer(frame).sentences == (
        f"Under `{LIMITS}` 2 of 5 trials were stopped (1 before the first step): the trials took 3 s of CPU time, 17 s "
        "(85 %) less than without limits, by the full study.",
        "Of the CPU time `training_time_s<=1.5` saved 75 % and `model_memory_mb<=100` saved 10 %.",
    )


def test_saving_is_told_of_the_whole_command_too():
    """Where both studies say what theirs took."""
    full, own = made(command_cpu_seconds=100.0, command_elapsed_s=110.0), limited(*TWO)
    assert "whole command" not in answer(together(full, own)).sentences[0]
    own = limited(*TWO, command_cpu_seconds=28.0, command_elapsed_s=37.0)
    said = "took 28 s of CPU time in place of 100 s, and by the clock 37 s in place of 110 s."
    assert said in answer(together(full, own)).sentences[0]
    own = limited(*TWO, command_cpu_seconds=120.0, command_elapsed_s=37.0)
    assert "took 120 s of CPU time in place of 100 s" in answer(together(full, own)).sentences[0]


def test_trial_that_cost_more_than_in_the_full_study_counts_against_the_saving():
    """Costs differ from run to run: with a floor at 0 noise alone would look like a saving."""
    stops = (64, 2.5, "limits", "training_time_s", "crossed"), (256, 0.9, "person", None, None)
    own = limited(*stops)
    saved = saving(together(made(), own))
    assert saved is not None
    assert saved.figures["saved_cpu_s"] == pytest.approx(-0.4)
    assert saved.reasons["reason"].tolist() == ["a person", "`training_time_s<=1.5`"]
    says = "2 of 5 trials were stopped, which saved less than 5 % of their CPU time"
    assert says in answer(together(made(), own)).sentences[0]


def test_study_of_other_data_is_no_full_study():
    """Nothing is known of a saving then."""
    assert saving(together(limited(*TWO, key="other"), made())) is None


@pytest.mark.parametrize("by", ["limits", "race"])
def test_diverged_trials_are_not_counted_as_stopped(by):
    """Ending them saved as well, but the counts of the study name them apart."""
    own = limited((8, 1.0, by, None, "crossed"), TWO[1])
    own.trials["diverged"] = own.trials["batch_size"] == 8
    said = answer(together(made(), own)).sentences[0]
    assert "1 of 5 trials were stopped (1 before the first step), and 1 ended since they diverged: " in said


RACED = ((8, 4.0, "race", None, "raced"), (64, 1.5, "limits", "training_time_s", "crossed"))


def test_racing_and_limits_each_say_what_they_saved():
    """The race 12 s and the limit half a second of 20 s."""
    frame = together(made(), limited(*RACED))
    assert answer(frame).sentences == (
        f"Under `{LIMITS}` 1 of 5 trials were stopped, and racing ended 1: the trials took 7.5 s of CPU time, 12 s "
        "(62 %) less than without limits and racing, by the full study.",
        "Of the CPU time racing saved 60 % and `training_time_s<=1.5` saved 2 %.",
    )


def test_racing_without_limits_says_what_it_saved():
    """Of the first trial alone; what a person ended saved nothing by it. Without a forecast there is nothing to say."""
    frame = limited(RACED[0], (64, 1.0, "person", None, None), limits=None)
    assert answer(frame).sentences == ()
    whole = frame.trials["batch_size"].map(CPU_S)
    frame = replace(frame, trials=frame.trials.assign(full_cpu_s=whole, full_wall_s=whole))
    assert answer(frame).sentences == (
        "Racing ended 1 of 5 trials, which could not become the best any more: the trials took 7 s of CPU time, 12 s "
        "(60 %) less than without racing, by a forecast.",
    )
