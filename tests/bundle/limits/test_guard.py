"""The guard of one trial: what ends it, when, and how that reads; simulated step times where it depends on chance."""

import math

import numpy as np
import pytest
from cases import cases

from entrypoints.limits.cost_history import Outlook
from entrypoints.limits.costs import metrics
from entrypoints.limits.extrapolation import WARM_UP, Prediction
from entrypoints.limits.grammar import Limits
from entrypoints.limits.guard import Guard, Z
from entrypoints.limits.judging import resolved
from entrypoints.tags import STOP_HOW
from mlflow_sysmetrics.limits import Stop
from mlflow_sysmetrics.tags import STOP_REASON

STEPS = 500
STEP_S = 1 / 128  # so that sums are exact
EQUAL_S = [STEP_S] * STEPS
FULL_S = STEPS * STEP_S


def _guard(text, steps=STEPS, by_fold=False, noise=None, predictions=None):
    """A guard of these limits, or of none; figures have no noise unless it is given."""
    limits = Limits.parse(text, metrics("val_rmse", False)) if text else Limits(())
    return Guard(Outlook(resolved(limits, (), noise), predictions or {}), steps, by_fold=by_fold)


def _train(guard, step_times_s):
    """Train until the guard says that it is enough; the step at which it does, of those where that saves something."""
    elapsed_s = 0.0
    for step, step_s in enumerate(step_times_s, start=1):
        elapsed_s += 2 * step_s
        guard.stepped(step, step_s, elapsed_s)
        if guard.ended():
            return step if step < STEPS else None
    return None


def _trains(times_s=EQUAL_S):
    """Steps, by default equal ones; the wall time is twice the training time."""
    return lambda guard: _train(guard, times_s)


def _stalls(guard):
    for step, loss in enumerate([0.5, 0.6, 0.55], start=98):
        guard.reported({"val_loss": loss}, step, {})


def _reports_at_its_end(guard):
    guard.reported({"peak_memory_mb": 9.0}, STEPS, {})


def _diverges(guard):
    """Reports of a loss that no trained model has: the second ends the trial, if it has not fallen."""
    for loss, step in ((1e9, 100), (1e8, 200), (1e9, STEPS)):
        guard.diverged(loss, 100.0, step)
    assert not guard.ended()
    guard.diverged(1e9, 100.0, 300)


SLOW_AT_FIRST = np.repeat([3.0, 1.0], [60, STEPS - 60])  # which in all keep to a limit of 744


@cases(
    "text, happens, reason",
    {
        "predicted": ("training_time_s<=3", _trains(), "training_time_s 3.906 > 3 (predicted, step 52)"),
        "too soon to predict": ("elapsed_s<=0.5", _trains(), "elapsed_s 0.5156 > 0.5 (step 33)"),
        "slow for tenths of a second": ("training_time_s<=0.372", _trains(0.0005 * SLOW_AT_FIRST), None),
        "slow for seconds": (
            "training_time_s<=7.44",
            _trains(0.01 * SLOW_AT_FIRST),
            "training_time_s 15 > 7.44 (predicted, step 52)",
        ),
        "patience": ("val_loss patience 2", _stalls, "val_loss 0.55, best 0.5 (patience 2, step 100)"),
        "at the end": ("peak_memory_mb<=3", _reports_at_its_end, None),
        "diverges": ("val_loss patience 9", _diverges, "val_loss 1e+09 > 100 (100x untrained, step 300)"),
        "diverges without limits": ("", _diverges, None),
    },
)
def test_reason_why_a_trial_ends(text, happens, reason):
    """As soon as it is known, from whichever thread; not at the last report, when there is nothing left to save."""
    guard = _guard(text)
    happens(guard)
    assert (guard.ended(), guard.tags.get(STOP_REASON)) == (reason is not None, reason)


FORESEEN = {name: Prediction(2.0, 1.5, 2.5) for name in ("training_time_s", "mean_step_time_ms")}


@cases(
    "text, reason",
    [
        ("training_time_s<=1.4", "training_time_s 2 > 1.4 (predicted, skipped)"),
        ("training_time_s<=1.6", None),
        ("training_time_s>=1.8", None),
        ("mean_step_time_ms<=1.4", "mean_step_time_ms 2 > 1.4 (predicted, skipped)"),
        ("peak_memory_mb<=1", None),
    ],
)
def test_trial_that_cannot_keep_to_a_limit_is_skipped(text, reason):
    """What may still keep to it begins. The noise is in the prediction already."""
    guard = _guard(text, predictions=FORESEEN, noise=dict.fromkeys(FORESEEN, 0.2))
    guard.skip_if_predicted()
    assert guard.tags.get(STOP_REASON) == reason


def test_trial_that_may_converge_ends_only_when_it_crosses_its_limit():
    """It is not stopped for what it will do, and what it would have cost is not known."""
    guard = _guard("training_time_s<=1", steps=math.inf)
    assert _train(guard, EQUAL_S) == 129
    assert guard.tags[STOP_REASON] == "training_time_s 1.008 > 1 (step 129)"
    assert (guard.tags[STOP_HOW], guard.prediction) == ("crossed", None)
    assert guard.projected({"training_time_s": 1.0}) == {"training_time_s": 129 * STEP_S}


@cases(
    "later",
    {
        "reading": lambda guard: guard.crossed({"model_size_kb": 99.0}, 5),
        "report": lambda guard: guard.reported({"model_size_kb": 99.0}, 5, {}),
        "prediction": Guard.skip_if_predicted,
    },
)
def test_first_reason_stays_the_reason(later):
    """What breaks while the trial comes to its end explains nothing, though by itself it would have been a reason."""
    text = "peak_memory_mb<=300, model_size_kb<=1, training_time_s<=1"
    guard, other = (_guard(text, predictions=FORESEEN) for _ in range(2))
    guard.crossed({"peak_memory_mb": 400.0}, 4)
    later(guard)
    later(other)
    assert guard.stop.metric == "peak_memory_mb"
    assert other.stop.metric != "peak_memory_mb"


NOISE = 0.1  # so that three standard deviations of a figure at a limit of 5 are 1.5


@cases(
    "text, value, error, noise, seen, crossed",
    {
        # A broken limit stops at once only where that is final.
        "curve lower": ("val_loss>=5", 4.0, None, 0, False, False),
        "what may still grow": ("peak_memory_mb>=5", 4.0, None, 0, False, False),
        "fact": ("model_size_kb<=5", 6.0, None, 0, True, True),
        # A mean has to be Z standard errors beyond its limit; other kinds have no errors.
        "mean above by more than Z errors": ("mean_step_time_ms<=5", 5 + Z + 0.1, 1.0, 0, True, False),
        "mean above by less": ("mean_step_time_ms<=5", 5 + Z - 0.1, 1.0, 0, False, False),
        "mean with no error at all": ("mean_step_time_ms<=5", 5.1, 0.0, 0, True, False),
        "mean with an unknown error": ("mean_step_time_ms<=5", 99.0, math.nan, 0, False, False),
        # Noise has to be exceeded by Z standard deviations; with an error of a mean it adds up in squares: 2.5 of both.
        "growing within the noise": ("peak_memory_mb<=5", 6.4, None, NOISE, False, False),
        "growing beyond it": ("peak_memory_mb<=5", 6.6, None, NOISE, True, True),
        "mean within both": ("mean_step_time_ms<=5", 7.49, 2 / 3, NOISE, False, False),
        "mean beyond both": ("mean_step_time_ms<=5", 7.51, 2 / 3, NOISE, True, False),
    },
)
def test_limit_is_judged_as_early_as_its_kind_and_chance_allow(text, value, error, noise, seen, crossed):
    """By a report, and by a reading. At the end it always shows, whatever the noise."""
    metric, _, _ = text.partition(text[-3:])
    errors = {} if error is None else {metric: error}
    reported, read = (_guard(text, noise={metric: noise}) for _ in range(2))
    reported.reported({metric: value}, 7, errors)
    read.crossed({metric: value}, 7)
    stop = Stop(text, metric, value, 5.0, 7)
    assert reported.stop == (stop if seen else None)
    assert read.stop == (stop if crossed else None)
    assert not read.feasible({metric: value})


@cases("steps, spread, ends", {"few": (40, 0.0, False), "enough": (50, 0.0, True), "unequal": (50, 2.0, False)})
def test_mean_step_time_needs_evidence(steps, spread, ends):
    """A mean above its limit ends the trial once enough steps have shown that this is not chance, or a slow start."""
    guard = _guard("mean_step_time_ms<=10")
    for step in range(WARM_UP):
        guard.stepped(step + 1, 0.5, step)
    for step in range(WARM_UP, WARM_UP + steps):
        slow = (step - WARM_UP) // 10 % 2
        guard.stepped(step + 1, (11 + (spread if slow else -spread)) / 1e3, step)
    guard.reported({"mean_step_time_ms": 11.0}, steps, {})
    assert guard.ended() is ends


def test_tags_of_a_trial_that_ends_say_all_about_it():
    """The reason in one line, and its parts to filter by."""
    guard = _guard("training_time_s<=10")
    _train(guard, [0.1] * WARM_UP + [0.027, 0.029] * STEPS)
    assert guard.tags == {
        "sysmetrics.stopped_by": "limits",
        "sysmetrics.stop_reason": "training_time_s 14.14 > 10 (predicted, step 52)",
        "sysmetrics.stop_metric": "training_time_s",
        "sysmetrics.stop_how": "predicted",
        "sysmetrics.stop_prediction": str(guard.prediction),
    }


def _crosses(guard):
    guard.crossed({"peak_memory_mb": 400.0, "cpu_seconds": 2.0}, 1)


def _idles(guard):
    guard.reported({"mean_cpu_percent": 30.0}, 1, {"mean_cpu_percent": 1.0})


@cases(
    "text, happens, figures, expected",
    {
        "what it was skipped for": ("model_memory_mb<=300", Guard.skip_if_predicted, {}, {"model_memory_mb": 500.0}),
        "a total that nothing extrapolates ended it": (
            "cpu_seconds<=1",
            _crosses,
            {"cpu_seconds": 2.0, "peak_memory_mb": 7.0},
            {"cpu_seconds": 2.0, "peak_memory_mb": 7.0},
        ),
        "a total that nothing extrapolates did not": (
            "peak_memory_mb<=3",
            _crosses,
            {"cpu_seconds": 2.0, "peak_memory_mb": 7.0},
            {"peak_memory_mb": 400.0},
        ),
        "a lower limit": ("mean_cpu_percent>=50", _idles, {"mean_cpu_percent": 60.0}, {"mean_cpu_percent": 30.0}),
        "a single step says nothing": (
            "training_time_s<=99, peak_memory_mb<=3",
            _trains([STEP_S]),
            {"training_time_s": 0.03, "val_loss": 7.0},
            {"val_loss": 7.0},
        ),
        "crossed after a few steps": (
            f"training_time_s<={6.5 * STEP_S}",
            _trains(),
            {"val_loss": 0.5},
            {"val_loss": 0.5, "training_time_s": FULL_S, "elapsed_s": 2 * FULL_S},
        ),
        "crossed in the first step": (
            f"training_time_s<={0.5 * STEP_S}",
            _trains(),
            {"training_time_s": 0.5 * STEP_S},
            {"training_time_s": STEP_S},
        ),
    },
)
def test_trial_that_ends_early_is_no_cheap_one(text, happens, figures, expected):
    """Its steps say what all would have cost; what ended it has at least that value; what is unknown is left out."""
    guard = _guard(text, predictions={"model_memory_mb": Prediction(500.0, 450.0, 550.0)})
    happens(guard)
    assert guard.projected(figures) == pytest.approx(expected)


@cases(
    "text, fits_s, step",
    {
        "one fold says nothing": ("training_time_s<=1", [9.0], None),
        "two folds of twice the limit": ("training_time_s<=1", [2.0, 2.0], 2),
        "within what folds differ by": ("training_time_s<=1", [1.1, 1.1, 1.1, 1.1], None),
        "two folds that differ much": ("training_time_s<=1", [1.0, 9.0], None),
        "crossed by the second of ten folds": ("training_time_s<=1", [6.0, 6.0], 2),
        "a step is the fit of a fold": ("mean_step_time_ms<=1000", [3.0, 3.0], 2),
        "whose mean is below": ("mean_step_time_ms<=1000", [0.9, 0.9], None),
    },
)
def test_fits_are_judged_between_folds(text, fits_s, step):
    """Of ten: a fold's part of the training time of one model is a tenth of its fit. Two folds forecast the rest."""
    guard, stopped, elapsed_s = _guard(text, steps=10, by_fold=True), None, 0.0
    for number, fit_s in enumerate(fits_s, start=1):
        elapsed_s += fit_s
        guard.stepped(number, fit_s / 10, elapsed_s)
        guard.reported({"mean_step_time_ms": 1e3 * elapsed_s / number}, number, {})
        if guard.ended() and stopped is None:
            stopped = number
    assert stopped == step
