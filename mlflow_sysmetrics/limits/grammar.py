"""The rules that a criteria text such as ``peak_memory_mb<=300, val_loss patience 3`` consists of, and its parser."""

from __future__ import annotations

import difflib
import functools
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from statistics import median

from mlflow_sysmetrics.redact import get_logger

logger = get_logger(__name__)

AFTER = 5  # finished trials before a relative limit is active: fewer say little about what is usual

BREAKS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.gt,
    "<": operator.ge,
    ">=": operator.lt,
    ">": operator.le,
}
_STATISTICS: dict[str, Callable[[list[float], bool], float]] = {
    "median": lambda values, _: median(values),
    "mean": lambda values, _: sum(values) / len(values),
    "best": lambda values, lower_is_better: min(values) if lower_is_better else max(values),
}
_LOWER_IS_BETTER = {"loss", "error", "rmse", "mse", "mae", "nll", "perplexity"}  # words of names that say so
_NEGATED = {"neg", "negative"}  # unless one of these is beside it: neg_log_loss
_UNITS_S = {"s": 1, "m": 60, "h": 3600}
Values = Mapping[str, float]


class Kind(Enum):
    """How a metric moves while a trial runs, and so when a limit on it can be judged."""

    GROWING = "never falls: a crossed upper limit is final at once, a lower one is judged at the end"
    MEAN = "an average since the start that settles: judged before the end only on evidence"
    FACT = "known once and final: judged as soon as it is seen"
    CURVE = "goes up and down: limits are judged at the end, and patience acts on it"


@dataclass(frozen=True)
class Metric:
    """A metric that criteria may name. Its unit is in its name."""

    name: str
    kind: Kind
    higher_is_better: bool = False


class CriteriaError(ValueError):
    """A mistake in a criteria text: `message` says what is wrong at `position` (0-based) of `text`, in one sentence."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(text, position, message)  # all three, so that it can be pickled
        self.text, self.position, self.message = text, position, message

    def __str__(self) -> str:
        sentence = f"criteria={self.text}: at character {self.position + 1}, {self.message}"
        return "".join(character if character.isprintable() else " " for character in sentence)  # one line


@dataclass(frozen=True)
class Limit:
    """`metric op number`, or with a `statistic`: number times that statistic of at least `after` finished trials.

    One with `from_s` holds once that many seconds have passed (`elapsed_s`), and is judged at every reading then.
    """

    metric: Metric
    op: str
    number: float
    statistic: str = ""
    after: int = AFTER
    from_s: float = 0.0

    def __str__(self) -> str:
        of = f"x {self.statistic}" if self.statistic else ""
        after = f" after {self.after}" if self.after != AFTER else ""
        begins = f" after {_duration(self.from_s)}" if self.from_s else ""
        return f"{self.metric.name}{self.op}{_shortest(self.number)}{of}{after}{begins}"

    @property
    def is_upper(self) -> bool:
        return self.op in ("<", "<=")

    def holds(self, figures: Values) -> bool:
        """Whether enough time has passed for it to be judged by these figures."""
        return not self.from_s or (finite(figures, "elapsed_s") or 0.0) >= self.from_s

    def resolve(self, finished: Iterable[Values]) -> float | None:
        """The limit as a number; None while too few finished trials have the metric, or its statistic is negative.

        A factor would tighten a limit on negative figures where it is to loosen it, so such a limit is not judged, and
        the log says so once.
        """
        if not self.statistic:
            return self.number
        values = [value for figures in finished if (value := finite(figures, self.metric.name)) is not None]
        if len(values) < self.after:
            return None
        usual = _STATISTICS[self.statistic](values, self.is_upper)
        if usual < 0:
            _tell_negative(self)
            return None
        limit = self.number * usual
        return limit if math.isfinite(limit) else None


@dataclass(frozen=True)
class Patience:
    """Stop when `metric` has not become better, by more than `min_delta`, for `reports` reports in a row."""

    metric: Metric
    reports: int
    min_delta: float = 0.0

    def __str__(self) -> str:
        delta = f" min_delta {_shortest(self.min_delta)}" if self.min_delta else ""
        return f"{self.metric.name} patience {self.reports}{delta}"


def finite(figures: Values, name: str) -> float | None:
    """The figure as a float; None where it is absent, not finite, or no number at all."""
    try:
        value = float(figures[name])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


@functools.cache  # once for each limit
def _tell_negative(limit: Limit) -> None:
    logger.warning(
        f'"{limit}" is not judged: the {limit.statistic} of {limit.metric.name} is negative, '
        "and a factor is for positive figures; write a number instead"
    )


def _lower_is_better(name: str) -> bool:
    """Whether the name of a metric that nobody has declared says so."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    return bool(words & _LOWER_IS_BETTER) and not words & _NEGATED


def _shortest(number: float) -> str:
    """The shortest text that reads back as that number."""
    return repr(float(number)).removesuffix(".0")


def _duration(seconds: float) -> str:
    unit = next(unit for unit, length in reversed(_UNITS_S.items()) if seconds % length == 0 or unit == "s")
    return f"{_shortest(seconds / _UNITS_S[unit])}{unit}"


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _clash(rule: Limit | Patience, earlier: Limit | Patience) -> str:
    """Why two rules cannot stand side by side; "" where they can, as an absolute and a relative upper limit can."""
    if type(rule) is not type(earlier) or rule.metric != earlier.metric:
        return ""
    if not (isinstance(rule, Limit) and isinstance(earlier, Limit)):
        return f'"{rule}" repeats the metric of "{earlier}"; keep one of them'
    if rule.is_upper == earlier.is_upper and bool(rule.statistic) == bool(earlier.statistic):
        return f'"{rule}" limits the same side as "{earlier}"; keep one of them'
    if rule.is_upper == earlier.is_upper or rule.statistic or earlier.statistic:
        return ""
    upper, lower = (rule, earlier) if rule.is_upper else (earlier, rule)
    if lower.number < upper.number or (lower.number == upper.number and (lower.op, upper.op) == (">=", "<=")):
        return ""
    return f'"{rule}" contradicts "{earlier}"; no value can meet both, so move or drop one'


_NAME = r"[^\W\d][\w./:-]*"
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"  # one way to match: not quadratic
_COUNT = r"[1-9][0-9]{0,8}(?![\w.])"
_DURATION = r"(?:[0-9]{1,9}(?:\.[0-9]{1,17})?|\.[0-9]{1,17})[smh](?!\w)"
_COMPARISON = r"[<>=!~≤≥]+"
_SWAPPED = rf"{_NUMBER}\s*[<>]=?\s*{_NAME}"
_MEANT = {"=": "<=", "==": "<=", "=<": "<=", "≤": "<=", "=>": ">=", "≥": ">="}


class Parser:
    """Reads a text from left to right. `at` is where it stands; complaints point at `began`, its last attempt."""

    def __init__(self, text: str, metrics: Iterable[Metric] | None, modes: Mapping[str, str]) -> None:
        self.text, self.at, self.began, self.modes = text, 0, 0, modes
        self.known = None if metrics is None else {metric.name: metric for metric in metrics}

    def rules(self) -> tuple[Limit | Patience, ...]:
        rules: list[Limit | Patience] = []
        while not rules or self.take(","):
            metric, start = self.metric(), self.began
            rule = self.patience(metric) if self.take(r"patience\b") else self.limit(metric)
            for clash in filter(None, (_clash(rule, earlier) for earlier in rules)):
                raise CriteriaError(self.text, start, clash)
            rules.append(rule)
        return tuple(rules)

    def metric(self) -> Metric:
        if swapped := self.take(_SWAPPED):
            number, op, name = re.split(r"\s*([<>]=?)\s*", swapped)
            right = f"{name}{op.translate(str.maketrans('<>', '><'))}{number}"
            raise self.error(f'"{swapped}" has the number first; write it the other way round, {right}')
        advice = "write criteria such as peak_memory_mb<=300, with commas only between them"
        name = self.want(_NAME, "metric", advice)
        if self.known is None:
            return Metric(name, Kind.FACT, higher_is_better=self.modes.get(name) == "max")
        if name not in self.known:
            closest = difflib.get_close_matches(name.lower(), self.known, n=1)
            hint = f", the closest is {closest[0]}" if closest else ""
            raise self.refusal("known metric", f"one of {listed(self.known)} is allowed here{hint}")
        return self.known[name]

    def limit(self, metric: Metric) -> Limit:
        op = self.take(_COMPARISON)
        if op not in BREAKS:
            meant = f"write {_MEANT[op]}, which is probably meant" if op in _MEANT else ""
            raise self.refusal("comparison", meant or "one of <=, >=, <, > is allowed here, or patience 3")
        advice = "write a number such as 300, or a factor of what finished trials had such as 2x median"
        number = self.number("finite number", advice)
        start = self.began
        if not self.take(r"x\b|x(?=median|mean|best)"):
            from_s = self.duration() if self.take(r"after\b") else 0.0
            self.end(
                "the unit is in the metric's name, and only a comma, after 10m, x median, x mean or x best may follow"
            )
            return Limit(metric, op, number, from_s=from_s)
        if number <= 0:
            self.began = start
            raise self.refusal("factor", "write one above 0 such as 2x median")
        statistic = self.take(r"\w+")
        if statistic not in _STATISTICS:
            raise self.refusal("statistic", f"one of {listed(_STATISTICS)} is allowed here")
        after = (
            self.count("write how many trials must be finished, such as after 8") if self.take(r"after\b") else AFTER
        )
        self.end("only after 8 or a comma may follow a relative limit")
        return Limit(metric, op, number, statistic, after)

    def patience(self, metric: Metric) -> Patience:
        if self.known is not None and metric.kind is not Kind.CURVE:
            curves = listed(known.name for known in self.known.values() if known.kind is Kind.CURVE)
            raise self.error(f'"patience" is for a curve, {metric.name} is not one; give it a limit, or use {curves}')
        if self.known is None and metric.name not in self.modes and not _lower_is_better(metric.name):
            example = f'modes={{"{metric.name}": "max"}}'
            raise self.error(
                f"patience needs to know whether a higher {metric.name} is better; pass {example} to Criteria.parse "
                'if it is, else "min"'
            )
        reports, delta = self.count("write how many reports to wait, such as patience 3"), 0.0
        if self.take(r"min_delta\b"):
            delta = self.number("finite number from 0 up", "write how much better counts, such as min_delta 0.001", 0.0)
        self.end("only min_delta 0.001 or a comma may follow patience")
        return Patience(metric, reports, delta)

    def take(self, pattern: str) -> str:
        """Pass blanks, and then what matches the pattern: "" where nothing does."""
        self.began = len(self.text) - len(self.text[self.at :].lstrip())
        found = re.compile(pattern).match(self.text, self.began)
        self.at = found.end() if found else self.began
        return found[0] if found else ""

    def want(self, pattern: str, need: str, advice: str) -> str:
        if not (found := self.take(pattern)):
            raise self.refusal(need, advice)
        return found

    def number(self, need: str, advice: str, least: float = -math.inf) -> float:
        value = float(self.want(_NUMBER, need, advice))
        if not (math.isfinite(value) and value >= least):
            raise self.refusal(need, advice)
        return value

    def count(self, advice: str) -> int:
        return int(self.want(_COUNT, "whole number from 1 up", advice))

    def duration(self) -> float:
        """Seconds, from a text such as 90s, 10m or 2h."""
        text = self.want(_DURATION, "time", "write how much time must have passed, such as after 90s, 10m or 2h")
        return float(text[:-1]) * _UNITS_S[text[-1]]

    def end(self, advice: str) -> None:
        """Complain unless a comma or the end of the text follows."""
        self.take("")
        if self.text[self.at : self.at + 1] not in ("", ","):
            raise self.error(f'"{self.token()}" is not allowed here; {advice}')

    def token(self) -> str:
        found = re.compile(rf"{_COMPARISON}|[\w.+%/:-]+|.", re.DOTALL).match(self.text, self.began)
        return found[0] if found else ""

    def refusal(self, need: str, advice: str) -> CriteriaError:
        what = f'"{self.token()}" is not a {need}' if self.token() else f"the text ends where a {need} is needed"
        return self.error(f"{what}; {advice}")

    def error(self, message: str) -> CriteriaError:
        return CriteriaError(self.text, self.began, message)
