"""The groups of metrics that can be asked for, and what reads those chosen.

A group that cannot be read here gives nothing: no exception, no zeros.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from mlflow_sysmetrics.guard import never_raises
from mlflow_sysmetrics.sampling.container import ContainerSampler
from mlflow_sysmetrics.sampling.gpu import GpuSampler
from mlflow_sysmetrics.sampling.one_process import ALONE, HERE
from mlflow_sysmetrics.sampling.process_tree import ProcessSampler

_OTHERS = {"container": ContainerSampler, "gpu": GpuSampler}
GROUPS = ("process", *_OTHERS)
_EVERY_S = 0.5  # for the other groups: one number per window, and few calls that interrupt the training


def check_groups(groups: Collection[str]) -> None:
    """Raise ValueError where a group is unknown, or none is chosen."""
    if isinstance(groups, str) or not groups or set(groups) - set(GROUPS):
        raise ValueError(f"groups={groups!r}: give a tuple of one or more of {', '.join(GROUPS)}")


class Sampler:
    """Each call reads the chosen groups, of the process `pid` (this one) and those below it, or of it `alone`.

    `process` is read at each call; the others at the first two calls, then more and more rarely down to every half
    second, and are absent in between. docs/metrics.md has the names. A call never raises: a group that fails is logged
    once, and costs its own numbers only. One thread at a time may call it; what it has counted may be asked by any.
    Construction raises ValueError where a group is unknown, or none is chosen.
    """

    def __init__(
        self,
        groups: Collection[str] = ("process",),
        pid: int | None = None,
        *,
        alone: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_groups(groups)
        system = ALONE if alone else HERE
        self.process = ProcessSampler(pid, clock=clock, system=system) if "process" in groups else None
        self._clock = clock
        self._began = clock()
        self._due = self._began
        self._others: dict[str, Callable[[], Mapping[str, float]]] = {}
        for group in groups:
            if group in _OTHERS:
                with never_raises(f"the group {group!r}"):  # a kernel or a driver may return anything
                    self._others[group] = _OTHERS[group](pid)

    def __call__(self) -> dict[str, float]:
        values = {} if self.process is None else self.process()
        now = self._clock()
        if now < self._due:
            return values
        self._due = now + min(_EVERY_S, now - self._began)  # soon at first: a short run has them too
        for group, read in self._others.items():
            with never_raises(f"the group {group!r}"):
                values |= read()
        return values
