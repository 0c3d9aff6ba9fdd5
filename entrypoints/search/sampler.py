"""What a search that learns tries next, by Optuna's TPE: it learns from scores, and from what broke a limit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from typing import Any, NamedTuple

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from ray.actor import ActorHandle
from ray.tune.search.searcher import Searcher

from entrypoints.limits.cost_history import ask, ask_to_come
from entrypoints.limits.grammar import Limits
from entrypoints.limits.guard import is_ruled_out
from entrypoints.limits.judging import excess
from entrypoints.models.configuration import Configuration
from entrypoints.models.trial_record import Trial
from entrypoints.search.study import Study

START_UP = 5  # trials at random; after 10, a quarter of the cost of benchmarks/search.py finds less good ones
_AT_ONCE = 16  # candidates about which the cost model is asked at once
_ABSENT = -1  # the level of what a candidate does not have

Allowed = Callable[[list[int]], Sequence[bool]]
Levels = NDArray[np.int64]


class Tried(NamedTuple):
    """What is known of a candidate that was tried.

    Attributes:
        i: its index in the list of candidates.
        state: whether it runs (RUNNING), came to its end (COMPLETE), or did not (PRUNED).
        score: less is better; None: unknown.
        excess: by how much its final costs break the limits, or would have.
    """

    i: int
    state: TrialState = TrialState.RUNNING
    score: float | None = None
    excess: float = 0.0


class Sampler:
    """Suggests each candidate at most once, by its index in their list. The first ones are taken from its beginning.

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
        for name in dict.fromkeys(chain(*candidates)):
            values = pd.Series({i: each[name] for i, each in enumerate(candidates) if name in each})
            is_number = is_numeric_dtype(values) and not is_bool_dtype(values)
            codes, levels = pd.factorize(values if is_number else values.map(repr), sort=is_number)
            last = len(levels) - 1
            if last == 0:
                continue
            self._distributions[name] = IntDistribution(0, last) if is_number else _categories(last)
            column = np.full(len(candidates), _ABSENT)
            column[values.index] = codes
            columns.append(column)
        self._levels = np.array(columns, dtype=int).reshape(len(columns), len(candidates)).T
        self._is_number = np.array([isinstance(of, IntDistribution) for of in self._distributions.values()], dtype=bool)

    def next(self, history: Collection[Tried], allowed: Allowed = lambda indices: [True] * len(indices)) -> int | None:
        """The index of the candidate to try next; None if none is left.

        Args:
            history: those that were tried, in the order in which they began.
            allowed: whether each of some candidates may be tried; it is asked about few.
        """
        left = np.ones(len(self._levels), dtype=bool)
        left[[tried.i for tried in history]] = False
        order = np.flatnonzero(left)
        if len(history) >= START_UP:
            order = order[np.argsort(self._distances(order, self._wanted(history)), kind="stable")]
        for start in range(0, len(order), _AT_ONCE):
            nearest = order[start : start + _AT_ONCE].tolist()
            for i, is_allowed in zip(nearest, allowed(nearest), strict=True):
                if is_allowed:
                    return int(i)
        return None

    def _wanted(self, history: Collection[Tried]) -> Levels:
        """What TPE would try next, whether it is a candidate or not: a level of each name that its algorithm has."""
        seed = int(np.random.SeedSequence([self._seed, len(history)]).generate_state(1)[0])
        is_conditional = bool((self._levels == _ABSENT).any())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = TPESampler(n_startup_trials=0, multivariate=True, group=is_conditional, seed=seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=sampler)
        study.add_trials([self._trial(tried) for tried in history])
        params = study.ask(self._distributions).params
        wanted = np.array([params[name] for name in self._distributions], dtype=int)
        if is_conditional:
            column = list(self._distributions).index("algorithm")
            alike = self._levels[self._levels[:, column] == wanted[column]]
            wanted[(alike == _ABSENT).all(axis=0)] = _ABSENT
        return wanted

    def _trial(self, tried: Tried) -> FrozenTrial:
        levels = dict(zip(self._distributions, self._levels[tried.i].tolist(), strict=True))
        params = {name: level for name, level in levels.items() if level != _ABSENT}
        return create_trial(
            state=tried.state,
            params=params,
            distributions={name: self._distributions[name] for name in params},
            value=tried.score,
            constraints={"limits": tried.excess},
        )

    def _distances(self, indices: Levels, wanted: Levels) -> NDArray[np.float64]:
        """Between candidates and what is wanted: of a number the share of its range, of a category 1."""
        levels = self._levels[indices]
        is_near = self._is_number & (levels != _ABSENT) & (wanted != _ABSENT)
        shares = np.abs(levels - wanted) / self._levels.max(axis=0)
        distances: NDArray[np.float64] = np.where(is_near, shares, levels != wanted).sum(axis=1)
        return distances


def _categories(last: int) -> CategoricalDistribution:
    return CategoricalDistribution(range(last + 1))


class TuneSampler(Searcher):
    """Tune's side: has it run as many trials of a study as run at once, and the next when one has ended.

    First those that an earlier command had begun, then what the sampler says; repetitions have their numbers in the
    study's order. What is known of trials is what the study holds, also of those that an earlier command has run, so
    nothing has to be kept for it to go on.

    Args:
        study: whose trials are to run.
        cost_history: of the costs of trials, if there are limits.
        at_once: how many trials run at the same time.
    """

    def __init__(self, study: Study, cost_history: ActorHandle | None, at_once: int) -> None:
        super().__init__()
        self._study = study
        self._cost_history = cost_history
        self._at_once = at_once
        self._candidates = [trial for trial in study.configurations if not trial.repeat]
        self._indices = {trial.key: i for i, trial in enumerate(self._candidates)}
        self._sampler = Sampler([trial.searched for trial in self._candidates], study.settings.seed)
        repeated = {trial.key for trial in study.configurations if trial.repeat}
        self._repeated = {trial.number: trial for trial in study.configurations if trial.key in repeated}
        self._begun = [trial for trial in study.configurations if trial.id in study.open_runs]
        self._handed_out: dict[int, Configuration] = {}  # by their numbers in the order of the study's trials

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune writes what it was given to disk."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The ``config`` of the next trial; None while as many run as may, FINISHED if nothing is left to try."""
        trials = self._study.trials.values()
        ended = {trial.configuration.number: trial for trial in trials if trial.status != "RUNNING"}
        if len(self._handed_out.keys() - ended) >= self._at_once:
            return None
        taken = {number: trial.configuration for number, trial in ended.items()} | self._handed_out
        number = next(number for number in count(1) if number not in taken)
        configuration = self._next(number, taken, ended)
        if configuration is None:
            return str(Searcher.FINISHED)
        self._handed_out[number] = replace(configuration, number=number)
        return {"configuration": self._handed_out[number]}

    def _next(self, number: int, taken: dict[int, Configuration], ended: dict[int, Trial]) -> Configuration | None:
        if self._begun:
            return self._begun.pop(0)
        repeated = self._repeated.get(number)
        if repeated and repeated.id not in {trial.id for trial in taken.values()}:
            return repeated
        self._study.to_come = ask_to_come(self._cost_history)
        limits = self._study.resolved_limits
        history = []
        for other, configuration in sorted(taken.items()):
            if not configuration.repeat:
                history.append(self._tried(configuration, ended.get(other), limits))
        i = self._sampler.next(history, self._allowed)
        return None if i is None else self._candidates[i]

    def _tried(self, configuration: Configuration, trial: Trial | None, limits: Limits) -> Tried:
        i = self._indices[configuration.key]
        if trial is None:
            return Tried(i)
        too_much = excess(limits, trial.expected)
        score = trial.figures.get(self._study.score.validated)
        if score is None or not trial.complete:
            return Tried(i, TrialState.PRUNED, excess=too_much)
        return Tried(i, TrialState.COMPLETE, -score if self._study.score.higher_is_better else score, too_much)

    def _allowed(self, indices: list[int]) -> list[bool]:
        """Which of the candidates are not known to break a limit."""
        contexts = ask(self._cost_history, [self._candidates[i] for i in indices])
        return [not is_ruled_out(self._study.trial_limits, context) for context in contexts]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """No-op: the recorder follows the trials."""
