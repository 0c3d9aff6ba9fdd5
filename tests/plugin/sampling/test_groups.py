"""Tests of `Sampler`: the groups put together, and what can be asked for."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from clock import Clock

from mlflow_sysmetrics.sampling import Sampler, groups


def test_pid_reaches_all_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tree and container are those of the process asked for, and so are the tree's figures of a GPU."""
    asked: list[int | None] = []

    def record(pid: int | None) -> Callable[[], dict[str, float]]:
        asked.append(pid)
        return dict

    monkeypatch.setattr(groups, "_OTHERS", {"container": record, "gpu": record})
    process = Sampler(("gpu", "container", "process"), pid=os.getppid()).process
    assert asked == [os.getppid()] * 2
    assert process is not None
    assert process.pids >= {os.getppid(), os.getpid()}


def test_other_groups_are_read_at_once_and_then_every_half_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """At ten readings a second a group is read at the first two, later at every fifth."""
    clock, read_at = Clock(), list[int]()
    monkeypatch.setitem(groups._OTHERS, "gpu", lambda pid: lambda: {"gpu_0_power_w": 1.0})
    sample = Sampler(("gpu",), clock=clock)
    for step in range(41):
        clock.now = step / 10 + 0.02
        read_at += [step] * bool(sample())
    assert read_at[:2] == [0, 1]
    assert {later - earlier for earlier, later in zip(read_at[-5:], read_at[-4:], strict=False)} <= {5, 6}


@pytest.mark.parametrize("when", ["as it begins", "later"])
def test_a_group_that_fails_costs_its_own_figures_only(
    when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error inside a group is logged once, and the other groups are read on; so is it, once it has begun."""
    clock, calls = Clock(), list[float]()

    def fail() -> dict[str, float]:
        calls.append(clock.now)
        raise RuntimeError(when)

    monkeypatch.setitem(groups._OTHERS, "gpu", lambda pid: fail() if when == "as it begins" else fail)
    sample = Sampler(("process", "gpu"), clock=clock)
    for second in range(1, 4):
        clock.now = float(second)
        assert "process_memory_mb" in sample()
    assert calls == ([0.0] if when == "as it begins" else [1.0, 2.0, 3.0])
    assert [record.getMessage() for record in caplog.records] == ["the group 'gpu' failed; the program goes on"]
