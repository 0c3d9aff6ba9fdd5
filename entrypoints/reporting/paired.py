"""Configurations that differ in one hyperparameter alone, in pairs: what effects on scores and costs are told by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import pandas as pd

from entrypoints.statistics import is_number
from entrypoints.trials.frame import configurations

MAX_LEVELS = 20  # of one hyperparameter; more are values that a search drew, hardly any two of which have partners


class Pairs(NamedTuple):
    """Values of the configurations that have both of two levels and differ in nothing else, row by row.

    Attributes:
        first, second: the levels.
        one, other: the values at the first and at the second, a row per pair.
        compared: how many pairs of levels the hyperparameter has.
    """

    first: Any
    second: Any
    one: pd.DataFrame
    other: pd.DataFrame
    compared: int


def matched(trials: pd.DataFrame, hyperparameters: Sequence[str], name: str, values: pd.DataFrame) -> Iterator[Pairs]:
    """Of each two levels of a hyperparameter the pairs of configurations that differ in it alone.

    Args:
        trials: rows of ``Frame.trials``, each configuration once.
        hyperparameters: of the study.
        name: of the one.
        values: what is compared, a row per trial with the index of ``trials``.
    """
    of_trials = trials[name] if is_number(trials[name]) else trials[name].dropna().astype(str)
    levels = sorted(of_trials.dropna().unique())
    if len(levels) > MAX_LEVELS:
        return
    alike = configurations(trials, [other for other in hyperparameters if other != name])
    by_level = {}
    for level in levels:
        at = of_trials.index[of_trials == level]
        by_level[level] = values.loc[at].set_axis(alike[at].to_list())
    pairs = list(combinations(levels, 2))
    for first, second in pairs:
        one, other = by_level[first], by_level[second]
        common = one.index.intersection(other.index)
        if len(common):
            yield Pairs(first, second, one.loc[common], other.loc[common], len(pairs))
