"""Points: one value of one metric at one moment."""

import time

from mlflow_sysmetrics.delivery.points import Point, points_now, window_points
from mlflow_sysmetrics.monitor import Window

FIRST = Window(
    number=5,
    time_ms=1000,
    seconds={"cpu": 0.5, "memory_mb": 0.5},
    mean={"cpu": 50.0, "memory_mb": 90.0},
    maximum={"cpu": 99.0},
)
SECOND = Window(
    number=9, time_ms=1500, seconds={"cpu": 0.4}, mean={"cpu": 10.0}, maximum={"cpu": 20.0, "memory_mb": 95.0}
)


def test_points_now_are_all_of_one_moment_and_step() -> None:
    """The moment is unix time in milliseconds."""
    before_ms = time.time_ns() // 1_000_000
    loss, cpu = points_now({"loss": 0.5, "cpu": 90.0}, step=7)
    assert (loss.name, loss.value, loss.step, cpu.name, cpu.value, cpu.step) == ("loss", 0.5, 7, "cpu", 90.0, 7)
    assert before_ms <= loss.time_ms == cpu.time_ms <= time.time_ns() // 1_000_000


def test_window_points_are_means_and_maxima_at_the_number_of_the_sample() -> None:
    """Each under its own name, at the window's time; the order of the windows is kept, which MLflow shows."""
    assert window_points([FIRST, SECOND]) == [
        Point("system/cpu", 50.0, 1000, 5),
        Point("system/memory_mb", 90.0, 1000, 5),
        Point("system/cpu_max", 99.0, 1000, 5),
        Point("system/cpu", 10.0, 1500, 9),
        Point("system/cpu_max", 20.0, 1500, 9),
        Point("system/memory_mb_max", 95.0, 1500, 9),
    ]


def test_window_points_have_the_prefix_that_is_asked_for() -> None:
    """The default is the UI's System metrics tab; another prefix groups them elsewhere."""
    assert [point.name for point in window_points([SECOND], prefix="driver/")] == [
        "driver/cpu",
        "driver/cpu_max",
        "driver/memory_mb_max",
    ]


def test_window_points_of_no_window_are_none() -> None:
    """There is nothing to write."""
    assert window_points([]) == []


def test_point_becomes_a_plain_tuple_and_back() -> None:
    """So it travels with a result, without this package's classes."""
    point = Point("loss", 0.5, 1000, 3)
    assert tuple(point) == ("loss", 0.5, 1000, 3)
    assert Point(*tuple(point)) == point
