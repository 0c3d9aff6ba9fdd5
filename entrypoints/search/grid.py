"""Every combination of a study's values, in the order of its trials."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler

from entrypoints.errors import UserError
from entrypoints.options.search_space import Space, distribution, is_distribution

MAX_TRIALS = 100_000
Choice = dict[str, Any]  # the values of one configuration


def grid(spaces: Sequence[Space], max_trials: int | None, seed: int) -> list[Choice]:
    """The combinations of listed values, shuffled; at random ``max_trials`` of them if there are more.

    In the order of the lists, memory that a process keeps from earlier trials would look like the effect of a
    hyperparameter.

    Raises:
        UserError: there are too many, and no ``max_trials``.
    """
    total = combinations(spaces)
    if max_trials is None and total > MAX_TRIALS:
        raise UserError(
            f"search=grid: there are {total} combinations, and at most {MAX_TRIALS} are tried; list fewer values, set "
            "max_trials, or add search=tpe"
        )
    chosen = ParameterGrid(list(spaces))
    if max_trials is not None and max_trials < total:
        chosen = ParameterSampler(list(spaces), max_trials, random_state=seed)
    choices = [in_order(choice, spaces) for choice in chosen]
    return random.Random(seed).sample(choices, len(choices))


def combinations(spaces: Sequence[Space]) -> float:
    """How many combinations there are; infinity where values are drawn from a distribution."""
    if any(is_distribution(values) for space in spaces for values in space.values()):
        return math.inf
    return len(ParameterGrid(list(spaces)))


def drawn(space: Space, seed: int) -> Iterator[Choice]:
    """Random combinations of an algorithm's values without end, some more than once."""
    values = {name: distribution(each) if is_distribution(each) else each for name, each in space.items()}
    random_state = np.random.RandomState(seed)
    while True:
        for choice in ParameterSampler(values, 1, random_state=random_state):
            yield in_order(choice, [space])


def in_order(choice: Choice, spaces: Sequence[Space]) -> Choice:
    """A combination with its names in the order of the spaces, which scikit-learn sorts, and Python's own numbers."""
    plain = {name: _own(value) for name, value in choice.items()}
    return {name: plain[name] for name in dict.fromkeys(chain(*spaces)) if name in plain}


def in_few_digits(number: float) -> float:
    """A number that was drawn, as people read it: more digits would not change a model."""
    return float(f"{number:.3g}")


def _own(value: Any) -> Any:
    """Python's own number for one that was drawn."""
    if isinstance(value, np.floating):
        return in_few_digits(float(value))
    return value.item() if isinstance(value, np.generic) else value
