"""A full study and one under limits, of the same configurations: what the limits lost."""

from dataclasses import replace

import pytest
from made_up_frames import stopped, study, together

from entrypoints.reporting.questions.limits_saved import answer

SECONDS = {8: 4.0, 16: 2.0, 32: 1.0, 64: 0.5, 128: 0.4, 256: 0.3}
SCORES = {8: 0.60, 16: 0.61, 32: 0.62, 64: 0.63, 128: 0.64, 256: 0.65}
LIMITS = "training_time_s<=2.05"


def made(times=1.0, noise=0.01, **changes):
    """Six trials, whose score is the worse the cheaper they are; on a machine that is this many times as slow."""
    costs = {cost: lambda row: times * SECONDS[row["batch_size"]] for cost in ("training_time_s", "cpu_seconds")}
    exact = {"fold_sd": 0.0, "model_sd": 0.0, "noise": noise}
    frame = study({"batch_size": list(SECONDS)}, costs, lambda row: SCORES[row["batch_size"]], **exact, **changes)  # type: ignore[arg-type]
    return replace(frame, trials=frame.trials.assign(test_rmse=frame.trials["val_rmse"] + 0.1))


def limited(*batch_sizes, times=1.0, **changes):
    """The same under limits that have stopped these."""
    return stopped(made(times, seed=1, name="early_stop", of_study={"limits": LIMITS}, **changes), *batch_sizes)


@pytest.mark.parametrize(
    ("sizes", "by", "says"),
    [
        (
            [8, 64],
            "limits",
            "Of 5 trials that meet the limits 1 was stopped: the best of the others is as good within noise.",
        ),
        ([8, 16], "limits", "Of 5 trials that meet the limits 1 was stopped: the best of the others is 0.01 worse"),
        (list(SECONDS), "limits", "Of 5 trials that meet the limits 5 were stopped: no other is left."),
        ([8, 16], "tune", "None of the 5 trials that meet the limits was stopped."),
        ([8, 16], "not begun", None),
    ],
)
def test_loss_is_the_best_that_meets_the_limits_less_the_best_that_they_left(sizes, by, says):
    """By the scores of the full study, of what both began. What another rule stopped is no loss of the limits."""
    own = stopped(limited(noise=0.0), *sizes, stopped_by=by)
    own = replace(own, trials=own.trials[own.trials["stopped_by"] != "not begun"])
    found = answer(together(made(noise=0.0), own))
    assert says is None or any(says in sentence for sentence in found.sentences)
    assert found.table["feasible"].iloc[0] == (5 if says else 4)
    if sizes == [8, 16] and by == "limits":
        assert found.table[["val_lost", "test_lost"]].iloc[0].tolist() == pytest.approx([0.01, 0.01])


def test_loss_within_the_noise_of_the_folds_is_none():
    """The best of many looks better by luck: what is worse by less than one standard error is as good."""
    costs = {"training_time_s": lambda row: SECONDS[row["batch_size"]]}
    full = study({"batch_size": list(SECONDS)}, costs, lambda row: 0.6, noise=0.0, model_sd=0.02)
    own = stopped(limited(noise=0.0), full.complete["batch_size"].iloc[0])
    assert any("as good within noise" in sentence for sentence in answer(together(full, own)).sentences)


def test_saving_beside_another_machine_is_said_to_compare_two():
    other = answer(together(made(), limited(8, about={"host": "a laptop"}))).sentences
    assert other[-1] == "It ran on another machine than the full study: its saving compares two machines."
