"""Which level of a hyperparameter each trial has."""

from __future__ import annotations

import numpy as np
import pandas as pd

from entrypoints.reporting.hyperparameters.trial_levels import design, trial_levels

TRIALS: pd.DataFrame = pd.DataFrame(
    {"size": [64.0, 8.0, 64.0, np.nan], "solver": ["sgd", "sgd", "adam", None], "rate": [0.1, 0.1, 0.1, 0.2]}
)


def test_levels_are_numbers_in_order_or_words_as_they_appear() -> None:
    """A trial without one has -1."""
    size, solver = (trial_levels(TRIALS, name, list(TRIALS)) for name in ("size", "solver"))
    assert (size.levels, size.codes.tolist()) == (["8", "64"], [1, 0, 1, -1])
    assert (solver.levels, solver.codes.tolist()) == (["sgd", "adam"], [0, 0, 1, -1])
    assert solver.numbers is None


def test_trials_that_differ_in_one_hyperparameter_alone_have_the_same_others() -> None:
    """The first two differ in size alone; with no other hyperparameter there is nothing to match."""
    others = trial_levels(TRIALS, "size", list(TRIALS)).others
    assert others is not None
    assert others[0] == others[1]
    assert len(set(others.tolist())) == 3
    assert trial_levels(TRIALS, "size", ["size"]).others is None


def test_design_spans_what_levels_can_do() -> None:
    """A column for each level, a missing one too, and one for the mean."""
    factors = [trial_levels(TRIALS, name, list(TRIALS)) for name in ("size", "solver")]
    assert design(factors, 4).shape == (4, 1 + 3 + 3)
    assert design(factors, 4).sum() == 4 * 3
