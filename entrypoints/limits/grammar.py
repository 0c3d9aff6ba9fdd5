"""Limits of a study, such as ``training_time_s<=2x median, val_loss patience 3``: the plugin's, and two kinds more."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from mlflow_sysmetrics.limits import (
    Kind,
    Limit,
    LimitsError,
    Metric,
    Stop,
    Values,
    check_can_be_met,
    find_metric,
    finite,
    parse_limit,
)

AFTER = 5  # finished trials before a relative limit is active: fewer say little about what is usual
_FORM = (
    "write name<=3, name>=3 after 10m, name<=2x median after 8 or name patience 3 min_delta 0.1; a comma between two"
)
_COUNT = r"[1-9][0-9]{0,8}(?![\w.])"
_RELATIVE = re.compile(rf"(?P<limit>.*?)\s*x\s*(?P<statistic>median|mean|best)\b(?:\s*after\b\s*(?P<after>{_COUNT}))?")
_PATIENCE = re.compile(
    rf"(?P<name>[^\W\d][\w./:-]*)\s+patience\b\s*(?P<reports>{_COUNT})(?:\s*min_delta\b\s*(?P<delta>[0-9.eE+-]+))?"
)


@dataclass(frozen=True)
class TrialMetric(Metric):
    """A metric of a trial that limits may name."""

    higher_is_better: bool = False


@dataclass(frozen=True)
class RelativeLimit(Limit):
    """`number` times a statistic of at least `after` finished trials."""

    statistic: str = "median"
    after: int = AFTER

    def __str__(self) -> str:
        trials = f" after {self.after}" if self.after != AFTER else ""
        return f"{super().__str__()}x {self.statistic}{trials}"

    def resolve(self, finished: Iterable[Values]) -> float | None:
        """The limit as a number; None while too few finished trials have the metric, or its statistic is negative.

        A factor would tighten a limit on negative values where it is to loosen it.
        """
        known = [value for values in finished if (value := finite(values, self.metric.name)) is not None]
        if len(known) < self.after:
            return None
        number = self.number * self._usual(known)
        return number if 0 <= number < math.inf else None

    def _usual(self, known: list[float]) -> float:
        if self.statistic == "median":
            return median(known)
        if self.statistic == "mean":
            return sum(known) / len(known)
        return min(known) if self.is_upper else max(known)


@dataclass(frozen=True)
class Bound(Limit):
    """A limit by which trials are judged.

    Attributes:
        text: how the user wrote it; of a relative limit the number is what it has come to.
        noise: the standard deviation of values at that number between equal trials.
    """

    text: str = ""
    noise: float = 0.0

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Patience:
    """Stop when `metric` has not become better, by more than `min_delta`, for `reports` reports in a row."""

    metric: TrialMetric
    reports: int
    min_delta: float = 0.0

    def __str__(self) -> str:
        delta = f" min_delta {self.min_delta}".removesuffix(".0") if self.min_delta else ""
        return f"{self.metric.name} patience {self.reports}{delta}"


class Waiting:
    """The best value of each curve of a trial, and how many of its reports were no better."""

    def __init__(self, rules: Iterable[Patience]) -> None:
        self._waits = dict.fromkeys(rules, (math.nan, 0))

    def see(self, values: Values, step: int) -> Stop | None:
        """The first rule whose patience runs out with the values of this report, or None."""
        stalled = [self._stalled(rule, values, step) for rule in self._waits]  # of all: each has to count its report
        return next(filter(None, stalled), None)

    def _stalled(self, rule: Patience, values: Values, step: int) -> Stop | None:
        value = finite(values, rule.metric.name)
        if value is None:
            return None
        best, reports = self._waits[rule]
        better_by = value - best if rule.metric.higher_is_better else best - value
        if not better_by <= rule.min_delta:  # also the first: that is NaN
            self._waits[rule] = value, 0
            return None
        self._waits[rule] = best, reports + 1
        if reports + 1 < rule.reports:
            return None
        return Stop(str(rule), rule.metric.name, value, best, step)


@dataclass(frozen=True)
class Limits:
    """What a trial has to meet. Made by `parse`; `str` gives a normalised text that it reads as an equal object."""

    rules: tuple[Limit | Patience, ...]

    @classmethod
    def parse(cls, text: str, metrics: Iterable[TrialMetric]) -> Limits:
        """Read a text that names some of these metrics; LimitsError for its first mistake."""
        known = tuple(metrics)
        try:
            limits = cls(tuple(dict.fromkeys(_rule(part.strip(), known) for part in text.split(","))))
            check_can_be_met([limit for limit in limits.bounds if not isinstance(limit, RelativeLimit)])
        except ValueError as error:
            raise LimitsError(text, str(error)) from None
        return limits

    def __str__(self) -> str:
        return ", ".join(map(str, self.rules))

    @property
    def bounds(self) -> tuple[Limit, ...]:
        """The limits without patience."""
        return tuple(rule for rule in self.rules if isinstance(rule, Limit))

    @property
    def patience(self) -> tuple[Patience, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, Patience))

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rule.metric.name for rule in self.rules))


def _rule(part: str, metrics: tuple[TrialMetric, ...]) -> Limit | Patience:
    """One rule. ValueError: what is wrong with it."""
    wrong = ValueError(f'"{part}" is not a limit; {_FORM}')
    if found := _PATIENCE.fullmatch(part):
        metric = find_metric(found["name"], metrics)
        if not isinstance(metric, TrialMetric) or metric.kind is not Kind.CURVE:
            curves = sorted(metric.name for metric in metrics if metric.kind is Kind.CURVE)
            raise ValueError(f'"{part}": only a curve has patience; use one of {", ".join(curves)}')
        try:
            min_delta = float(found["delta"] or 0)
        except ValueError:
            raise wrong from None
        if not 0 <= min_delta < math.inf:
            raise wrong
        return Patience(metric, int(found["reports"]), min_delta)
    if not (found := _RELATIVE.fullmatch(part)):
        return parse_limit(part, metrics, _FORM)
    try:
        factor = parse_limit(found["limit"], metrics, _FORM)
    except ValueError as error:
        raise ValueError(str(error).replace(f'"{found["limit"]}"', f'"{part}"')) from None
    if factor.from_s or factor.number <= 0:
        raise wrong
    after = int(found["after"] or AFTER)
    return RelativeLimit(factor.metric, factor.op, factor.number, statistic=found["statistic"], after=after)
