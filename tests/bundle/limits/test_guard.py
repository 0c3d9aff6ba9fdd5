"""The guard of one trial: what ends it, when, and how that reads; simulated step times where it depends on chance."""

import pytest
from cases import cases, tables

from entrypoints.limits.costs import metrics
from entrypoints.limits.extrapolation import WARM_UP
from entrypoints.limits.grammar import Limits
from entrypoints.limits.guard import Guard
from entrypoints.limits.judging import resolved
from entrypoints.runs.tags import FOLD, TRAINING_STEP
from mlflow_sysmetrics.limits import Stop
from mlflow_sysmetrics.recording.tags import STOP_REASON

TABLES = tables(__file__, "guard.yaml")
STEPS = 500
STEP_S = 1 / 128  # so that sums are exact


def guard_of(text, steps=STEPS, axis=TRAINING_STEP, noise=None):
    """A guard of these limits, or of none; figures have no noise unless it is given."""
    limits = Limits.parse(text, metrics("val_rmse", False)) if text else Limits(())
    return Guard(resolved(limits, (), noise), steps, axis)


def train(guard, step_times_s):
    """Train until the guard says that it is enough; the wall time is twice the training time."""
    elapsed_s = 0.0
    for step, step_s in enumerate(step_times_s, start=1):
        elapsed_s += 2 * step_s
        guard.stepped(step, step_s, elapsed_s)
        if guard.ended():
            return


@cases("text, step_s, how, reason", TABLES["trained"])
def test_trial_ends_as_soon_as_it_is_known_that_it_breaks_a_limit_on_time(text, step_s, how, reason):
    """A machine that is slow for tenths of a second says nothing of the rest."""
    guard = guard_of(text)
    slow = 60 if how == "slow at first" else 0
    train(guard, [3 * step_s] * slow + [step_s] * (STEPS - slow))
    assert guard.tags.get(STOP_REASON) == reason


def test_last_report_ends_nothing():
    """There is nothing left to save."""
    guard = guard_of("peak_memory_mb<=3")
    guard.reported({"peak_memory_mb": 9.0}, STEPS, {})
    assert not guard.ended()


@cases("text, reason", [("val_loss<=9", "val_loss 1e+09 > 100 (100x untrained, step 300)"), ("", None)])
def test_loss_that_no_trained_model_has_ends_a_trial_if_it_does_not_fall(text, reason):
    """At the second such report, but not at the last one, nor without limits."""
    guard = guard_of(text)
    for loss, step in ((1e9, 100), (1e8, 200), (1e9, STEPS)):
        guard.diverged(loss, 100.0, step)
    assert not guard.ended()
    guard.diverged(1e9, 100.0, 300)
    assert guard.tags.get(STOP_REASON) == reason


def test_first_reason_stays_the_reason():
    """What breaks while the trial comes to its end explains nothing."""
    text = "peak_memory_mb<=300, model_size_kb<=1, training_time_s<=1"
    guard = guard_of(text)
    guard.crossed({"peak_memory_mb": 400.0}, 4)
    guard.crossed({"model_size_kb": 99.0}, 5)
    guard.reported({"model_size_kb": 99.0}, 5, {})
    assert guard.tags[STOP_REASON] == "peak_memory_mb 400 > 300 (step 4)"


@cases("text, value, error, noise, seen, crossed", TABLES["judged"])
def test_limit_is_judged_as_early_as_its_kind_and_chance_allow(text, value, error, noise, seen, crossed):
    """By a report, and by a reading. At the end it always shows, whatever the noise."""
    metric = text[: -len(">=5")]
    reported, read = (guard_of(text, noise={metric: noise}) for _ in range(2))
    reported.reported({metric: value}, 7, {} if error is None else {metric: error})
    read.crossed({metric: value}, 7)
    stop = Stop(text, metric, value, 5.0, 7)
    assert reported.stop == (stop if seen else None)
    assert read.stop == (stop if crossed else None)
    assert not read.feasible({metric: value})


@cases("steps, spread, ends", {"few": (40, 0, False), "enough": (50, 0, True), "unequal": (50, 2, False)})
def test_mean_step_time_needs_evidence(steps, spread, ends):
    """A mean above its limit ends the trial once enough steps have shown that this is not chance, or a slow start."""
    guard = guard_of("mean_step_time_ms<=10")
    blocks_ms = [11 - spread, 11 + spread]
    times_ms = [500.0] * WARM_UP + [blocks_ms[step // 10 % 2] for step in range(steps)]
    train(guard, [time_ms / 1e3 for time_ms in times_ms])
    guard.reported({"mean_step_time_ms": 11.0}, steps, {})
    assert guard.ended() is ends


def test_tags_of_a_trial_that_ends_say_all_about_it():
    """The reason in one line, and its parts to filter by."""
    guard = guard_of("training_time_s<=10")
    train(guard, [0.1] * WARM_UP + [0.027, 0.029] * STEPS)
    assert guard.tags == {
        "sysmetrics.stopped_by": "limits",
        "sysmetrics.stop_reason": "training_time_s 14.14 > 10 (predicted, step 52)",
        "sysmetrics.stop_metric": "training_time_s",
        "sysmetrics.stop_how": "predicted",
        "sysmetrics.stop_prediction": str(guard.prediction),
    }


@cases("text, steps, figures, expected", TABLES["projected"])
def test_trial_that_ends_early_is_no_cheap_one(text, steps, figures, expected):
    """Its steps say what all would have cost; what is unknown is left out."""
    guard = guard_of(text)
    train(guard, [STEP_S] * steps)
    assert guard.projected(figures) == pytest.approx(expected)


@cases(
    "text, expected",
    {
        "it ended the trial": ("cpu_seconds<=1", {"cpu_seconds": 2.0, "peak_memory_mb": 7.0}),
        "it did not": ("peak_memory_mb<=3", {"peak_memory_mb": 400.0}),
    },
)
def test_total_that_nothing_extrapolates_is_known_where_it_ended_the_trial(text, expected):
    """What ended a trial has at least the value for which it did."""
    guard = guard_of(text)
    guard.crossed({"peak_memory_mb": 400.0, "cpu_seconds": 2.0}, 1)
    assert guard.projected({"cpu_seconds": 2.0, "peak_memory_mb": 7.0}) == expected


def test_figure_that_ended_a_trial_is_no_better_than_then():
    """Of a lower limit no higher."""
    idle = guard_of("mean_cpu_percent>=50")
    idle.reported({"mean_cpu_percent": 30.0}, 1, {"mean_cpu_percent": 1.0})
    assert idle.projected({"mean_cpu_percent": 60.0}) == {"mean_cpu_percent": 30.0}


@cases("text, fits_s, stops_at", TABLES["by fold"])
def test_fits_are_judged_between_folds(text, fits_s, stops_at):
    """Of ten: a fold's part of the training time of one model is a tenth of its fit. Two folds forecast the rest."""
    guard = guard_of(text, steps=10, axis=FOLD)
    elapsed_s = 0.0
    stopped = []
    for number, fit_s in enumerate(fits_s, start=1):
        elapsed_s += fit_s
        guard.stepped(number, fit_s / 10, elapsed_s)
        guard.reported({"mean_step_time_ms": 1e3 * elapsed_s / number}, number, {})
        if guard.ended():
            stopped.append(number)
    assert stopped[:1] == ([] if stops_at is None else [stops_at])
