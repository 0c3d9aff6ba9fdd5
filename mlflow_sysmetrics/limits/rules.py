"""The rules that limits consist of, on values by name; and what is said of one that was broken."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from mlflow_sysmetrics.recording.outcome import Outcome, killed
from mlflow_sysmetrics.recording.tags import BY_LIMITS, STOP_METRIC

Values = Mapping[str, float]
UNITS_S = {"h": 3600, "m": 60, "s": 1}
_ALLOWS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}
_BROKEN = {"<=": " > ", "<": " >= ", ">=": " < ", ">": " <= "}  # how a value lies to it


class Kind(Enum):
    """How a metric moves while a trial runs, and so when a limit on it can be judged."""

    GROWING = "growing"  # a cost that never falls, or of which each value counts: a crossed upper limit is final
    MEAN = "mean"  # since the start, which settles: judged at the end
    FACT = "fact"  # known once and final: judged as soon as it is seen
    CURVE = "curve"  # goes up and down: judged at the end


@dataclass(frozen=True)
class Metric:
    """A metric that limits may name. Its unit is in its name."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Stop:
    """A broken rule, normalised. `limit` is the number that was not met."""

    rule: str
    metric: str
    value: float
    limit: float
    step: int | None = None

    def described(self, *how: str) -> str:
        """For people: `training_time_s 5.1 > 4 (2x median, step 120)`; `how` goes before the step."""
        text = self.rule.removeprefix(self.metric)
        op = next(op for op in _BROKEN if text.startswith(op))
        rule = text.removeprefix(op).strip()
        pairs = [(digits(self.value, count), digits(self.limit, count)) for count in (4, 6, 8)]
        value, limit = next(((value, limit) for value, limit in pairs if value != limit), pairs[0])
        shown = f"{self.metric} {value}{_BROKEN[op]}{limit}"
        step = "" if self.step is None else f"step {self.step}"
        words = ", ".join(filter(None, [rule if " " in rule else "", *how, step]))  # of a plain limit, only these
        return f"{shown} ({words})" if words else shown

    __str__ = described

    def outcome(self, *how: str) -> Outcome:
        """The outcome of the run that it ends; `how` goes into the reason."""
        status, tags = killed(BY_LIMITS, self.described(*how))
        return Outcome(status, {**tags, STOP_METRIC: self.metric})


@dataclass(frozen=True)
class Limit:
    """`metric op number`. With `from_s` it holds once that many seconds have passed (`elapsed_s`)."""

    metric: Metric
    op: str
    number: float
    from_s: float = 0.0

    def __str__(self) -> str:
        text = f"{self.metric.name}{self.op}{_short(self.number)}"
        if self.from_s:
            unit = next((unit for unit in UNITS_S if self.from_s % UNITS_S[unit] == 0), "s")
            text += f" after {_short(self.from_s / UNITS_S[unit])}{unit}"
        return text

    @property
    def is_upper(self) -> bool:
        return self.op in ("<", "<=")

    @property
    def stops(self) -> bool:
        """Whether it can stop what runs: else it can be met until the end."""
        kind = self.metric.kind
        return self.from_s > 0 or kind is Kind.FACT or (kind is Kind.GROWING and self.is_upper)

    def allows(self, value: float) -> bool:
        return bool(_ALLOWS[self.op](value, self.number))

    def broken(self, values: Values, step: int | None = None, slack: float = 0.0) -> Stop | None:
        """The stop if these values break this limit by more than `slack`; else None."""
        value = finite(values, self.metric.name)
        if value is None or (self.from_s and (finite(values, "elapsed_s") or 0.0) < self.from_s):
            return None
        if self.allows(value - slack if self.is_upper else value + slack):
            return None
        return Stop(str(self), self.metric.name, value, self.number, step)


def _short(number: float) -> str:
    return f"{number}".removesuffix(".0")


def digits(number: float, count: int) -> str:
    """A number with so many digits, and all before its point: 16012, not 1.601e+04; but a loss that grew is 1e+09."""
    return f"{number:.0f}" if 10**count - 0.5 <= abs(number) < 1e8 else f"{number:.{count}g}"


def finite(values: Values, name: str) -> float | None:
    """The value as a float; None where it is absent, not finite, or no number at all."""
    try:
        value = float(values[name])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None
