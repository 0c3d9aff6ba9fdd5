"""A full study and one under limits, of the same configurations: what the limits lost."""

import math
from dataclasses import replace

import pytest
from cases import cases
from frames import stopped, study, together

from entrypoints.reporting.questions.limits_saved import answer

SECONDS = {8: 4.0, 16: 2.0, 32: 1.0, 64: 0.5, 128: 0.4, 256: 0.3}
SCORES = {8: 0.60, 16: 0.61, 32: 0.62, 64: 0.63, 128: 0.64, 256: 0.65}
LIMITS = "training_time_s<=2.05"


def made(**changes):
    """Six trials, whose score is the worse the cheaper they are."""
    costs = {"training_time_s": lambda row: SECONDS[row["batch_size"]]}
    exact = {"fold_sd": 0.0, "model_sd": 0.0, "noise": 0.0}
    frame = study({"batch_size": list(SECONDS)}, costs, lambda row: SCORES[row["batch_size"]], **exact, **changes)
    return replace(frame, trials=frame.trials.assign(test_rmse=frame.trials["val_rmse"] + 0.1))


def limited(*batch_sizes, **changes):
    """The same under limits that have stopped these."""
    return stopped(made(seed=1, name="early_stop", of_study={"limits": LIMITS}), *batch_sizes, **changes)


@cases(
    "sizes, by, able, lost_ones, lost_score",
    {
        "not the best": ([8, 64], "limits", 5, 1, 0.0),
        "the best": ([8, 16], "limits", 5, 1, 0.01),
        "all": (list(SECONDS), "limits", 5, 5, math.nan),
        "stopped by another rule": ([8, 16], "tune", 5, 0, 0.0),
        "not begun": ([8, 16], "not begun", 4, 0, 0.0),
    },
)
def test_loss_is_the_best_that_meets_the_limits_less_the_best_that_they_left(sizes, by, able, lost_ones, lost_score):
    """By the scores of the full study, of what both began. What another rule stopped is no loss of the limits."""
    own = limited(*sizes, stopped_by=by)
    own = replace(own, trials=own.trials[own.trials["stopped_by"] != "not begun"])
    (row,) = answer(together(made(), own)).table.to_dict("records")
    assert (row["feasible"], row["feasible_stopped"]) == (able, lost_ones)
    assert [row["val_lost"], row["test_lost"]] == pytest.approx([lost_score] * 2, nan_ok=True)


def test_loss_within_the_noise_of_the_folds_is_none():
    """The best of many looks better by luck: what is worse by less than one standard error is as good."""
    costs = {"training_time_s": lambda row: SECONDS[row["batch_size"]]}
    full = study({"batch_size": list(SECONDS)}, costs, lambda row: 0.6, noise=0.0, model_sd=0.02)
    own = limited(full.complete["batch_size"].iloc[0])
    assert "as good within noise" in " ".join(answer(together(full, own)).sentences)
