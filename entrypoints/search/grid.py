"""What is tried, and in which order: the settings and the dataset -> one configuration per trial."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler

from entrypoints.datasets.splits import Split
from entrypoints.errors import UserError
from entrypoints.models.algorithms import Algorithm
from entrypoints.models.configuration import OF_BATCHES, Configuration
from entrypoints.models.estimators import Estimator
from entrypoints.models.learners import SGD
from entrypoints.search_space import DISTRIBUTIONS, Space, Values, distribution, for_all, is_distribution, of_algorithm
from entrypoints.settings import SHARED, StudySettings
from entrypoints.tags import TRAINING_STEP
from entrypoints.text import closest

DEFAULT_DRAWN = 20  # configurations of a random search
MAX_TRIALS = 100_000
MAX_CANDIDATES = 10_000  # from which a search that learns chooses
MIN_SUGGESTED, SUGGESTED = 30, 0.25  # how many of them it tries: this share, but at least this many
REPEATS = 3  # of one configuration of the user's own algorithm, where nothing else shows the noise,
MIN_REPEATED = 8  # configurations in the study, or none is repeated by default
_DRAWS = 10  # tries for each of them: distributions of few values repeat themselves
_NUMBERS: dict[str, tuple[str, Any, float]] = {  # what may be listed: in words, its type, and the least of them
    "batch_size": ("whole numbers from 1", Integral, 1),
    "learning_rate": ("numbers above 0", Real, math.ulp(0.0)),
    "alpha": ("numbers from 0", Real, 0),
    "tol": ("numbers from 0", Real, 0),
}
_WEIGHTS = (None, "balanced")  # of classes
Choice = dict[str, Any]  # the values of one configuration


def configurations(
    settings: StudySettings,
    split: Split,
    algorithms: tuple[Algorithm, ...],
    n_classes: int = 0,
    folders: tuple[Path, ...] = (),
) -> list[Configuration]:
    """All configurations, in the order of their trials.

    Args:
        settings: what is searched.
        split: of the dataset; its folds bound the batch sizes.
        algorithms: those to search; the user's own are tried out on a few made-up rows.
        n_classes: of the dataset's target; 0 for regression.
        folders: where a module of the user's may be.

    Raises:
        UserError: the settings do not fit each other, the algorithms or the dataset.
    """
    _check_names(settings.space, algorithms)
    spaces = []
    for algorithm in algorithms:
        given = for_all(settings.space) | of_algorithm(settings.space, algorithm.name)
        given = {name: values for name, values in given.items() if name in _names(algorithm)}
        _check_values(given, algorithm, settings.search, split.max_batch_size)
        if isinstance(algorithm, Estimator):
            _try_out(given, algorithm, n_classes)
        spaces.append(_space(given, algorithm, split.max_batch_size))
    by_name = {algorithm.name: algorithm for algorithm in algorithms}
    made = []
    for number, (values, repeat) in enumerate(_in_order(settings, _chosen(settings, spaces), by_name), 1):
        made.append(
            Configuration(
                searched=values,
                axis=by_name[values["algorithm"]].axis,
                seed=settings.seed,
                length=settings.length,
                metric=settings.metric,
                folders=folders,
                number=number,
                repeat=repeat,
            )
        )
    return made


def tried(settings: StudySettings, candidates: int) -> int:
    """How many of these configurations a study tries: all that it has chosen, unless it learns which ones to try."""
    if settings.search != "tpe":
        return candidates
    return min(candidates, settings.max_trials or max(MIN_SUGGESTED, round(SUGGESTED * candidates)))


def _names(algorithm: Algorithm) -> list[str]:
    """The hyperparameters that a space may name for an algorithm."""
    return [*_of_batches(algorithm), *algorithm.hyperparameters]


def _of_batches(algorithm: Algorithm) -> tuple[str, ...]:
    return OF_BATCHES if algorithm.axis == TRAINING_STEP else ()


def _space(given: Space, algorithm: Algorithm, rows: int) -> Space:
    """What is searched of an algorithm: the values that are asked for, and its defaults."""
    space: Space = {"algorithm": [algorithm.name]}
    if algorithm.axis == TRAINING_STEP:
        space["batch_size"] = [2**i for i in range(1, rows.bit_length())]
    space |= algorithm.defaults
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
                choice = "choose from " + ", ".join(dict.fromkeys(names))
                raise UserError(f"space: {name} is not a hyperparameter of {takes}; {closest(name, names, choice)}")


def _check_values(given: Space, algorithm: Algorithm, search: str, rows: int) -> None:
    """Check what is listed of an algorithm; ``rows`` are those that a fold trains on."""
    checked = _of_batches(algorithm) if isinstance(algorithm, Estimator) else _NUMBERS
    for name, values in given.items():
        if is_distribution(values) and search == "grid":
            raise UserError(
                f"space: {name} is a distribution, which search=random and search=tpe draw from; add one of them, or "
                "list values"
            )
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


def _chosen(settings: StudySettings, spaces: list[Space]) -> list[Choice]:
    """The whole grid, or distinct combinations drawn from it: as many as are asked for, or fewer if there are not.

    A search that learns has all of them to choose from, or very many.
    """
    listed = not any(is_distribution(values) for space in spaces for values in space.values())
    total = len(ParameterGrid(spaces)) if listed else math.inf
    most = {"grid": settings.max_trials or MAX_TRIALS, "random": settings.max_trials or DEFAULT_DRAWN}
    wanted = most.get(settings.search, MAX_CANDIDATES)
    if total <= wanted:
        drawn = ParameterGrid(spaces)
    elif settings.search == "grid" and settings.max_trials is None:
        raise UserError(
            f"search=grid: there are {total} combinations, and at most {MAX_TRIALS} are tried; list fewer values, set "
            "max_trials, or add search=tpe or search=random"
        )
    else:
        tries = wanted if listed or settings.search == "tpe" else wanted * _DRAWS
        drawn = ParameterSampler([_to_draw(space) for space in spaces], tries, random_state=settings.seed)
    names = dict.fromkeys(chain(*spaces))  # scikit-learn sorts them
    distinct: dict[str, Choice] = {}
    for each in drawn:
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in each.items()}
        values = {name: plain[name] for name in names if name in plain}
        distinct.setdefault(repr(values), values)
        if len(distinct) == wanted:
            break
    return list(distinct.values())


def _to_draw(space: Space) -> Space:
    return {name: distribution(values) if is_distribution(values) else values for name, values in space.items()}


def _in_order(
    settings: StudySettings, chosen: list[Choice], algorithms: dict[str, Algorithm]
) -> list[tuple[Choice, int]]:
    """The configurations, shuffled, each with its repetition: one in the middle of the user's own runs several times.

    Of a search that learns, these are the candidates; those that it repeats are among as many as it tries.

    In grid order, memory that a process keeps from earlier trials would look like the effect of a hyperparameter.
    """
    shuffled = random.Random(settings.seed).sample(chosen, len(chosen))
    if settings.search == "tpe":
        shuffled = _by_turns(shuffled)
    own = [values for values in chosen if isinstance(algorithms[values["algorithm"]], Estimator)]
    if not own or len(chosen) < MIN_REPEATED:
        return [(values, 0) for values in shuffled]
    repeated = own[len(own) // 2]
    ordered = [(values, 0) for values in shuffled if values is not repeated]
    total = tried(settings, len(chosen)) - 1 + REPEATS
    for repeat in range(REPEATS):  # spread evenly
        ordered.insert(int((repeat + 0.5) * total / REPEATS), (dict(repeated), repeat))
    return ordered


def _by_turns(chosen: list[Choice]) -> list[Choice]:
    """The algorithms by turns, so that a search that learns begins with each of them."""
    turns: Counter[str] = Counter()
    placed = []
    for values in chosen:
        algorithm = values["algorithm"]
        turns[algorithm] += 1
        placed.append((turns[algorithm], values))
    return [values for _, values in sorted(placed, key=lambda turn: turn[0])]
