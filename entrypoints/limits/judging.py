"""What a study adds to limits: noise, and what a trial breaks at its end and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterable

from entrypoints.limits.noise import is_memory
from mlflow_sysmetrics.limits import Kind, Limit, Limits, Patience, Stop, Values, finite

# Standard errors between a mean and its limit before it counts as evidence. A mean that lies exactly at its limit and
# is looked at after each of 100 equal stretches crosses 3 wrongly in 1.6 % of trials; it would cross 2 in 18 %.
Z = 3.0
WORTH_MB = 1.0  # by how much more memory than others a model has to take for a relative limit to end its trial
_TINY = 1e-9  # the least excess of a broken limit, and what the distance to a limit of 0 is relative to


def resolved(limits: Limits, finished: Iterable[Values]) -> Limits:
    """The same with the numbers that relative limits come to; without limits for which too few have finished.

    Where many trials are judged by the same finished ones, it is this that takes time, and only once.
    """
    numbers = (
        Limit(limit.metric, limit.op, number, from_s=limit.from_s) for limit, number in _resolved(limits, finished)
    )
    return Limits((*numbers, *_patience(limits).rules))


def violations(limits: Limits, values: Values) -> list[Stop]:
    """Every limit (not patience) that the final values of a trial break, but for relative ones: see ``resolved``."""
    stops = (limit.broken(values, limit.number) for limit in limits.bounds if not limit.statistic)
    return [stop for stop in stops if stop is not None]


def excess(limits: Limits, values: Values) -> float:
    """0 if no limit is broken, else the sum of the broken ones' distances, each relative to its limit."""
    stops = violations(limits, values)
    return sum((max(_TINY, abs(stop.value - stop.limit) / max(abs(stop.limit), _TINY)) for stop in stops), 0.0)


class NoisyJudge:
    """What has been seen of one trial. ``see`` belongs to one thread; ``crossed`` may be called from any.

    Args:
        limits: what it has to meet.
        finished: the trials that relative limits are taken of.
        noise: for each metric that has any, the standard deviation of one configuration's value from run to run as a
            share of it. Before its end a trial is stopped only for what that does not explain.
    """

    def __init__(self, limits: Limits, finished: Iterable[Values] = (), noise: Values | None = None) -> None:
        self._limits = [
            (limit, number, Z * (finite(noise or {}, limit.metric.name) or 0.0) * abs(number))
            for limit, number in _resolved(limits, finished)
        ]
        self._patience = _patience(limits).judge()

    def see(self, values: Values, step: int | None = None, errors: Values | None = None) -> Stop | None:
        """The first limit broken by the latest ``values`` at ``step``, limits before patience, or None.

        ``errors`` are the standard errors of means: a mean without one decides nothing. Each finite value of a curve is
        one report to its patience.
        """
        stalled = self._patience.see(values, step)
        for limit, number, spread in self._limits:
            slack = _slack(limit, spread, errors or {})
            if slack is not None and (stop := limit.broken(values, number, step, slack)):
                return stop
        return stalled

    def crossed(self, values: Values, step: int | None = None) -> Stop | None:
        """The first limit broken for good by one reading, or None: microseconds, and nothing is remembered.

        That is an upper one of what never falls, or any one that holds only from some time on.
        """
        for limit, number, spread in self._limits:
            final = limit.is_upper and limit.metric.kind in (Kind.GROWING, Kind.FACT)
            if (final or limit.from_s) and (stop := limit.broken(values, number, step, spread)):
                return stop
        return None

    def final(self, values: Values, step: int | None = None) -> Stop | None:
        """The first limit broken by what a trial has at its end, or None. Noise and patience are not looked at."""
        stops = (limit.broken(values, number, step) for limit, number, _ in self._limits)
        return next(filter(None, stops), None)


def _slack(limit: Limit, spread: float, errors: Values) -> float | None:
    """How far beyond its limit a value must be to count before the trial's end; None: never."""
    kind = limit.metric.kind
    if kind is Kind.MEAN and not limit.from_s:
        error = finite(errors, limit.metric.name)
        return None if error is None or error < 0 else math.hypot(Z * error, spread)
    early = limit.from_s or kind is Kind.FACT or (kind is Kind.GROWING and limit.is_upper)
    return spread if early else None


def _resolved(limits: Limits, finished: Iterable[Values]) -> list[tuple[Limit, float]]:
    """The active limits, each with its number."""
    trials = list(finished)
    numbers = ((limit, limit.resolve(trials)) for limit in limits.bounds)
    return [(limit, _worth_stopping_for(limit, number)) for limit, number in numbers if number is not None]


def _worth_stopping_for(limit: Limit, number: float) -> float:
    if limit.statistic and limit.is_upper and limit.number and is_memory(limit.metric.name):
        return max(number, number / limit.number + WORTH_MB)
    return number


def _patience(limits: Limits) -> Limits:
    return Limits(tuple(rule for rule in limits.rules if isinstance(rule, Patience)))
