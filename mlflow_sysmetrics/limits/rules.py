"""The rules that limits consist of, on values by name; and what is said of one that was broken."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from statistics import median

from mlflow_sysmetrics.outcome import Outcome, killed
from mlflow_sysmetrics.tags import BY_LIMITS, STOP_METRIC

Values = Mapping[str, float]
AFTER = 5  # finished trials before a relative limit is active: fewer say little about what is usual
UNITS_S = {"h": 3600, "m": 60, "s": 1}
_BREAKS = {"<=": operator.gt, "<": operator.ge, ">=": operator.lt, ">": operator.le}
_BROKEN = {"<=": " > ", "<": " >= ", ">=": " < ", ">": " <= ", "": ", best "}  # how a value lies to it


class Kind(Enum):
    """How a metric moves while a trial runs, and so when a limit on it can be judged."""

    GROWING = "a cost that never falls, or of which each value counts: a crossed upper limit is final"
    MEAN = "an average since the start that settles: judged at the end"
    FACT = "known once and final: judged as soon as it is seen"
    CURVE = "goes up and down: judged at the end, and patience acts on it"


@dataclass(frozen=True)
class Metric:
    """A metric that limits may name. Its unit is in its name."""

    name: str
    kind: Kind
    higher_is_better: bool = False


@dataclass(frozen=True)
class Stop:
    """A broken limit, normalised. `limit` is the resolved number, or for patience the value to beat."""

    rule: str
    metric: str
    value: float
    limit: float
    step: int | None = None

    def described(self, *how: str) -> str:
        """For people: `training_time_s 5.1 > 4 (2x median, step 120)`; `how` goes before the step."""
        text = self.rule.removeprefix(self.metric)
        op = next(op for op in _BROKEN if text.startswith(op))  # patience has none
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
    """`metric op number`, or with a `statistic`: number times that statistic of at least `after` finished trials.

    One with `from_s` holds once that many seconds have passed (`elapsed_s`), and is judged by every value then.
    """

    metric: Metric
    op: str
    number: float
    statistic: str = ""
    after: int = AFTER
    from_s: float = 0.0

    def __str__(self) -> str:
        unit = next((unit for unit in UNITS_S if self.from_s % UNITS_S[unit] == 0), "s")
        statistic = f"x {self.statistic}" if self.statistic else ""
        trials = f" after {self.after}" if self.after != AFTER else ""
        time = f" after {self.from_s / UNITS_S[unit]!r}{unit}".replace(f".0{unit}", unit) if self.from_s else ""
        return f"{self.metric.name}{self.op}" + f"{self.number}".removesuffix(".0") + statistic + trials + time

    @property
    def is_upper(self) -> bool:
        return self.op in ("<", "<=")

    @property
    def stops(self) -> bool:
        """Whether it can stop what runs: else it can be met until the end."""
        kind = self.metric.kind
        return self.from_s > 0 or kind is Kind.FACT or (kind is Kind.GROWING and self.is_upper)

    def resolve(self, finished: Iterable[Values]) -> float | None:
        """The limit as a number; None while too few finished trials have the metric, or its statistic is negative.

        A factor would tighten a limit on negative values where it is to loosen it.
        """
        if not self.statistic:
            return self.number
        known = [value for values in finished if (value := finite(values, self.metric.name)) is not None]
        if len(known) < self.after:
            return None
        best = min(known) if self.is_upper else max(known)
        usual = {"median": median(known), "mean": sum(known) / len(known), "best": best}[self.statistic]
        return self.number * usual if 0 <= self.number * usual < math.inf else None

    def broken(self, values: Values, number: float, step: int | None = None, slack: float = 0.0) -> Stop | None:
        """The stop if these values break this limit, which comes to `number`, by more than `slack`; else None."""
        value = finite(values, self.metric.name)
        if value is None or (self.from_s and (finite(values, "elapsed_s") or 0.0) < self.from_s):
            return None
        breaks = _BREAKS[self.op](value - slack if self.is_upper else value + slack, number)
        return Stop(str(self), self.metric.name, value, number, step) if breaks else None


@dataclass(frozen=True)
class Patience:
    """Stop when `metric` has not become better, by more than `min_delta`, for `reports` reports in a row."""

    metric: Metric
    reports: int
    min_delta: float = 0.0

    def __str__(self) -> str:
        delta = f" min_delta {self.min_delta}".removesuffix(".0") if self.min_delta else ""
        return f"{self.metric.name} patience {self.reports}{delta}"


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
