"""Tests of mlflow_sysmetrics.sampling.pressure: files as the kernel writes them, and this machine's own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from clock import Clock
from made_up_files import lay, refused

from mlflow_sysmetrics.sampling.pressure import PressureSampler

NAMES = {
    "pressure_cpu_percent",
    "pressure_memory_percent",
    "pressure_memory_full_percent",
    "pressure_io_percent",
    "pressure_io_full_percent",
}


def pressure(cpu_us: int, memory_us: int = 0, io_us: int = 0, full_us: int = 0) -> dict[str, str]:
    """The three files after this many microseconds of waiting."""
    some = "some avg10=1.23 avg60=0.50 avg300=0.10 total="
    full = f"full avg10=0.00 avg60=0.00 avg300=0.00 total={full_us}\n"
    waits = {"cpu": cpu_us, "memory": memory_us, "io": io_us}
    return {f"proc/pressure/{name}": f"{some}{microseconds}\n{full}" for name, microseconds in waits.items()}


def test_the_share_of_time_waited_is_read(tmp_path: Path) -> None:
    """Half a second of waiting in two is 25 %, from the totals, not from the kernel's own slow averages."""
    lay(tmp_path, pressure(1_000_000, 2_000_000, 3_000_000, 500))
    clock = Clock()
    sample = PressureSampler(root=str(tmp_path), clock=clock)
    assert sample() == {}
    clock.now = 2.0
    lay(tmp_path, pressure(1_500_000, 2_000_000, 3_200_000, 20_500))
    assert sample() == pytest.approx(
        {
            "pressure_cpu_percent": 25,
            "pressure_memory_percent": 0,
            "pressure_memory_full_percent": 1,
            "pressure_io_percent": 10,
            "pressure_io_full_percent": 1,
        }
    )


def test_it_is_never_above_100_nor_below_0(tmp_path: Path) -> None:
    """Two clocks may disagree by a little, and a total may start again."""
    lay(tmp_path, pressure(1_000_000))
    clock = Clock()
    sample = PressureSampler(root=str(tmp_path), clock=clock)
    clock.now = 1.0
    lay(tmp_path, pressure(2_000_100))
    assert sample()["pressure_cpu_percent"] == 100
    clock.now = 2.0
    lay(tmp_path, pressure(5))
    assert "pressure_cpu_percent" not in sample()


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        (None, {"pressure_io_percent", "pressure_io_full_percent"}),
        ("", {"pressure_io_percent", "pressure_io_full_percent"}),
        ("some avg10=0.00 total=7\n", {"pressure_io_full_percent"}),
        ("some\nfull total=\nother total=3\n", {"pressure_io_percent", "pressure_io_full_percent"}),
    ],
    ids=["missing", "empty", "some only", "garbled"],
)
def test_what_cannot_be_read_is_absent(text: str | None, absent: set[str], tmp_path: Path) -> None:
    """One broken file costs its own figures; without any file there are none."""
    files = pressure(1, 1, 1, 1)
    del files["proc/pressure/io"]
    lay(tmp_path, files if text is None else files | {"proc/pressure/io": text})
    clock = Clock()
    sample = PressureSampler(root=str(tmp_path), clock=clock)
    clock.now = 1.0
    assert NAMES - set(sample()) == absent


def test_where_the_kernel_does_not_count_there_is_nothing(tmp_path: Path) -> None:
    """No /proc/pressure: macOS, Windows, and Linux without PSI."""
    clock = Clock()
    sample = PressureSampler(root=str(tmp_path), clock=clock)
    clock.now = 1.0
    assert sample() == {}


def test_a_file_that_is_refused_is_absent() -> None:
    """A real permission error on one file leaves the other two."""
    with refused("memory") as laid:
        clock = Clock()
        sample = PressureSampler(root=str(laid(pressure(1, 1, 1, 1))), clock=clock)
        clock.now = 1.0
        assert NAMES - set(sample()) == {"pressure_memory_percent", "pressure_memory_full_percent"}


def test_this_machine_reads_plausibly() -> None:
    """Where the kernel counts, a tenth of a second has every figure, each a share."""
    if not Path("/proc/pressure/cpu").exists():
        pytest.skip("this kernel does not count")
    sample = PressureSampler()
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        pass
    reading = sample()
    assert set(reading) == NAMES
    assert all(0 <= value <= 100 for value in reading.values())
    assert reading["pressure_io_full_percent"] <= reading["pressure_io_percent"] + 1
