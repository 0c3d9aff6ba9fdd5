"""Limits such as ``peak_memory_mb<=300, elapsed_s<=7200``: their grammar, and what may be limited."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlflow_sysmetrics import metrics as table
from mlflow_sysmetrics.limits.rules import UNITS_S, Kind, Limit, Metric, Stop, Values

_FORM = "write name<=3 or name>=3 after 10m; a comma between two"
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"  # one way to match: not quadratic
_LIMIT = re.compile(
    rf"""(?P<name>[^\W\d][\w./:-]*)\s*(?P<op>[<>]=?)\s*(?P<number>{_NUMBER})
    (?:\s*after\b\s*(?P<time>[0-9]{{1,9}}(?:\.[0-9]{{1,17}})?|\.[0-9]{{1,17}})(?P<unit>[smh]))?""",
    re.VERBOSE,
)
OF_A_PROCESS = tuple(
    Metric(metric.name, Kind.MEAN if metric.is_mean else Kind.GROWING)
    for metric in table.METRICS
    if metric.scope == "process"
)


class LimitsError(ValueError):
    """A mistake in a limits text: `message` says what is wrong with it."""

    def __init__(self, text: str, message: str) -> None:
        super().__init__(text, message)  # both, so that it can be pickled
        self.text = text
        self.message = message

    def __str__(self) -> str:
        sentence = f"limits={self.text}: {self.message}"
        return "".join(character if character.isprintable() else " " for character in sentence)  # one line


@dataclass(frozen=True)
class Limits:
    """What a run has to meet. Made by `parse`; `str` gives a normalised text that it reads as an equal object."""

    rules: tuple[Limit, ...]

    @classmethod
    def parse(cls, text: str, metrics: Iterable[Metric] = OF_A_PROCESS) -> Limits:
        """Read a text such as ``peak_memory_mb<=300, elapsed_s<=60``; LimitsError for its first mistake."""
        known = tuple(metrics)
        try:
            limits = [parse_limit(part.strip(), known) for part in text.split(",")]
            check_can_be_met(limits)
        except ValueError as error:
            raise LimitsError(text, str(error)) from None
        return cls(tuple(dict.fromkeys(limits)))

    def __str__(self) -> str:
        return ", ".join(map(str, self.rules))

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(limit.metric.name for limit in self.rules))

    def crossed(self, values: Values, step: int | None = None) -> Stop | None:
        """The first limit broken for good by one reading, or None. It takes microseconds."""
        for limit in self.rules:
            stop = limit.broken(values, step) if limit.stops else None
            if stop is not None:
                return stop
        return None


def parse_limit(text: str, metrics: Iterable[Metric], form: str = _FORM) -> Limit:
    """One limit. ValueError: what is wrong with it, and which `form` is allowed."""
    found = _LIMIT.fullmatch(text)
    number = float(found["number"]) if found else math.nan
    if not found or not math.isfinite(number):
        raise ValueError(f'"{text}" is not a limit; {form}')
    metric = find_metric(found["name"], metrics)
    from_s = float(found["time"] or 0) * UNITS_S[found["unit"] or "s"]
    return Limit(metric, found["op"], number, from_s)


def find_metric(name: str, metrics: Iterable[Metric]) -> Metric:
    """The metric of this name; ValueError where none of them has it."""
    by_name = {metric.name: metric for metric in metrics}
    if name in by_name:
        return by_name[name]
    similar = difflib.get_close_matches(name.lower(), by_name, 1)
    hint = f"; did you mean {similar[0]}?" if similar else ""
    raise ValueError(f"unknown metric {name!r}; use one of {', '.join(sorted(by_name))}{hint}")


def check_can_be_met(limits: Sequence[Limit]) -> None:
    """ValueError where no value can meet a limit, or two of them."""
    for upper in (limit for limit in limits if limit.is_upper):
        if upper.metric.kind is not Kind.CURVE and not upper.allows(0.0):
            raise ValueError(f'"{upper}" cannot be met: {upper.metric.name} is never negative')
        for lower in limits:
            if lower.is_upper or lower.metric != upper.metric or lower.from_s or upper.from_s:
                continue
            if not (lower.allows(upper.number) and upper.allows(lower.number)):
                raise ValueError(f'"{upper}" and "{lower}" cannot both be met')


def process_limits(text: str | None) -> Limits:
    """Limits on what a single process uses; none if the text is None or blank.

    Raises ValueError where this is not a text, and LimitsError for a limit that is wrong, or could never end a process.
    """
    if not isinstance(text, str | None):  # a Limits object may name any metric
        raise ValueError(f"limits={text!r}: give a text such as 'peak_memory_mb<=8000, elapsed_s<=7200'")
    if text is None or not text.strip():
        return Limits(())
    limits = Limits.parse(text)
    for limit in limits.rules:
        if not limit.stops:
            why = "can still be met until the end, so it would stop nothing; say from when it counts, such as"
            raise LimitsError(text, f'"{limit}" {why} {limit} after 10m')
    return limits
