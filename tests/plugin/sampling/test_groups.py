"""Tests of `sampler`: the groups put together, what can be asked for, and what is imported for it."""

from __future__ import annotations

import logging
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from clock import Clock

from mlflow_sysmetrics.sampling import GROUPS, check_seconds, container, gpu, sampler

NAMES = re.compile(
    r"process_(cpu_percent|memory_mb|rss_mb|threads|(read_mb|write_mb|context_switches|page_faults)_per_s)"
    r"|container_(cpu_percent|memory_mb|memory_limit_mb|cpu_limit_cores)"
    r"|gpu_\d+_((process_)?(utilization_percent|memory_mb)|power_w)"
)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_gives_its_own_names_and_nothing_else(group: str) -> None:
    """On the real machine: every name begins with its group's, and every value is finite and not negative."""
    clock = Clock()
    sample = sampler((group,), clock=clock)
    sample()
    clock.now = 0.06
    reading = sample()
    assert all(name.startswith(f"{group}_") and NAMES.fullmatch(name) for name in reading)
    assert all(0 <= value < 1e12 for value in reading.values())


def test_the_process_is_the_one_asked_for() -> None:
    """pid= chooses whose process group is read."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        small = sampler(pid=other.pid)()["process_memory_mb"]
        assert small < sampler()()["process_memory_mb"] / 2
        other.communicate(b"\n")


def test_pid_reaches_the_groups_that_know_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The container is that of the process asked for, and so are the tree's figures of a GPU."""
    asked: list[int | None] = []

    def record(pid: int | None) -> Callable[[], dict[str, float]]:
        asked.append(pid)
        return dict

    monkeypatch.setattr(container, "ContainerSampler", record)
    monkeypatch.setattr(gpu, "GpuSampler", record)
    sampler(("gpu", "container"), pid=os.getppid())
    assert asked == [os.getppid()] * 2


def test_other_groups_are_read_at_once_and_then_every_half_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """At ten readings a second a group is read at the first two, later at every fifth."""
    clock, calls = Clock(), []

    def read() -> dict[str, float]:
        calls.append(clock.now)
        return {"gpu_0_power_w": 1.0}

    monkeypatch.setattr(gpu, "GpuSampler", lambda pid: read)
    sample = sampler(("gpu",), clock=clock)
    read_at = []
    for step in range(41):
        clock.now = step / 10 + 0.02
        if sample():
            read_at.append(step)
    assert read_at[:2] == [0, 1]
    assert len(calls) == len(read_at)
    assert {later - earlier for earlier, later in zip(read_at[-5:], read_at[-4:], strict=False)} <= {5, 6}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"groups": ("process", "machine")},
            "'machine'; give one or more of process, container, gpu",
        ),
        ({"groups": "process"}, "groups='process': give a tuple"),
        ({"groups": ()}, r"groups=\(\): give one or more of process"),
        ({"groups": ("gpu",), "pid": -1}, "pid=-1"),
        ({"groups": ("gpu",), "pid": "me"}, "pid='me'"),
    ],
    ids=["unknown group", "a text", "none", "no such process", "no number"],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    """Construction says which argument is wrong, its value, and what is allowed."""
    with pytest.raises(ValueError, match=message):
        sampler(**arguments)


@pytest.mark.parametrize("when", ["at first", "later"])
def test_a_group_that_fails_costs_its_own_figures_only(
    when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error inside a group is logged once, and the other groups are read on."""
    calls = []

    class Failing:
        def __init__(self, *args: object, **kwargs: object) -> None:
            if when == "at first":
                raise RuntimeError("no")

        def __call__(self) -> dict[str, float]:
            calls.append(1)
            raise RuntimeError("no")

    monkeypatch.setattr(gpu, "GpuSampler", Failing)
    clock = Clock()
    with caplog.at_level(logging.WARNING, logger="mlflow_sysmetrics.sampling.groups"):
        sample = sampler(("process", "gpu"), clock=clock)
        for second in range(1, 4):
            clock.now = float(second)
            assert "process_memory_mb" in sample()
    assert len(calls) == (0 if when == "at first" else 1)
    assert [record.getMessage() for record in caplog.records] == [
        f"the group 'gpu' cannot be read {'here' if when == 'at first' else 'any more'}"
    ]


def test_importing_sources_imports_nothing_heavy() -> None:
    """Neither psutil nor a group's module is loaded before a sampler is made, and mlflow and ray never."""
    script = """
import sys, mlflow_sysmetrics.sampling as sources
heavy = {"psutil", "mlflow", "ray", "mlflow_sysmetrics.sampling.gpu", "mlflow_sysmetrics.sampling.container"}
print(sorted(heavy & set(sys.modules)))
sources.sampler(sources.GROUPS)()
print(sorted({"mlflow", "ray"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["[]", "[]"]


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 1e12, 86_401, "1", True, None, [1.0]], ids=repr)
def test_what_is_not_a_number_of_seconds_that_a_thread_can_wait_is_named(seconds: object) -> None:
    """One sentence has the argument, its value, and what to give."""
    with pytest.raises(ValueError) as error:  # noqa: PT011
        check_seconds(interval_s=1, window_s=seconds)
    assert str(error.value) == f"window_s={seconds!r}: give a positive number of seconds, at most 86400, a day"
    check_seconds(interval_s=86_400, window_s=1e-9)
