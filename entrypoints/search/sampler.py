"""What a search that learns tries next, by Optuna's TPE: it learns from scores, and from what broke a limit."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from numbers import Real
from typing import Any, NamedTuple, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from sklearn.model_selection import ParameterGrid

from entrypoints.options.search_space import Space, Values, is_distribution
from entrypoints.search.grid import Choice, combinations, drawn, in_few_digits, in_order

START_UP = 5  # trials at random; after 10, a quarter of the cost of benchmarks/search.py finds less good ones
ASKS = 20  # of TPE for something that was not tried yet
_ALGORITHM = "algorithm"


class Tried(NamedTuple):
    """What is known of a trial.

    Attributes:
        choice: what it tries.
        state: whether it runs (RUNNING), came to its end (COMPLETE), or did not (PRUNED).
        score: less is better; None: unknown.
        excess: by how much its final costs break the limits, or would have.
    """

    choice: Choice
    state: TrialState = TrialState.RUNNING
    score: float | None = None
    excess: float = 0.0


class _Parameter(Protocol):
    """A hyperparameter, as TPE sees it."""

    distribution: BaseDistribution

    def ask(self, trial: optuna.Trial, name: str) -> Any:
        """The value that TPE wants."""

    def seen(self, value: Any) -> Any:
        """What TPE sees of a value; None: it cannot want it."""


class _Listed:
    """One of several values. Numbers are in their order, so that TPE knows which are near each other."""

    def __init__(self, values: Sequence[Any]) -> None:
        is_ordered = all(isinstance(value, Real) and not isinstance(value, bool) for value in values)
        self._values = sorted(values) if is_ordered else list(values)
        self._texts = [repr(value) for value in self._values]
        self.distribution: BaseDistribution = CategoricalDistribution(range(len(values)))
        if is_ordered:
            self.distribution = IntDistribution(0, len(values) - 1)

    def ask(self, trial: optuna.Trial, name: str) -> Any:
        if isinstance(self.distribution, IntDistribution):
            return self._values[trial.suggest_int(name, 0, len(self._values) - 1)]
        return self._values[trial.suggest_categorical(name, range(len(self._values)))]

    def seen(self, value: Any) -> Any:
        return self._texts.index(repr(value)) if repr(value) in self._texts else None


class _Drawn:
    """A number between two ends."""

    def __init__(self, values: Values) -> None:
        ((kind, (self._low, self._high)),) = values.items()
        self._is_log = kind == "loguniform"
        self.distribution: BaseDistribution = FloatDistribution(self._low, self._high, log=self._is_log)
        if kind == "integers":
            self.distribution = IntDistribution(self._low, self._high)

    def ask(self, trial: optuna.Trial, name: str) -> Any:
        if isinstance(self.distribution, IntDistribution):
            return trial.suggest_int(name, self._low, self._high)
        value = trial.suggest_float(name, self._low, self._high, log=self._is_log)
        return min(max(in_few_digits(value), self._low), self._high)

    def seen(self, value: Any) -> Any:
        return value if isinstance(value, Real) and self._low <= value <= self._high else None


class Sampler:
    """Suggests what was not tried yet: the algorithms by turns at random, then by TPE.

    It keeps nothing: a suggestion depends on the seed and on what is known, so a study that goes on after an
    interruption is suggested what it would have been without.

    Args:
        spaces: one for each algorithm, see ``spaces_of``.
        seed: of what is random.
    """

    def __init__(self, spaces: Sequence[Space], seed: int) -> None:
        self._spaces = {space[_ALGORITHM][0]: space for space in spaces}
        self._parameters = {algorithm: dict(_parameters(space)) for algorithm, space in self._spaces.items()}
        self._total = combinations(spaces)
        self._seed = seed

    def next(self, history: Sequence[Tried]) -> Choice | None:
        """What to try next; None if everything was tried.

        Args:
            history: the trials so far, in the order in which they began.
        """
        seed = int(np.random.SeedSequence([self._seed, len(history)]).generate_state(1)[0])
        suggested = self._at_random(len(history), seed) if len(history) < START_UP else self._by_tpe(history, seed)
        tried = {key(each.choice) for each in history}
        for choice in islice(suggested, ASKS):
            if key(choice) not in tried:
                return choice
        if self._total == math.inf:
            return None
        spaces = list(self._spaces.values())
        everything = (in_order(choice, spaces) for choice in ParameterGrid(spaces))
        return next((choice for choice in everything if key(choice) not in tried), None)

    def _at_random(self, number: int, seed: int) -> Iterator[Choice]:
        spaces = list(self._spaces.values())
        return drawn(spaces[number % len(spaces)], seed)

    def _by_tpe(self, history: Sequence[Tried], seed: int) -> Iterator[Choice]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = TPESampler(n_startup_trials=0, multivariate=True, group=True, seed=seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=sampler)
        study.add_trials([self._as_seen(tried) for tried in history])
        while True:
            yield self._choice(study.ask())

    def _choice(self, trial: optuna.Trial) -> Choice:
        algorithm = trial.suggest_categorical(_ALGORITHM, list(self._parameters))
        choice = {}
        for name, values in self._spaces[algorithm].items():
            parameter = self._parameters[algorithm].get(name)
            choice[name] = parameter.ask(trial, f"{algorithm} {name}") if parameter else values[0]
        return choice

    def _as_seen(self, tried: Tried) -> FrozenTrial:
        algorithm = tried.choice[_ALGORITHM]
        params = {_ALGORITHM: algorithm}
        distributions: dict[str, BaseDistribution] = {_ALGORITHM: CategoricalDistribution(list(self._parameters))}
        for name, parameter in self._parameters[algorithm].items():
            seen = parameter.seen(tried.choice.get(name))
            if seen is not None:
                params[f"{algorithm} {name}"] = seen
                distributions[f"{algorithm} {name}"] = parameter.distribution
        return create_trial(
            state=tried.state,
            params=params,
            distributions=distributions,
            value=tried.score,
            constraints={"limits": tried.excess},
        )


def key(choice: Mapping[str, Any]) -> str:
    """A text that tells a choice from others."""
    return json.dumps(choice, sort_keys=True, default=str)


def _parameters(space: Space) -> Iterator[tuple[str, _Parameter]]:
    """Those of which there is more than one value."""
    for name, values in space.items():
        if is_distribution(values):
            yield name, _Drawn(values)
        elif len(values) > 1:
            yield name, _Listed(values)
