"""Predictions of costs against what trials cost: from what is known before each began, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reference import configured

from entrypoints.limits.cost_model import INTERVAL, MIN_TRIALS
from entrypoints.limits.ledger import PREDICTED, Ledger
from entrypoints.reporting.savings.calibration import HIGH, LOW, NARROW, RIGHT, TOO_FEW, calibration, predictions
from entrypoints.reporting.savings.replay import Course

ROWS, STEPS = 1000, 500
SIZES = (8, 16, 32, 64, 128, 256)


def _studied(count: int, cost: Callable[[int], float] = lambda _: 1.0, metric: str = "training_time_s") -> list[Course]:
    """Trials one after the other, a second each, of equal noise; ``cost`` multiplies that of each place."""
    random = np.random.default_rng(0)
    courses = []
    for place in range(count):
        size = SIZES[place % len(SIZES)]
        value = 0.01 * size * cost(place) * random.lognormal(0, 0.05)
        configuration = configured(batch_size=size, learning_rate=0.001 * (1 + place), max_steps=STEPS)
        times = {"run_id": f"r{place}", "began_ms": 1000 * place, "ended_ms": 1000 * (place + 1)}
        courses.append(Course(configuration, {metric: value}, {STEPS: {}}, diverged=False, **times))
    return courses


def test_each_trial_is_predicted_as_the_ledger_would_have_before_it() -> None:
    """By one that is told of the trials until then alone; the first eight have no prediction."""
    courses, ledger, expected = _studied(30), Ledger(ROWS, PREDICTED), []
    for course in courses:
        prediction = ledger.brief(course.configuration).predictions.get("training_time_s")
        if prediction:
            expected.append((course.run_id, prediction.value, prediction.low, prediction.high))
        ledger.record(course.configuration, course.figures, course.figures, "finished")
    found = predictions(courses, ROWS)
    assert [(row["run_id"], row["predicted"], row["low"], row["high"]) for row in found] == expected
    assert [row["run_id"] for row in found] == [f"r{place}" for place in range(MIN_TRIALS, 30)]
    for row, course in zip(found, courses[MIN_TRIALS:], strict=True):
        assert row["measured"] == course.figures["training_time_s"]
        assert row["ratio"] == row["predicted"] / row["measured"]
        assert row["inside"] == (row["low"] <= row["measured"] <= row["high"])


def test_trials_that_ran_beside_another_one_do_not_predict_it() -> None:
    """They had not ended when it began: of sixteen at once each knows the sixteen before."""
    courses = [
        replace(course, began_ms=1000 * (place // 16), ended_ms=1000 * (place // 16) + 999)
        for place, course in enumerate(_studied(32))
    ]
    assert [row["run_id"] for row in predictions(courses, ROWS)] == [f"r{place}" for place in range(16, 32)]
    late = [replace(course, ended_ms=99_999) for course in courses]
    assert predictions(late, ROWS) == []


def test_diverged_trials_teach_but_are_not_judged() -> None:
    """Their figures may be those of a part of their steps."""
    courses = [replace(course, diverged=place in (3, 12)) for place, course in enumerate(_studied(14))]
    assert [row["run_id"] for row in predictions(courses, ROWS)] == ["r8", "r9", "r10", "r11", "r13"]


def test_of_many_trials_some_are_predicted_and_all_are_learned_from() -> None:
    """Evenly spaced."""
    all_of_them = {row["run_id"]: row for row in predictions(_studied(40), ROWS)}
    some = predictions(_studied(40), ROWS, most=4)
    assert [row["run_id"] for row in some] == ["r13", "r26", "r39"]
    assert all(row == all_of_them[row["run_id"]] for row in some)


def test_trial_that_converged_teaches_the_time_of_all_its_steps() -> None:
    """One without a tol then is predicted at its own length; of one with it only what has no length."""
    courses = _studied(20)
    early = [
        replace(
            course,
            configuration=replace(course.configuration, tol=0.01),
            figures={name: value / 5 for name, value in course.figures.items()} | {"mean_step_time_ms": 1.0},
            reports={STEPS // 5: {}},
        )
        for course in courses[:-1]
    ]
    found = predictions([*early, courses[-1]], ROWS)
    (row,) = [row for row in found if row["metric"] == "training_time_s"]
    assert row["run_id"] == "r19"
    assert 0.8 < row["ratio"] < 1.25


@pytest.mark.parametrize(
    ("cost", "verdict"),
    [
        pytest.param(lambda _: 1.0, RIGHT, id="noise alone"),
        pytest.param(lambda place: 10.0 if place > 60 and place % 5 == 0 else 1.0, NARROW, id="every fifth ten times"),
        pytest.param(lambda place: 0.9**place, HIGH, id="always faster"),
        pytest.param(lambda place: 1.1**place, LOW, id="always slower"),
    ],
)
def test_verdict_says_what_is_wrong_with_predictions(cost: Callable[[int], float], verdict: str) -> None:
    """And of mere noise that nothing is."""
    (row,) = calibration(predictions(_studied(100, cost), ROWS))
    assert verdict in row["verdict"].split(", ")
    assert row["interval_percent"] == pytest.approx(100 * INTERVAL) == 98


def _rows(ratios: list[float], inside: int, metric: str = "training_time_s", size: float = 1.0) -> list[dict[str, Any]]:
    return [
        {"metric": metric, "predicted": ratio * size, "low": 0.5 * size, "high": 2 * size, "measured": size}
        | {"inside": place < inside, "ratio": ratio}
        for place, ratio in enumerate(ratios)
    ]


def test_table_has_the_quantiles_and_the_coverage_of_each_metric() -> None:
    """In the order in which they are predicted; how many cost less than the bound by which they are skipped, too."""
    times = _rows([0.8, 0.9, 1.0, 1.1, 1.2] * 4, 19)
    times[0]["low"] = 1.5
    low, high = _rows([1.0] * 20, 20, "peak_memory_mb"), _rows([1.0] * 20, 20, "mean_step_time_ms")
    step, time, memory = calibration([*low, *times, *high])
    assert [row["metric"] for row in (step, time, memory)] == ["mean_step_time_ms", "training_time_s", "peak_memory_mb"]
    assert (time["median_ratio"], time["low_ratio"], time["high_ratio"]) == pytest.approx((1.0, 0.8, 1.2))
    assert (time["trials"], time["ratios"]) == (20, 20)
    assert (time["coverage_percent"], time["below_percent"]) == pytest.approx((95.0, 5.0))


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        pytest.param(_rows([1.5] * 7, 0), TOO_FEW, id="seven trials"),
        pytest.param(_rows([1.5] * 40, 40), HIGH, id="half too much"),
        pytest.param(_rows([0.7] * 40, 40), LOW, id="a third too little"),
        pytest.param(_rows([1.04] * 40, 40), RIGHT, id="less than 5 %"),
        pytest.param(_rows([1.5] * 40, 40, "memory_growth_mb", 0.15), RIGHT, id="less than 0.1 MB"),
        pytest.param(_rows([1.5] * 40, 40, "memory_growth_mb", 150), HIGH, id="much memory"),
        pytest.param(_rows([1.0] * 200, 187), RIGHT, id="less than 5 points"),
        pytest.param(_rows([1.0] * 200, 180), NARROW, id="90 % inside"),
        pytest.param(_rows([1.0] * 20, 18), RIGHT, id="90 % of too few to tell"),
        pytest.param(_rows([1.5] * 40, 20), f"{NARROW}, {HIGH}", id="both"),
    ],
)
def test_what_is_said_is_significant_and_large(rows: list[dict[str, Any]], verdict: str) -> None:
    """Else predictions are not found to be off."""
    assert calibration(rows)[0]["verdict"] == verdict


def test_memory_that_comes_by_chance_has_no_ratio() -> None:
    """A model of nothing but pages: the interval holds it, and so it is not off."""
    courses = _studied(40, lambda place: 0.001 * (place % 3), "model_memory_mb")
    found = predictions(courses, ROWS)
    assert {row["metric"] for row in found} == {"model_memory_mb"}
    assert all(row["ratio"] != row["ratio"] for row in found)
    (row,) = calibration(found)
    assert (row["ratios"], row["coverage_percent"], row["verdict"]) == (0, 100.0, RIGHT)
    assert row["median_ratio"] != row["median_ratio"]


def test_nothing_predicted_is_no_table() -> None:
    """Of a study of few trials."""
    assert predictions(_studied(5), ROWS) == []
    assert predictions([], ROWS) == []
    assert calibration([]) == []
