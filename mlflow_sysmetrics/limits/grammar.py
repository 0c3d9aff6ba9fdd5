"""Limits such as ``peak_memory_mb<=300, val_loss patience 3``: their grammar, and the judge of one trial by them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow_sysmetrics import metrics as table
from mlflow_sysmetrics.limits import rules
from mlflow_sysmetrics.limits.rules import Kind, Limit, Metric, Patience, Stop, Values
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.sampling import reset_peak_rss

_FORM = (
    "write name<=3, name>=3 after 10m, name<=2x median after 8 or name patience 3 min_delta 0.1; a comma between two"
)
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"  # one way to match: not quadratic
_COUNT = r"[1-9][0-9]{0,8}(?![\w.])"
_RULE = re.compile(
    rf"""(?P<name>[^\W\d][\w./:-]*)
    (?:\s+patience\b\s*(?P<reports>{_COUNT}) (?:\s*min_delta\b\s*(?P<delta>{_NUMBER}))?
    |\s*(?P<op>[<>]=?)\s*(?P<number>{_NUMBER})
        (?:\s*x\s*(?P<statistic>median|mean|best)\b (?:\s*after\b\s*(?P<after>{_COUNT}))?
        |\s*after\b\s*(?P<time>[0-9]{{1,9}}(?:\.[0-9]{{1,17}})?|\.[0-9]{{1,17}})(?P<unit>[smh]))?)""",
    re.VERBOSE,
)
_OF_A_PROCESS = tuple(
    Metric(metric.name, Kind.MEAN if metric.is_mean else Kind.GROWING)
    for metric in table.METRICS
    if metric.scope == "process"
)
_OF_WHOLE_PROCESS = ("peak_memory_mb", "peak_rss_mb")  # with all that it had loaded before
# Of metrics that nobody has declared: costs of which each value counts, and words of those that are better when lower.
_COSTS = {metric.name for metric in _OF_A_PROCESS if metric.kind is Kind.GROWING} | {*table.CURVES, "gpu_memory_mb"}
_COSTS |= {"model_memory_mb", "training_time_s", "training_iteration", "time_total_s"}
_LOWER_IS_BETTER = {"loss", "error", "rmse", "mse", "mae", "nll", "perplexity"}
_NEGATED = {"neg", "negative"}  # unless one of these is beside it: neg_log_loss


class LimitsError(ValueError):
    """A mistake in a limits text: `message` says what is wrong with it."""

    def __init__(self, text: str, message: str) -> None:
        super().__init__(text, message)  # both, so that it can be pickled
        self.text, self.message = text, message

    def __str__(self) -> str:
        sentence = f"limits={self.text}: {self.message}"
        return "".join(character if character.isprintable() else " " for character in sentence)  # one line


@dataclass(frozen=True)
class Limits:
    """What a trial has to meet. Made by `parse`; `str` gives a normalised text that it reads as an equal object."""

    rules: tuple[Limit | Patience, ...]

    @classmethod
    def parse(
        cls, text: str, metrics: Iterable[Metric] | None = None, modes: Mapping[str, str] | None = None
    ) -> Limits:
        """Read a text such as ``memory_mb<=300, val_accuracy patience 3``; LimitsError for its first mistake.

        It may name `metrics`. With None it may name any: each value of a known cost of a process is judged, others are
        curves, and `modes` has "max" or "min" for those with patience whose name does not say that less is better.
        """
        if any(mode not in ("min", "max") for mode in (modes or {}).values()):
            raise ValueError(f'modes={modes!r}: give "min" or "max" for each metric')
        known = None if metrics is None else {metric.name: metric for metric in metrics}
        try:
            rules = [_rule(part.strip(), known, modes or {}) for part in text.split(",")]
        except ValueError as error:
            raise LimitsError(text, str(error)) from None
        return cls(tuple(dict.fromkeys(rules)))

    def __str__(self) -> str:
        return ", ".join(map(str, self.rules))

    @property
    def bounds(self) -> tuple[Limit, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, Limit))

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rule.metric.name for rule in self.rules))

    def check_stops(self) -> None:
        """LimitsError for a limit that could never stop anything."""
        for limit in self.bounds:
            if not limit.stops:
                such = f"{limit.metric.name}{limit.op}{3 if limit.statistic else f'{limit.number:g}'} after 10m"
                why = "can still be met until the end, so it would stop nothing; say from when it counts, such as"
                raise LimitsError(str(self), f'"{limit}" {why} {such}')

    def judge(self, finished: Iterable[Values] = ()) -> Judge:
        """A judge of one trial, whose relative limits come from the values of the trials `finished` so far."""
        return Judge(self, finished)


class Judge:
    """What has been seen of one trial. `see` belongs to one thread; `crossed` may be called from any."""

    def __init__(self, limits: Limits, finished: Iterable[Values]) -> None:
        trials = list(finished)
        numbers = ((limit, limit.resolve(trials)) for limit in limits.bounds if limit.stops)
        self._limits = [(limit, number) for limit, number in numbers if number is not None]
        # The best value of each curve, and how many reports were no better.
        self._waits = {rule: (math.nan, 0) for rule in limits.rules if isinstance(rule, Patience)}

    def see(self, values: Values, step: int | None = None) -> Stop | None:
        """The first limit broken by the values of a report, limits before patience, or None."""
        stalled = [self._stalled(rule, values, step) for rule in self._waits]  # of all: each has to count its report
        return self.crossed(values, step) or next(filter(None, stalled), None)

    def crossed(self, values: Values, step: int | None = None) -> Stop | None:
        """The first limit broken for good by one reading, or None: microseconds, and nothing is remembered."""
        return next(filter(None, (limit.broken(values, number, step) for limit, number in self._limits)), None)

    def _stalled(self, rule: Patience, values: Values, step: int | None) -> Stop | None:
        if (value := rules.finite(values, rule.metric.name)) is None:
            return None
        best, reports = self._waits[rule]
        better_by = value - best if rule.metric.higher_is_better else best - value
        better = not better_by <= rule.min_delta  # also the first: that is NaN
        self._waits[rule] = best, reports = (value, 0) if better else (best, reports + 1)
        return Stop(str(rule), rule.metric.name, value, best, step) if reports >= rule.reports else None


def process_limits(text: str | None) -> Limits:
    """Limits on what a single process uses, none if None; LimitsError for one that could never end it."""
    if text is None:
        return Limits(())
    if not isinstance(text, str):  # a Limits object may name any metric
        raise ValueError(f"limits={text!r}: give a text such as 'peak_memory_mb<=8000, elapsed_s<=7200'")
    limits = Limits.parse(text, _OF_A_PROCESS)
    if relative := next((limit for limit in limits.bounds if limit.statistic), None):
        wrong = f'"{relative}" compares with other trials, but this is one process; write a number'
        raise LimitsError(text, wrong)
    limits.check_stops()
    return limits


def check_attainable(limits: Limits, values: Values | None = None) -> None:
    """LimitsError where a process is above a limit on memory before its work has begun.

    `values` are its summary so far. None: this process is read, and its kernel's high-water mark is reset.
    """
    if values is None:
        reset_peak_rss()
        with Measurement() as measurement:
            values = measurement.summary
    memory = {name: values[name] for name in _OF_WHOLE_PROCESS if name in values}
    if stop := limits.judge().crossed(memory):
        has = f"the process has {stop.metric} {rules.digits(stop.value, 4)} before the work begins"
        raise LimitsError(str(limits), f"{has}; raise the limit, or limit memory_growth_mb in its place")


def _rule(part: str, known: Mapping[str, Metric] | None, modes: Mapping[str, str]) -> Limit | Patience:
    """One limit. ValueError: what is wrong with it."""
    wrong, found = f'"{part}" is not a limit; ', _RULE.fullmatch(part)
    number, delta = (float(found[name] or 0) if found else math.nan for name in ("number", "delta"))
    if not found or not math.isfinite(number + delta) or delta < 0 or (found["statistic"] and number <= 0):
        raise ValueError(wrong + _FORM)
    name, reports = found["name"], int(found["reports"] or 0)
    kind = Kind.GROWING if name.rpartition("/")[2] in _COSTS else Kind.CURVE
    metric = Metric(name, kind, higher_is_better=modes.get(name) == "max")
    words = set(re.split(r"[^a-z]+", name.lower()))
    if known is not None:
        allowed = sorted(each for each, metric in known.items() if not reports or metric.kind is Kind.CURVE)
        if name not in allowed:
            closest = "".join(f", the closest is {it}" for it in difflib.get_close_matches(name.lower(), allowed, 1))
            do = "give patience to" if reports else "name"
            raise ValueError(wrong + (f"{do} one of {', '.join(allowed)}{closest}" if allowed else "write a limit"))
        metric = known[name]
    elif reports and name not in modes and (words.isdisjoint(_LOWER_IS_BETTER) or words & _NEGATED):
        mode = f'modes={{"{name}": "max"}} to Limits.parse if {name} is better when higher, else "min"'
        raise ValueError(f"{wrong}pass {mode}")
    if reports:
        return Patience(metric, reports, delta)
    from_s = float(found["time"] or 0) * rules.UNITS_S[found["unit"] or "s"]
    return Limit(metric, found["op"], number, found["statistic"] or "", int(found["after"] or rules.AFTER), from_s)
