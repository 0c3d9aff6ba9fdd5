"""What is tried, and in which order: the settings and the dataset -> one configuration per trial."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from itertools import chain
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler

from entrypoints.datasets.splits import Split
from entrypoints.errors import UserError
from entrypoints.models.algorithms import Algorithm
from entrypoints.models.configuration import Configuration
from entrypoints.models.estimators import Estimator
from entrypoints.search_space import DISTRIBUTIONS, Space, Values, for_all, is_distribution, of_algorithm
from entrypoints.settings import SHARED, StudySettings
from entrypoints.text import closest

DEFAULT_DRAWN = 20  # configurations of a random search
MAX_TRIALS = 100_000
MAX_CANDIDATES = 10_000  # from which a search that learns chooses
MIN_SUGGESTED, SUGGESTED = 30, 0.25  # how many of them it tries: this share, but at least this many
DEFAULT_REPEATS = 3  # of one configuration of the user's own algorithm, where nothing else shows the noise,
MIN_REPEATED = 8  # configurations in the study, or none is repeated by default
_DRAWS = 10  # tries for each of them: distributions of few values repeat themselves
_OF_BATCHES = ("batch_size", "tol")  # what every algorithm takes that trains on batches
_FROM_0 = ("numbers from 0", lambda value: isinstance(value, Real) and 0 <= float(value) < math.inf)
_NUMBERS: dict[str, tuple[str, Callable[[Any], bool]]] = {  # what may be listed, in words and for one value
    "batch_size": ("whole numbers from 1", lambda value: isinstance(value, Integral) and int(value) >= 1),
    "learning_rate": ("numbers above 0", lambda value: isinstance(value, Real) and 0 < float(value) < math.inf),
    "alpha": _FROM_0,
    "tol": _FROM_0,
}
Choice = dict[str, Any]  # the values of one configuration


def configurations(
    settings: StudySettings, split: Split, algorithms: tuple[Algorithm, ...], n_classes: int = 0
) -> list[Configuration]:
    """All configurations, in the order of their trials.

    Args:
        settings: what is searched.
        split: of the dataset; its folds bound the batch sizes.
        algorithms: those to search; the user's own are tried out on a few made-up rows.
        n_classes: of the dataset's target; 0 for regression.

    Raises:
        UserError: the settings do not fit each other, the algorithms or the dataset.
    """
    _check(settings, algorithms, split.max_batch_size, n_classes)
    spaces = [_space(settings.space, each, split.max_batch_size) for each in algorithms]
    own = [each.name for each in algorithms if isinstance(each, Estimator)]
    of = {each.name: each for each in algorithms}
    return [
        _configuration(settings, of[values["algorithm"]], values, n_classes, number, repeat)
        for number, (values, repeat) in enumerate(_in_order(settings, _chosen(settings, spaces), own), 1)
    ]


def tried(settings: StudySettings, candidates: int) -> int:
    """How many of these configurations a study tries: all that it has chosen, unless it learns which ones to try."""
    if settings.search != "tpe":
        return candidates
    return min(candidates, settings.max_trials or max(MIN_SUGGESTED, round(SUGGESTED * candidates)))


def _configuration(
    settings: StudySettings, algorithm: Algorithm, values: Choice, n_classes: int, number: int, repeat: int
) -> Configuration:
    of_batches = {name: values.get(name) for name in _OF_BATCHES if algorithm.by_batch}
    own = {name: value for name, value in values.items() if name != "algorithm" and name not in of_batches}
    return Configuration(
        number=number,
        repeat=repeat,
        algorithm=algorithm.name,
        batch_size=of_batches.get("batch_size"),
        iterations=1 if of_batches else algorithm.learner(own, n_classes, settings.seed).iterations or 1,
        tol=of_batches.get("tol"),
        hyperparameters=own,
        seed=settings.seed,
        max_steps=settings.max_steps,
        max_epochs=settings.max_epochs,
        report_every=settings.report_every,
        metric=settings.metric,
        class_weight=settings.class_weight,
    )


def _space(asked: Space, algorithm: Algorithm, rows: int) -> Space:
    """What is searched of an algorithm: the values that are asked for, and its defaults."""
    space: Space = {"algorithm": [algorithm.name]}
    if algorithm.by_batch:
        space["batch_size"] = [2**i for i in range(1, rows.bit_length())]
    space |= algorithm.defaults
    if algorithm.by_batch:
        space["batch_size"] = [size for size in space["batch_size"] if size <= rows] or [rows]
    return space | _given(asked, algorithm)


def _given(asked: Space, algorithm: Algorithm) -> Space:
    """What is asked for of an algorithm: for itself, or for all that take it."""
    names = _names(algorithm)
    given = for_all(asked) | of_algorithm(asked, algorithm.name)
    return {name: values for name, values in given.items() if name in names}


def _names(algorithm: Algorithm) -> list[str]:
    """The hyperparameters that a space may name for an algorithm."""
    return list(dict.fromkeys([*(_OF_BATCHES if algorithm.by_batch else ()), *algorithm.hyperparameters]))


def _check(settings: StudySettings, algorithms: tuple[Algorithm, ...], rows: int, n_classes: int) -> None:
    _check_names(settings.space, algorithms)
    for algorithm in algorithms:
        given, own = _given(settings.space, algorithm), isinstance(algorithm, Estimator)
        checked = _OF_BATCHES if own and algorithm.by_batch else () if own else tuple(_NUMBERS)
        for name, values in given.items():
            if is_distribution(values) and settings.search == "grid":
                raise UserError(
                    f"space: {name} is a distribution, which search=random and search=tpe draw from; add one of "
                    "them, or list values"
                )
            for value in _some(values) if name in checked else ():
                words, is_allowed = _NUMBERS[name]
                if not is_allowed(value):
                    raise UserError(f"space: {name} {value}: {words} are allowed; give some of these")
        if algorithm.by_batch and "batch_size" in given and (largest := max(_some(given["batch_size"]))) > rows:
            raise UserError(
                f"space: batch_size {largest} is more than the {rows} rows that a fold trains on; the largest batch "
                f"can be {rows}"
            )
        if isinstance(algorithm, Estimator):
            tried = {name: _some(values, ends=False) for name, values in given.items() if name not in checked}
            for each in _tried_out(tried):
                algorithm.check(each, n_classes)


def _check_names(space: Space, algorithms: tuple[Algorithm, ...]) -> None:
    together = ", ".join(algorithm.name for algorithm in algorithms)
    allowed = {algorithm.name: _names(algorithm) for algorithm in algorithms}
    named = [(together, name, [*chain(*allowed.values())]) for name in for_all(space)]
    for algorithm in space.keys() - for_all(space):
        if algorithm not in allowed:
            raise UserError(
                f"space: {algorithm} is neither a distribution ({', '.join(DISTRIBUTIONS)}) nor an algorithm of this "
                f"study; {closest(algorithm, allowed, f'choose from {together}')}"
            )
        named += [(algorithm, name, allowed[algorithm]) for name in of_algorithm(space, algorithm)]
    for takes, name, names in named:
        if name in ("algorithm", *SHARED):
            raise UserError(f"space: {name} is an option of its own; give it as -P {name}=")
        if name not in names:
            choice = "choose from " + ", ".join(dict.fromkeys(names))
            raise UserError(f"space: {name} is not a hyperparameter of {takes}; {closest(name, names, choice)}")


def _some(values: Values, *, ends: bool = True) -> list[Any]:
    """The listed values; of a distribution a few, and its ends, which are hardly ever drawn."""
    if not is_distribution(values):
        return list(values)
    return [*(values.support() if ends else ()), *values.rvs(size=3, random_state=0).tolist()]


def _tried_out(tried: dict[str, list[Any]]) -> Iterator[Choice]:
    """The first values of all, then one after the other of each."""
    first = {name: values[0] for name, values in tried.items()}
    yield first
    for name, values in tried.items():
        yield from ({**first, name: value} for value in values[1:])


def _chosen(settings: StudySettings, spaces: list[Space]) -> list[Choice]:
    """The whole grid, or distinct combinations drawn from it: as many as are asked for, or fewer if there are not.

    A search that learns has all of them to choose from, or very many.
    """
    listed = not any(is_distribution(values) for space in spaces for values in space.values())
    total = len(ParameterGrid(spaces)) if listed else math.inf
    learns = settings.search == "tpe"
    defaults = {"grid": MAX_TRIALS, "random": DEFAULT_DRAWN}
    wanted = MAX_CANDIDATES if learns else settings.max_trials or defaults[settings.search]
    if total <= wanted:
        drawn = ParameterGrid(spaces)
    elif settings.search == "grid" and settings.max_trials is None:
        raise UserError(
            f"search=grid: there are {total} combinations, and at most {MAX_TRIALS} are tried; list fewer values, set "
            "max_trials, or add search=tpe or search=random"
        )
    else:
        drawn = ParameterSampler(spaces, wanted if listed or learns else wanted * _DRAWS, random_state=settings.seed)
    names = dict.fromkeys(name for space in spaces for name in space)  # scikit-learn sorts them
    distinct: dict[str, Choice] = {}
    for each in drawn:
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in each.items()}
        values = {name: plain[name] for name in names if name in plain}
        distinct.setdefault(repr(values), values)
        if len(distinct) == wanted:
            break
    return list(distinct.values())


def _in_order(settings: StudySettings, chosen: list[Choice], own: list[str]) -> list[tuple[Choice, int]]:
    """The configurations, shuffled, each with its repetition: the one in the middle of their list runs several times.

    Of a search that learns, these are the candidates; those that it repeats are among as many as it tries.

    In grid order, memory that a process keeps from earlier trials would look like the effect of a hyperparameter.
    """
    shuffled = random.Random(settings.seed).sample(chosen, len(chosen))
    times = settings.repeats or (DEFAULT_REPEATS if own and len(chosen) >= MIN_REPEATED else 1)
    among = [values for values in chosen if values["algorithm"] in own] or chosen
    repeated = among[len(among) // 2]
    if times == 1:
        return [(values, 0) for values in shuffled]
    ordered = [(values, 0) for values in shuffled if values is not repeated]
    total = tried(settings, len(chosen)) - 1 + times
    for repeat in range(times):  # spread evenly
        ordered.insert(int((repeat + 0.5) * total / times), (dict(repeated), repeat))
    return ordered
