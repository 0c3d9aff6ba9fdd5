"""What the chosen model is expected to reach, by what would have been chosen without each fold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up_frames import study

from entrypoints.frame import Frame
from entrypoints.models.jackknife import IN_TIME, Estimate
from entrypoints.reporting.questions import effects
from entrypoints.reporting.questions.expected_score import expected, left_out, together

LUCKY, STEADY = [0.0, 1.0, 1.0], [0.9, 0.9, 0.9]
TEST = Estimate(0.8, 0.02, 19)


def _study(folds: dict[str, Any], costs: dict[str, float], *, metric: str = "val_rmse", **more: Any) -> Frame:
    """Of trials with these scores on the folds, and these training times."""
    return study(
        {"kind": list(folds)},
        {"training_time_s": lambda row: costs[row["kind"]]},
        lambda row: np.array(folds[row["kind"]]),
        metric=metric,
        folds=len(next(iter(folds.values()))),
        noise=0.0,
        fold_sd=0.0,
        model_sd=0.0,
        **more,
    )


def test_best_of_many_is_scored_on_folds_that_had_no_part_in_its_choice() -> None:
    """Without the fold that it owes its place to, another one is chosen."""
    frame = _study({"lucky": LUCKY, "steady": STEADY}, {"lucky": 1.0, "steady": 1.0})
    noise = effects.noise(frame)
    found = expected(frame, noise, frame.complete.iloc[0], TEST, 0.7)
    others = left_out(frame, noise)
    assert others is not None
    assert others.tolist() == [0.9, 1.0, 1.0]
    assert found is not None
    assert (found.left_out, found.luck) == pytest.approx((2.9 / 3, 2.9 / 3 - 2 / 3))
    assert found.score == together(others, TEST, 0.7)


def test_luck_of_a_score_whose_higher_values_are_better_is_above_zero_too() -> None:
    """It is by how much the choice looks better than it is."""
    folds = {"lucky": [1.0, 0.0, 0.0], "steady": [0.1, 0.1, 0.1]}
    frame = _study(folds, {"lucky": 1.0, "steady": 1.0}, metric="val_accuracy")
    found = expected(frame, effects.noise(frame), frame.complete.iloc[0], TEST, 0.7)
    assert found is not None
    assert found.luck == pytest.approx(1 / 3 - 0.1 / 3)


FIRST = np.linspace(0.6, 0.8, 10)
SECOND = FIRST + np.tile([0.003, 0.005], 5)  # within noise, and worse on each fold


@pytest.mark.parametrize(
    ("of_study", "is_second"),
    [
        pytest.param({}, False, id="best"),
        pytest.param({"choose": "cheapest"}, True, id="cheapest"),
        pytest.param({"limits": "training_time_s<=15"}, True, id="limits"),
    ],
)
def test_choice_without_a_fold_is_the_studys_own(of_study: Any, is_second: bool) -> None:
    """The best, the cheapest of those that are as good, or the best within the limits."""
    frame = _study({"first": FIRST, "second": SECOND}, {"first": 20.0, "second": 10.0}, of_study=of_study)
    frame.trials["feasible"] = frame.trials["training_time_s"] <= 15
    found = left_out(frame, effects.noise(frame))
    assert found is not None
    assert found == pytest.approx(SECOND if is_second else FIRST)


def test_costs_differ_by_chance_without_a_fold_as_they_do_with_all() -> None:
    """Where equal costs differ that much, none is cheaper, and the best is taken."""
    frame = _study({"first": FIRST, "second": SECOND}, {"first": 20.0, "second": 10.0}, of_study={"choose": "cheapest"})
    noise = effects.noise(frame)
    loud = {"metric": "training_time_s", "noise": 1.0, "degrees_of_freedom": 10.0, "least_significant_difference": 2.8}
    found = left_out(frame, pd.concat([noise[noise["metric"] == "val_rmse"], pd.DataFrame([loud])]))
    assert found == pytest.approx(FIRST)


@pytest.mark.parametrize("spread", [pytest.param(0.01, id="by-their-rows"), pytest.param(0.2, id="by-their-models")])
def test_folds_and_test_part_count_by_the_inverse_of_their_variances(spread: float) -> None:
    """Folds that differ by more than their rows make them say less of the refit, which is one more such model."""
    others = 0.7 + spread * np.tile([-1.0, 1.0], 5)
    of_rows = TEST.error**2 * 3 / 7
    of_folds = (1 + 10 / 9) * of_rows
    if spread == 0.2:
        of_folds += 1.1 * (others.var(ddof=1) - 10 * of_rows)
    found = together(others, TEST, 0.7)
    variance = 1 / (1 / of_folds + 1 / TEST.error**2)
    assert found.value == pytest.approx(variance * (0.7 / of_folds + TEST.value / TEST.error**2))
    assert (found.error, found.degrees) == (pytest.approx(math.sqrt(variance)), 9)


def test_there_is_no_interval_without_that_of_the_test_part() -> None:
    """It is said why; each row counts the same."""
    found = together(np.full(10, 0.7), Estimate(0.8, why_unknown=IN_TIME), 0.7)
    assert (found.value, found.why_unknown) == (pytest.approx(0.73), IN_TIME)
    assert math.isnan(found.low)


def test_nothing_is_expected_of_two_folds() -> None:
    """Without one of them there is no noise to choose by."""
    frame = _study({"one": [0.5, 0.6], "other": [0.6, 0.7]}, {"one": 1.0, "other": 1.0})
    assert left_out(frame, effects.noise(frame)) is None
    assert expected(frame, effects.noise(frame), frame.complete.iloc[0], TEST, 0.7) is None
