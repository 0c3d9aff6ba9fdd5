"""Whether the best trial lies at an end of what was tried, and what to try next."""

from __future__ import annotations

from typing import Any

import pytest
from reference import MLP_REGRESSOR, configured

from entrypoints.search.edges import sentences
from entrypoints.search.record import TrialRecord


def _trials(name: str, values: list[Any], algorithm: str = "linear") -> list[TrialRecord]:
    return [TrialRecord(str(value), configured(algorithm, **{name: value})) for value in values]


@pytest.mark.parametrize(
    ("name", "values", "best", "said"),
    [
        pytest.param(
            *("alpha", [0.01, 0.0001, 0.001], 0.01),
            "The best alpha, 0.01, is the largest that was tried; look beyond it with -P alphas=0.01,0.1,1.",
            id="largest",
        ),
        pytest.param(
            *("learning_rate", [0.1, 0.05], 0.05),
            "The best learning_rate, 0.05, is the smallest that was tried; look beyond it with "
            "-P learning_rates=0.05,0.025,0.0125.",
            id="smallest",
        ),
        pytest.param("alpha", [0.01, 0.1, 1.0], 0.1, "", id="inside"),
        pytest.param("alpha", [0.1], 0.1, "", id="one value"),
        pytest.param("alpha", [0.0, 0.1, 0.2], 0.0, "", id="zero"),
        pytest.param("tol", [0.0, 0.1, 0.2], 0.1, "", id="tol"),
        pytest.param("batch_size", [2, 512], 512, "", id="batch size"),
    ],
)
def test_end_of_a_range_is_said_with_the_next_values(name: str, values: list[Any], best: Any, said: str) -> None:
    """As the option that the user adds; nothing where the best lies inside, or nothing lies beyond."""
    trials = _trials(name, values)
    assert " ".join(sentences(trials[values.index(best)], trials)) == said


def test_what_another_algorithm_was_tried_with_does_not_count() -> None:
    """A network's penalty says nothing of a linear model's."""
    trials = [*_trials("alpha", [0.1, 1.0]), *_trials("alpha", [10.0], MLP_REGRESSOR)]
    (said,) = sentences(trials[1], trials)
    assert said.startswith("The best alpha, 1, is the largest that was tried")


def test_end_of_a_grid_of_an_own_algorithm_is_said() -> None:
    """Not of what was drawn at random, which has no listed end."""
    trials = _trials("alpha", [0.1, 1.0], MLP_REGRESSOR)
    (said,) = sentences(trials[1], trials)
    assert said == "The best alpha, 1, is the largest that was tried; look beyond it with 10, 100 in grid."
    assert sentences(trials[1], trials, drawn={"alpha"}) == []
