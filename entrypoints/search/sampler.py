"""What a search that learns tries next, by Optuna's TPE: it learns from scores, and from what broke a limit."""

from __future__ import annotations

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from numbers import Real
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from ray.actor import ActorHandle
from ray.tune.search.searcher import Searcher

from entrypoints.limits.cost_history import ask, ask_to_come
from entrypoints.limits.costs import compared
from entrypoints.limits.grammar import Limits
from entrypoints.limits.guard import is_ruled_out
from entrypoints.limits.judging import excess
from entrypoints.models.configuration import Configuration
from entrypoints.models.racing import Rival, rival_of
from entrypoints.models.trial_record import Trial
from entrypoints.search.study import Study, can_be_chosen
from entrypoints.settings import CHEAPEST

START_UP = 5  # trials at random; after 10, a quarter of the cost of benchmarks/search.py finds less good ones
_AT_ONCE = 16  # candidates about which the cost model is asked at once

Allowed = Callable[[Sequence[int]], Sequence[bool]]
Pick = Callable[[Sequence[int], Allowed], int | None]
Levels = dict[str, int]  # of the values of a candidate, by name


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


def first_allowed(untried: Sequence[int], allowed: Allowed) -> int | None:
    """The first of some candidates that may be tried; None if none may.

    Args:
        untried: the indices of candidates, the nearest to what is wanted first.
        allowed: whether each of some may be tried; it is asked about few.
    """
    for start in range(0, len(untried), _AT_ONCE):
        nearest = untried[start : start + _AT_ONCE]
        for i, is_allowed in zip(nearest, allowed(nearest), strict=True):
            if is_allowed:
                return i
    return None


class Cheap:
    """Begins with cheap candidates: each algorithm in turn, and of each one of its cheaper half, in their random order.

    Later it takes the first that is allowed. The cheapest of the five nearest, in its place, found models that were
    worse by 0.15 to 0.4 standard errors on tables on which what is good is dear.

    Args:
        algorithms: of the candidates.
        seconds: what each is expected to take.
    """

    def __init__(self, algorithms: Sequence[str], seconds: Callable[[], Sequence[float]]) -> None:
        self._algorithms = algorithms
        self._seconds = seconds

    def __call__(self, untried: Sequence[int], allowed: Allowed) -> int | None:
        """The index of one of them; None if none may be tried. Arguments as of ``first_allowed``."""
        if len(self._algorithms) - len(untried) < START_UP:
            untried = self._in_turn(untried, self._seconds())
        return first_allowed(untried, allowed)

    def _in_turn(self, untried: Sequence[int], seconds: Sequence[float]) -> list[int]:
        """First the cheaper half of each algorithm, and of that the algorithms that were tried least."""
        of_algorithm = defaultdict(list)
        for algorithm, each in zip(self._algorithms, seconds, strict=True):
            of_algorithm[algorithm].append(each)
        usual = {algorithm: median(each) for algorithm, each in of_algorithm.items()}
        left = set(untried)
        times = Counter(algorithm for i, algorithm in enumerate(self._algorithms) if i not in left)

        def rank(i: int) -> tuple[bool, int]:
            algorithm = self._algorithms[i]
            return seconds[i] > usual[algorithm], times[algorithm]

        return sorted(untried, key=rank)


class Sampler:
    """Suggests each candidate at most once, by its index in their list. The first ones are taken from its beginning.

    TPE sees a number as its rank among the values of its name, and anything else as a category. What it would try is
    replaced by a candidate that is left, by default the nearest. It keeps nothing: a suggestion depends on the seed and
    on what is known, so a study that goes on after an interruption is suggested what it would have been without.

    Args:
        candidates: the values of each by name, in random order; those with the same ``algorithm`` have the same names.
        seed: of what is random.
        pick: takes one of the candidates that are left.
    """

    def __init__(self, candidates: Sequence[Mapping[str, Any]], seed: int, pick: Pick = first_allowed) -> None:
        self._seed = seed
        self._pick = pick
        self._levels: list[Levels] = [{} for _ in candidates]
        self._distributions: dict[str, IntDistribution | CategoricalDistribution] = {}
        for name in dict.fromkeys(chain(*candidates)):
            values = {repr(candidate[name]): candidate[name] for candidate in candidates if name in candidate}
            if len(values) == 1:
                continue
            texts = list(values)
            if all(isinstance(value, Real) and not isinstance(value, bool) for value in values.values()):
                texts.sort(key=values.__getitem__)
                self._distributions[name] = IntDistribution(0, len(texts) - 1)
            else:
                self._distributions[name] = CategoricalDistribution(range(len(texts)))
            ranks = {text: rank for rank, text in enumerate(texts)}
            for levels, candidate in zip(self._levels, candidates, strict=True):
                if name in candidate:
                    levels[name] = ranks[repr(candidate[name])]

    def next(self, history: Collection[Tried], allowed: Allowed = lambda indices: [True] * len(indices)) -> int | None:
        """The index of the candidate to try next; None if none is left.

        Args:
            history: those that were tried, in the order in which they began.
            allowed: whether each of some candidates may be tried.
        """
        tried = {each.i for each in history}
        untried = [i for i in range(len(self._levels)) if i not in tried]
        if len(history) >= START_UP and untried:
            wanted = self._wanted(history)
            untried.sort(key=lambda i: self._distance(self._levels[i], wanted))
        return self._pick(untried, allowed)

    def _wanted(self, history: Collection[Tried]) -> Levels:
        """What TPE would try next, whether it is a candidate or not: a level of each name."""
        seed = int(np.random.SeedSequence([self._seed, len(history)]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = TPESampler(n_startup_trials=0, multivariate=True, group=True, seed=seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=sampler)
        study.add_trials([self._trial(tried) for tried in history])
        wanted: Levels = study.ask(self._distributions).params
        return wanted

    def _trial(self, tried: Tried) -> FrozenTrial:
        levels = self._levels[tried.i]
        return create_trial(
            state=tried.state,
            params=levels,
            distributions={name: self._distributions[name] for name in levels},
            value=tried.score,
            constraints={"limits": tried.excess},
        )

    def _distance(self, levels: Levels, wanted: Levels) -> float:
        """Of a number the share of its range, of a category 1. Of another algorithm nothing is near."""
        if levels.get("algorithm") != wanted.get("algorithm"):
            return math.inf  # where it has a name in common, other values may be good
        distance = 0.0
        for name, level in levels.items():
            distribution = self._distributions[name]
            if isinstance(distribution, IntDistribution):
                distance += abs(level - wanted[name]) / distribution.high
            elif level != wanted[name]:
                distance += 1
        return distance


class TuneSampler(Searcher):
    """Tune's side: has it run as many trials of a study as run at once, and the next when one has ended.

    First the references, and those that an earlier command had begun, then what the sampler says; repetitions have
    their numbers in the study's order. What is known of trials is what the study holds, also of those that an earlier
    command has run, so nothing has to be kept for it to go on.

    Args:
        study: whose trials are to run.
        cost_history: of the costs of trials, if there are limits.
        at_once: how many trials run at the same time.
        forecasts: how many seconds trials are expected to take, by the ids of configurations. It is asked once the
            first trial has begun, before which models are timed.
    """

    def __init__(
        self,
        study: Study,
        cost_history: ActorHandle | None,
        at_once: int,
        forecasts: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        super().__init__()
        self._study = study
        self._cost_history = cost_history
        self._at_once = at_once
        self._candidates = [trial for trial in study.configurations if not trial.repeat]
        self._indices = {trial.key: i for i, trial in enumerate(self._candidates)}
        self._forecasts = forecasts
        cheap = Cheap([trial.algorithm for trial in self._candidates], self._seconds)
        pick = cheap if study.settings.race else first_allowed
        self._sampler = Sampler([trial.searched for trial in self._candidates], study.settings.seed, pick)
        repeated = {trial.key for trial in study.configurations if trial.repeat}
        self._repeated = {trial.number: trial for trial in study.configurations if trial.key in repeated}
        self._references = study.references_left
        self._begun = [trial for trial in study.configurations if trial.id in study.open_runs]
        self._handed_out: dict[int, Configuration] = {}  # by their numbers in the order of the study's trials

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune writes what it was given to disk."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The ``config`` of the next trial; None while as many run as may, FINISHED if nothing is left to try."""
        trials = (*self._study.trials.values(), *self._study.reference_trials.values())
        ended = {trial.configuration.number: trial for trial in trials if trial.status != "RUNNING"}
        if len(self._handed_out.keys() - ended) >= self._at_once:
            return None
        if self._references:
            reference = self._references.pop(0)
            self._handed_out[reference.number] = reference
            return {"configuration": reference}
        taken = {number: trial.configuration for number, trial in ended.items()} | self._handed_out
        number = next(number for number in count(1) if number not in taken)
        configuration = self._next(number, taken, ended)
        if configuration is None:
            return str(Searcher.FINISHED)
        self._handed_out[number] = replace(configuration, number=number)
        config: dict[str, Any] = {"configuration": self._handed_out[number]}
        if self._study.races:
            config["rival"] = self._rival(configuration)
        return config

    def _rival(self, configuration: Configuration) -> Rival | None:
        """What a trial races against; none for what runs several times, which shows the noise of complete trials."""
        study = self._study
        if configuration.key in {trial.key for trial in self._repeated.values()}:
            return None
        limits = study.resolved_limits
        complete = [trial for trial in study.trials.values() if trial.complete and not trial.configuration.repeat]
        able = [trial for trial in complete if can_be_chosen(trial, limits)]
        costs = compared(limits) if study.settings.choose == CHEAPEST else ()
        return rival_of(complete, able, study.score.validated, study.score.higher_is_better, costs)

    def _seconds(self) -> Sequence[float]:
        """What each candidate is expected to take; equal while nothing is known."""
        forecasts = self._forecasts() if self._study.first_start is not None else {}
        return [forecasts.get(candidate.id, 0.0) for candidate in self._candidates]

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
            if not configuration.repeat and not configuration.role:
                history.append(self._tried(configuration, ended.get(other), limits))
        i = self._sampler.next(history, self._allowed)
        return None if i is None else self._candidates[i]

    def _tried(self, configuration: Configuration, trial: Trial | None, limits: Limits) -> Tried:
        i = self._indices[configuration.key]
        if trial is None:
            return Tried(i)
        too_much = excess(limits, trial.expected)
        figures = trial.expected if trial.raced else trial.figures
        score = figures.get(self._study.score.validated)
        if score is None or not (trial.complete or trial.raced) or trial.diverged:
            return Tried(i, TrialState.PRUNED, excess=too_much)
        return Tried(i, TrialState.COMPLETE, -score if self._study.score.higher_is_better else score, too_much)

    def _allowed(self, indices: Sequence[int]) -> list[bool]:
        """Which of the candidates are not known to break a limit."""
        candidates = [self._candidates[i] for i in indices]
        outlooks = ask(self._cost_history, self._study.trial_limits, candidates)
        return [not is_ruled_out(outlook) for outlook in outlooks]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """No-op: the recorder follows the trials."""
