"""Limits and the trials that have ended: what relative limits come to, what a trial breaks, and by how much."""

from __future__ import annotations

from collections.abc import Iterable

from entrypoints.limits.grammar import Bound, Limits, RelativeLimit
from entrypoints.limits.noise import is_memory
from mlflow_sysmetrics.limits import Limit, Stop, Values

WORTH_MB = 1.0  # by how much more memory than others a model has to take for a relative limit to end its trial
_TINY = 1e-9  # the least excess of a broken limit, and what the distance to a limit of 0 is relative to


def resolved(limits: Limits, ended: Iterable[Values], noise: Values | None = None) -> Limits:
    """The same as bounds; a relative limit for which too few trials have ended stays as it is, and judges none.

    Where many trials are judged by the same ended ones, it is this that takes time, and only once.

    Args:
        limits: of the user.
        ended: the costs of other trials.
        noise: of costs, as shares of them; those that are left out have none.
    """
    trials, shares = list(ended), noise or {}
    return Limits(tuple(_resolved(limit, trials, shares.get(limit.metric.name, 0.0)) for limit in limits.rules))


def _resolved(limit: Limit, ended: list[Values], share: float) -> Limit:
    is_relative = isinstance(limit, RelativeLimit)
    number = limit.resolve(ended) if isinstance(limit, RelativeLimit) else limit.number
    if number is None:
        return limit
    if is_relative and limit.is_upper and is_memory(limit.metric.name):
        number = max(number, number / limit.number + WORTH_MB)
    return Bound(limit.metric, limit.op, number, limit.from_s, text=str(limit), noise=share * abs(number))


def violations(limits: Limits, values: Values) -> list[Stop]:
    """Every limit that the final values of a trial break, without relative ones: see ``resolved``."""
    stops = (limit.broken(values) for limit in limits.rules if not isinstance(limit, RelativeLimit))
    return [stop for stop in stops if stop is not None]


def excess(limits: Limits, values: Values) -> float:
    """0 if no limit is broken, else the sum of the broken ones' distances, each relative to its limit."""
    total = 0.0
    for stop in violations(limits, values):
        distance = abs(stop.value - stop.limit) / max(abs(stop.limit), _TINY)
        total += max(_TINY, distance)
    return total
