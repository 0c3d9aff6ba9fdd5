"""Readings become windows: with a clock that a test moves where numbers matter, a real thread where threads do."""

import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from unittest.mock import Mock

import pytest
from cases import cases
from machines import Clock, in_fork, meanwhile

from mlflow_sysmetrics.monitor import Monitor, next_due

LIMIT_S = 60.0


def made(sample, **options):
    """A monitor with the options that a test is not about."""
    others = {"interval_s": 0.1, "window_s": 0.5, "on_sample": lambda reading: None, "clock": time.monotonic}
    return Monitor(sample, **others | options)


def of(readings, times, **more):
    """A monitor that has taken these readings at these times."""
    monitor = made(Mock(side_effect=readings), clock=iter(times).__next__, **more)
    for _ in readings:
        monitor.read()
    return monitor


def test_window_holds_mean_and_maximum_of_its_own_readings():
    """It closes when its time has passed. A name that some readings lack is averaged over the others.

    Two that close in one millisecond have different ones: else the first would be lost on its way.
    """
    monitor = of([{"x": 1.0}, {"x": 2.0, "y": 8.0}, {"x": 6.0}, {}, {"x": 30.0}, {}], count(0.0, 0.25))
    first, second = monitor.drain()
    assert first.mean == pytest.approx({"x": 4.0, "y": 8.0})
    assert first.maximum == {"x": 6.0, "y": 8.0}
    assert second.mean == {"x": 30.0}
    assert first.time_ms < second.time_ms
    assert monitor.drain() == []
    assert monitor.peaks == {"x": 30.0, "y": 8.0}


def test_reading_counts_for_as_long_as_it_is_since_the_one_before():
    """A thread that was kept from reading for 0.9 s at 100 %, and then reads 0 %: the process has used 90 %."""
    readings = [{}, {"cpu": 100.0, "slow": 7.0}, {"cpu": 0.0}, {"cpu": 0.0, "slow": 17.0}]
    (window,) = of(readings, [0.0, 0.9, 0.95, 1.0], window_s=1.0).drain()
    assert window.mean == pytest.approx({"cpu": 90.0, "slow": 8.0})


@cases("value", [math.nan, math.inf])
def test_value_that_is_not_finite_is_left_out(value):
    """Of peaks, what is shown and what is returned."""
    seen = []
    monitor = made(lambda: {"x": -1.0, "y": value}, on_sample=seen.append)
    assert monitor.read() == monitor.peaks == seen[0] == {"x": -1.0}


def test_windows_of_a_long_run_are_longer():
    """A second at first, ten after hours."""
    clock = Clock()
    monitor = made(lambda: {"x": clock.now}, window_s=1.0, clock=clock)
    closed = []
    for _ in range(4 * 3600):
        monitor.read()
        closed += [window.maximum["x"] for window in monitor.drain()]
        clock.now += 1.0
    assert closed[999] == 1000
    assert closed[-1] - closed[-2] == 10


def test_windows_that_nobody_drains_are_bounded():
    """The oldest go first."""
    monitor = made(lambda: {"x": 1.0}, window_s=0.1, clock=count().__next__)
    for _ in range(1300):
        monitor.read()
    assert len(monitor.drain()) == 1200


def test_stop_does_not_wait_for_a_reading_that_hangs():
    """It costs its time limit, and what was read before is kept."""
    hangs, release = threading.Event(), threading.Event()

    def readings():
        yield {"x": 1.0}
        hangs.set()
        release.wait(LIMIT_S)
        yield {}

    monitor = made(readings().__next__)
    monitor.read()
    monitor.start()
    assert hangs.wait(LIMIT_S)
    monitor.stop(0.01)
    assert [window.mean for window in monitor.drain()] == [{"x": 1.0}]
    release.set()


@cases("now, due", {"a short one": (10.05, 10.1), "a longer one": (10.12, 10.2), "a long one": (10.43, 10.5)})
def test_readings_keep_the_interval_however_long_each_takes(now, due):
    """What one has missed is not made up for by a burst."""
    assert next_due(10.0, now, 0.1) == pytest.approx(due)


@cases("reading", [OSError, None, {"x": "fast"}])
def test_reading_that_fails_is_counted_and_told_once(reading, caplog):
    """An exception, or what is not a mapping of numbers; the next one counts."""
    monitor = made(Mock(side_effect=[reading, reading, {"x": 1.0}]))
    assert [monitor.read() for _ in range(3)] == [{}, {}, {"x": 1.0}]
    assert monitor.failures == 2
    assert caplog.text.count("a reading failed") == 1


def test_machine_without_threads_gets_a_last_reading(monkeypatch):
    """And training gets no exception."""
    monkeypatch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError))
    monitor = made(lambda: {"x": 4.0})
    monitor.start()
    monitor.stop(LIMIT_S)
    assert [window.mean for window in monitor.drain()] == [{"x": 4.0}]


@cases("interval_s", [0, math.nan])
def test_interval_that_is_no_time_is_refused(interval_s):
    """At construction: the thread could only fail."""
    with pytest.raises(ValueError, match=f"^interval_s={interval_s}: give a number of seconds above 0$"):
        made(dict, interval_s=interval_s)


def test_readings_of_several_threads_do_not_overlap():
    """A sampler need not be thread-safe."""
    inside = []

    def sample():
        inside.append(1)
        os.sched_yield()
        (_,) = inside  # else the reading fails
        inside.clear()
        return {}

    monitor = made(sample)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(800):
            pool.submit(monitor.read)
    assert monitor.failures == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_does_not_hang_on_a_lock_of_its_parent():
    """Forked as a reading is being folded: read, drain and stop return at once and hold nothing."""
    inside, release = threading.Event(), threading.Event()

    def clock():
        inside.set()
        release.wait(LIMIT_S)
        return 1.0

    def child():
        monitor.stop(LIMIT_S)
        return monitor.read() == {} and monitor.drain() == []

    monitor = made(dict, clock=clock)
    with meanwhile(monitor.read):
        assert inside.wait(LIMIT_S)
        exit_code = in_fork(child)
        release.set()
    assert exit_code == 1
