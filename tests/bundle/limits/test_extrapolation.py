"""A trial's total cost, told from its first steps."""

import math

import numpy as np
import pytest
from cases import cases

from entrypoints.limits.extrapolation import BLOCK_STEPS, MIN_BLOCKS, WARM_UP, Extrapolation

FIRST_LOOK = WARM_UP + BLOCK_STEPS * MIN_BLOCKS
STEPS = 500


def _after(amounts):
    extrapolation = Extrapolation()
    for amount in amounts:
        extrapolation.add(amount)
    return extrapolation


def _predicted(extrapolation, steps=STEPS):
    return extrapolation.at(steps)


@cases("spread", {"5-percent": 0.05, "50-percent": 0.5})
@cases("seen", [FIRST_LOOK, 200, 400])
def test_low_bound_is_below_the_true_total_of_nearly_every_trial(spread, seen):
    """Of times with a long tail to the right: one of a thousand bounds is meant to be wrong."""
    shape = np.sqrt(np.log1p(spread**2))
    trials = np.random.default_rng(0).lognormal(0.0, shape, (500, STEPS))
    wrong = [_predicted(_after(trial[:seen])).low > trial.sum() for trial in trials]
    assert sum(wrong) <= 0.005 * len(trials)


def test_low_bound_holds_where_a_machine_changes_slowly():
    """Times that resemble the last 50: one bound in fifty may be wrong half way, where short blocks say one in five."""
    random, wrong, resembles = np.random.default_rng(0), 0, math.exp(-1 / 50)
    for _ in range(200):
        drift, times = 0.0, []
        for chance in random.normal(0.0, 0.02 * math.sqrt(1 - resembles**2), 1500):
            drift = resembles * drift + chance
            times.append(1 + drift)
        wrong += _predicted(_after(times[:750]), 1500).low > sum(times)
    assert wrong <= 0.03 * 200


def test_interval_is_not_wider_than_it_has_to_be():
    """Steps that differ by 5 % give the total to within a tenth, on either side of it."""
    amounts = np.random.default_rng(1).normal(2.0, 0.1, FIRST_LOOK)
    prediction = _predicted(_after(amounts))
    assert 0.9 * 2.0 * STEPS < prediction.low < 2.0 * STEPS < prediction.high < 1.1 * 2.0 * STEPS
    assert prediction.high - prediction.value == pytest.approx(prediction.value - prediction.low)
