"""NVIDIA's library without a GPU, with the names of `pynvml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace


class NvmlError(Exception):
    """As pynvml.NVMLError."""


@dataclass
class Gpu:
    """One card. What is None the driver does not tell."""

    busy: int | None = 70
    used: int | None = 5_000_000_000
    milliwatts: int | None = 250_500
    processes: dict | None = field(default_factory=dict)  # bytes by process


class Nvml:
    """The part of pynvml that is used, over made-up cards."""

    def __init__(self, *gpus, error=None):
        self.gpus, self.error = gpus, error
        self.lost = False

    def _told(self, value):
        if value is None or self.lost:
            raise NvmlError("Not Supported" if not self.lost else "GPU is lost")
        return value

    def nvmlInit(self):  # noqa: N802
        if self.error is not None:
            raise self.error

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetUtilizationRates(self, gpu):  # noqa: N802
        return SimpleNamespace(gpu=self._told(gpu.busy), memory=1)

    def nvmlDeviceGetMemoryInfo(self, gpu):  # noqa: N802
        return SimpleNamespace(used=self._told(gpu.used), total=80_000_000_000)

    def nvmlDeviceGetPowerUsage(self, gpu):  # noqa: N802
        return self._told(gpu.milliwatts)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self._told(gpu.processes).items()]

    def nvmlDeviceGetName(self, gpu):  # noqa: N802
        return "NVIDIA H100"
