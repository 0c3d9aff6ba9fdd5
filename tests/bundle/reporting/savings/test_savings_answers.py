"""RQ3 in words: what limits saved and lost, by which criterion, and how right predictions are."""

from __future__ import annotations

import math
from typing import Any

import pytest

from entrypoints.reporting.savings.answers import (
    calibrated,
    calibration_table,
    criteria_table,
    rules_table,
    saved,
)
from entrypoints.reporting.savings.calibration import RIGHT, TOO_FEW
from entrypoints.reporting.savings.tables import NOTHING, OTHER

RULE = "training_time_s<=1, predict=on"


def _rule(kind: str = "real", **changes: Any) -> dict[str, Any]:
    row = {
        "study": "s",
        "rule": RULE,
        "kind": kind,
        "trials": 100,
        "of_trials": 100,
        "feasible": 60,
        "saved_cpu_percent": 70.4,
        "not_replayed": "",
    }
    row |= {"saved_wall_percent": 66.0, "saved_steps_percent": 74.0, "val_regret": 0.0, "test_regret": 0.0}
    row |= {"feasible_stopped": 0, "borderline_stopped": 0, "infeasible_cost_percent": 16.0}
    return row | changes


def _part(criterion: str, saved_percent: float, trials: int = 30, skipped: int = 20, **changes: Any) -> dict[str, Any]:
    metric = "" if criterion in (NOTHING, OTHER) else "training_time_s"
    row = {"study": "s", "rule": RULE, "kind": "real", "criterion": criterion, "metric": metric, "trials": trials}
    return row | {"skipped": skipped, "saved_cpu_percent": saved_percent, "saved_steps_percent": 70.0} | changes


PARTS = [
    _part("training_time_s<=1", 68.0),
    _part(OTHER, 4.4, 1, 0),
    _part(NOTHING, -2.0, 69, 0),
    _part("training_time_s<=1", 50.0, kind="replayed"),
]


def test_saving_is_told_in_cpu_wall_and_steps_by_criterion() -> None:
    """Of the study as it ran, not of its replay nor of a control; a criterion that ended nothing is left out."""
    rows = [_rule(), _rule("replayed", saved_cpu_percent=50.0), _rule("control", rule="ASHA")]
    assert saved(rows, PARTS) == [
        f"`{RULE}` saved **70 %** of the CPU time, 66 % of the wall time and 74 % of the training steps; of the CPU "
        "time `training_time_s<=1` 68 % with 30 trials (20 before the first step), scheduler, time limit or person 4 % "
        "with 1 trial (0 before the first step).",
        "Of 60 trials that meet the limits 0 were stopped: no regret.",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"feasible_stopped": 2}, "2 were stopped: no regret.", id="false stops"),
        pytest.param(
            {"feasible_stopped": 4, "borderline_stopped": 3},
            "4 were stopped (3 within 5 % of a limit): no regret.",
            id="borderline",
        ),
        pytest.param(
            {"val_regret": 0.01234, "test_regret": -0.002},
            "0 were stopped: a regret of 0.01234 in validation and -0.002 in test score.",
            id="regret",
        ),
        pytest.param(
            {"val_regret": math.nan, "test_regret": math.nan}, "0 were stopped: no model left.", id="none is left"
        ),
        pytest.param({"val_regret": -0.0, "test_regret": -0.0}, "0 were stopped: no regret.", id="higher is better"),
        pytest.param({"val_regret": 1e-17, "test_regret": 0.0}, "0 were stopped: no regret.", id="rounded"),
    ],
)
def test_loss_is_told_beside_the_saving(changes: dict[str, Any], expected: str) -> None:
    """In the second sentence."""
    assert saved([_rule(**changes)], PARTS)[1] == f"Of 60 trials that meet the limits {expected}"


def test_limits_that_no_trial_meets_lose_no_model() -> None:
    """Nor is it called no regret."""
    assert saved([_rule(feasible=0, val_regret=math.nan)], PARTS)[1] == "No trial of the full study meets the limits."


def test_saving_of_trials_whose_cost_is_unknown_is_unknown() -> None:
    """Steps are known, and the other criteria; no share is made of nothing."""
    rows, parts = [_rule(saved_cpu_percent=math.nan, saved_wall_percent=math.nan)], [*PARTS[:1], _part(OTHER, math.nan)]
    assert saved(rows, parts)[0] == (
        f"`{RULE}` saved 74 % of the training steps; the CPU time saved is unknown, since a trial that "
        "ended early has none recorded."
    )
    assert "| real | unknown | unknown | 74 % |" in rules_table(rows)
    assert "| 30 | 20 | unknown | 70 % |" in criteria_table(parts)


def test_difference_between_two_studies_is_no_saving_where_nothing_was_stopped() -> None:
    """Nor is a small one named, which may be noise."""
    parts = [_part(NOTHING, 12.0, 100, 0)]
    assert saved([_rule(saved_cpu_percent=12.0)], parts) == [f"`{RULE}` stopped no trial, so nothing was saved."]
    first, _ = saved([_rule(saved_cpu_percent=4.9)], PARTS)
    assert first == f"`{RULE}` saved less than 5 % of the CPU time."


def test_replay_is_told_where_no_study_ran_under_limits() -> None:
    """And said to be one."""
    first, second = saved([_rule("replayed"), _rule("control", rule="ASHA")], PARTS)
    assert first.startswith(f"`{RULE}`, replayed, saved **70 %**")
    assert "`training_time_s<=1` 50 %" in first
    assert second
    assert saved([], []) == []


def test_replay_names_limits_of_which_it_does_not_know_when_a_trial_breaks_them() -> None:
    """It does not say that they save nothing."""
    row = _rule("replayed", not_replayed="mean_cpu_percent, cpu_seconds")
    missing = (
        "A replay does not know when a trial breaks a limit on `mean_cpu_percent` and `cpu_seconds`, which no curve "
        "holds: stops on the way are missing from it."
    )
    assert saved([row], []) == [f"`{RULE}`, replayed, stopped no trial.", missing]
    *usual, last = saved([row], PARTS)
    assert (usual, last) == (saved([_rule("replayed")], PARTS), missing)
    assert (
        f"| `{RULE}` | replayed, without stops on the way by `mean_cpu_percent` and `cpu_seconds` | 70 % |"
        in rules_table([row])
    )


@pytest.mark.parametrize(("kind", "how"), [("real", "compared"), ("replayed", "replayed")])
def test_saving_over_a_part_of_the_trials_is_said_to_be(kind: str, how: str) -> None:
    """Of a large study some are read."""
    first, _ = saved([_rule(kind, trials=400, of_trials=5000)], PARTS)
    assert first.startswith(f"`{RULE}`, {how} over 400 of 5000 trials, saved **70 %**")


def test_tables_have_a_line_for_each_row() -> None:
    """Steps among what was saved; what ran to its end has no criterion; no number is minus nothing."""
    rules = rules_table(
        [_rule(feasible_stopped=2, borderline_stopped=1), _rule("control", rule="ASHA", saved_cpu_percent=-0.3)]
    )
    assert f"| `{RULE}` | real | 70 % | 66 % | 74 % | no regret | no regret | 60 | 2 (1) | 16 % |" in rules
    assert "| ASHA | control | 0 % |" in rules
    criteria = criteria_table(PARTS)
    assert f"| `{RULE}` | real | `training_time_s<=1` | 30 | 20 | 68 % | 70 % |" in criteria
    assert f"| `{RULE}` | real | {NOTHING} | 69 | 0 | -2 % | 70 % |" in criteria
    assert len(criteria.splitlines()) == 2 + len(PARTS)


def _calibrated(metric: str, **changes: Any) -> dict[str, Any]:
    row = {"metric": metric, "trials": 75, "ratios": 75, "median_ratio": 1.041, "low_ratio": 0.736, "high_ratio": 1.478}
    row |= {"coverage_percent": 96.0, "interval_percent": 98.0, "below_percent": 4.0, "verdict": RIGHT}
    return row | changes


MEMORY = _calibrated("model_memory_mb", median_ratio=math.nan, low_ratio=math.nan, coverage_percent=100.0)


def test_calibration_is_told_in_ratios_and_coverage() -> None:
    """What has no ratio counts with its coverage; of too few trials nothing is told."""
    few = _calibrated("elapsed_s", verdict=TOO_FEW, coverage_percent=10.0)
    assert calibrated([_calibrated("training_time_s"), MEMORY, few]) == (
        "Predicted before the first step / measured, median (5 to 95 %): `training_time_s` 1.04 (0.74 to 1.48); 96 to "
        "100 % of trials lie within the 98 % interval by which they would be skipped."
    )
    assert calibrated([few]) == calibrated([]) == ""


def test_predictions_that_are_off_are_named() -> None:
    """With what is wrong."""
    off = _calibrated("elapsed_s", verdict="interval too narrow", coverage_percent=80.0)
    assert calibrated([_calibrated("training_time_s"), off]).endswith("; **off**: `elapsed_s`: interval too narrow.")


def test_calibration_table_says_nothing_where_nothing_is_known() -> None:
    """A ratio that no trial has is a dash."""
    table = calibration_table([_calibrated("training_time_s"), MEMORY])
    assert "| `training_time_s` | 75 | 1.04 | 0.74 | 1.48 | 96 % | 4 % | not found to be off |" in table
    assert "| `model_memory_mb` | 75 | - | - | 1.48 | 100 % | 4 % | not found to be off |" in table
