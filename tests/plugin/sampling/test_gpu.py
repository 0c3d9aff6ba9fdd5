"""Tests of sampling.gpu. No GPU is here: NVIDIA's library is substituted, with the names of `pynvml`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from made_up_nvml import Gpu, Nvml, NvmlError

from mlflow_sysmetrics.sampling.gpu import GpuSampler, import_nvml, open_gpus

OURS, CHILD, STRANGER = 100, 101, 900


def in_tree(pid: int) -> bool:
    return pid in (OURS, CHILD)


def sampler(*gpus: Gpu) -> GpuSampler:
    return GpuSampler(nvml=Nvml(*gpus), in_tree=in_tree)


def test_use_of_the_card_and_of_the_tree_is_read() -> None:
    """Megabytes, percent and watts of the card; of the tree the sum over its processes, without the stranger's."""
    gpu = Gpu(
        processes={OURS: 1_000_000_000, CHILD: 500_000_000, STRANGER: 3_000_000_000},
        samples=[(5, OURS, 30), (5, CHILD, 12), (5, STRANGER, 28)],
    )
    assert sampler(gpu)() == {
        "gpu_0_utilization_percent": 70,
        "gpu_0_memory_mb": 5000,
        "gpu_0_power_w": 250.5,
        "gpu_0_process_memory_mb": 1500,
        "gpu_0_process_utilization_percent": 42,
    }


def test_each_card_has_its_number() -> None:
    """What the tree does not use has no figures of the tree, on that card."""
    reading = sampler(Gpu(processes={STRANGER: 1}), Gpu(processes={CHILD: 2_000_000}))()
    assert {name for name in reading if "process" in name} == {"gpu_1_process_memory_mb"}
    assert reading["gpu_1_process_memory_mb"] == 2
    assert {name[:5] for name in reading} == {"gpu_0", "gpu_1"}


def test_only_new_samples_of_utilization_count_and_the_newest_of_each() -> None:
    """The driver keeps some seconds of samples: each is used once."""
    gpu = Gpu(processes={OURS: 1}, samples=[(1, OURS, 90), (3, OURS, 20), (2, OURS, 50)])
    sample = sampler(gpu)
    assert sample()["gpu_0_process_utilization_percent"] == 20
    assert "gpu_0_process_utilization_percent" not in sample()  # the card is busy, and the driver has not looked again
    assert gpu.samples is not None
    gpu.samples.append((4, OURS, 60))
    assert sample()["gpu_0_process_utilization_percent"] == 60


@pytest.mark.parametrize(
    ("gpu", "percent"),
    [
        (Gpu(processes={OURS: 1}, busy=0), 0),
        (Gpu(processes={OURS: 1}, samples=[(1, STRANGER, 70)]), 0),
        (Gpu(processes={OURS: 1}, samples=[(1, OURS, 4_294_967_295), (1, CHILD, 7)]), None),
        (Gpu(processes={OURS: 1, CHILD: 1}, samples=[(1, OURS, 80), (1, CHILD, 80)]), 100),
        (Gpu(processes={OURS: 1}, samples=None), None),
        (Gpu(processes={OURS: 1}, samples=None, busy=None), None),
    ],
    ids=["idle card", "others only", "garbage", "more than all", "not told, busy", "nothing told"],
)
def test_odd_samples_of_utilization(gpu: Gpu, percent: float | None) -> None:
    """0 where nothing is done, absent where nothing is known, never over 100."""
    assert sampler(gpu)().get("gpu_0_process_utilization_percent") == percent


@pytest.mark.parametrize(
    ("gpu", "absent"),
    [
        (Gpu(busy=None), {"utilization_percent"}),
        (Gpu(used=None), {"memory_mb"}),
        (Gpu(milliwatts=None), {"power_w"}),
        (Gpu(processes=None), {"process_memory_mb", "process_utilization_percent"}),
        (Gpu(processes={OURS: 1, CHILD: None}), {"process_memory_mb"}),
        (Gpu(processes={}), {"process_memory_mb", "process_utilization_percent"}),
    ],
    ids=["utilization", "memory", "power", "processes", "memory of one process", "other process ids"],
)
def test_what_the_driver_does_not_tell_is_absent(gpu: Gpu, absent: set[str]) -> None:
    """Each figure alone; a sum without one process's memory would be too small."""
    gpu.samples = [(1, OURS, 5)]
    if gpu.processes == Gpu().processes and "process_memory_mb" not in absent:
        gpu.processes = {OURS: 1}
    names = {"utilization_percent", "memory_mb", "power_w", "process_memory_mb", "process_utilization_percent"}
    assert {f"gpu_0_{name}" for name in names - absent} == set(sampler(gpu)())


def test_an_idle_card_reads_0_and_not_absent() -> None:
    """0 is a figure where the driver tells it."""
    assert sampler(Gpu(busy=0, used=0, milliwatts=0))() == {
        "gpu_0_utilization_percent": 0,
        "gpu_0_memory_mb": 0,
        "gpu_0_power_w": 0,
    }


@pytest.mark.parametrize("error", [NvmlError("Driver Not Loaded"), OSError("no library")], ids=["NVML", "OS"])
def test_without_a_driver_there_is_nothing(error: Exception) -> None:
    """The library may be there without a driver."""
    assert GpuSampler(nvml=Nvml(Gpu(), error=error))() == {}


def test_a_card_that_is_lost_ends_its_figures_and_not_the_run() -> None:
    """Every call to the driver may fail at any time."""
    nvml = Nvml(Gpu(processes={OURS: 1}))
    sample = GpuSampler(nvml=nvml, in_tree=in_tree)
    assert sample()
    nvml.lost = True
    assert sample() == {}


@pytest.fixture
def processes() -> Iterator[tuple[int, int]]:
    """A real child of this process and a child of that."""
    code = (
        "import subprocess, sys\n"
        "below = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "print(below.pid, flush=True)\ninput()\nbelow.communicate(b'\\n')"
    )
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        yield child.pid, grandchild
        child.communicate("\n")


@pytest.mark.parametrize(
    ("root", "megabytes"),
    [(lambda child: None, 7), (lambda child: child, 6)],
    ids=["this tree", "the child's tree"],
)
def test_the_tree_is_the_process_and_what_is_below(
    root: Callable[[int], int | None], megabytes: float, processes: tuple[int, int]
) -> None:
    """With real processes: this one has 1 MB, its child 2, the child's child 4, and a parent and a ghost 8 and 16."""
    child, grandchild = processes
    used: dict[int, int | None] = {
        os.getpid(): 1_000_000,
        child: 2_000_000,
        grandchild: 4_000_000,
        os.getppid(): 8_000_000,
        2**22 + 1: 16_000_000,
    }
    sample = GpuSampler(root(child), nvml=Nvml(Gpu(processes=used)))
    assert sample()["gpu_0_process_memory_mb"] == megabytes


def test_this_machine_reads_plausibly() -> None:
    """With or without nvidia-ml-py, driver and card: percents up to 100, and nothing negative."""
    reading = GpuSampler()()
    assert all(name.startswith("gpu_") and value >= 0 for name, value in reading.items())
    assert all(value <= 100 for name, value in reading.items() if name.endswith("_percent"))
    if not open_gpus(import_nvml()):
        assert reading == {}


def test_the_substitute_has_the_real_names() -> None:
    """Where nvidia-ml-py is installed, every function that is used here exists there."""
    real = pytest.importorskip("pynvml")
    assert all(hasattr(real, name) for name in dir(Nvml) if name.startswith("nvml"))
    assert {"timeStamp", "pid", "smUtil"} <= {name for name, _ in real.c_nvmlProcessUtilizationSample_t._fields_}
    assert {"pid", "usedGpuMemory"} <= {name for name, _ in real.c_nvmlProcessInfo_v3_t._fields_}
    assert "gpu" in {name for name, _ in real.c_nvmlUtilization_t._fields_}
