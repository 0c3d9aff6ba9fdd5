"""How a saving divides over the criteria, by hand."""

from __future__ import annotations

import math

import pytest
from example_courses import STEPS, costing

from entrypoints.reporting.savings.replay import Verdict
from entrypoints.reporting.savings.tables import NOTHING, OTHER, Saved, by_criterion
from mlflow_sysmetrics.limits import Stop

COURSES = [costing(step_ms) for step_ms in (1.0, 2.0, 3.0, 4.0, 10.0)]  # 0.5, 1, 1.5, 2 and 5 s of CPU: 10
TIME = Stop("training_time_s<=1.5x median", "training_time_s", 2.0, 1.5)
MEMORY = Stop("peak_memory_mb<=100", "peak_memory_mb", 101.0, 100.0)


def test_each_criterion_has_what_it_saved() -> None:
    """Trials, those of them that never began, CPU and steps; the rest is a scheduler's, or no one's."""
    stops = [None, 100, 250, 0, 50]
    rows = by_criterion(COURSES, stops, [None, MEMORY, None, TIME, TIME], [0.6, 0.2, 0.75, 0.0, 0.5])
    assert [(row["criterion"], row["metric"], row["trials"], row["skipped"]) for row in rows] == [
        ("training_time_s<=1.5x median", "training_time_s", 2, 1),
        ("peak_memory_mb<=100", "peak_memory_mb", 1, 0),
        (OTHER, "", 1, 0),
        (NOTHING, "", 1, 0),
    ]
    assert [row["saved_cpu_percent"] for row in rows] == pytest.approx([65.0, 8.0, 7.5, -1.0])
    assert [row["saved_steps"] for row in rows] == [STEPS + 450, 400, 250, 0]
    assert [row["saved_steps_percent"] for row in rows] == pytest.approx([38.0, 16.0, 10.0, 0.0])


def test_parts_add_up_to_the_whole_saving() -> None:
    """Of CPU, what trials that nothing ended took more or less is a part of it."""
    spent = [0.4, 1.1, 1.5, 0.3, 2.0]
    rows = by_criterion(COURSES, [None, None, None, 60, 200], [None, None, None, TIME, MEMORY], spent)
    assert sum(row["saved_cpu_percent"] for row in rows) == pytest.approx(100 * (1 - sum(spent) / 10))
    assert sum(row["trials"] for row in rows) == len(COURSES)


def test_trial_whose_cost_is_unknown_has_saved_an_unknown_amount() -> None:
    """Its criterion is the last of those that ended trials."""
    rows = by_criterion(
        COURSES, [None, 100, 250, 0, 50], [None, MEMORY, None, TIME, TIME], [0.6, 0.2, math.nan, 0.0, 0.5]
    )
    assert [row["criterion"] for row in rows] == [TIME.criterion, MEMORY.criterion, OTHER, NOTHING]
    assert [row["saved_cpu_percent"] for row in rows] == pytest.approx([65.0, 8.0, math.nan, -1.0], nan_ok=True)


def test_trials_that_nothing_ended_are_no_row_where_they_saved_nothing() -> None:
    """A replay spends what the full study spent on them."""
    spent = [course.cost(None).cpu_s for course in COURSES]
    assert by_criterion(COURSES, [None] * 5, [None] * 5, spent) == []


def test_feasible_trials_that_were_stopped_are_counted_near_a_limit_or_not() -> None:
    """Four near it and one that is clearly within are five."""
    saved = Saved()
    verdict = Verdict(
        0.5,
        0.5,
        0.5,
        false_stops=1,
        borderline_stops=4,
        feasible=10,
        infeasible=2,
        val_regret=0.0,
        test_regret=0.0,
        saved_steps=0.5,
    )
    saved.add("s", "limits", "real", (12, 12), verdict)
    assert (saved.rules[0]["feasible_stopped"], saved.rules[0]["borderline_stopped"]) == (5, 4)
