"""Tune's side of a search that learns."""

from __future__ import annotations

from typing import Any

from optuna.trial import TrialState
from ray.tune.search.searcher import Searcher

from entrypoints.limits.costs import compared
from entrypoints.limits.grammar import Limits
from entrypoints.limits.judging import excess
from entrypoints.models.configuration import Configuration
from entrypoints.options.settings import CHEAPEST
from entrypoints.runs.tags import FOLD
from entrypoints.search.racing import Rival, rival_of
from entrypoints.search.sampler import Sampler, Tried
from entrypoints.study.study import Study, can_be_chosen
from entrypoints.trials.trial import Trial


class TuneSampler(Searcher):
    """Has Tune run as many trials of a study as may run at once, and the next one when one has ended.

    The references come first, then what an earlier command had begun, then the portfolio, then what the sampler says.
    What is known of trials is what the study holds, also of those that an earlier command has run, so nothing has to be
    kept for it to go on.

    Args:
        study: whose trials are to run.
        at_once: how many trials run at the same time.
    """

    def __init__(self, study: Study, at_once: int) -> None:
        super().__init__()
        self._study = study
        self._at_once = at_once
        self._sampler = Sampler(study.spaces, study.settings.seed)
        self._first = [*study.references_left, *study.begun, *study.left]
        self._handed_out: list[Configuration] = []

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune writes what it was given to disk."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The ``config`` of the next trial; None while as many run as may, FINISHED if nothing is left to try."""
        study = self._study
        trials = [*study.trials.values(), *study.reference_trials.values()]
        ended = {trial.configuration.id for trial in trials if trial.status != "RUNNING"}
        running = [each for each in self._handed_out if each.id not in ended]
        if len(running) >= self._at_once:
            return None
        configuration = self._next()
        if configuration is None:
            return str(Searcher.FINISHED)
        self._handed_out.append(configuration)
        config: dict[str, Any] = {"configuration": configuration}
        if study.races and configuration.axis == FOLD and not configuration.role:
            config["rival"] = self._rival()
        return config

    def _next(self) -> Configuration | None:
        if self._first:
            return self._first.pop(0)
        if self._study.has_enough:
            return None
        tried = {trial.configuration.id: trial for trial in self._study.trials.values()}
        configurations = [trial.configuration for trial in tried.values()]
        configurations += [each for each in self._handed_out if each.id not in tried and not each.role]
        limits = self._study.resolved_limits
        in_order = sorted(configurations, key=lambda each: each.number)
        history = [self._tried(each, tried.get(each.id), limits) for each in in_order]
        choice = self._sampler.next(history)
        if choice is None:
            return None
        return self._study.configuration(choice, 1 + max((each.number for each in in_order), default=0))

    def _rival(self) -> Rival | None:
        """What a trial races against."""
        study = self._study
        limits = study.resolved_limits
        complete = [trial for trial in study.trials.values() if trial.complete]
        able = [trial for trial in complete if can_be_chosen(trial, limits)]
        costs = compared(limits) if study.settings.choose == CHEAPEST else ()
        return rival_of(complete, able, study.score.validated, study.score.higher_is_better, costs)

    def _tried(self, configuration: Configuration, trial: Trial | None, limits: Limits) -> Tried:
        choice = configuration.searched
        if trial is None or trial.status == "RUNNING":
            return Tried(choice)
        too_much = excess(limits, trial.expected)
        figures = trial.expected if trial.raced else trial.figures
        score = figures.get(self._study.score.validated)
        if score is None or not (trial.complete or trial.raced) or trial.diverged:
            return Tried(choice, TrialState.PRUNED, excess=too_much)
        return Tried(choice, TrialState.COMPLETE, -score if self._study.score.higher_is_better else score, too_much)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """No-op: the recorder follows the trials."""
