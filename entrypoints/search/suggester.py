"""Which configuration to try next: Optuna's TPE learns from those that have ended, and from what broke a limit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

START_UP = 5  # trials at random; after 10, a quarter of the cost of benchmarks/search.py finds less good ones
_AT_ONCE = 16  # candidates about which the cost model is asked at once
_ABSENT = -1  # the level of what a candidate does not have

Allowed = Callable[[list[int]], Sequence[bool]]


class Known(NamedTuple):
    """What is known of a candidate that was tried.

    Attributes:
        place: in the list of candidates.
        state: whether it runs (RUNNING), came to its end (COMPLETE), or did not (PRUNED).
        score: less is better; None: unknown.
        excess: by how much its final costs break the limits, or would have.
    """

    place: int
    state: TrialState = TrialState.RUNNING
    score: float | None = None
    excess: float = 0.0


class Suggester:
    """Suggests each candidate at most once, by its place in their list. The first ones are taken from its beginning.

    TPE sees a number as its rank among the values of its name, and anything else as a category. What it would try is
    replaced by the nearest candidate that is left. It keeps nothing: a suggestion depends on the seed and on what is
    known, so a study that goes on after an interruption is suggested what it would have been without.

    Args:
        candidates: the values of each by name, in random order; those with the same ``algorithm`` have the same names.
        seed: of what is random.
    """

    def __init__(self, candidates: Sequence[Mapping[str, Any]], seed: int) -> None:
        self._seed = seed
        self._distributions: dict[str, IntDistribution | CategoricalDistribution] = {}
        columns = []
        for name in dict.fromkeys(name for each in candidates for name in each):
            levels, is_number = _levels([each[name] for each in candidates if name in each])
            if len(levels) > 1:
                columns.append([levels[repr(each[name])] if name in each else _ABSENT for each in candidates])
                last = len(levels) - 1
                self._distributions[name] = IntDistribution(0, last) if is_number else _categories(last)
        self._levels = np.array(columns, dtype=int).reshape(len(columns), len(candidates)).T

    def next(self, known: Collection[Known], allowed: Allowed = lambda places: [True] * len(places)) -> int | None:
        """The place of the candidate to try next; None if none is left.

        Args:
            known: those that were tried, in the order in which they began.
            allowed: whether each of some candidates may be tried; it is asked about few.
        """
        left = np.ones(len(self._levels), dtype=bool)
        left[[each.place for each in known]] = False
        order = np.flatnonzero(left)
        if len(known) >= START_UP:
            order = order[np.argsort(self._distances(order, self._wanted(known)), kind="stable")]
        for start in range(0, len(order), _AT_ONCE):
            places = order[start : start + _AT_ONCE].tolist()
            for place, is_allowed in zip(places, allowed(places), strict=True):
                if is_allowed:
                    return int(place)
        return None

    def _wanted(self, known: Collection[Known]) -> dict[str, int]:
        """What TPE would try next, whether it is a candidate or not: a level of each name."""
        seed = int(np.random.SeedSequence([self._seed, len(known)]).generate_state(1)[0])
        is_conditional = bool((self._levels == _ABSENT).any())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = TPESampler(n_startup_trials=0, multivariate=True, group=is_conditional, seed=seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=sampler)
        study.add_trials([self._told(each) for each in known])
        trial, wanted = study.ask(), {}
        columns = dict(zip(self._distributions, self._levels.T, strict=True))
        rows = np.ones(len(self._levels), dtype=bool)  # those of the algorithm, which is asked for first
        for name in sorted(columns, key=lambda name: name != "algorithm"):
            if (columns[name][rows] != _ABSENT).any():
                wanted[name] = _asked(trial, name, self._distributions[name])
                if name == "algorithm":
                    rows = columns[name] == wanted[name]
        return wanted

    def _told(self, known: Known) -> FrozenTrial:
        levels = zip(self._distributions, self._levels[known.place].tolist(), strict=True)
        params = {name: level for name, level in levels if level != _ABSENT}
        return create_trial(
            state=known.state,
            params=params,
            distributions={name: self._distributions[name] for name in params},
            value=known.score,
            constraints={"limits": known.excess},
        )

    def _distances(self, places: NDArray[Any], wanted: Mapping[str, int]) -> NDArray[Any]:
        """Between candidates and what is wanted: of a number the share of its range, of a category 1."""
        total = np.zeros(len(places))
        for column, (name, is_of) in zip(self._levels[places].T, self._distributions.items(), strict=True):
            level = wanted.get(name, _ABSENT)
            away = np.abs(column - level) / is_of.high if isinstance(is_of, IntDistribution) else column != level
            total += np.where((column == _ABSENT) | (level == _ABSENT), column != level, away)
        return total


def _levels(values: Sequence[Any]) -> tuple[dict[str, int], bool]:
    """The number of each distinct value, by its text, and whether these are ranks of numbers."""
    distinct = {repr(value): value for value in values}
    is_number = all(isinstance(value, Real) and not isinstance(value, bool) for value in distinct.values())
    ordered = sorted(distinct, key=distinct.__getitem__) if is_number else list(distinct)
    return {text: level for level, text in enumerate(ordered)}, is_number


def _categories(last: int) -> CategoricalDistribution:
    return CategoricalDistribution(range(last + 1))


def _asked(trial: optuna.Trial, name: str, is_of: IntDistribution | CategoricalDistribution) -> int:
    if isinstance(is_of, IntDistribution):
        return int(trial.suggest_int(name, is_of.low, is_of.high))
    level: Any = trial.suggest_categorical(name, is_of.choices)
    return int(level)
