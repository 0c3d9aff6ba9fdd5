"""The group `gpu`: NVIDIA's GPUs, and what of them this process tree uses, through nvidia-ml-py (the extra `[gpu]`)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Collection
from typing import Any

import psutil


class GpuSampler:
    """Each call returns, for each GPU (numbered as `nvidia-smi` does), as far as its driver tells:

    `gpu_0_utilization_percent`, `gpu_0_memory_mb` and `gpu_0_power_w` of all processes, and of the process `pid` (this
    one) with those below it: `gpu_0_process_memory_mb` and `gpu_0_process_utilization_percent`. The last two are absent
    on a GPU where the tree computes nothing, and in a container where the driver tells other process ids than the
    container's. {} without nvidia-ml-py, driver or GPU. `nvml` is what looks like `pynvml`.
    """

    def __init__(self, pid: int | None = None, *, nvml: Any = None) -> None:
        self._root = os.getpid() if pid is None else pid
        self._nvml = nvml or import_nvml()
        self._handles = open_gpus(self._nvml)
        self._seen_us = dict.fromkeys(self._handles, 0)  # the time of the newest sample of a process's utilization

    def __call__(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for index in self._handles:
            for name, value in self._read(index).items():
                if value is not None:
                    values[f"gpu_{index}_{name}"] = float(value)
        return values

    def _read(self, index: int) -> dict[str, float | None]:
        nvml = self._nvml
        handle = self._handles[index]
        rates = _ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = _ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        milliwatts = _ask(nvml.nvmlDeviceGetPowerUsage, handle)
        processes = _ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
        ours = {process.pid: process.usedGpuMemory for process in processes if self._is_ours(process.pid)}
        values = {
            "utilization_percent": rates and rates.gpu,
            "memory_mb": memory and memory.used / 1e6,
            "power_w": None if milliwatts is None else milliwatts / 1000,
        }
        if ours:
            values["process_utilization_percent"] = self._used_percent(index, ours, rates and rates.gpu)
            if None not in ours.values():  # with MIG the driver may not tell
                values["process_memory_mb"] = sum(ours.values()) / 1e6
        return values

    def _used_percent(self, index: int, ours: Collection[int], busy: float | None) -> float | None:
        """The sum of our processes' newest samples, of those that are new. The driver has none of an idle process."""
        new = _ask(self._nvml.nvmlDeviceGetProcessUtilization, self._handles[index], self._seen_us[index])
        if not new:  # an error, where there is none
            return 0.0 if busy == 0 else None  # a busy GPU's driver has not looked again yet
        percents: dict[int, float] = {}
        for sample in sorted(new, key=lambda sample: int(sample.timeStamp)):
            self._seen_us[index] = sample.timeStamp
            if sample.pid in ours:
                percents[sample.pid] = float(sample.smUtil)
        if max(percents.values(), default=0) > 100:  # garbage, which drivers have been seen to answer
            return None
        return min(100.0, sum(percents.values()))

    def _is_ours(self, pid: int) -> bool:
        try:
            return pid == self._root or any(parent.pid == self._root for parent in psutil.Process(pid).parents())
        except psutil.Error:
            return False


def import_nvml() -> Any:
    """The module `pynvml`; None where it is not installed."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def open_gpus(nvml: Any) -> dict[int, Any]:
    """The driver's handles by the GPU's number; {} without driver or GPU, or if `nvml` is None."""
    count = _ask(lambda: (nvml.nvmlInit(), nvml.nvmlDeviceGetCount())[1]) or 0
    handles = {index: _ask(nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count)}
    return {index: handle for index, handle in handles.items() if handle is not None}


def _ask(question: Callable[..., Any], *arguments: Any) -> Any:
    """The driver's answer; None where it has none, for this GPU or any more."""
    try:
        return question(*arguments)
    except Exception:  # the binding's errors share no base that is known without it
        return None
