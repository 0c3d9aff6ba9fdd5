"""How well a study has measured: the noise of each figure, and what the order of the trials did to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from entrypoints.limits.noise import Noise, margins, of_costs, of_score
from entrypoints.limits.order_effect import Order, of_order
from entrypoints.search.record import Record

FILE = "noise.json"
_LEARNED = ("train_loss", "val_", "test_")  # what a model has learned: no cost
_FIXED = ("steps",)


@dataclass(frozen=True)
class Measured:
    """By figure; the score is the first of ``noises`` and has no ``order``."""

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
        """How many of those that can be chosen are as good as the best, in a sentence; empty where it is not known."""
        margin, ranked = self.score_margin, record.ranked
        if margin is None or len(ranked) < 2:
            return ""
        within = " within the limits" if record.limited else ""
        best = ranked[0].figures[self.score]
        equal = sum(abs(trial.figures[self.score] - best) <= margin for trial in ranked)
        if equal < 2:
            return f"The best differs from all others{within} by more than noise ({margin:.2g} of {self.score})."
        return (
            f"The first {equal} of {len(ranked)}{within} differ by no more than noise in {self.score} ({margin:.2g}, "
            "from fold to fold): choose the cheapest of them."
        )


def measured(record: Record) -> Measured:
    """What the trials that ran to their end say, repeated ones included."""
    ended = [(trial.configuration, trial.figures) for trial in record.trials.values() if trial.complete]
    folds = [[fold[record.score] for fold in trial.folds if record.score in fold] for trial in record.able]
    higher = record.task == "classification"
    score = of_score(record.score, [scores for scores in folds if scores], higher_is_better=higher)
    names = list(dict.fromkeys(name for _, figures in ended for name in figures if is_cost(name)))
    noises = {each.figure: each for each in (score, *of_costs(ended, names))}
    return Measured(record.score, noises, of_order(ended, names))


def is_cost(figure: str) -> bool:
    """Whether a trial's figure says what it cost, so that trials of equal cost differ in it by noise alone."""
    return not figure.startswith(_LEARNED) and figure not in _FIXED
