"""What a page says of tests over datasets, from tables that are made up."""

from __future__ import annotations

import math
from typing import Any

import pytest

from entrypoints.reporting.comparison.answers import description, in_short, out_of_reach, sentence
from entrypoints.reporting.comparison.compare import Comparison

COST = {
    "metric": "training_time_s",
    "hyperparameter": "batch_size",
    "is_score": False,
    "datasets": 6,
    "levels": 3,
    "best_at": "256",
    "best_rank": 1.0,
    "worst_at": "2",
    "worst_rank": 3.0,
    "kendalls_w": 1.0,
    "critical_difference": 1.353,
    "pairs_apart": 1,
    "smallest_p": 0.0001286,
    "p_bonferroni": 0.0004,
    "low": 0.4,
    "high": 3.1,
    "low_percent": 40.0,
    "middle_percent": 120.0,
    "high_percent": 310.0,
    "told": True,
}
SCORE = COST | {"metric": "score", "hyperparameter": "rate", "is_score": True, "kendalls_w": 0.8, "p_bonferroni": 0.03}
MISSED = COST | {"metric": "elapsed_s", "p_bonferroni": 0.2, "told": False}
SHAPE = {"dataset": "a", "metric": "cpu_percent", "group": "linear", "verdict": "steady", "level": 96.04}
RATIOS = {"dataset": "a", "metric": "training_time_s", "trials": 40, "verdict": "not found to be off"}
RATIOS |= {"median_ratio": 1.013, "low_ratio": 0.9, "high_ratio": 1.1, "coverage_percent": 97.5, "below_percent": 0.0}
SMALL = COST | {"metric": "peak_memory_mb", "told": False}


def _page(tests: list[dict[str, Any]], levels: list[dict[str, Any]] | None = None) -> str:
    comparison = Comparison([])
    comparison.found.add("datasets", [{"dataset": str(each)} for each in range(6)] if levels is None else [])
    comparison.found.add("tests", tests)
    comparison.found.add("levels", levels or [])
    return in_short(comparison) if levels is None else description("0", "r", [], comparison, [])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param(
            {}, "`training_time_s` is 0.4 to 3.1 s (120 % in the median dataset) higher at `batch_size` 2", id="up"
        ),
        pytest.param(
            {"low": math.nan, "high": math.nan},
            "`training_time_s` is 40 to 310 % (120 % in the median dataset) higher at `batch_size` 2 (mean rank",
            id="hosts that differ",
        ),
        pytest.param(
            {"metric": "rows_per_s", "low": -900.0, "high": -20.0, "middle_percent": -30.0},
            "`rows_per_s` is 20 to 900 rows per s (30 % in the median dataset) lower at `batch_size` 2",
            id="down",
        ),
        pytest.param(
            {"is_score": True, "metric": "score"},
            "`score` is best at `batch_size` 256 (mean rank 1.00), worst at 2 (mean rank 3.00): p < 0.001 after",
            id="score",
        ),
    ],
)
def test_finding_is_said_in_its_own_units(changes: dict[str, Any], says: str) -> None:
    """As a range over the datasets; the score by ranks alone; with p, W and the pairs that differ."""
    told = sentence(COST | changes, 8)
    assert told.startswith(says)
    assert told.endswith(
        "p < 0.001 after correction for 8 tests, W 1.00 over 6 datasets; 1 of 3 pairs of levels are more than "
        "Nemenyi's 1.35 ranks apart."
    )


def test_first_two_lines_are_the_answer() -> None:
    """What changes what, and the finding on the score; or that there is none."""
    first, second = _page([COST, MISSED, SCORE, SMALL]).splitlines()
    assert first == "Over 6 datasets, `rate` changes `score`; `batch_size` changes `training_time_s`"
    assert second == sentence(SCORE, 4)
    assert _page([MISSED]).splitlines() == [
        "Over 6 datasets, nothing was found to change score or costs",
        "None of 1 tests is significant after correction and larger than 5 %.",
    ]
    few = MISSED | {"smallest_p": 0.06}
    assert _page([few]).splitlines() == [
        "6 datasets are too few to tell what changes score or costs",
        out_of_reach([few]),
    ]
    assert _page([]).splitlines()[1] == "Nothing could be tested; the reasons are below."


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param([(0.0001, 6)] * 5, "", id="all could"),
        pytest.param(
            [(1 / 36, 3)] * 2, "With 3 datasets nothing could be significant: even if all ranked the", id="none"
        ),
        pytest.param(
            [(1 / 36, 3), (0.0001, 3)], "With 3 datasets nothing could be significant of `batch_size`: ", id="some"
        ),
    ],
)
def test_few_datasets_are_told_what_they_could_not_show(rows: list[tuple[float, int]], says: str) -> None:
    """The smallest p there can be is above what Bonferroni asks for."""
    told = out_of_reach([COST | {"smallest_p": p, "datasets": datasets} for p, datasets in rows])
    assert told.startswith(says)
    assert bool(told) == bool(says)
    assert not told or told.endswith(
        "alike, p would be 0.0278, and one of 2 tests needs 0.025; 4 datasets could show it."
    )


def test_page_with_many_findings_keeps_its_end() -> None:
    """The first of them stand there; how they were found and where the rest is, too."""
    page = _page([COST | {"metric": f"cost_{place}_s"} for place in range(40)], [])
    assert len(page) <= 8000
    assert "\n- `cost_0_s` is 0.4 to 3.1 s" in page
    assert " more found no room.\n" in page
    assert "\n\n### How it was compared\n\n" in page
    assert page.endswith(").")


def test_page_names_what_was_not_found_and_what_was_left_out() -> None:
    """What is significant but small, what could not be found, and levels or whole datasets without complete trials."""
    medians = [("a", "rate", "0.1", 0), ("a", "rate", "0.01", 3), ("b", "size", "2", 0), ("b", "size", "4", 0)]
    names = ("dataset", "hyperparameter", "level", "trials")
    few = MISSED | {"metric": "steps", "smallest_p": 0.06}
    page = _page([MISSED, SMALL, few], [dict(zip(names, row, strict=True)) for row in medians])
    assert "\nTested and not found: `batch_size` on `elapsed_s`, `peak_memory_mb` (significant, but small).\n" in page
    assert "\nLeft out, since too few trials came to their end: `rate` 0.1 on a, `size` on b.\n" in page


def test_costs_during_training_have_a_line_for_each_dataset() -> None:
    """And a column for each cost; an algorithm is named where there are several."""
    comparison = Comparison([])
    memory = SHAPE | {"metric": "memory_mb", "level": 176.9}
    comparison.found.add("shapes", [SHAPE, memory, SHAPE | {"group": "svm", "level": 97.2}, SHAPE | {"dataset": "b"}])
    assert (
        "### What costs do during training\n\n| dataset | `cpu_percent` | `memory_mb` |\n|---|---|---|\n"
        "| a | steady at 96 % of a core (linear); steady at 97.2 % of a core (svm) | steady at 177 MB (linear) |\n"
        "| b | steady at 96 % of a core (linear) | - |\n"
    ) in description("0", "r", [], comparison, [])


def test_predictions_are_told_of_default_limits_and_where_they_are_off() -> None:
    """By dataset; the others are left to the table."""
    comparison = Comparison([])
    off = RATIOS | {"dataset": "b", "metric": "elapsed_s", "median_ratio": 1.2, "verdict": "predicted too high"}
    few = RATIOS | {"metric": "mean_step_time_ms", "trials": 7, "verdict": "too few trials"}
    comparison.found.add("calibration", [RATIOS, RATIOS | {"metric": "elapsed_s"}, few, off])
    rows = [line for line in description("0", "r", [], comparison, []).splitlines() if line.startswith(("| a", "| b"))]
    assert rows == [
        "| a | `training_time_s` | 40 | 1.01 | 0.90 | 1.10 | 98 % | 0 % | not found to be off |",
        "| b | `elapsed_s` | 40 | 1.20 | 0.90 | 1.10 | 98 % | 0 % | predicted too high |",
    ]


def test_what_each_dataset_says_gives_way_to_what_differs() -> None:
    """Of many datasets it finds no room beside the findings."""
    comparison = Comparison([])
    comparison.found.add("tests", [COST | {"metric": f"cost_{place}_s"} for place in range(10)])
    comparison.found.add("calibration", [RATIOS | {"dataset": f"dataset {place}"} for place in range(60)])
    page = description("0", "r", [], comparison, [])
    assert len(page) <= 8000
    assert "\n- `cost_9_s` is 0.4 to 3.1 s" in page
    assert "How right predictions are" not in page
    assert page.endswith(").")
