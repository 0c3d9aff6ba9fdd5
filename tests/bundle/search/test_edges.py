"""Whether the best trial lies at an end of what was tried, and what to try next."""

from __future__ import annotations

from typing import Any

import pytest
from reference import MLP_REGRESSOR, configured

from entrypoints.search.edges import sentences
from entrypoints.search.record import TrialRecord

SCORE = "val_rmse"
ROWS = 1007  # the largest batch


def _trials(name: str, values: list[Any], algorithm: str = "linear", first: float = 1.0) -> list[TrialRecord]:
    """Scores get worse by 1 from one to the next."""
    return [
        TrialRecord(str(value), configured(algorithm, **{name: value}), "FINISHED", {SCORE: first + place})
        for place, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("name", "values", "best", "said"),
    [
        pytest.param(
            *("alpha", [0.01, 0.0001, 0.001], 0.01),
            "The best alpha, 0.01, is the largest that was tried; look beyond it with alpha: [0.01, 0.1, 1] in space.",
            id="largest",
        ),
        pytest.param(
            *("learning_rate", [0.1, 0.05], 0.05),
            "The best learning_rate, 0.05, is the smallest that was tried; look beyond it with "
            "learning_rate: [0.05, 0.025, 0.0125] in space.",
            id="smallest",
        ),
        pytest.param("alpha", [0.01, 0.1, 1.0], 0.1, "", id="inside"),
        pytest.param("alpha", [0.1], 0.1, "", id="one value"),
        pytest.param("alpha", [0.0, 0.1, 0.2], 0.0, "", id="zero"),
        pytest.param("tol", [0.0, 0.1, 0.2], 0.1, "", id="tol"),
        pytest.param(
            *("batch_size", [32, 64], 64),
            "The best batch_size, 64, is the largest that was tried; look beyond it with "
            "batch_size: [64, 128, 256] in space.",
            id="largest batch",
        ),
        pytest.param(
            *("batch_size", [2, 512], 512),
            "The best batch_size, 512, is the largest that was tried; look beyond it with "
            "batch_size: [512, 1007] in space.",
            id="largest batch but that of all rows",
        ),
        pytest.param(
            *("batch_size", [3, 6], 3),
            "The best batch_size, 3, is the smallest that was tried; look beyond it with "
            "batch_size: [3, 2, 1] in space.",
            id="smallest batch",
        ),
        pytest.param("batch_size", [512, 1007], 1007, "", id="batch of all rows"),
        pytest.param("batch_size", [1, 2], 1, "", id="batch of one row"),
    ],
)
def test_end_of_a_range_is_said_with_the_next_values(name: str, values: list[Any], best: Any, said: str) -> None:
    """As the user writes them in space; nothing where the best lies inside, or nothing lies beyond."""
    trials = _trials(name, [best, *(value for value in values if value != best)])
    assert " ".join(sentences(trials, trials, SCORE, margin=0.5, rows=ROWS)) == said


BETTER = "The best alpha, 1, is the largest that was tried; look beyond it with alpha: [1, 10, 100] in space."


@pytest.mark.parametrize(
    ("margin", "tried", "said"),
    [
        pytest.param(0.9, [1.0, 0.1, 0.01], [BETTER], id="beyond noise"),
        pytest.param(
            *(1.1, [1.0, 0.1, 0.01]),
            ["The best alpha, 1, is the largest tried, but no better than 0.1 beyond noise."],
            id="within noise",
        ),
        pytest.param(1.1, [1.0, 0.01, 0.1], [BETTER], id="the next value inside counts, not the next in rank"),
        pytest.param(1.1, [0.1, 1.0, 0.01], [], id="inside"),
        pytest.param(None, [1.0, 0.1, 0.01], [], id="unknown noise"),
    ],
)
def test_end_of_a_range_is_told_by_whether_it_beats_the_next_value_beyond_noise(
    margin: float | None, tried: list[float], said: list[str]
) -> None:
    """By the best trial of each; without advice where it does not."""
    trials = _trials("alpha", tried)
    assert sentences(trials, trials, SCORE, margin, ROWS) == said


def test_ends_that_are_no_better_than_the_next_value_share_a_line() -> None:
    """After those that are."""
    values = [(0.1, 64, 0.001), (0.01, 32, 0.01), (1.0, 32, 0.01)]
    trials = [
        TrialRecord(
            str(place),
            configured(learning_rate=rate, batch_size=size, alpha=alpha),
            "FINISHED",
            {SCORE: 1.0 + place},
        )
        for place, (rate, size, alpha) in enumerate(values)
    ]
    assert sentences(trials, trials, SCORE, margin=1.1, rows=ROWS) == [
        "The best batch_size, 64, is the largest tried, but no better than 32 beyond noise; "
        "the best alpha, 0.001, is the smallest tried, but no better than 0.01 beyond noise."
    ]


def test_value_inside_that_has_no_trial_to_choose_is_passed_over() -> None:
    """As where all trials of a rate diverged: the next one counts; without any the end is the only one that works."""
    trials = _trials("alpha", [1.0, 0.1, 0.01])
    (said,) = sentences([trials[0], trials[2]], trials, SCORE, margin=2.1, rows=ROWS)
    assert said == "The best alpha, 1, is the largest tried, but no better than 0.01 beyond noise."
    assert sentences([trials[0], trials[2]], trials, SCORE, margin=1.9, rows=ROWS) == [BETTER]
    assert sentences(trials[:1], trials, SCORE, margin=9.0, rows=ROWS) == [BETTER]


def test_batch_sizes_of_which_limits_ended_the_others_have_no_advice() -> None:
    """Nobody knows how good the models of the others would have been."""
    trials = _trials("batch_size", [64, 2])
    assert sentences(trials[:1], trials, SCORE, margin=0.5, rows=ROWS) == []


def test_what_another_algorithm_was_tried_with_does_not_count() -> None:
    """A network's penalty says nothing of a linear model's."""
    trials = [*_trials("alpha", [1.0, 0.1]), *_trials("alpha", [10.0], MLP_REGRESSOR, first=1.5)]
    assert sentences(trials, trials, SCORE, margin=0.5, rows=ROWS) == [BETTER]
    linear, network = _trials("alpha", [1.0, 0.1]), _trials("alpha", [0.1], MLP_REGRESSOR, first=1.2)
    trials = [linear[0], *network, linear[1]]
    assert sentences(trials, trials, SCORE, margin=0.5, rows=ROWS) == [BETTER]


def test_end_of_a_grid_of_an_own_algorithm_is_said() -> None:
    """Nothing is said of what the user did not list, which has no end."""
    trials = _trials("alpha", [1.0, 0.1], MLP_REGRESSOR)
    (said,) = sentences(trials, trials, SCORE, margin=0.5, rows=ROWS)
    assert said == "The best alpha, 1, is the largest that was tried; look beyond it with alpha: [1, 10, 100] in space."
    assert sentences(trials, trials, SCORE, 0.5, ROWS, not_listed={"alpha"}) == []
    trials = _trials("batch_size", [16, 8], MLP_REGRESSOR)
    (said,) = sentences(trials, trials, SCORE, margin=0.5, rows=ROWS)
    assert said.endswith("look beyond it with batch_size: [16, 32, 64] in space.")
