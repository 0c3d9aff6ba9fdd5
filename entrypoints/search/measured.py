"""How well a study has measured: the noise of each figure, and what the order of the trials did to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from entrypoints.limits.costs import BESIDE, compared
from entrypoints.limits.noise import Noise, cheapest, cheapest_by_chance, margins, of_costs, of_score
from entrypoints.limits.order_effect import Order, of_order
from entrypoints.search.record import Record, TrialRecord

FILE = "noise.json"
_LEARNED = ("train_loss", "val_", "test_")  # what a model has learned: no cost
_FIXED = ("steps",)


@dataclass(frozen=True)
class Measured:
    """By metric; the score is the first of ``noises`` and has no ``order``, nor have those beside costs."""

    score: str
    noises: Mapping[str, Noise]
    order: Mapping[str, Order]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row per figure, for noise.json."""
        return [each.row | (self.order[name].row if name in self.order else {}) for name, each in self.noises.items()]

    @property
    def margins(self) -> dict[str, float]:
        """By how much trials must differ to be told apart: of the score a difference, of a cost a share."""
        return margins(self.noises.values())

    @property
    def score_margin(self) -> float | None:
        """By how much the scores of two trials must differ; None where that is unknown."""
        return self.noises[self.score].margin

    def equal_to_best(self, record: Record) -> str:
        """How many that can be chosen are as good as the best, and which is cheapest; empty where that is not known."""
        margin, ranked = self.score_margin, record.ranked
        if margin is None or len(ranked) < 2:
            return ""
        within = " within the limits" if record.limited else ""
        best = ranked[0].figures[self.score]
        equal = [trial for trial in ranked if abs(trial.figures[self.score] - best) <= margin]
        if len(equal) < 2:
            return f"The best differs from all others{within} by more than noise ({margin:.2g} of {self.score})."
        return (
            f"The first {len(equal)} of {len(ranked)}{within} differ by no more than noise in {self.score} "
            f"({margin:.2g}, from fold to fold): {self._cheapest(equal, record)}."
        )

    def _cheapest(self, equal: Sequence[TrialRecord], record: Record) -> str:
        """The cheapest of equal models, best first, as the end of a sentence: by more than chance and 5 %."""
        first = equal[0].figures
        cost = next((name for name in compared(record.limits) if name in first), None)
        if cost is None:
            return "choose the cheapest of them"
        costs = [trial.figures.get(cost, math.nan) for trial in equal]
        by_chance = cheapest_by_chance(self.noises.get(cost), len(equal) - 1)
        place, cheaper = cheapest(cost, costs, by_chance, self.margins.get(cost, 0.0))
        value, than = costs[place], costs[0]
        if cheaper is False:
            return f"none of them is over 5 % cheaper than the first ({cost} {than:.4g})"
        what, times = _values(equal[place], record), than / value if value > 0 else math.inf
        less = f"{times:.2g} times less" if times < 10 else f"{times:.0f} times less" if times < math.inf else "less"
        if cheaper:
            return f"choose the cheapest of them, such as {what} with {cost} {value:.4g} ({less} than the first)"
        lowest = f"{cost} {value:.4g} with {what} is {less}, which may be noise"
        return f"none of them is surely cheaper than the first: {lowest}"


def measured(record: Record) -> Measured:
    """What the trials that ran to their end say, repeated ones included."""
    ended = [(trial.configuration, trial.figures) for trial in record.trials.values() if trial.complete]
    folds = [[fold[record.score] for fold in trial.folds if record.score in fold] for trial in record.able]
    higher = record.task == "classification"
    score = of_score(record.score, [scores for scores in folds if scores], higher_is_better=higher)
    names = list(dict.fromkeys(name for _, figures in ended for name in figures if is_cost(name)))
    noises = {each.figure: each for each in (score, *of_costs(ended, names))}
    in_order = of_order(ended, [name for name in names if name not in BESIDE])
    return Measured(record.score, noises, in_order)


def _values(trial: TrialRecord, record: Record) -> str:
    """What a trial had chosen, of what differs in the study."""
    tried = [each.configuration.searched for each in record.trials.values()]
    own = trial.configuration.searched
    return ", ".join(f"{name} {own[name]}" for name in own if any(each.get(name) != own[name] for each in tried))


def is_cost(figure: str) -> bool:
    """Whether a trial's figure says what it cost, so that trials of equal cost differ in it by noise alone."""
    return not figure.startswith(_LEARNED) and figure not in _FIXED
