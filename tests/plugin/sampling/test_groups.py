"""Tests of sampling.groups: the groups put together, and the files and rates that they are made of."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from clock import Clock
from commands import kernel_files
from hypothesis import given
from hypothesis import strategies as st
from made_up_files import refused

from mlflow_sysmetrics.sampling import container, gpu
from mlflow_sysmetrics.sampling.files import Rates, read_file, read_number
from mlflow_sysmetrics.sampling.groups import GROUPS, NAMES, sampler

# --- the groups -----------------------------------------------------------------------------------------------------


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


def test_the_default_is_the_process_alone() -> None:
    """Without groups= only the process is read."""
    clock = Clock()
    sample = sampler(clock=clock)
    clock.now = 0.02
    assert {name.partition("_")[0] for name in sample()} == {"process"}


def test_all_groups_together_are_each_of_them() -> None:
    """One call merges the readings; a group that is not here adds nothing."""
    clock = Clock()
    together = sampler(GROUPS, clock=clock)
    samples = [sampler((group,), clock=clock) for group in GROUPS]
    clock.now = 0.06
    apart = {name for one in samples for name in one()}
    assert set(together()) == apart


def test_the_process_is_the_one_asked_for() -> None:
    """pid= chooses whose process group is read."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        small = sampler(pid=other.pid)()["process_memory_mb"]
        assert small < sampler()()["process_memory_mb"] / 2
        other.communicate(b"\n")


def test_pid_reaches_the_groups_that_know_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The container is that of the process asked for, and so are the tree's figures of a GPU."""
    asked: list[int | None] = []

    def record(pid: int | None, *, clock: object = None) -> Callable[[], dict[str, float]]:
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
import sys, mlflow_sysmetrics.sampling.groups as sources
heavy = {"psutil", "mlflow", "ray", "mlflow_sysmetrics.sampling.gpu", "mlflow_sysmetrics.sampling.container"}
print(sorted(heavy & set(sys.modules)))
sources.sampler(sources.GROUPS)()
print(sorted({"mlflow", "ray"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["[]", "[]"]


@pytest.mark.skipif(not psutil.LINUX, reason="counts descriptors in /proc")
def test_samplers_leave_no_descriptor_open() -> None:
    """Making and reading samplers again and again opens nothing that stays open."""
    sampler(GROUPS)()
    gc.collect()
    before = kernel_files()
    for _ in range(20):
        sampler(("process", "container"))()
    assert len(kernel_files()) <= len(before)


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_of_more_than_a_page_is_read_whole(tmp_path: Path) -> None:
    """The kernel hands out its files in pieces: all of them are there."""
    (tmp_path / "long").write_bytes(b"0123456789" * 20_000)
    assert read_file(str(tmp_path / "long")) == b"0123456789" * 20_000
    if psutil.LINUX:
        maps = read_file("/proc/self/maps")
        assert len(maps) > 4096
        assert maps.endswith(b"\n")


def test_a_file_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    """A missing file and a folder are no error."""
    assert read_file(str(tmp_path / "missing")) == b""
    assert read_file(str(tmp_path)) == b""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs a user that may not read a file")
def test_a_file_that_is_not_ours_is_empty() -> None:
    """A real permission error is not an error either."""
    with refused("secret") as laid:
        root = laid({"secret": "1", "open": "2"})
        with pytest.raises(PermissionError):
            (root / "secret").read_text()
        assert (read_file(f"{root}/secret"), read_file(f"{root}/open")) == (b"", b"2")


@pytest.mark.parametrize(
    ("text", "number"),
    [("42\n", 42), ("max\n", None), ("", None), ("nan", None), ("inf", None), ("1 2", None)],
    ids=["a number", "max", "nothing", "nan", "inf", "two"],
)
def test_a_number_is_read_or_none(text: str, number: float | None, tmp_path: Path) -> None:
    """Only a finite number counts as one."""
    (tmp_path / "file").write_text(text)
    assert read_number(str(tmp_path / "file")) == number


# --- rates ----------------------------------------------------------------------------------------------------------


def test_a_rate_is_growth_per_second_since_the_last() -> None:
    """The first totals have no rates; later ones are over the time since."""
    clock = Clock()
    rates = Rates[str](clock)
    assert rates({"a": 10.0}) == {}
    clock.now = 2.0
    assert rates({"a": 16.0}) == {"a": 3.0}
    clock.now = 2.5
    assert rates({"a": 17.0}) == {"a": 2.0}


def test_rates_wait_for_10_ms() -> None:
    """Over less time there are none, and the next are over all of it."""
    clock = Clock()
    rates = Rates[str](clock)
    rates({"a": 0.0})
    clock.now = 0.009
    assert rates({"a": 1.0}) == {}
    clock.now = 0.5
    assert rates({"a": 2.0}) == {"a": 4.0}


@pytest.mark.parametrize(
    ("totals", "expected"),
    [({"a": 5.0}, {}), ({"a": 90.0, "new": 1000.0}, {"a": 0.0}), ({}, {})],
    ids=["reset", "newcomer", "gone"],
)
def test_a_counter_that_fell_or_came_has_no_rate(totals: dict[str, float], expected: dict[str, float]) -> None:
    """From 90 a second ago: none is negative, and a new one does not jump."""
    clock = Clock()
    rates = Rates[str](clock)
    rates({"a": 90.0})
    clock.now = 1.0
    assert rates(totals) == expected


def test_a_counter_that_was_away_begins_anew() -> None:
    """After a gap its growth is of unknown length: one reading without a rate, then right ones."""
    clock = Clock()
    rates = Rates[str](clock)
    rates({"a": 0.0, "b": 0.0})
    for now, totals, expected in [
        (1.0, {"b": 1.0}, {"b": 1.0}),
        (2.0, {"a": 50.0, "b": 2.0}, {"b": 1.0}),
        (3.0, {"a": 51.0, "b": 3.0}, {"a": 1.0, "b": 1.0}),
    ]:
        clock.now = now
        assert rates(totals) == expected


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.dictionaries(st.sampled_from("abc"), st.floats(0, 1e15))),
        max_size=20,
    )
)
def test_no_rate_is_ever_negative(readings: list[tuple[float, dict[str, float]]]) -> None:
    """Whatever the counters do and however the clock goes on: no exception, no negative rate."""
    clock = Clock()
    rates = Rates[str](clock)
    for seconds, totals in readings:
        clock.now += seconds
        assert all(rate >= 0 for rate in rates(totals).values())
