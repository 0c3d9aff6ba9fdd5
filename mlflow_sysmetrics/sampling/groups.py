"""The groups of metrics that can be asked for, and one function that reads those chosen. Knows no thread, no tracker.

A group that cannot be read here gives nothing: no exception, no zeros. Its module is imported when it is chosen.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from mlflow_sysmetrics.redact import get_logger

if TYPE_CHECKING:
    from mlflow_sysmetrics.sampling.process_tree import ProcessSampler

GROUPS: tuple[str, ...] = ("process", "container", "gpu")

NAMES = re.compile(  # of what the groups give
    r"process_(cpu_percent|memory_mb|rss_mb|threads|(read_mb|write_mb|context_switches|page_faults)_per_s)"
    r"|container_(cpu_percent|memory_mb|memory_limit_mb|cpu_limit_cores)"
    r"|gpu_\d+_((process_)?(utilization_percent|memory_mb)|power_w)"
)

Source = Callable[[], Mapping[str, float]]

logger = get_logger(__name__)
_EVERY_S = 0.5  # of what is read beside the process: a figure per window, and few calls that interrupt the training


def sampler(
    groups: Collection[str] = ("process",),
    *,
    pid: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Sampler:
    """Return a function that reads the chosen groups, of the process `pid` (this one) and those below it.

    `process` is read at each call; the others at the first two calls, then more and more rarely down to every half
    second, and are absent in between. docs/metrics.md has the names. The function never raises. One thread at a
    time may call it; what it has counted may be asked by any. Raises ValueError where a group is unknown, none is
    chosen, or there is no such process.
    """
    check_groups(groups)
    from mlflow_sysmetrics.sampling.process_tree import ProcessSampler, check_pid

    check_pid(pid)
    process = ProcessSampler(pid, clock=clock) if "process" in groups else None
    sources: list[Source] = [] if process is None else [process]
    sources += [_Guarded(group, pid, clock) for group in GROUPS[1:] if group in groups]
    return Sampler(sources, process)


def check_groups(groups: Collection[str], given: str | None = None) -> None:
    """Raise ValueError where a group is unknown, or none is chosen. `given` is what the user wrote, if not a tuple."""
    shown, allowed = f"groups={(groups if given is None else given)!r}", ", ".join(GROUPS)
    if isinstance(groups, str):
        raise ValueError(f"{shown}: give a tuple of one or more of {allowed}")
    if not groups:
        raise ValueError(f"{shown}: give one or more of {allowed}")
    for group in groups:
        if group not in GROUPS:
            raise ValueError(f"{shown}: unknown group {group!r}; give one or more of {allowed}")


class Sampler:
    """The readings of several sources in one; `process` is that of this group, where chosen."""

    def __init__(self, sources: list[Source], process: ProcessSampler | None = None) -> None:
        self._sources, self.process = sources, process

    def __call__(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for source in self._sources:
            values.update(source())
        return values


class _Guarded:
    """A group that is read ever more rarely, down to every half second, and costs its own figures only if it fails."""

    def __init__(self, group: str, pid: int | None, clock: Callable[[], float]) -> None:
        self.group, self._clock = group, clock
        self._source: Source = dict
        self._began = self._due = clock()
        try:
            self._source = _open(group, pid, clock)
        except Exception as error:  # a kernel or a driver may return anything, and must not end the training
            logger.warning("the group %r cannot be read here", group, exc_info=error)

    def __call__(self) -> Mapping[str, float]:
        now = self._clock()
        if now < self._due:
            return {}
        self._due = now + min(_EVERY_S, now - self._began)  # soon at first: a short run has figures too
        try:
            return self._source()
        except Exception as error:
            logger.warning("the group %r cannot be read any more", self.group, exc_info=error)
            self._source = dict
            return {}


def _open(group: str, pid: int | None, clock: Callable[[], float]) -> Source:
    """Make the source of one group other than `process`."""
    if group == "container":
        from mlflow_sysmetrics.sampling.container import ContainerSampler

        return ContainerSampler(pid, clock=clock)
    from mlflow_sysmetrics.sampling.gpu import GpuSampler

    return GpuSampler(pid)
