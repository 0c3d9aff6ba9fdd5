"""Tests of mlflow_sysmetrics.monitor: a fake sample and clock where numbers matter, a real thread where threads do."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import pytest
from forks import in_fork

from mlflow_sysmetrics.monitor import Monitor
from mlflow_sysmetrics.sampling import ProcessSampler

LIMIT_S = 10.0  # an event that has not come by then fails the test


class Steps:
    """A sample that returns the given readings one after the other, then the last one for ever."""

    def __init__(self, *readings: Mapping[str, float]) -> None:
        self.readings = list(readings)
        self.taken = 0

    def __call__(self) -> Mapping[str, float]:
        self.taken += 1
        return self.readings[min(self.taken, len(self.readings)) - 1]


class After:
    """An `on_sample` whose event is set once it has seen that many readings."""

    def __init__(self, readings: int) -> None:
        self.left, self.done = readings, threading.Event()

    def __call__(self, values: Mapping[str, float]) -> None:
        self.left -= 1
        if self.left <= 0:
            self.done.set()


def monitor_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mlflow-sysmetrics-monitor"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not monitor_threads()


def ticking(step_s: float) -> Callable[[], float]:
    """A clock that moves on by that much at every look."""
    looks = count()
    return lambda: next(looks) * step_s


def test_windows_hold_mean_and_maximum_of_the_readings_taken() -> None:
    """A window closes when window_s have passed; its mean is over its own time only."""
    sample = Steps(*({"x": float(x)} for x in (1, 2, 6, 10, 30)))
    monitor = Monitor(sample, window_s=0.5, clock=ticking(0.25), wall_clock=lambda: 1.2345)
    for _ in range(5):
        monitor.read()
    first, second = monitor.drain()
    assert (first.number, first.time_ms) == (3, 1234)
    assert (first.mean, first.maximum) == ({"x": pytest.approx(4.0)}, {"x": 6.0})
    assert second.number == 5
    assert (second.mean, second.maximum) == ({"x": pytest.approx(20.0)}, {"x": 30.0})
    assert (first.seconds, second.seconds) == ({"x": pytest.approx(0.5)},) * 2
    assert monitor.drain() == []


def test_reading_counts_for_as_long_as_it_is_since_the_one_before() -> None:
    """A thread that was kept from reading for 0.9 s at 100 %, and then reads 0 %: the process has used 90 %."""
    now = iter((0.0, 0.9, 0.95, 1.0))
    sample = Steps({}, {"cpu": 100.0, "slow": 7.0}, {"cpu": 0.0}, {"cpu": 0.0, "slow": 17.0})
    monitor = Monitor(sample, window_s=1.0, clock=lambda: next(now))
    for _ in range(4):
        monitor.read()
    (window,) = monitor.drain()
    assert window.mean == pytest.approx({"cpu": 90.0, "slow": 8.0})
    assert window.maximum == {"cpu": 100.0, "slow": 17.0}


def test_equal_readings_have_that_mean() -> None:
    """To the last digit, however long each counts."""
    now = iter((0.0, 0.1, 0.37, 0.4, 1.0))
    monitor = Monitor(lambda: {"mb": 177.4387}, clock=lambda: next(now), window_s=1.0)
    for _ in range(5):
        monitor.read()
    assert [window.mean for window in monitor.drain()] == [{"mb": 177.4387}]


def test_a_name_is_averaged_over_the_readings_that_had_it() -> None:
    """A name that is absent from a reading does not count as 0 there, and a window without any value is not kept."""
    sample = Steps({}, {"x": 1.0, "y": 8.0}, {"x": 3.0}, {}, {})
    monitor = Monitor(sample, window_s=0.5, clock=ticking(0.25))
    for _ in range(5):
        monitor.read()
    (window,) = monitor.drain()
    assert window.number == 3
    assert window.mean == pytest.approx({"x": 2.0, "y": 8.0})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_left_out(value: float) -> None:
    """NaN and infinity reach neither windows, peaks, on_sample nor the reading returned."""
    seen: list[Mapping[str, float]] = []
    monitor = Monitor(Steps({"x": 1.0, "y": value}), on_sample=seen.append)
    assert monitor.read() == {"x": 1.0}
    monitor.stop()
    (window,) = monitor.drain()
    assert window.mean == window.maximum == monitor.peaks == seen[0] == {"x": 1.0}


def test_peaks_are_the_maxima_since_the_start() -> None:
    """A peak outlives its window, negative values included."""
    monitor = Monitor(Steps({"x": 5.0, "y": -3.0}, {"x": 1.0, "y": -7.0}), window_s=0.1, clock=ticking(1.0))
    for _ in range(3):
        monitor.read()
    monitor.drain()
    assert monitor.peaks == {"x": 5.0, "y": -3.0}


def test_undrained_windows_are_bounded() -> None:
    """The oldest windows go first."""
    monitor = Monitor(lambda: {"x": 1.0}, window_s=0.1, clock=ticking(1.0), max_windows=3)
    for _ in range(6):
        monitor.read()
    assert [window.number for window in monitor.drain()] == [4, 5, 6]


def test_a_run_of_a_fifth_of_a_second_has_figures() -> None:
    """A short run of the real sampler ends with one window that holds CPU and memory."""
    began = time.monotonic()
    with Monitor(ProcessSampler(), window_s=60) as monitor:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    used_percent = 100 * 0.2 / (time.monotonic() - began)  # less than 100 where other processes take turns
    (window,) = monitor.drain()
    assert window.maximum["process_cpu_percent"] > used_percent / 2
    assert window.mean["process_memory_mb"] > 1
    assert window.maximum["process_memory_mb"] >= window.mean["process_memory_mb"]


def test_the_first_reading_is_taken_at_once() -> None:
    """With an interval of an hour there is a reading right after start."""
    after = After(1)
    with Monitor(lambda: {"x": 1.0}, interval_s=3600, on_sample=after):
        assert after.done.wait(LIMIT_S)


def test_readings_go_on_until_stop() -> None:
    """The thread reads again and again, as a daemon with a name, and no longer after stop."""
    after, sample = After(5), Steps({"x": 1.0})
    with Monitor(sample, interval_s=0.001, on_sample=after):
        assert after.done.wait(LIMIT_S)
        (thread,) = monitor_threads()
        assert thread.daemon
    assert not thread.is_alive()
    assert sample.taken >= 6


def test_stop_takes_a_last_reading_and_closes_the_last_window() -> None:
    """What happened since the thread's last reading is in the last window."""
    after = After(1)
    monitor = Monitor(Steps({"x": 1.0}, {"x": 9.0}), interval_s=3600, window_s=3600, on_sample=after)
    monitor.start()
    assert after.done.wait(LIMIT_S)
    monitor.stop()
    (window,) = monitor.drain()
    assert (window.number, window.maximum) == (2, {"x": 9.0})


def test_stop_twice_is_the_same_as_once() -> None:
    """A second stop takes no reading and closes no window; reading afterwards gives nothing."""
    sample = Steps({"x": 1.0})
    monitor = Monitor(sample)
    monitor.start()
    monitor.stop()
    taken, windows = sample.taken, len(monitor.drain())
    monitor.stop()
    assert monitor.read() == {}
    assert (sample.taken, windows, monitor.drain()) == (taken, 1, [])


def test_stop_works_when_the_thread_could_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine out of threads still gets the last reading, and training gets no exception."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monitor = Monitor(Steps({"x": 4.0}))
    monitor.start()
    monitor.stop()
    assert [window.mean for window in monitor.drain()] == [{"x": 4.0}]
    assert monitor.failures == 1


def test_stop_from_on_sample_ends_the_thread() -> None:
    """A rule that stops the monitor from its own thread neither deadlocks nor fails."""
    stopped = threading.Event()

    def stop(values: Mapping[str, float]) -> None:
        monitor.stop()
        stopped.set()

    monitor = Monitor(lambda: {"x": 1.0}, interval_s=3600, on_sample=stop)
    monitor.start()
    assert stopped.wait(LIMIT_S)
    for thread in monitor_threads():
        thread.join(LIMIT_S)
    assert monitor.failures == 0
    assert [window.number for window in monitor.drain()] == [2]


def test_stop_does_not_wait_for_a_reading_that_hangs() -> None:
    """A sample that never returns costs stop its time limit, and what was read before is kept."""
    hangs, release, first = threading.Event(), threading.Event(), count()

    def sample() -> Mapping[str, float]:
        if next(first):
            hangs.set()
            release.wait(LIMIT_S)
        return {"x": 1.0}

    monitor = Monitor(sample, interval_s=0.001, window_s=3600)
    monitor.start()
    assert hangs.wait(LIMIT_S)
    monitor.stop(timeout_s=0.01)
    assert [window.number for window in monitor.drain()] == [1]
    assert monitor.failures == 1
    (thread,) = monitor_threads()
    release.set()
    thread.join(LIMIT_S)


def test_a_monitor_is_started_once() -> None:
    """A second start is a mistake in the program and says what to do."""
    monitor = Monitor(lambda: {"x": 1.0})
    monitor.start()
    with pytest.raises(RuntimeError, match="make a new one"):
        monitor.start()
    monitor.stop()
    with pytest.raises(RuntimeError, match="make a new one"):
        monitor.start()


def test_a_reading_that_raises_is_counted_and_the_monitor_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Failures are counted, logged once, and do not end the readings."""
    calls, after = count(), After(3)

    def sample() -> Mapping[str, float]:
        if next(calls) % 2 == 0:
            raise OSError("out of luck")
        return {"x": 1.0}

    with caplog.at_level(logging.WARNING), Monitor(sample, interval_s=0.001, on_sample=after) as monitor:
        assert after.done.wait(LIMIT_S)
    assert monitor.failures >= 3
    assert caplog.text.count("OSError: out of luck") == 1
    assert monitor.drain()[-1].mean == {"x": 1.0}


def test_an_on_sample_that_raises_costs_no_reading() -> None:
    """The reading is in the window, the failure is counted, and nothing reaches the caller."""

    def fail(values: Mapping[str, float]) -> None:
        raise KeyError("x")

    monitor = Monitor(lambda: {"x": 1.0}, on_sample=fail)
    monitor.read()
    monitor.read()
    monitor.stop()
    assert monitor.failures == 2
    assert monitor.drain()[0].number == 2


@pytest.mark.parametrize("reading", [None, {"x": "fast"}, 3], ids=["None", "text", "number"])
def test_a_sample_of_the_wrong_type_is_a_failure_not_an_error(reading: Any) -> None:
    """What is not a mapping of numbers is counted like an exception, and changes no window."""
    monitor = Monitor(lambda: reading)
    assert monitor.read() == {}
    monitor.stop()
    assert (monitor.failures, monitor.drain()) == (1, [])


def test_readings_by_several_threads_do_not_overlap() -> None:
    """A sampler need not be thread-safe: read and the thread take turns, and every reading is counted."""
    inside, overlaps, callers = [0], [0], 4

    def sample() -> Mapping[str, float]:
        inside[0] += 1
        overlaps[0] += inside[0] > 1
        os.sched_yield()
        inside[0] -= 1
        return {"x": 1.0}

    def read() -> None:
        for _ in range(200):
            monitor.read()

    with Monitor(sample, interval_s=1e-4, window_s=0.01) as monitor:
        threads = [threading.Thread(target=read) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
    windows = monitor.drain()
    numbers = [window.number for window in windows]
    assert overlaps[0] == monitor.failures == 0
    assert numbers == sorted(set(numbers))
    assert numbers[-1] >= 200 * callers


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("held", ["sample", "clock"])
def test_a_forked_child_does_not_hang_on_a_lock_of_the_parent(held: str) -> None:
    """Forked in the middle of a reading or a fold, the child's read, drain and stop return at once and hold nothing."""
    inside, release, looks = threading.Event(), threading.Event(), count()

    def block() -> None:
        inside.set()
        release.wait(LIMIT_S)

    def sample() -> Mapping[str, float]:
        if held == "sample":
            block()
        return {"x": 1.0}

    def clock() -> float:
        if next(looks) and held == "clock":
            block()
        return 0.0

    monitor = Monitor(sample, interval_s=3600, clock=clock)
    monitor.start()
    assert inside.wait(LIMIT_S)

    def child() -> bool:
        empty = monitor.read() == {} and monitor.drain() == []
        monitor.stop()
        return empty

    exit_code = in_fork(child)
    release.set()
    monitor.stop()
    assert exit_code == 1
    assert monitor.drain()[0].mean == {"x": 1.0}


def run_python(code: str) -> str:
    """Run a program to its end, within the limit, and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stderr == ""
    return done.stdout


def test_stop_at_exit_still_closes_the_window() -> None:
    """Called by atexit, stop takes the last reading and prints no complaint."""
    code = """
import atexit
from mlflow_sysmetrics.monitor import Monitor
monitor = Monitor(lambda: {"x": 2.0}, interval_s=3600)
atexit.register(lambda: (monitor.stop(), print([window.mean for window in monitor.drain()])))
monitor.start()
"""
    assert run_python(code) == "[{'x': 2.0}]\n"


def test_a_monitor_never_stopped_does_not_keep_the_program() -> None:
    """The thread is a daemon: a program that forgets stop ends."""
    code = (
        "from mlflow_sysmetrics.monitor import Monitor; Monitor(lambda: {'x': 1.0}, interval_s=3600).start(); print(1)"
    )
    assert run_python(code) == "1\n"


def test_a_hundred_cycles_leave_no_thread() -> None:
    """Starting and stopping many monitors ends with the threads there were before."""
    before = threading.active_count()
    for _ in range(100):
        with Monitor(lambda: {"x": 1.0}, interval_s=3600) as monitor:
            pass
        assert monitor.drain()
    assert threading.active_count() == before


def test_construction_starts_no_thread() -> None:
    """A monitor that is not started has no thread and takes no reading; stopping it does neither."""
    sample = Steps({"x": 1.0})
    monitor = Monitor(sample)
    assert not monitor_threads()
    monitor.stop()
    assert (sample.taken, monitor.drain()) == (0, [])


@pytest.mark.parametrize(
    "arguments",
    [{"interval_s": 0}, {"interval_s": math.nan}, {"window_s": -1}, {"window_s": math.inf}, {"max_windows": 0}],
    ids=str,
)
def test_wrong_arguments_are_named(arguments: dict[str, Any]) -> None:
    """Construction says which argument is wrong, and its value."""
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        Monitor(lambda: {}, **arguments)
