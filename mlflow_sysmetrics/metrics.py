"""The metrics of a summary, in one table that limits, ranks, integrations, pages and docs read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

Values = Mapping[str, float]
Combine = Callable[[Sequence[float]], float]


class SummaryMetric(NamedTuple):
    """A metric with one value for a whole run. What it is of: a process tree, its steps, a job, an experiment."""

    name: str
    unit: str
    meaning: str  # in docs/metrics.md
    in_turn: Combine | None = None  # how the values of processes that ran one after the other combine, if they do
    of_ranks: Combine | None = None  # the same, of the ranks of a job
    of: str = "process"
    is_mean: bool = False  # since the start, which goes up and down; a cost only grows


METRICS = (
    SummaryMetric("elapsed_s", "s", "wall time", sum, max),
    SummaryMetric("cpu_seconds", "s", "CPU time, also of processes that have ended: the next two together", sum, sum),
    SummaryMetric("user_cpu_seconds", "s", "CPU time in the program itself", sum, sum),
    SummaryMetric("system_cpu_seconds", "s", "CPU time in the operating system for it", sum, sum),
    SummaryMetric("mean_cpu_percent", "%", "`cpu_seconds` over `elapsed_s`; 100 is one core", is_mean=True),
    SummaryMetric("peak_memory_mb", "MB", "highest RSS - SHR at one reading", max, sum),
    SummaryMetric("memory_growth_mb", "MB", "that, less RSS - SHR at the start", max, sum),
    SummaryMetric(
        "peak_rss_mb",
        "MB",
        "highest resident memory of one process of the tree, by the kernel's own high-water mark: no peak between two "
        "readings is missed, but one in the last 0.4 s of a process may be; absent where a process had more before",
        max,
        max,
    ),
    SummaryMetric(
        "peak_gpu_memory_mb",
        "MB",
        "highest memory on all GPUs together at one reading; only where NVIDIA's driver tells it",
        max,
        sum,
    ),
    SummaryMetric("read_mb", "MB", "what was read from storage, not from the page cache", sum, sum),
    SummaryMetric("write_mb", "MB", "what was written to storage", sum, sum),
    SummaryMetric("mean_step_time_ms", "ms", "mean time of one training step", of="steps"),
    SummaryMetric("steps", "count", "training steps", of_ranks=max, of="steps"),
    SummaryMetric("max_rank_peak_memory_mb", "MB", "`peak_memory_mb` of the largest rank of a job", of="job"),
    SummaryMetric("ranks", "count", "ranks of a job", of="job"),
    SummaryMetric("trials", "count", "trials that began", of="experiment"),
    SummaryMetric("stopped", "count", "of these: KILLED, whatever ended them", of="experiment"),
    SummaryMetric("failed", "count", "of these: FAILED", of="experiment"),
    SummaryMetric("restarts", "count", "how often a trial began again after its process had died", of="experiment"),
    SummaryMetric("served_cpu_ms", "ms", "CPU time of the server for a request of one row, the mean", of="served"),
    SummaryMetric("served_p50_ms", "ms", "time to the answer to a request of one row: median", of="served"),
    SummaryMetric("served_p95_ms", "ms", "the same, 95th percentile; absent with fewer than 59 requests", of="served"),
    SummaryMetric("served_p99_ms", "ms", "the same, 99th percentile; absent with fewer than 300 requests", of="served"),
    SummaryMetric("served_memory_mb", "MB", "RSS - SHR of the server after these requests", of="served"),
    SummaryMetric(
        "served_cold_start_s", "s", "from the start of the server's process to its first answer", of="served"
    ),
    SummaryMetric("served_rows_per_s", "1/s", "rows predicted a second, 100 in each request", of="served"),
)
CURVES = ("cpu_percent", "memory_mb")  # of the intervals between two reports of a trial


def names(*of: str) -> tuple[str, ...]:
    """The names of the metrics of these, in the order of the table."""
    return tuple(metric.name for metric in METRICS if metric.of in of)


SUMMARY = names("process")
COUNTS = names("experiment")


def combined_in_turn(parts: Iterable[Values | None]) -> dict[str, float]:
    """The summary of work that several processes did one after the other, from those of each.

    None in place of a summary means that it is unknown: then the result is empty.
    """
    known: list[Values] = []
    for part in parts:
        if part is None:
            return {}
        known.append(part)
    return combined(known, lambda metric: metric.in_turn)


def mean_of_splits(parts: Iterable[Values]) -> dict[str, float]:
    """The summary of one fit, from those of a fit for each split: the mean; of memory the highest."""
    return combined(list(parts), lambda metric: _mean if metric.in_turn is sum else metric.in_turn)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def combined(parts: Sequence[Values], rule: Callable[[SummaryMetric], Combine | None]) -> dict[str, float]:
    """The values by these rules, and the CPU use that follows from them.

    A time or an amount that one part lacks is absent, as the rest would be too little. Memory is taken from those that
    have it: a process may end before it uses a GPU.
    """
    summary: dict[str, float] = {}
    for metric in METRICS:
        combine = rule(metric)
        values = [part[metric.name] for part in parts if metric.name in part]
        is_complete = len(values) == len(parts) or metric.in_turn is not sum
        if combine and values and is_complete:
            summary[metric.name] = combine(values)
    if "cpu_seconds" in summary and summary.get("elapsed_s"):
        summary["mean_cpu_percent"] = 100 * summary["cpu_seconds"] / summary["elapsed_s"]
    return summary
