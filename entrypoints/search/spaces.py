"""The values to try of each algorithm of a study: those that the user gives, checked, and its defaults."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from numbers import Integral, Real
from typing import Any

from entrypoints.errors import UserError
from entrypoints.models.algorithms import Algorithm
from entrypoints.models.estimators import Estimator
from entrypoints.models.learners import SGD
from entrypoints.options.search_space import (
    DISTRIBUTIONS,
    Space,
    Values,
    distribution,
    for_all,
    is_distribution,
    of_algorithm,
)
from entrypoints.options.settings import SHARED, StudySettings
from entrypoints.runs.tags import TRAINING_STEP
from entrypoints.text import closest, listed

_NUMBERS: dict[str, tuple[str, Any, float]] = {  # what may be listed: in words, its type, and the least of them
    "batch_size": ("whole numbers from 1", Integral, 1),
    "learning_rate": ("numbers above 0", Real, math.ulp(0.0)),
    "alpha": ("numbers from 0", Real, 0),
}
_WEIGHTS = (None, "balanced")  # of classes


def spaces_of(settings: StudySettings, algorithms: Sequence[Algorithm], rows: int, n_classes: int = 0) -> list[Space]:
    """One space for each algorithm, with its name as the only ``algorithm`` in it.

    Args:
        settings: what is searched.
        algorithms: those to search; the user's own are tried out on a few made-up rows.
        rows: the most that a batch can have.
        n_classes: of the dataset's target; 0 for regression.

    Raises:
        UserError: the settings do not fit the algorithms or the dataset.
    """
    _check_names(settings.space, algorithms)
    spaces = []
    for algorithm in algorithms:
        given = given_for(settings.space, algorithm)
        _check_values(given, algorithm, settings.search, rows)
        if isinstance(algorithm, Estimator):
            _try_out(given, algorithm, n_classes)
        spaces.append(_space(given, algorithm, settings.search, rows))
    return spaces


def given_for(space: Space, algorithm: Algorithm) -> Space:
    """What the user's space gives for an algorithm; empty: all that is tried of it is chosen here."""
    given = for_all(space) | of_algorithm(space, algorithm.name)
    return {name: values for name, values in given.items() if name in _names(algorithm)}


def _names(algorithm: Algorithm) -> list[str]:
    """The hyperparameters that a space may name for an algorithm."""
    return [*_of_batches(algorithm), *algorithm.hyperparameters]


def _of_batches(algorithm: Algorithm) -> tuple[str, ...]:
    return ("batch_size",) if algorithm.axis == TRAINING_STEP else ()


def _space(given: Space, algorithm: Algorithm, search: str, rows: int) -> Space:
    """What is searched of an algorithm: the values that are asked for, and its defaults."""
    space: Space = {"algorithm": [algorithm.name]}
    if algorithm.axis == TRAINING_STEP:
        space["batch_size"] = [2**i for i in range(1, rows.bit_length())]
    space |= algorithm.grid if search == "grid" else algorithm.wide
    if algorithm.axis == TRAINING_STEP:
        space["batch_size"] = [size for size in space["batch_size"] if size <= rows] or [rows]
    return space | given


def _check_names(space: Space, algorithms: Iterable[Algorithm]) -> None:
    allowed = {algorithm.name: _names(algorithm) for algorithm in algorithms}
    together = ", ".join(allowed)
    shared = for_all(space)
    for unknown in space.keys() - shared.keys() - allowed.keys():
        raise UserError(
            f"space: {unknown} is neither a distribution ({', '.join(DISTRIBUTIONS)}) nor an algorithm of this study; "
            f"{closest(unknown, allowed, f'choose from {together}')}"
        )
    asked = [(together, shared, list(chain(*allowed.values())))]
    asked += [(name, of_algorithm(space, name), names) for name, names in allowed.items()]
    for takes, given, names in asked:
        for name in given:
            if name in ("algorithm", *SHARED):
                raise UserError(f"space: {name} is an option of its own; give it as -P {name}=")
            if name not in names:
                choice = f"choose from {listed(dict.fromkeys(names))}"
                raise UserError(f"space: {name} is not a hyperparameter of {takes}; {closest(name, names, choice)}")


def _check_values(given: Space, algorithm: Algorithm, search: str, rows: int) -> None:
    """Check what is listed of an algorithm; ``rows`` are those that a fold trains on."""
    checked = _of_batches(algorithm) if isinstance(algorithm, Estimator) else _NUMBERS
    for name, values in given.items():
        if is_distribution(values) and search == "grid":
            raise UserError(f"space: {name} is a distribution, which search=tpe draws from; add that, or list values")
        if name == "class_weight" and isinstance(algorithm, SGD) and not all(value in _WEIGHTS for value in values):
            raise UserError("space: class_weight: null and balanced are allowed; give these, or one of them")
        if name not in checked:
            continue
        words, kind, least = _NUMBERS[name]
        for value in _some(values):
            if not isinstance(value, kind) or not least <= value < math.inf:
                raise UserError(f"space: {name} {value}: {words} are allowed; give some of these")
            if name == "batch_size" and value > rows:
                raise UserError(
                    f"space: batch_size {value} is more than the {rows} rows that a fold trains on; the largest batch "
                    f"can be {rows}"
                )


def _try_out(given: Space, algorithm: Estimator, n_classes: int) -> None:
    """Make a model of the first value of each hyperparameter, then one of each other value."""
    of_batches = _of_batches(algorithm)
    values = {name: _some(given[name], ends=False) for name in given if name not in of_batches}
    first = {name: some[0] for name, some in values.items()}
    algorithm.check(first, n_classes)
    for name, some in values.items():
        for value in some[1:]:
            algorithm.check({**first, name: value}, n_classes)


def _some(values: Values, *, ends: bool = True) -> list[Any]:
    """The listed values; of a distribution a few, and its ends, which are hardly ever drawn."""
    if not is_distribution(values):
        return list(values)
    drawn = distribution(values)
    return [*(drawn.support() if ends else ()), *drawn.rvs(size=3, random_state=0).tolist()]
