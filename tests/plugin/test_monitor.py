"""Readings become windows: with a clock that a test moves where numbers matter, a real thread where threads do."""

import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from cases import cases
from machines import Clock, in_fork

from mlflow_sysmetrics.monitor import Monitor, next_due

LIMIT_S = 60.0


def made(sample, **options):
    """A monitor with the options that a test is not about."""
    others = {"interval_s": 0.1, "window_s": 0.5, "on_sample": lambda reading: None, "clock": time.monotonic}
    return Monitor(sample, **others | options)


def of(*readings, at=(), **more):
    """A monitor that has taken these readings at these times, or every quarter of a second."""
    taken, times = iter(readings), iter(at or [0.25 * number for number in range(len(readings) + 2)])
    monitor = made(lambda: next(taken), clock=lambda: next(times), **more)
    for _ in readings:
        monitor.read()
    return monitor


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    for thread in threading.enumerate():
        if thread.name == "mlflow-sysmetrics-monitor":
            thread.join(LIMIT_S)
            assert not thread.is_alive()


def test_window_holds_mean_and_maximum_of_its_own_readings():
    """It closes when its time has passed. A name that some readings lack is averaged over the others.

    Two that close in one millisecond have different ones: else the first would be lost on its way.
    """
    monitor = of({"x": 1.0}, {"x": 2.0, "y": 8.0}, {"x": 6.0}, {}, {"x": 30.0}, {})
    first, second = monitor.drain()
    assert first.mean == pytest.approx({"x": 4.0, "y": 8.0})
    assert first.maximum == {"x": 6.0, "y": 8.0}
    assert (second.mean, second.maximum) == ({"x": 30.0}, {"x": 30.0})
    assert first.time_ms < second.time_ms
    assert monitor.drain() == []
    assert monitor.peaks == {"x": 30.0, "y": 8.0}


def test_reading_counts_for_as_long_as_it_is_since_the_one_before():
    """A thread that was kept from reading for 0.9 s at 100 %, and then reads 0 %: the process has used 90 %."""
    readings = ({}, {"cpu": 100.0, "slow": 7.0}, {"cpu": 0.0}, {"cpu": 0.0, "slow": 17.0})
    (window,) = of(*readings, at=(0.0, 0.9, 0.95, 1.0), window_s=1.0).drain()
    assert window.mean == pytest.approx({"cpu": 90.0, "slow": 8.0})
    assert window.maximum == {"cpu": 100.0, "slow": 17.0}


@cases("value", [math.nan, math.inf, -math.inf])
def test_value_that_is_not_finite_is_left_out(value):
    """Of windows, peaks, what is shown and what is returned."""
    seen = []
    monitor = made(lambda: {"x": -1.0, "y": value}, on_sample=seen.append)
    assert monitor.read() == {"x": -1.0}
    monitor.stop(LIMIT_S)
    (window,) = monitor.drain()
    assert window.mean == window.maximum == monitor.peaks == seen[0] == {"x": -1.0}


def test_windows_of_a_long_run_are_longer():
    """A second at first, ten after hours."""
    clock = Clock()
    monitor = made(lambda: {"x": clock.now}, window_s=1.0, clock=clock)
    closed = []
    for _ in range(4 * 3600):
        monitor.read()
        closed += [window.maximum["x"] for window in monitor.drain()]
        clock.now += 1.0
    assert closed[:1000] == [float(second) for second in range(1, 1001)]
    assert closed[-1] - closed[-2] == 10
    assert len(closed) < 4500


def test_windows_that_nobody_drains_are_bounded():
    """The oldest go first."""
    monitor = made(lambda: {"x": 1.0}, window_s=0.1, clock=count().__next__)
    for _ in range(1300):
        monitor.read()
    assert len(monitor.drain()) == 1200


def test_stop_does_not_wait_for_a_reading_that_hangs():
    """It costs its time limit, and what was read before is kept."""
    hangs, release, first = threading.Event(), threading.Event(), count()

    def sample():
        if next(first):
            hangs.set()
            release.wait(LIMIT_S)
        return {"x": 1.0}

    monitor = made(sample, interval_s=0.001, window_s=3600)
    monitor.start()
    assert hangs.wait(LIMIT_S)
    monitor.stop(0.01)
    assert [window.mean for window in monitor.drain()] == [{"x": 1.0}]
    assert monitor.failures == 1
    release.set()


@cases("now, due", {"a short one": (10.05, 10.1), "a longer one": (10.12, 10.2), "a long one": (10.43, 10.5)})
def test_readings_keep_the_interval_however_long_each_takes(now, due):
    """What one has missed is not made up for by a burst."""
    assert next_due(10.0, now, 0.1) == pytest.approx(due)


@pytest.mark.parametrize("reading", [OSError("out of luck"), None, {"x": "fast"}, 3], ids=repr)
def test_reading_that_fails_is_counted_and_told_once(reading, caplog):
    """An exception, or what is not a mapping of numbers; the next one counts."""
    readings = iter([reading, reading, {"x": 1.0}])

    def sample():
        if isinstance(value := next(readings), Exception):
            raise value
        return value

    monitor = made(sample)
    assert [monitor.read() for _ in range(3)] == [{}, {}, {"x": 1.0}]
    assert monitor.failures == 2
    assert caplog.text.count("a reading failed") == 1


def test_machine_without_threads_gets_a_last_reading(monkeypatch):
    """And training gets no exception."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monitor = made(lambda: {"x": 4.0})
    monitor.start()
    monitor.stop(LIMIT_S)
    assert [window.mean for window in monitor.drain()] == [{"x": 4.0}]


@cases("interval_s", [0, -1.0, math.nan])
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
        return {"x": 1.0}

    monitor = made(sample, interval_s=1e-4, window_s=0.01)
    monitor.start()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(800):
            pool.submit(monitor.read)
    monitor.stop(LIMIT_S)
    assert monitor.failures == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_does_not_hang_on_a_lock_of_its_parent():
    """Forked as a reading is being folded: read, drain and stop return at once and hold nothing."""
    inside, release, looks = threading.Event(), threading.Event(), count()

    def clock():
        if next(looks):  # `start` looks at it as well
            inside.set()
            release.wait(LIMIT_S)
        return 1.0

    monitor = made(lambda: {"x": 1.0}, clock=clock)
    monitor.start()
    assert inside.wait(LIMIT_S)

    def child():
        is_empty = monitor.read() == {} and monitor.drain() == []
        monitor.stop(LIMIT_S)
        return is_empty

    exit_code = in_fork(child)
    release.set()
    monitor.stop(LIMIT_S)
    assert exit_code == 1
