"""A full study and one under limits, of the same configurations: what the limits lost."""

import math
from dataclasses import replace

import pytest
from cases import cases, tables
from frames import stopped, study, together

from entrypoints.reporting.questions.limits_saved import answer

SECONDS = {8: 4.0, 16: 2.0, 32: 1.0, 64: 0.5, 128: 0.4, 256: 0.3}
LIMITS = {"limits": "training_time_s<=2.05"}


def made(score=lambda row: 0.57 + math.log2(row["batch_size"]) / 100, model_sd=0.0, **changes):
    """Six trials, whose score is the worse the cheaper they are."""
    frame = study(
        {"batch_size": [*SECONDS]},
        {"training_time_s": lambda row: SECONDS[row["batch_size"]]},
        score,
        fold_sd=0.0,
        model_sd=model_sd,
        noise=0.0,
        **changes,
    )
    frame.trials["test_rmse"] = frame.trials["val_rmse"] + 0.1
    return frame


def limited(*batch_sizes, **changes):
    """The same under limits that have stopped these."""
    return stopped(made(seed=1, of_study=LIMITS), *batch_sizes, **changes)


@cases("sizes, by, able, lost, score", tables(__file__, "limits_lost.yaml"))
def test_loss_is_the_best_that_meets_the_limits_less_the_best_that_they_left(sizes, by, able, lost, score):
    """By the scores of the full study, of what both began. What another rule stopped is no loss of the limits."""
    own = limited(*sizes, stopped_by=by)
    begun = own.trials[own.trials["stopped_by"] != "not begun"]
    (row,) = answer(together(made(), replace(own, trials=begun))).table.to_dict("records")
    assert (row["feasible"], row["feasible_stopped"]) == (able, lost)
    assert row["val_lost"] == pytest.approx(score, nan_ok=True)
    assert row["test_lost"] == pytest.approx(score, nan_ok=True)


def test_loss_within_the_noise_of_the_folds_is_none():
    """The best of many looks better by luck: what is worse by less than one standard error is as good."""
    full = made(score=lambda row: 0.6, model_sd=0.02)
    own = limited(full.complete["batch_size"].iloc[0])
    assert "as good within noise" in " ".join(answer(together(full, own)).sentences)
