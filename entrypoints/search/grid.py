"""What is tried: the settings and the dataset -> one configuration per trial."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterSampler

from entrypoints.datasets.splits import Split
from entrypoints.errors import UserError
from entrypoints.models.configuration import Configuration
from entrypoints.models.estimators import Estimator
from entrypoints.models.learners import Algorithm
from entrypoints.search.trial_order import in_order
from entrypoints.search_space import Space, is_distribution
from entrypoints.settings import SHARED, StudySettings

DEFAULT_SAMPLES = 20
MAX_TRIALS = 100_000
_MAX_INT64 = 2**63 - 1
_DRAWS = 10  # tries for each sample: distributions of few values repeat themselves
_TAKEN = ("algorithm", "batch_size", "tol", *SHARED)


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
    sizes = _batch_sizes(settings, split)
    tols: Space = {"tol": list(settings.tols)} if any(settings.tols) else {}
    spaces = [{"algorithm": [each.name], "batch_size": sizes, **_space(settings, each), **tols} for each in algorithms]
    _check(settings, algorithms, n_classes)
    chosen = _drawn(settings, spaces) if settings.search == "random" else _listed(settings, spaces)
    own = {each.name for each in algorithms if isinstance(each, Estimator)}
    ordered = in_order(chosen, settings.seed, settings.repeats, own)
    return [
        Configuration(
            place=place,
            repeat=repeat,
            algorithm=values.pop("algorithm"),
            batch_size=values.pop("batch_size"),
            tol=values.pop("tol", None),
            hyperparameters=values,
            seed=settings.seed,
            max_steps=settings.max_steps,
            max_epochs=settings.max_epochs,
            report_every=settings.report_every,
        )
        for place, (values, repeat) in enumerate(ordered, 1)
    ]


def _batch_sizes(settings: StudySettings, split: Split) -> list[int]:
    rows = split.max_batch_size
    sizes = settings.batch_sizes or tuple(2**i for i in range(1, rows.bit_length()))
    if max(sizes) > rows:
        raise UserError(
            f"batch_sizes={','.join(map(str, sizes))}: {max(sizes)} rows are more than the {rows} that a fold trains "
            f"on; the largest batch can be {rows}"
        )
    return list(sizes)


def _space(settings: StudySettings, algorithm: Algorithm) -> Space:
    if isinstance(algorithm, Estimator):
        return settings.grid or {}
    return {"learning_rate": list(settings.learning_rates), "alpha": list(settings.alphas)}


def _check(settings: StudySettings, algorithms: tuple[Algorithm, ...], n_classes: int) -> None:
    own = [each for each in algorithms if isinstance(each, Estimator)]
    if settings.grid and not own:
        raise UserError(
            f"grid: {', '.join(settings.grid)} belong to an algorithm of your own, such as "
            "sklearn.neural_network.MLPClassifier; the built-in ones take batch_sizes, learning_rates and alphas"
        )
    for name in settings.grid or {}:
        if name in _TAKEN:
            raise UserError(f"grid: {name} is set by a parameter of its own, which docs/study.md lists; use that one")
    drawn = [name for name, values in (settings.grid or {}).items() if is_distribution(values)]
    if drawn and settings.search == "grid":
        raise UserError(f"grid: {drawn[0]} is a distribution, which search=random draws from; add it, or list values")
    if settings.samples and settings.search == "grid":
        raise UserError(f"samples={settings.samples}: search=grid tries everything; add search=random to draw samples")
    for algorithm in own:
        for values in _tried_out(settings.grid or {}):
            _check_names(algorithm, values)
            algorithm.check(values, n_classes)


def _check_names(algorithm: Estimator, values: dict[str, Any]) -> None:
    unknown = [name for name in values if name not in algorithm.hyperparameters]
    if unknown:
        raise UserError(
            f"grid: {unknown[0]} is not a hyperparameter of {algorithm.name}, which has "
            f"{', '.join(algorithm.hyperparameters)}; choose from these"
        )


def _tried_out(space: Space) -> Iterator[dict[str, Any]]:
    """Each listed value and a few of each distribution: the first of all, then one after the other of each."""
    tried = {
        name: values.rvs(size=3, random_state=0).tolist() if is_distribution(values) else values
        for name, values in space.items()
    }
    first = {name: values[0] for name, values in tried.items()}
    yield first
    for name, values in tried.items():
        yield from ({**first, name: value} for value in values[1:])


def _listed(settings: StudySettings, spaces: list[Space]) -> list[dict[str, Any]]:
    """The whole grid, or ``max_trials`` of it, in its order."""
    total = sum(map(_size, spaces))
    if settings.max_trials and total > settings.max_trials:
        places: Iterable[int] = sorted(_places(total, settings.max_trials, settings.seed))
    elif total <= MAX_TRIALS:
        places = range(total)
    else:
        raise UserError(
            f"search=grid: there are {total} combinations, and at most {MAX_TRIALS} are tried; list fewer values, set "
            "max_trials, or add search=random"
        )
    return [_combination(spaces, place) for place in places]


def _drawn(settings: StudySettings, spaces: list[Space]) -> list[dict[str, Any]]:
    """The requested number of distinct combinations, or fewer if there are not that many."""
    samples = settings.samples or DEFAULT_SAMPLES
    draws = samples * _DRAWS
    if not any(is_distribution(values) for space in spaces for values in space.values()):
        total = sum(map(_size, spaces))
        if total > _MAX_INT64:  # which scikit-learn cannot count
            drawn = [_combination(spaces, place) for place in _places(total, samples, settings.seed)]
            return _limited(drawn, settings)
        draws = min(samples, total)
    names = dict.fromkeys(name for space in spaces for name in space)  # the sampler sorts them
    distinct: dict[str, dict[str, Any]] = {}
    for sampled in ParameterSampler(spaces, draws, random_state=settings.seed):
        values = {name: sampled[name] for name in names if name in sampled}
        values = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
        distinct.setdefault(repr(values), values)
        if len(distinct) == samples:
            break
    return _limited(list(distinct.values()), settings)


def _limited(drawn: list[dict[str, Any]], settings: StudySettings) -> list[dict[str, Any]]:
    if not settings.max_trials or len(drawn) <= settings.max_trials:
        return drawn
    return [drawn[place] for place in sorted(_places(len(drawn), settings.max_trials, settings.seed))]


def _size(space: Space) -> int:
    return math.prod(len(values) for values in space.values())


def _places(total: int, number: int, seed: int) -> list[int]:
    """Distinct places below a total, drawn at random; the total may be beyond any integer of numpy."""
    if total <= _MAX_INT64:
        return [int(place) for place in np.random.default_rng(seed).choice(total, number, replace=False)]
    draw, places = random.Random(seed), dict[int, None]()
    while len(places) < number:
        places[draw.randrange(total)] = None
    return list(places)


def _combination(spaces: list[Space], place: int) -> dict[str, Any]:
    """The combination at a place in the whole grid: space after space, the last hyperparameter varies fastest."""
    for space in spaces:
        if place < (size := _size(space)):
            break
        place -= size
    chosen = {}
    for name, values in reversed(space.items()):
        place, digit = divmod(place, len(values))
        chosen[name] = values[digit]
    return {name: chosen[name] for name in space}
