"""The Pareto front of score against cost: the trials that no other one beats without costing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

IDS = ("run_id", "trial_id")


def front(
    trials: Sequence[Mapping[str, Any]],
    score: str,
    costs: Sequence[str],
    hyperparameters: Sequence[str],
    *,
    sign: float,
    margins: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """The front of score against each cost, from the cheapest trial on.

    It is built from its most expensive trial down: of the trials whose score is within the margin of the best one, the
    cheapest, or the best of those within the margin of its cost. The next is chosen in the same way among the trials
    that are cheaper by more than the margin of the cost, and so on. So of several trials that differ only by noise, the
    best is on the front, in whatever order they are given. Without margins it is the usual front.

    Args:
        trials: one row each, with their ids, figures and hyperparameters. Figures may be missing.
        score: the figure that ranks them.
        costs: figures where less is better.
        hyperparameters: what to name of each trial besides its ids.
        sign: 1 where a lower score is better, -1 where a higher one is.
        margins: what may be noise: of the score a difference, of a cost a share.
    """
    margins, rows = margins or {}, []
    for cost in costs:
        left = [each for each in trials if _known(each, score) and _known(each, cost)]
        steps = []
        while left:
            best = min(sign * each[score] for each in left)
            as_good = [each for each in left if sign * each[score] <= best + margins.get(score, 0.0)]
            most = min(each[cost] for each in as_good) * (1 + margins.get(cost, 0.0))
            as_cheap = [each for each in as_good if each[cost] <= most]
            chosen = min(as_cheap, key=lambda each: (sign * each[score], each[cost], *_ids(each)))
            named = {name: chosen[name] for name in (*IDS, *hyperparameters) if name in chosen}
            steps.append({"cost": cost, "value": chosen[cost], score: chosen[score]} | named)
            left = [each for each in left if each[cost] * (1 + margins.get(cost, 0.0)) < chosen[cost]]
        rows += reversed(steps)
    return rows


def _ids(trial: Mapping[str, Any]) -> tuple[str, ...]:
    """The tie-breaker for trials that are equal in score and cost."""
    return tuple(str(trial.get(name)) for name in reversed(IDS))


def _known(trial: Mapping[str, Any], figure: str) -> bool:
    value = trial.get(figure)
    return value is not None and value == value  # NaN is not
