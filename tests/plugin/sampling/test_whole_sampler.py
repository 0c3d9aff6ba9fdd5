"""Tests of `Sampler`: processes and GPUs put together. No GPU is here: NVIDIA's library is substituted."""

import os

from cases import cases
from machines import Clock, Gpu, Nvml

from mlflow_sysmetrics.sampling import Sampler


def test_pid_reaches_processes_and_gpus():
    """The tree is that of the process asked for, and so are its figures of a GPU."""
    sample = Sampler(os.getppid(), nvml=Nvml(Gpu(processes={os.getppid(): 1_000_000, os.getpid(): 2_000_000})))
    assert sample()["gpu_0_process_memory_mb"] == 3
    assert sample.process.pids >= {os.getppid(), os.getpid()}


def test_gpus_are_read_at_once_and_then_every_half_second():
    """At ten readings a second they are read at the first two, later at every fifth."""
    clock, read_at = Clock(), []
    sample = Sampler(nvml=Nvml(Gpu()), clock=clock)
    for step in range(41):
        clock.now = step / 10 + 0.02
        read_at += [step] * ("gpu_0_power_w" in sample())
    assert read_at[:2] == [0, 1]
    assert read_at[-1] - read_at[-2] in (5, 6)


@cases("when", ["as it begins", "later"])
def test_a_driver_that_answers_nonsense_costs_the_figures_of_gpus_only(when, caplog):
    """It is logged once, and the processes are read on."""
    nvml = Nvml(Gpu(milliwatts="much"))
    if when == "as it begins":
        nvml.nvmlDeviceGetCount = lambda: "one"
    clock = Clock()
    sample = Sampler(nvml=nvml, clock=clock)
    for second in range(1, 4):
        clock.now = float(second)
        assert "process_memory_mb" in sample()
    assert [record.getMessage() for record in caplog.records] == ["reading the GPUs failed; the program goes on"]
