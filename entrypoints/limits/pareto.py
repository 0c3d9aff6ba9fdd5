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
) -> list[dict[str, Any]]:
    """The front of score against each cost, from the cheapest trial on.

    Args:
        trials: one row each, with their ids, figures and hyperparameters. Figures may be missing.
        score: the figure that ranks them.
        costs: figures of which less is better.
        hyperparameters: what to name of each trial besides its ids.
        sign: 1 where a lower score is better, -1 where a higher one is.
    """
    rows = []
    for cost in costs:
        best = None
        for trial in sorted(
            (each for each in trials if _known(each, score) and _known(each, cost)),
            key=lambda each: (each[cost], sign * each[score]),
        ):
            if best is None or sign * trial[score] < best:
                best = sign * trial[score]
                named = {name: trial[name] for name in (*IDS, *hyperparameters) if name in trial}
                rows.append({"cost": cost, "value": trial[cost], score: trial[score]} | named)
    return rows


def _known(trial: Mapping[str, Any], figure: str) -> bool:
    value = trial.get(figure)
    return value is not None and value == value  # NaN is not
