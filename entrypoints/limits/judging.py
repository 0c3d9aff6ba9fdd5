"""Limits and the trials that have ended: what relative limits come to, what a trial breaks, and by how much."""

from __future__ import annotations

from collections.abc import Iterable

from entrypoints.limits.grammar import Limits, RelativeLimit, ResolvedLimit
from entrypoints.limits.noise import is_memory
from mlflow_sysmetrics.limits import Limit, Stop, Values

WORTH_MB = 1.0  # by how much more memory than others a model has to take for a relative limit to end its trial
_TINY = 1e-9  # the least excess of a broken limit, and what the distance to a limit of 0 is relative to


def resolved(limits: Limits, finished: Iterable[Values]) -> Limits:
    """The same with the numbers that relative limits come to; without limits for which too few have finished.

    Where many trials are judged by the same finished ones, it is this that takes time, and only once.
    """
    numbers = [Limit(limit.metric, limit.op, limit.number, limit.from_s) for limit in resolved_bounds(limits, finished)]
    return Limits((*numbers, *limits.patience))


def resolved_bounds(limits: Limits, finished: Iterable[Values]) -> list[Limit]:
    """The active limits, relative ones with their numbers, each as the user wrote it."""
    trials = list(finished)
    bounds = []
    for limit in limits.bounds:
        if not isinstance(limit, RelativeLimit):
            bounds.append(limit)
            continue
        number = limit.resolve(trials)
        if number is not None:
            number = _worth_stopping_for(limit, number)
            bounds.append(ResolvedLimit(limit.metric, limit.op, number, text=str(limit)))
    return bounds


def violations(limits: Limits, values: Values) -> list[Stop]:
    """Every limit (not patience) that the final values of a trial break, but for relative ones: see ``resolved``."""
    stops = (limit.broken(values) for limit in limits.bounds if not isinstance(limit, RelativeLimit))
    return [stop for stop in stops if stop is not None]


def excess(limits: Limits, values: Values) -> float:
    """0 if no limit is broken, else the sum of the broken ones' distances, each relative to its limit."""
    total = 0.0
    for stop in violations(limits, values):
        distance = abs(stop.value - stop.limit) / max(abs(stop.limit), _TINY)
        total += max(_TINY, distance)
    return total


def _worth_stopping_for(limit: RelativeLimit, number: float) -> float:
    if limit.is_upper and is_memory(limit.metric.name):
        return max(number, number / limit.number + WORTH_MB)
    return number
