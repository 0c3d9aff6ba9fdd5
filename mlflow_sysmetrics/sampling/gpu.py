"""The group `gpu`: NVIDIA's GPUs, and what of them this process tree uses, through nvidia-ml-py (the extra `[gpu]`)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import psutil


class GpuSampler:
    """Each call returns, for each GPU (numbered as `nvidia-smi` does), as far as its driver tells:

    `gpu_0_utilization_percent`, `gpu_0_memory_mb` and `gpu_0_power_w` of all processes, and of the process `pid` (this
    one) with those below it: `gpu_0_process_memory_mb` and `gpu_0_process_utilization_percent`.

    The last two are absent on a GPU where the tree computes nothing, and in a container where the driver tells other
    process ids than the container's. {} without nvidia-ml-py, driver or GPU. `nvml` is the module `pynvml` or what
    looks like it; `in_tree` says of a process id whether it belongs to the tree.
    """

    def __init__(
        self,
        pid: int | None = None,
        *,
        nvml: Any = None,
        in_tree: Callable[[int], bool] | None = None,
    ) -> None:
        root = os.getpid() if pid is None else pid
        self._in_tree = in_tree or (lambda other: other == root or _descends(other, root))
        self._nvml = nvml or import_nvml()
        self._handles = open_gpus(self._nvml)
        self._seen_us = dict.fromkeys(self._handles, 0)  # the time of the newest sample of a process's utilization

    def __call__(self) -> dict[str, float]:
        """Take one reading."""
        values = {}
        for index, handle in self._handles.items():
            busy = self._busy_percent(handle)
            figures = self._of_all(handle, busy) | self._of_tree(index, handle, busy)
            values.update({f"gpu_{index}_{name}": value for name, value in figures.items()})
        return values

    def _busy_percent(self, handle: Any) -> float | None:
        rates = ask(lambda: self._nvml.nvmlDeviceGetUtilizationRates(handle))
        return None if rates is None else float(rates.gpu)

    def _of_all(self, handle: Any, busy: float | None) -> dict[str, float]:
        memory = ask(lambda: self._nvml.nvmlDeviceGetMemoryInfo(handle))
        milliwatts = ask(lambda: self._nvml.nvmlDeviceGetPowerUsage(handle))
        figures = {
            "utilization_percent": busy,
            "memory_mb": None if memory is None else memory.used / 1e6,
            "power_w": None if milliwatts is None else milliwatts / 1000,
        }
        return {name: value for name, value in figures.items() if value is not None}

    def _of_tree(self, index: int, handle: Any, busy: float | None) -> dict[str, float]:
        processes = ask(lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)) or []
        ours = {process.pid: process.usedGpuMemory for process in processes if self._in_tree(process.pid)}
        figures = {}
        if ours and None not in ours.values():  # Windows and MIG may not tell
            figures["process_memory_mb"] = sum(ours.values()) / 1e6
        used = self._used_percent(index, handle, set(ours), busy) if ours else None
        if used is not None:
            figures["process_utilization_percent"] = used
        return figures

    def _used_percent(self, index: int, handle: Any, pids: set[int], busy: float | None) -> float | None:
        """The sum of those processes' newest samples, of those that are new. The driver has none of an idle process."""
        since = self._seen_us[index]
        new = ask(lambda: self._nvml.nvmlDeviceGetProcessUtilization(handle, since))  # an error where there is none
        if not new:
            return 0.0 if busy == 0 else None  # a busy GPU's driver has not looked again yet
        self._seen_us[index] = max(sample.timeStamp for sample in new)
        percents = {s.pid: float(s.smUtil) for s in sorted(new, key=lambda s: int(s.timeStamp)) if s.pid in pids}
        if max(percents.values(), default=0) > 100:  # drivers have been seen to answer garbage
            return None
        return min(100.0, sum(percents.values()))


def import_nvml() -> Any:
    """The module `pynvml`; None where it is not installed."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def open_gpus(nvml: Any) -> dict[int, Any]:
    """The driver's handles by the GPU's number; {} without driver or GPU."""
    if nvml is None:
        return {}
    try:
        nvml.nvmlInit()
        indices = range(nvml.nvmlDeviceGetCount())
    except Exception:  # the binding's errors share no base that is known without it
        return {}
    handles = {index: ask(lambda index=index: nvml.nvmlDeviceGetHandleByIndex(index)) for index in indices}  # type: ignore[misc]
    return {index: handle for index, handle in handles.items() if handle is not None}


def ask(question: Callable[[], Any]) -> Any:
    """The driver's answer; None where it has none, for this GPU or any more."""
    try:
        return question()
    except Exception:  # as above
        return None


def _descends(pid: int, root: int) -> bool:
    try:
        return any(parent.pid == root for parent in psutil.Process(pid).parents())
    except psutil.Error:
        return False
