"""All that is read of a process tree: at each call the processes, more rarely the GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.sampling.gpu import GpuSampler
from mlflow_sysmetrics.sampling.one_process import HERE, WITHOUT_CHILDREN
from mlflow_sysmetrics.sampling.process_tree import ProcessSampler

_GPU_EVERY_S = 0.5  # two numbers per window, and few calls that interrupt the training
_READING_GPUS = "reading the GPUs"


class Sampler:
    """Each call reads the process `pid` (this one) and, with `children`, those below it, and NVIDIA's GPUs.

    Processes are read at each call; GPUs at the first two calls, then more and more rarely down to every half second,
    and are absent in between. docs/metrics.md has the names. A call never raises: an error of the driver is logged
    once, and costs the GPUs' numbers only. One thread at a time may call it; what it has counted may be asked by any.
    `nvml` is what looks like `pynvml`.
    """

    def __init__(
        self,
        pid: int | None = None,
        *,
        children: bool = True,
        nvml: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        system = HERE if children else WITHOUT_CHILDREN
        self.process = ProcessSampler(pid, clock=clock, system=system)
        self._clock = clock
        self._began = clock()
        self._gpus_due = self._began
        self._read_gpus: Callable[[], Mapping[str, float]] = dict
        with never_raises(_READING_GPUS):  # a driver may return anything
            self._read_gpus = GpuSampler(pid, nvml=nvml)

    def __call__(self) -> dict[str, float]:
        values = self.process()
        now = self._clock()
        if now >= self._gpus_due:
            self._gpus_due = now + min(_GPU_EVERY_S, now - self._began)  # soon at first: a short run has them too
            with never_raises(_READING_GPUS):
                values |= self._read_gpus()
        return values
