"""The metrics of a summary, in one table that limits, integrations, pages and docs read."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

Values = Mapping[str, float]
Combine = Callable[[Sequence[float]], float]


class SummaryMetric(NamedTuple):
    """A metric with one value for a whole run."""

    name: str
    unit: str
    meaning: str  # in docs/metrics.md
    combine: Combine | None = None  # the values of processes that ran one after the other, if they can be combined
    scope: str = "process"  # what it describes: a process tree, its steps, an experiment, or a served model
    is_mean: bool = False  # since the start, which goes up and down; a cost only grows


METRICS = (
    SummaryMetric("elapsed_s", "s", "wall time", sum),
    SummaryMetric("cpu_seconds", "s", "CPU time, also of processes that have ended: the next two together", sum),
    SummaryMetric("user_cpu_seconds", "s", "CPU time in the program itself", sum),
    SummaryMetric("system_cpu_seconds", "s", "CPU time in the operating system for it", sum),
    SummaryMetric("mean_cpu_percent", "%", "`cpu_seconds` over `elapsed_s`; 100 is one core", is_mean=True),
    SummaryMetric("peak_memory_mb", "MB", "highest RSS - SHR at one reading", max),
    SummaryMetric("memory_growth_mb", "MB", "that, less RSS - SHR at the start", max),
    SummaryMetric(
        "peak_rss_mb",
        "MB",
        "highest resident memory of one process of the tree, by the kernel's own high-water mark: no peak between two "
        "readings is missed, but one in the last 0.4 s of a process may be; absent where a process had more before",
        max,
    ),
    SummaryMetric(
        "peak_gpu_memory_mb",
        "MB",
        "highest memory on all GPUs together at one reading; only where NVIDIA's driver tells it",
        max,
    ),
    SummaryMetric("read_mb", "MB", "what was read from storage, not from the page cache", sum),
    SummaryMetric("write_mb", "MB", "what was written to storage", sum),
    SummaryMetric("mean_step_time_ms", "ms", "mean time of one training step", scope="steps"),
    SummaryMetric("steps", "count", "training steps", scope="steps"),
    SummaryMetric("trials", "count", "trials that began", scope="experiment"),
    SummaryMetric("stopped", "count", "of these: KILLED, whatever ended them", scope="experiment"),
    SummaryMetric("failed", "count", "of these: FAILED", scope="experiment"),
    SummaryMetric("restarts", "count", "how often a trial began again after its process had died", scope="experiment"),
)
_REFUSED = re.compile(r"[^\w\-. /:]")
CURVES = ("cpu_percent", "memory_mb")  # of the intervals between two reports of a trial


def allowed_name(name: str) -> str:
    """The name of a metric, with ``_`` for each character that MLflow refuses in it."""
    return _REFUSED.sub("_", name)


def names(*scopes: str) -> tuple[str, ...]:
    """The names of the metrics of these scopes, in the order of the table."""
    return tuple(metric.name for metric in METRICS if metric.scope in scopes)


SUMMARY = names("process")
COUNTS = names("experiment")
_SUMS = {metric.name for metric in METRICS if metric.combine is sum}


def combined_in_turn(parts: Iterable[Values | None]) -> dict[str, float]:
    """The summary of work that several processes did one after the other, from those of each.

    None in place of a summary means that it is unknown: then the result is empty. A time or an amount that one part
    lacks is absent, as the rest would be too little. Memory is taken from those that have it: a process may end before
    it uses a GPU.
    """
    known: list[Values] = []
    for part in parts:
        if part is None:
            return {}
        known.append(part)
    summary: dict[str, float] = {}
    for metric in METRICS:
        values = [part[metric.name] for part in known if metric.name in part]
        is_complete = len(values) == len(known) or metric.name not in _SUMS
        if metric.combine and values and is_complete:
            summary[metric.name] = metric.combine(values)
    if "cpu_seconds" in summary and summary.get("elapsed_s"):
        summary["mean_cpu_percent"] = 100 * summary["cpu_seconds"] / summary["elapsed_s"]
    return summary


def mean_of_splits(parts: Collection[Values]) -> dict[str, float]:
    """The summary of one fit, from those of a fit for each split: the mean; of memory the highest."""
    summary = combined_in_turn(parts)
    for name in _SUMS & summary.keys():
        summary[name] /= len(parts)
    return summary
