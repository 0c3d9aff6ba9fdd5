"""NVIDIA's GPUs, and what of them this process tree uses, through nvidia-ml-py (the extra `[gpu]`)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import psutil


class GpuSampler:
    """Each call returns, for each GPU (numbered as `nvidia-smi` does), as far as its driver tells:

    `gpu_0_utilization_percent`, `gpu_0_memory_mb` and `gpu_0_power_w` of all processes, and `gpu_0_process_memory_mb`
    of the process `pid` (this one) with those below it. The last is absent on a GPU where the tree computes nothing,
    and in a container where the driver tells other process ids than the container's. {} without nvidia-ml-py, driver
    or GPU. `nvml` is what looks like `pynvml`.
    """

    def __init__(self, pid: int | None = None, *, nvml: Any = None) -> None:
        self._root = os.getpid() if pid is None else pid
        self._nvml = nvml or import_nvml()
        self._handles = open_gpus(self._nvml)

    def __call__(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for index, handle in self._handles.items():
            for name, value in self._read(handle).items():
                if value is not None:
                    values[f"gpu_{index}_{name}"] = float(value)
        return values

    def _read(self, handle: Any) -> dict[str, float | None]:
        nvml = self._nvml
        rates = _ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = _ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        milliwatts = _ask(nvml.nvmlDeviceGetPowerUsage, handle)
        processes = _ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
        ours = [process.usedGpuMemory for process in processes if self._is_ours(process.pid)]
        values = {
            "utilization_percent": rates and rates.gpu,
            "memory_mb": memory and memory.used / 1e6,
            "power_w": None if milliwatts is None else milliwatts / 1000,
        }
        if ours and None not in ours:  # with MIG the driver may not tell
            values["process_memory_mb"] = sum(ours) / 1e6
        return values

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
