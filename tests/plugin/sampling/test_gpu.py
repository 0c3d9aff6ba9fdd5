"""Tests of sampling.gpu. No GPU is here: NVIDIA's library is substituted, with the names of `pynvml`."""

import os

import pytest
from cases import cases
from machines import Gpu, Nvml, NvmlError

from mlflow_sysmetrics.sampling.gpu import GpuSampler

OURS, STRANGER, GHOST = os.getpid(), os.getppid(), 2**22 + 1  # below the stranger is this process


CARD = {"gpu_0_utilization_percent": 70, "gpu_0_memory_mb": 5000, "gpu_0_power_w": 250.5}
TREE = "gpu_0_process_memory_mb"


@cases("root, of_tree_mb", {"this process": (None, 1000), "a parent": (STRANGER, 1500)})
def test_use_of_the_card_and_of_the_tree_is_read(root, of_tree_mb):
    """Megabytes, percent and watts of the card; of the tree the sum over its processes, without others'."""
    nvml = Nvml(Gpu(processes={OURS: 1_000_000_000, STRANGER: 500_000_000, GHOST: 1}))
    assert GpuSampler(root, nvml=nvml)() == CARD | {TREE: of_tree_mb}


def test_each_card_has_its_number():
    """What the tree does not use has no figures of the tree, on that card. One that is idle has 0."""
    idle = Gpu(processes={STRANGER: 1}, busy=0, used=0, milliwatts=0)
    reading = GpuSampler(nvml=Nvml(idle, Gpu(processes={OURS: 2_000_000})))()
    assert {reading[name] for name in CARD} == {0}
    assert TREE not in reading
    assert reading["gpu_1_process_memory_mb"] == 2


@cases(
    "told, absent",
    {
        "memory": ({"used": None}, "memory_mb"),
        "power": ({"milliwatts": None}, "power_w"),
        "processes": ({"processes": None}, "process_memory_mb"),
        "memory of one process": ({"processes": {OURS: None, STRANGER: 1}}, "process_memory_mb"),
        "other process ids": ({"processes": {}}, "process_memory_mb"),
    },
)
def test_what_the_driver_does_not_tell_is_absent(told, absent):
    """Each number alone; a sum without one process's memory would be too small."""
    gpu = Gpu(**{"processes": {OURS: 1}, **told})
    assert set(GpuSampler(STRANGER, nvml=Nvml(gpu))()) == {*CARD, TREE} - {f"gpu_0_{absent}"}


def test_without_a_driver_or_after_the_loss_of_a_card_there_is_nothing():
    """The library may be there without a driver, and every call to that may fail at any time."""
    assert GpuSampler(nvml=Nvml(Gpu(), error=NvmlError("Driver Not Loaded")))() == {}
    nvml = Nvml(Gpu(processes={OURS: 1}))
    sample = GpuSampler(nvml=nvml)
    assert sample()
    nvml.lost = True
    assert sample() == {}


def test_the_substitute_has_the_real_names():
    """Where nvidia-ml-py is installed, every function that is used here exists there."""
    real = pytest.importorskip("pynvml")
    assert all(hasattr(real, name) for name in dir(Nvml) if name.startswith("nvml"))
    assert {"pid", "usedGpuMemory"} <= {name for name, _ in real.c_nvmlProcessInfo_v3_t._fields_}
    assert "gpu" in {name for name, _ in real.c_nvmlUtilization_t._fields_}
