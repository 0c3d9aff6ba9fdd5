"""The levels of a hyperparameter that a study's trials have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.reporting.number_levels import is_number, number_levels


@dataclass(frozen=True, eq=False)
class TrialLevels:
    """Which level of a hyperparameter each trial has.

    Attributes:
        name: of the hyperparameter.
        codes: of each trial its place in ``levels``; -1: it has none.
        levels: as they are written: of a number in rising order, of words as they first appear.
        numbers: each trial's value, if it is a number.
        others: a number for each combination of all other hyperparameters, so that trials which differ in this
            one alone have the same; None where no other one varies.
    """

    name: str
    codes: NDArray[np.int64]
    levels: list[str]
    numbers: NDArray[np.float64] | None
    others: NDArray[np.int64] | None = None


def trial_levels(trials: pd.DataFrame, name: str, hyperparameters: list[str]) -> TrialLevels:
    """The levels of one of a study's hyperparameters. A number with more than 12 values is cut into quartiles.

    Args:
        trials: with a column for each of the hyperparameters.
        name: of the one.
        hyperparameters: all that vary.
    """
    column, rest = trials[name], [other for other in hyperparameters if other != name]
    others = trials.groupby(rest, dropna=False, sort=False).ngroup().to_numpy(np.int64) if rest else None
    if not is_number(column):
        codes, words = pd.factorize(column, sort=False)
        return TrialLevels(name, np.asarray(codes, dtype=np.int64), [str(word) for word in words], None, others)
    numbers = column.to_numpy(float)
    codes, levels = number_levels(numbers)
    return TrialLevels(name, codes, levels, numbers, others)


def design(factors: Sequence[TrialLevels], trials: int) -> NDArray[np.float64]:
    """What all hyperparameters can do to a metric, each on its own: a row per trial, a column per level, and a 1."""
    columns = [factor.codes == code for factor in factors for code in np.unique(factor.codes)]
    return np.column_stack([np.ones(trials), *columns]).astype(float)
