"""NVIDIA's library without a GPU, with the names of `pynvml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class NvmlError(Exception):
    """As pynvml.NVMLError."""


@dataclass
class Gpu:
    """One card. What is None the driver does not tell."""

    busy: int | None = 70
    used: int | None = 5_000_000_000
    milliwatts: int | None = 250_500
    processes: dict[int, int | None] | None = field(default_factory=dict)  # bytes by process


class Nvml:
    """The part of pynvml that is used, over made-up cards."""

    def __init__(self, *gpus: Gpu, error: Exception | None = None) -> None:
        self.gpus, self.error = gpus, error
        self.lost = False

    def _told(self, value: Any) -> Any:
        if value is None or self.lost:
            raise NvmlError("Not Supported" if not self.lost else "GPU is lost")
        return value

    def nvmlInit(self) -> None:  # noqa: N802
        if self.error is not None:
            raise self.error

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetUtilizationRates(self, gpu: Gpu) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=self._told(gpu.busy), memory=1)

    def nvmlDeviceGetMemoryInfo(self, gpu: Gpu) -> Any:  # noqa: N802
        return SimpleNamespace(used=self._told(gpu.used), total=80_000_000_000)

    def nvmlDeviceGetPowerUsage(self, gpu: Gpu) -> Any:  # noqa: N802
        return self._told(gpu.milliwatts)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: Gpu) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self._told(gpu.processes).items()]

    def nvmlDeviceGetName(self, gpu: Gpu) -> str:  # noqa: N802
        return "NVIDIA H100"
