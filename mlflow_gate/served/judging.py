"""Limits on a served model, and which of them it breaks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mlflow_gate.metrics import SERVED
from mlflow_gate.served.figures import ServedCosts
from mlflow_gate.served.latency import MIN_REQUESTS
from mlflow_sysmetrics.limits import Kind, Limit, Limits, LimitsError, Metric


class Judgement(NamedTuple):
    """Sentences on the limits that are broken, and on those of which that cannot be said."""

    broken: list[str]
    unknown: list[str]


def served_limits(text: str) -> Limits:
    """Read a text such as ``served_p95_ms<=20, served_memory_mb<=300``; LimitsError for its first mistake."""
    limits = Limits.parse(text, [Metric(name, Kind.FACT) for name in SERVED])
    for limit in limits.rules:
        if limit.from_s:
            raise LimitsError(text, f'"{limit}" is on one model, which is measured once; write a number alone')
    return limits


def judged(limits: Iterable[Limit], costs: ServedCosts) -> Judgement:
    """Judge a model. Who is slow on a busy machine may be fast elsewhere; who is fast enough there is so everywhere.

    A model that cannot keep up with its rate breaks every limit on its latency.
    """
    judgement = Judgement([], [])
    for limit in limits:
        name = limit.metric.name
        if costs.cannot_keep_up and name in MIN_REQUESTS:
            if costs.contention.is_busy:
                why = f"{limit} cannot be judged, the machine was too busy ({costs.cannot_keep_up})"
                judgement.unknown.append(why)
            else:
                judgement.broken.append(f"{limit} is broken: {costs.cannot_keep_up}")
        elif name not in costs.figures:
            needs = f": it needs {MIN_REQUESTS[name]} requests" if name in MIN_REQUESTS else ""
            judgement.unknown.append(f"{limit} cannot be judged, {name} was not measured{needs}")
        elif stop := limit.broken(costs.figures):
            if name in costs.trusted:
                judgement.broken.append(str(stop))
            else:
                judgement.unknown.append(f"{limit} cannot be judged, the machine was too busy ({stop})")
    return judgement
