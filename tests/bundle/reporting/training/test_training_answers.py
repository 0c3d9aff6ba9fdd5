"""What costs do while models train, in words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from entrypoints.reporting.training.answers import not_judged, sentences, shape, unclear
from entrypoints.reporting.training.drift import TOO_FEW

CPU = {"metric": "cpu_percent", "level": 96.04, "change": 0.5, "change_percent": 0.52, "low": -0.5, "high": 1.5}
MEMORY = {"metric": "memory_mb", "level": 176.9, "change": 0.531, "change_percent": 0.3, "low": 0.41, "high": 0.66}
TIME = {"metric": "step_time_ms", "level": 0.25, "change": -0.1, "change_percent": -40.0, "low": -0.12, "high": -0.09}
JUMPS = {
    "group": "linear",
    "trials": 90,
    "with_jumps": 80,
    "up": 85,
    "up_mb": 0.268,
    "down": 0,
    "down_mb": float("nan"),
}
JUMPS |= {"progress_percent": 40.2, "told": True}
BATCH = {"metric": "step_time_ms", "group": "linear", "batch_size": 512.0, "change": 0.1, "change_percent": 28.2}
BATCH |= {"rest": -0.001, "rest_percent": -0.4, "told": True}


def _row(of: dict[str, Any], verdict: str, group: str = "linear", axis: str = "training step", **other: Any) -> Any:
    return of | {"verdict": verdict, "group": group, "axis": axis} | other


@pytest.mark.parametrize(
    ("drift", "expected"),
    [
        pytest.param(
            [_row(CPU, "steady"), _row(MEMORY, "rises")],
            [
                "`memory_mb` rises by 0.53 MB (0.3 %; 95 % interval 0.41 to 0.66).",
                "`cpu_percent` stays at 96 % of a core, within 5 %.",
            ],
            id="one rises, one stays",
        ),
        pytest.param(
            [_row(TIME, "falls")],
            ["`step_time_ms` falls by 0.1 ms (40 %; 95 % interval 0.09 to 0.12)."],
            id="one falls",
        ),
        pytest.param(
            [_row(CPU, "steady"), _row(MEMORY, "steady"), _row(TIME, "unclear")],
            ["`cpu_percent` stays at 96 % of a core and `memory_mb` at 177 MB, within 5 %."],
            id="two stay, one is unclear",
        ),
        pytest.param(
            [_row(CPU, "steady"), _row(CPU, "steady", "svm", level=97.2), _row(TIME, "falls", "svm")],
            [
                "`step_time_ms` (svm) falls by 0.1 ms (40 %; 95 % interval 0.09 to 0.12).",
                "`cpu_percent` stays at 96 to 97.2 % of a core, within 5 %.",
            ],
            id="two algorithms",
        ),
        pytest.param(
            [_row(CPU, "steady"), _row(CPU, "unclear", "svm")],
            ["`cpu_percent` (linear) stays at 96 % of a core, within 5 %."],
            id="one of two algorithms",
        ),
        pytest.param([_row(CPU, "unclear"), _row(MEMORY, "too few trials")], [], id="nothing is clear"),
        pytest.param([_row(TIME, "falls", metric="val_loss")], [], id="a loss"),
        pytest.param([], [], id="no curves"),
    ],
)
def test_sentences_say_what_changes_and_what_stays(drift: list[Any], expected: list[str]) -> None:
    """In units, with the interval; an algorithm is named where there are several."""
    assert sentences(drift, [], []) == expected


def test_series_of_the_thread_counts_where_reports_are_too_few() -> None:
    """By seconds; else it would say the same twice."""
    series = _row(MEMORY, "rises", axis="seconds", metric="system/process_memory_mb")
    assert sentences([series, _row(MEMORY, "steady")], [], []) == ["`memory_mb` stays at 177 MB, within 5 %."]
    (said,) = sentences([_row(MEMORY, "too few trials"), series], [], [])
    assert said.startswith("`system/process_memory_mb` rises by 0.53 MB")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {},
            "`memory_mb` jumps to another level in 80 of 90 trials: 85 up by 0.27 MB, after 40 % of the training "
            "(medians).",
            id="up",
        ),
        pytest.param(
            {"down": 3, "down_mb": 1.0},
            "`memory_mb` jumps to another level in 80 of 90 trials: 85 up by 0.27 MB and 3 down by 1 MB, after 40 % of "
            "the training (medians).",
            id="up and down",
        ),
        pytest.param({"told": False}, None, id="too few to tell"),
    ],
)
def test_jumps_of_memory_are_a_sentence(changes: dict[str, Any], expected: str | None) -> None:
    """How many trials have some, how large, and where."""
    assert sentences([], [], [JUMPS | changes]) == ([expected] if expected else [])


def test_batch_size_that_differs_is_a_sentence() -> None:
    """Beside what the others do; one that does not is not named."""
    said = "`step_time_ms` changes by +0.1 ms (+28 %) at batch size 512, by -0.001 (-0.4 %) at the others."
    assert sentences([], [BATCH, BATCH | {"batch_size": 8.0, "told": False}], []) == [said]


def test_unclear_costs_are_named() -> None:
    """Neither losses nor what could not be tested."""
    rows = [_row(CPU, "unclear"), _row(MEMORY, "too few trials"), _row(TIME, "unclear", metric="val_loss")]
    assert unclear(rows) == ["`cpu_percent`"]


@pytest.mark.parametrize(
    ("drift", "which"),
    [
        pytest.param([_row(CPU, TOO_FEW), _row(TIME, TOO_FEW)], "any curve", id="all"),
        pytest.param([_row(CPU, TOO_FEW), _row(CPU, "steady", "svm")], "`cpu_percent` (linear)", id="of one algorithm"),
        pytest.param(
            [_row(CPU, TOO_FEW), _row(CPU, TOO_FEW, "svm"), _row(TIME, "steady")],
            "`cpu_percent`",
            id="of one metric",
        ),
    ],
)
def test_curves_of_too_few_long_trials_are_named_as_short_as_can_be(drift: list[Any], which: str) -> None:
    """The algorithms only where they differ in it."""
    assert not_judged(drift) == f"Too few trials are long enough to judge {which}: four points make a trend."


def test_nothing_is_left_unjudged_where_all_is_judged() -> None:
    """Then there is no sentence."""
    assert not_judged([_row(CPU, "steady")]) == ""


@pytest.mark.parametrize(
    ("row", "says"),
    [
        pytest.param(_row(MEMORY, "rises"), "rises by 0.53 MB (0.3 %)", id="rises"),
        pytest.param(_row(TIME, "falls"), "falls by 0.1 ms (40 %)", id="falls"),
        pytest.param(_row(TIME, "falls", level=math.nan, change=math.nan), "falls by 40 %", id="in percent"),
        pytest.param(_row(CPU, "steady"), "steady at 96 % of a core", id="steady"),
        pytest.param(_row(CPU, "steady", level=math.nan), "steady", id="at a level that is not told"),
        pytest.param(_row(TIME, "unclear", low_percent=-52.2, high_percent=3.4), "unclear (-52 to +3 %)", id="unclear"),
        pytest.param(_row(TIME, TOO_FEW, level=math.nan), TOO_FEW, id="too few trials"),
    ],
)
def test_shape_of_a_curve_is_said_in_short(row: Any, says: str) -> None:
    """The verdict, and how far or at which level."""
    assert shape(row) == says
