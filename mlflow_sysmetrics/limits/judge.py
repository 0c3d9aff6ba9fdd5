"""Limits on what a training may cost: parse ``peak_memory_mb<=300, val_loss patience 3``, and judge a trial by them.

Knows no thread and no tracker: figures are mappings from metric name to number, and a decision is a value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow_sysmetrics.limits.grammar import (
    BREAKS,
    CriteriaError,
    Kind,
    Limit,
    Metric,
    Parser,
    Patience,
    Values,
    finite,
    listed,
)

__all__ = ["Criteria", "CriteriaError", "Judge", "Kind", "Limit", "Metric", "Patience", "Stop", "Values", "Z"]

# Standard errors between a mean and its limit before it counts as evidence. A mean that lies exactly at its limit and
# is looked at after each of 100 equal stretches crosses 3 wrongly in 1.6 % of trials; it would cross 2 in 18 %.
Z = 3.0
_BROKEN = {"<=": ">", "<": ">=", ">=": "<", ">": "<="}  # how a value lies to a limit that it breaks
_TINY = 1e-9  # the least excess of a broken limit, and what the distance to a limit of 0 is relative to


@dataclass(frozen=True)
class Stop:
    """A criterion that a trial has broken. `limit` is the resolved number, or for patience the value to beat."""

    criterion: str  # normalised
    metric: str
    value: float
    limit: float
    step: int | None = None

    def __str__(self) -> str:
        return self.told()

    def told(self, *how: str) -> str:
        """For people, what matters first: `training_time_s 5.1 > 4 (2x median, step 120)`; `how` goes before the step.

        The value has as many digits as tell it from the limit.
        """
        text = self.criterion.removeprefix(self.metric)
        op = next((op for op in _BROKEN if text.startswith(op)), "")  # patience has none
        rule = text.removeprefix(op).strip()
        digits = next((digits for digits in (4, 6, 8) if f"{self.value:.{digits}g}" != f"{self.limit:.{digits}g}"), 4)
        relation = f" {_BROKEN[op]} " if op else ", best "
        shown = f"{self.metric} {self.value:.{digits}g}{relation}{self.limit:.{digits}g}"
        words = [*([rule] if " " in rule else []), *how]  # an absolute limit is one word, its number
        words += [] if self.step is None else [f"step {self.step}"]
        return f"{shown} ({', '.join(words)})" if words else shown


@dataclass(frozen=True)
class Criteria:
    """What a trial has to meet. Made by `parse`; `str` gives a normalised text that it reads as an equal object."""

    rules: tuple[Limit | Patience, ...]

    @classmethod
    def parse(
        cls, text: str, metrics: Iterable[Metric] | None = None, modes: Mapping[str, str] | None = None
    ) -> Criteria:
        """Read a criteria text.

        Args:
            text: such as ``memory_mb<=300, val_accuracy patience 3``.
            metrics: the ones it may name. With None it may name any: each is judged on every value seen, and may have
                patience.
            modes: without `metrics`, "max" for each metric with patience that is better when higher, "min" for one
                that is better when lower. A loss or an error, by its name, needs none.

        Raises:
            ValueError: a mode is neither.
            CriteriaError: points at the first mistake in the text.
        """
        if any(mode not in ("min", "max") for mode in (modes or {}).values()):
            raise ValueError(f'modes={modes!r}: give "min" or "max" for each metric')
        return cls(Parser(text, metrics, modes or {}).rules())

    def __str__(self) -> str:
        return ", ".join(map(str, self.rules))

    @property
    def limits(self) -> tuple[Limit, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, Limit))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names used, each once."""
        return tuple(dict.fromkeys(rule.metric.name for rule in self.rules))

    def check(self, readable: Iterable[str]) -> None:
        """CriteriaError if a metric is not among the `readable` ones: its rule would never fire."""
        names, position = set(readable), 0
        for rule in self.rules:
            if rule.metric.name not in names:
                what = f'"{rule.metric.name}" cannot be read on this machine'
                raise CriteriaError(str(self), position, f"{what}; leave it out or use one of {listed(names)}")
            position += len(f"{rule}, ")

    def judge(self, finished: Iterable[Values] = (), noise: Values | None = None) -> Judge:
        """A judge of one trial, whose relative limits come from the figures of the trials `finished` so far.

        `noise` is, for each metric that has any, the standard deviation of one configuration's figure from run to run
        as a share of it. Before its end a trial is stopped only for what that does not explain.
        """
        return Judge(self, finished, noise)

    def resolved(self, finished: Iterable[Values]) -> Criteria:
        """The same with the numbers that relative limits come to; without limits for which too few have finished.

        Where many trials are judged by the same finished ones, it is this that takes time, and only once.
        """
        numbers = (
            Limit(limit.metric, limit.op, number, from_s=limit.from_s)
            for limit, number in _resolved(self.limits, finished)
        )
        return Criteria((*numbers, *(rule for rule in self.rules if not isinstance(rule, Limit))))

    def violations(self, figures: Values, finished: Iterable[Values] = ()) -> list[Stop]:
        """Every limit (not patience) that the final `figures` of a trial break, in the order of the text."""
        stops = (_judged(limit, number, figures) for limit, number in _resolved(self.limits, finished))
        return [stop for stop in stops if stop is not None]

    def excess(self, figures: Values, finished: Iterable[Values] = ()) -> float:
        """0 if no limit is broken, else the sum of the broken ones' distances, each relative to its limit."""
        stops = self.violations(figures, finished)
        return sum((max(_TINY, abs(stop.value - stop.limit) / max(abs(stop.limit), _TINY)) for stop in stops), 0.0)


class Judge:
    """What has been seen of one trial. `see` belongs to one thread; `crossed` may be called from any."""

    def __init__(self, criteria: Criteria, finished: Iterable[Values], noise: Values | None) -> None:
        self._limits = _resolved(criteria.limits, finished)
        self._noise = noise or {}
        self._final_at_once = tuple(
            (limit, number, self._spread(limit, number))
            for limit, number in self._limits
            if limit.from_s or (limit.is_upper and limit.metric.kind in (Kind.GROWING, Kind.FACT))
        )
        self._curves = [_Curve(rule) for rule in criteria.rules if isinstance(rule, Patience)]

    def see(
        self, figures: Values, step: int | None = None, errors: Values | None = None, final: bool = False
    ) -> Stop | None:
        """The first criterion broken by the latest `figures` at `step`, limits before patience, or None.

        `errors` are the standard errors of means: before the end a mean without one decides nothing. Each finite value
        of a curve is one report to its patience, which at the end (`final`) has nothing left to stop.
        """
        stalled = [curve.see(figures, step) for curve in self._curves]  # of all: each has to count its report
        for limit, number in self._limits:
            slack = 0.0 if final else self._slack(limit, number, errors or {})
            if slack is not None and (stop := _judged(limit, number, figures, step, slack)):
                return stop
        return None if final else next(filter(None, stalled), None)

    def crossed(self, values: Values, step: int | None = None) -> Stop | None:
        """The first limit broken for good by one reading, or None: microseconds, and nothing is remembered.

        That is an upper one of what never falls, or any one that holds only from some time on.
        """
        for limit, number, slack in self._final_at_once:
            if stop := _judged(limit, number, values, step, slack):
                return stop
        return None

    def _slack(self, limit: Limit, number: float, errors: Values) -> float | None:
        """How far beyond its limit a value must be to count before the trial's end; None: never."""
        kind = limit.metric.kind
        if limit.from_s:
            return self._spread(limit, number)
        if kind is Kind.MEAN:
            error = finite(errors, limit.metric.name)
            return None if error is None or error < 0 else math.hypot(Z * error, self._spread(limit, number))
        early = kind is Kind.FACT or (kind is Kind.GROWING and limit.is_upper)
        return self._spread(limit, number) if early else None

    def _spread(self, limit: Limit, number: float) -> float:
        return Z * (finite(self._noise, limit.metric.name) or 0.0) * abs(number)


@dataclass
class _Curve:
    """How long a curve has not become better."""

    rule: Patience
    best: float | None = None
    reports: int = 0

    def see(self, figures: Values, step: int | None) -> Stop | None:
        rule = self.rule
        value = finite(figures, rule.metric.name)
        if value is None:
            return None
        sign = -1 if rule.metric.higher_is_better else 1
        if self.best is None or sign * (self.best - value) > rule.min_delta:
            self.best, self.reports = value, 0
            return None
        self.reports += 1
        return Stop(str(rule), rule.metric.name, value, self.best, step) if self.reports >= rule.reports else None


def _resolved(limits: Iterable[Limit], finished: Iterable[Values]) -> tuple[tuple[Limit, float], ...]:
    """The active limits, each with its number."""
    trials = list(finished)
    return tuple((limit, number) for limit in limits if (number := limit.resolve(trials)) is not None)


def _judged(limit: Limit, number: float, figures: Values, step: int | None = None, slack: float = 0.0) -> Stop | None:
    name = limit.metric.name
    value = finite(figures, name)
    if value is None or not limit.holds(figures):
        return None
    if not BREAKS[limit.op](value - slack if limit.is_upper else value + slack, number):
        return None
    return Stop(str(limit), name, value, number, step)
