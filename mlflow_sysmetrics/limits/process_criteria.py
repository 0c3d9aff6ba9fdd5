"""Limits on a process that is watched from outside: ``peak_memory_mb<=8000, mean_cpu_percent>=5 after 10m``."""

from __future__ import annotations

from collections.abc import Collection

from mlflow_sysmetrics.limits.grammar import CriteriaError, Kind, Limit, Metric, Patience
from mlflow_sysmetrics.limits.judge import Criteria

_GROUP = {"elapsed_s": "", "peak_gpu_memory_mb": "gpu"}  # the group that a figure is of; of the others process
METRICS = (
    Metric("elapsed_s", Kind.GROWING),
    Metric("cpu_seconds", Kind.GROWING),
    Metric("mean_cpu_percent", Kind.MEAN),
    Metric("peak_memory_mb", Kind.GROWING),
    Metric("memory_growth_mb", Kind.GROWING),
    Metric("peak_gpu_memory_mb", Kind.GROWING),
)


def process_criteria(text: str) -> Criteria:
    """Read limits on what a process uses.

    Raises:
        ValueError: not a text.
        CriteriaError: a mistake in the text, or a limit that could never end the process.
    """
    if not isinstance(text, str):  # a Criteria object may name any figure, and averages that have not settled
        raise ValueError(f"criteria={text!r}: give a text such as 'peak_memory_mb<=8000, elapsed_s<=7200'")
    criteria = Criteria.parse(text, METRICS)
    for rule in criteria.rules:
        if wrong := _wrong_with(rule):
            raise CriteriaError(text, text.find(rule.metric.name), wrong)
    return criteria


def check_readable(criteria: Criteria | None, groups: Collection[str]) -> None:
    """Raise ValueError where a limit is on a figure that is not read, since its group is not chosen."""
    for metric in criteria.metrics if criteria else ():
        group = _GROUP.get(metric, "process")
        if group and group not in groups:
            raise ValueError(f"groups={','.join(groups)!r}: the limit on {metric} needs the group {group}; add it")


def _wrong_with(rule: Limit | Patience) -> str:
    """Why this rule cannot be applied to a single process; "" where it can."""
    if isinstance(rule, Patience) or rule.statistic:  # patience needs a curve: the grammar has refused it
        return f'"{rule}" compares with other trials, of which a single process has none; write a number'
    if rule.metric.kind is Kind.MEAN and not rule.from_s:
        return f'"{rule}" is an average that has to settle; say from when it counts, such as {rule} after 10m'
    if not rule.is_upper and not rule.from_s:
        return f'"{rule}" can still be met until the end; say from when it counts, such as {rule} after 10m'
    return ""
