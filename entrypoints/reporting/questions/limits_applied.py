"""Which limits of a study did nothing, and why."""

from __future__ import annotations

from collections.abc import Iterator

from entrypoints.limits.grammar import RelativeLimit
from entrypoints.limits.judging import resolved
from entrypoints.limits.noise import is_memory, noise_of
from entrypoints.reporting.answer import Answer, rows_of
from entrypoints.reporting.verdicts import limits_of
from entrypoints.trials.frame import Frame
from mlflow_sysmetrics.limits import Limit

MOSTLY = 0.5  # of the trials


def answer(frame: Frame) -> Answer:
    """The limits of the first study that were not applied, or cannot tell its trials apart, in one sentence."""
    own = frame.of([frame.first])
    reasons = list(_reasons(own)) if own.studies["limits"].iloc[0] else []
    return Answer("limits_applied", (f"{'; '.join(reasons)}.",) if reasons else ())


def _reasons(frame: Frame) -> Iterator[str]:
    for limit in resolved(limits_of(frame), rows_of(frame.complete)).rules:
        if (frame.trials["stop_metric"] == limit.metric.name).any():
            continue
        if isinstance(limit, RelativeLimit):
            yield f"`{limit}` was not applied: fewer than {limit.after} trials have the figure"
        elif _is_noise(frame, limit):
            yield f"`{limit}` cannot tell the trials apart: most are within noise of it"


def _is_noise(frame: Frame, limit: Limit) -> bool:
    """Whether most trials are so near a limit that chance says which meet it."""
    name, ended = limit.metric.name, frame.ended
    noise = noise_of(frame, name)
    if name not in ended or not noise.is_measured:
        return False
    band = noise.least_difference() * (float(ended[name].mean()) if is_memory(name) else abs(limit.number))
    return bool(((ended[name] - limit.number).abs() <= band).mean() > MOSTLY)
