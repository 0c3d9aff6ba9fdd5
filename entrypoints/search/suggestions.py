"""Tune's side of a search that learns: each trial that can begin gets the configuration that is suggested by then."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from optuna.trial import TrialState
from ray.actor import ActorHandle
from ray.tune.search.searcher import Searcher

from entrypoints.limits.cost_history import ask, ask_to_come
from entrypoints.limits.guard import is_ruled_out
from entrypoints.limits.judging import excess
from entrypoints.models.configuration import Configuration
from entrypoints.search.earlier import Earlier
from entrypoints.search.plan import Plan
from entrypoints.search.record import Record, TrialRecord
from entrypoints.search.suggester import Known, Suggester
from mlflow_sysmetrics.limits import Limits


class Suggestions(Searcher):
    """Suggests as many trials of a plan as run at once, and the next when one has ended.

    First those that an earlier command had begun, then what the suggester says; repetitions have their place in the
    plan. What is known of trials is what the record says, also of those that an earlier command has run, so nothing has
    to be kept for a study to go on.

    Args:
        plan: of the study.
        record: of its trials.
        earlier: what earlier commands have left.
        ledger: of the costs of trials, if there are limits.
        at_once: how many trials run at the same time.
    """

    def __init__(self, plan: Plan, record: Record, earlier: Earlier, ledger: ActorHandle | None, at_once: int) -> None:
        super().__init__()
        self._plan, self._record, self._ledger, self._at_once = plan, record, ledger, at_once
        self._candidates = [trial for trial in plan.trials if not trial.repeat]
        self._places = {trial.key: place for place, trial in enumerate(self._candidates)}
        self._suggester = Suggester([each.searched for each in self._candidates], plan.settings.seed)
        repeated = {trial.key for trial in plan.trials if trial.repeat}
        self._repeated = {trial.place: trial for trial in plan.trials if trial.key in repeated}
        self._begun = [trial for trial in plan.trials if trial.id in earlier.open_runs]
        self._handed_out: dict[int, Configuration] = {}  # by their places in the order of the study's trials

    def __getstate__(self) -> dict[str, Any]:
        """Empty, as of the record: Tune writes what it was given to disk."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The ``config`` of the next trial; None while as many run as may, FINISHED if nothing is left to try."""
        ended = {
            trial.configuration.place: trial for trial in self._record.trials.values() if trial.status != "RUNNING"
        }
        if len(self._handed_out.keys() - ended) >= self._at_once:
            return None
        taken = {trial.configuration.place: trial.configuration for trial in ended.values()} | self._handed_out
        place = next(place for place in count(1) if place not in taken)
        configuration = self._next(place, taken, ended)
        if configuration is None:
            return str(Searcher.FINISHED)
        self._handed_out[place] = replace(configuration, place=place)
        return {"configuration": self._handed_out[place]}

    def _next(self, place: int, taken: dict[int, Configuration], ended: dict[int, TrialRecord]) -> Configuration | None:
        if self._begun:
            return self._begun.pop(0)
        repeated = self._repeated.get(place)
        if repeated and repeated.id not in {each.id for each in taken.values()}:
            return repeated
        self._record.to_come = ask_to_come(self._ledger)
        limits = self._record.resolved_limits
        known = [self._known(taken[each], ended.get(each), limits) for each in sorted(taken) if not taken[each].repeat]
        found = self._suggester.next(known, self._allowed)
        return None if found is None else self._candidates[found]

    def _known(self, configuration: Configuration, trial: TrialRecord | None, limits: Limits) -> Known:
        place = self._places[configuration.key]
        if trial is None:
            return Known(place)
        _, cost = trial.known
        if not trial.complete:
            return Known(place, TrialState.PRUNED, excess=excess(limits, cost.projected))
        score = trial.figures[self._record.score]
        score = -score if self._plan.score.higher_is_better else score
        return Known(place, TrialState.COMPLETE, score, excess(limits, cost.projected))

    def _allowed(self, places: list[int]) -> list[bool]:
        """Which of the candidates are not known to break a limit."""
        stopping = self._plan.stopping
        if stopping is None or not stopping.predict:
            return [True] * len(places)
        contexts = ask(self._ledger, [self._candidates[place] for place in places])
        return [not is_ruled_out(stopping, context) for context in contexts]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """No-op: the record follows the trials."""

    def save(self, checkpoint_path: str) -> None:
        """No-op: a study goes on from what its runs hold."""

    def restore(self, checkpoint_path: str) -> None:
        """No-op."""
