"""Limits of a study, such as ``training_time_s<=2x median``: those of the plugin, and limits relative to trials."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from mlflow_sysmetrics.limits import (
    Limit,
    LimitsError,
    Metric,
    Values,
    check_can_be_met,
    finite,
    parse_limit,
)

AFTER = 5  # finished trials before a relative limit is active: fewer say little about what is usual
_FORM = "write name<=3, name>=3 after 10m or name<=2x median after 8; a comma between two"
_COUNT = r"[1-9][0-9]{0,8}(?![\w.])"
_RELATIVE = re.compile(rf"(?P<limit>.*?)\s*x\s*median\b(?:\s*after\b\s*(?P<after>{_COUNT}))?")


@dataclass(frozen=True)
class TrialMetric(Metric):
    """A metric of a trial that limits may name."""

    higher_is_better: bool = False


@dataclass(frozen=True)
class RelativeLimit(Limit):
    """`number` times the median of at least `after` finished trials."""

    after: int = AFTER

    def __str__(self) -> str:
        trials = f" after {self.after}" if self.after != AFTER else ""
        return f"{super().__str__()}x median{trials}"

    def resolve(self, finished: Iterable[Values]) -> float | None:
        """The limit as a number; None while too few finished trials have the metric, or its median is negative.

        A factor would tighten a limit on negative values where it is to loosen it.
        """
        known = [value for values in finished if (value := finite(values, self.metric.name)) is not None]
        if len(known) < self.after:
            return None
        number = self.number * median(known)
        return number if 0 <= number < math.inf else None


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
class Limits:
    """What a trial has to meet. Made by `parse`; `str` gives a normalised text that it reads as an equal object."""

    rules: tuple[Limit, ...]

    @classmethod
    def parse(cls, text: str, metrics: Iterable[TrialMetric]) -> Limits:
        """Read a text that names some of these metrics; LimitsError for its first mistake."""
        known = tuple(metrics)
        try:
            limits = cls(tuple(dict.fromkeys(_limit(part.strip(), known) for part in text.split(","))))
            check_can_be_met([limit for limit in limits.rules if not isinstance(limit, RelativeLimit)])
        except ValueError as error:
            raise LimitsError(text, str(error)) from None
        return limits

    def __str__(self) -> str:
        return ", ".join(map(str, self.rules))

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(limit.metric.name for limit in self.rules))


def _limit(part: str, metrics: tuple[TrialMetric, ...]) -> Limit:
    """One limit. ValueError: what is wrong with it."""
    if not (found := _RELATIVE.fullmatch(part)):
        return parse_limit(part, metrics, _FORM)
    try:
        factor = parse_limit(found["limit"], metrics, _FORM)
    except ValueError as error:
        raise ValueError(str(error).replace(f'"{found["limit"]}"', f'"{part}"')) from None
    if factor.from_s or factor.number <= 0:
        raise ValueError(f'"{part}" is not a limit; {_FORM}')
    after = int(found["after"] or AFTER)
    return RelativeLimit(factor.metric, factor.op, factor.number, after=after)
