"""Tests of delivery.recording: what of the readings reaches the backlog, and that memory stays flat."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mlflow_sysmetrics.delivery.backlog import Backlog, Memory
from mlflow_sysmetrics.delivery.recording import STEP_FIGURES, Recording, StepTimes
from mlflow_sysmetrics.delivery.run_queue import RunQueue
from mlflow_sysmetrics.delivery.spool import Header, SpoolFile
from mlflow_sysmetrics.delivery.writer import Writer, write
from mlflow_sysmetrics.measurement import Measurement

LIMIT_S = 10.0
NAMES = [f"process_value_{number}" for number in range(8)]  # as many as the default group has


class Sponge:
    """A store that takes everything and keeps the last points only."""

    timeout_s = 0.0

    def __init__(self) -> None:
        self.taken, self.last = 0, []

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        self.taken += len(metrics)
        self.last = list(metrics)


def recording(
    backlog: Backlog,
    store: Any,
    sample: Any,
    *,
    every_s: float = 0.0,
    prefix: str = "system/",
    first_step: int = 0,
    interval_s: float = 0.1,
) -> tuple[Recording, Measurement]:
    """A recording of a run whose clock moves on by `every_s` with each reading, and its watch, which has taken one."""
    writer = Writer(store, every_s=3600)
    writer.attach(RunQueue(backlog, run_id="abc"))
    readings = 0

    def read() -> Mapping[str, float]:
        nonlocal readings
        readings += 1
        values: Mapping[str, float] = sample()
        return values

    watch = Measurement(None, interval_s=interval_s, sample=read, clock=lambda: readings * every_s)
    return Recording(watch, backlog, writer, prefix=prefix, first_step=first_step), watch


def test_windows_are_in_the_backlog_as_they_close() -> None:
    """Mean and maximum under their names, at steps that go on from those there were."""
    backlog, ticks = Backlog(), count(1)
    made, watch = recording(
        backlog, Sponge(), lambda: {"x": float(next(ticks))}, prefix="p/", first_step=100, every_s=0.5
    )
    for _ in range(2):
        watch.read()
    points = backlog.peek(1000)
    values = [(point.name, round(point.value, 6), point.step) for point in points]
    assert values == [("p/x", 2.5, 103), ("p/x_max", 3.0, 103)]
    assert made.last_step == 103


def test_step_times_are_a_series_of_their_own() -> None:
    """The mean over the steps of a window, and no point where there was no step."""
    backlog = Backlog()
    made, watch = recording(backlog, Sponge(), lambda: {"x": 1.0}, every_s=2.0)
    for steps_s in ((0.001, 0.003), (), (0.008,)):
        for step_s in steps_s:
            made.step_took(step_s)
        watch.read()
    series = {point.step: point.value for point in backlog.peek(1000) if point.name == "system/step_time_ms"}
    assert series == pytest.approx({2: 2.0, 4: 8.0})


def test_step_times_of_many_threads_all_count() -> None:
    """None is lost between threads; a mean is of the steps since the last one, the figures are of all."""
    times = StepTimes()
    assert times.figures() == {}
    threads = [threading.Thread(target=lambda: [times.add(0.002) for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert times.mean_ms() == pytest.approx(2.0)
    assert times.mean_ms() is None
    times.add(8.002)
    assert times.mean_ms() == pytest.approx(8002)
    assert tuple(sorted(times.figures())) == STEP_FIGURES
    assert times.figures() == pytest.approx({"steps": 4001, "mean_step_time_ms": 16_002 / 4001})


def test_lost_points_are_a_figure_of_the_run() -> None:
    """What memory could not keep is counted where the user looks."""
    backlog = Backlog(memory=Memory(4))
    made, watch = recording(backlog, Sponge(), lambda: {"x": 1.0}, every_s=2.0)
    for _ in range(5):
        watch.read()
    lost = [point.value for point in backlog.peek(1000) if point.name == "system/lost_points"]
    assert lost
    assert lost[-1] > 0
    assert made.lost > 0


def test_stop_delivers_the_window_that_was_open() -> None:
    """A recording of a moment has figures; what is left of it is nothing."""
    backlog, store = Backlog(), Sponge()
    made, _ = recording(backlog, store, lambda: {"x": 1.0}, interval_s=3600)
    made.start()
    assert made.stop(LIMIT_S)
    assert {metric.key for metric in store.last} == {"system/x", "system/x_max", "elapsed_s"}
    assert backlog.is_empty


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("system/", ""), ("system/node-1/", "node-1/"), ("app/", "app/"), ("", "")],
    ids=["default", "node", "own", "none"],
)
def test_figures_are_at_step_0_under_the_prefix_without_system(prefix: str, expected: str) -> None:
    """So that several machines or loggers can share a run, and a run's only logger has the plain names."""
    store = Sponge()
    made, _ = recording(Backlog(), store, lambda: {"process_memory_mb": 7.0}, prefix=prefix, first_step=50)
    made.start()
    assert made.stop(LIMIT_S)
    figures = {metric.key: metric.value for metric in store.last if metric.step == 0}
    names = (f"{expected}{name}" for name in ("elapsed_s", "peak_memory_mb", "memory_growth_mb"))
    assert figures == dict(zip(names, (0.0, 7.0, 0.0), strict=True))


def simulate(hours: float, path: Path) -> tuple[list[int], int]:
    """Record so long at ten readings a second, as fast as it goes; memory after each tenth of it, in bytes."""
    spool = SpoolFile.create(path, Header("abc", "there"))
    backlog, store, reading = Backlog(spool), Sponge(), dict.fromkeys(NAMES, 1.5)
    queue = RunQueue(backlog, run_id="abc")
    made, watch = recording(backlog, store, lambda: reading, every_s=0.1)
    readings, memory = int(hours * 36_000), []
    gc.freeze()  # what is there already need not be looked at each time
    tracemalloc.start()
    try:
        for number in range(1, readings + 1):
            watch.read()
            if number % 20 == 0:
                write(queue, store)
            if number % (readings // 10) == 0:
                gc.collect()
                memory.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        gc.unfreeze()
        made.stop(LIMIT_S)
    return memory, store.taken


@pytest.mark.parametrize("hours", [0.1, pytest.param(6, marks=pytest.mark.slow)])
def test_memory_is_flat_however_long_a_run_is(hours: float, tmp_path: Path) -> None:
    """After a tenth of the time a run needs as much memory as at its end, give or take 50 kB; every window arrives."""
    memory, taken = simulate(hours, tmp_path / "spool.jsonl")
    print(f"{hours} h: {taken} points delivered, memory in kB after each tenth: {[size // 1000 for size in memory]}")
    assert max(memory[1:]) - memory[0] < 50_000
    windows = hours * 3600
    assert taken == pytest.approx(windows * 2 * len(NAMES), rel=0.15)


def test_memory_is_flat_while_the_store_is_away(tmp_path: Path) -> None:
    """What waits is on disk."""

    class Away(Sponge):
        def log_batch(self, *arguments: Any, **more: Any) -> None:
            raise ConnectionError("away")

    spool = SpoolFile.create(tmp_path / "spool.jsonl", Header("abc", "there"))
    backlog, reading = Backlog(spool), dict.fromkeys(NAMES, 1.5)
    queue = RunQueue(backlog, run_id="abc")
    made, watch = recording(backlog, Away(), lambda: reading, every_s=1.0)
    memory = []
    gc.freeze()  # what is there already need not be looked at each time
    tracemalloc.start()
    try:
        for number in range(1, 501):
            watch.read()
            if number % 50 == 0:
                with suppress(ConnectionError):
                    write(queue, Away())
                gc.collect()  # the frames of the exceptions
                memory.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert max(memory[3:]) - memory[2] < 50_000
    assert not made.stop(0.1)
    assert (tmp_path / "spool.jsonl").stat().st_size > 500 * 16 * 10


def test_a_sample_that_raises_ends_nothing() -> None:
    """Later readings count."""
    calls, backlog = count(), Backlog()

    def sample() -> Mapping[str, float]:
        if next(calls) < 3:
            raise OSError("gone")
        return {"x": 1.0}

    _, watch = recording(backlog, Sponge(), sample, every_s=2.0)
    for _ in range(5):
        watch.read()
    assert {point.name for point in backlog.peek(1000)} == {"system/x", "system/x_max"}


class HungDisk(SpoolFile):
    """A spool on a disk that does not answer, from the first write on or from the last one, until it is told to."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.answers, self.writing, self.at_close = threading.Event(), threading.Event(), False

    def append(self, points: Any) -> None:
        self._wait(not self.at_close)
        super().append(points)

    def close(self, **how: Any) -> None:
        self._wait(True)
        super().close(**how)

    def _wait(self, hangs: bool) -> None:
        self.writing.set()
        if hangs:
            self.answers.wait(4.0)


@pytest.mark.parametrize("hangs", ["before", "at-the-last-write", "at-close"])
def test_stop_ends_within_its_bound_while_the_disk_hangs(
    hangs: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether a thread waits for the disk already, or the disk has hung since the last window only."""
    disk = HungDisk.create(tmp_path / "spool.jsonl", Header("abc", "there"))
    assert isinstance(disk, HungDisk)
    disk.at_close = hangs == "at-close"
    every_s = 0.0 if hangs == "at-the-last-write" else 2.0
    made, _ = recording(Backlog(disk), Sponge(), lambda: {"x": 1.0}, interval_s=0.01, every_s=every_s)
    made.start()
    if hangs != "at-the-last-write":
        assert disk.writing.wait(LIMIT_S)
    began = time.monotonic()
    whole = made.stop(0.5)
    took_s = time.monotonic() - began
    disk.answers.set()
    print(f"stop took {took_s:.2f} s of 0.5 s")
    assert took_s < 3.0
    assert not whole
    assert "the disk" in caplog.text


def test_stop_gives_the_file_back_while_the_store_hangs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its points stay there for `sync`, and the disk is not blamed."""
    answers = threading.Event()

    class Hung(Sponge):
        def log_batch(self, *arguments: Any, **more: Any) -> None:
            answers.wait(LIMIT_S)

    path = tmp_path / "spool.jsonl"
    made, _ = recording(
        Backlog(SpoolFile.create(path, Header("abc", "there"))), Hung(), lambda: {"x": 1.0}, interval_s=3600
    )
    made.start()
    assert not made.stop(0.5)
    left = SpoolFile.open(path)
    answers.set()
    assert {point.name for point in left.peek(1000)} == {"system/x", "system/x_max", "elapsed_s"}
    left.close()
    assert "the disk" not in caplog.text
