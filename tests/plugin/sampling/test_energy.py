"""Tests of sampling.energy: powercap folders as real machines have them. Virtual machines have none."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from clock import Clock
from hypothesis import given
from hypothesis import strategies as st
from made_up_files import lay, refused

from mlflow_sysmetrics.sampling import energy
from mlflow_sysmetrics.sampling.energy import EnergySampler
from mlflow_sysmetrics.sampling.files import read_number

RANGE_UJ = 262_143_328_850  # of a real package


def zone(name: str, label: str, energy_uj: int, range_uj: int | None = RANGE_UJ) -> dict[str, str]:
    """One counter's files."""
    folder = f"sys/class/powercap/{name}"
    files = {f"{folder}/name": f"{label}\n", f"{folder}/energy_uj": f"{energy_uj}\n"}
    return files if range_uj is None else files | {f"{folder}/max_energy_range_uj": f"{range_uj}\n"}


def server(joules: int) -> dict[str, str]:
    """A machine of two packages with their memory, after this many joules of each counter."""
    uj = joules * 10**6
    return (
        {"sys/class/powercap/intel-rapl/enabled": "1\n"}
        | zone("intel-rapl:0", "package-0", uj)
        | zone("intel-rapl:0:0", "core", 7 * uj)
        | zone("intel-rapl:0:1", "dram", uj // 10)
        | zone("intel-rapl:1", "package-1", 2 * uj)
        | zone("intel-rapl:1:0", "dram", uj // 10)
        | zone("intel-rapl:2", "psys", 4 * uj)
        | zone("intel-rapl-mmio:0", "package-0", 5 * uj)
    )


def test_watts_are_summed_by_what_is_counted(tmp_path: Path) -> None:
    """Packages and memory of both sockets, the board once; no part of a package and no second count of it."""
    lay(tmp_path, server(1000))
    clock = Clock()
    sample = EnergySampler(root=str(tmp_path), clock=clock)
    assert sample() == {}
    clock.now = 2.0
    lay(tmp_path, server(1100))
    assert sample() == pytest.approx({"energy_package_w": 150, "energy_dram_w": 10, "energy_psys_w": 200})


def test_joules_are_those_of_the_packages_and_their_memory(tmp_path: Path) -> None:
    """Since construction, up to the moment; the board has the packages in it already."""
    lay(tmp_path, server(1000))
    clock = Clock()
    sample = EnergySampler(root=str(tmp_path), clock=clock)
    assert sample.joules == 0
    for seconds, joules in (1.0, 1100), (1.5, 1130), (9.0, 1200):
        clock.now = seconds
        lay(tmp_path, server(joules))
        sample()
    assert sample.joules == pytest.approx(3.2 * 200)


@pytest.mark.parametrize(
    ("after", "joules"),
    [
        pytest.param(zone("intel-rapl:0", "package-0", 30_000_000), 40, id="wrapped"),
        pytest.param(zone("intel-rapl:0", "package-0", 30_000_000, None), None, id="reset"),
        pytest.param({"sys/class/powercap/intel-rapl:0/energy_uj": ""}, None, id="gone"),
    ],
)
def test_joules_of_a_counter_that_starts_again_are_known_if_it_wrapped(
    after: dict[str, str], joules: float | None, tmp_path: Path
) -> None:
    """Else the sum stays unknown, also when the counter goes on."""
    range_uj = None if joules is None else RANGE_UJ
    lay(tmp_path, zone("intel-rapl:0", "package-0", RANGE_UJ - 10_000_000, range_uj))
    clock = Clock()
    sample = EnergySampler(root=str(tmp_path), clock=clock)
    clock.now = 1.0
    lay(tmp_path, after)
    assert sample.joules == (joules if joules is None else pytest.approx(joules, abs=1e-3))
    clock.now = 2.0
    lay(tmp_path, zone("intel-rapl:0", "package-0", 31_000_000, range_uj))
    assert sample.joules == (joules if joules is None else pytest.approx(joules + 1, abs=1e-3))


def test_joules_are_asked_for_while_a_reading_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another thread: no counter is read before another reading and counted after it, as if it had fallen."""
    lay(tmp_path, zone("intel-rapl:0", "package-0", 0))
    clock = Clock()
    others: list[threading.Thread] = []
    asked: list[float | None] = []

    def read_and_go_on(path: str) -> float | None:
        """The counter goes on once it is read, and another thread asks for it."""
        number = read_number(path)
        if clock.now and not others:
            lay(tmp_path, zone("intel-rapl:0", "package-0", 2_000_000))
            others.append(threading.Thread(target=lambda: asked.append(sample.joules), daemon=True))
            others[0].start()
            others[0].join(0.1)
        return number

    monkeypatch.setattr(energy, "read_number", read_and_go_on)
    sample = EnergySampler(root=str(tmp_path), clock=clock)
    lay(tmp_path, zone("intel-rapl:0", "package-0", 1_000_000))
    clock.now = 1.0
    assert sample() == {"energy_package_w": 1.0}
    others[0].join(10)
    assert asked == [sample.joules] == [2.0]


def test_joules_are_unknown_where_nothing_is_counted(tmp_path: Path) -> None:
    """Not 0."""
    assert EnergySampler(root=str(tmp_path)).joules is None


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    """The counter starts again after max_energy_range_uj: what was used is on both sides of that."""
    lay(tmp_path, zone("intel-rapl:0", "package-0", RANGE_UJ - 10_000_000))
    clock = Clock()
    sample = EnergySampler(root=str(tmp_path), clock=clock)
    clock.now = 1.0
    lay(tmp_path, zone("intel-rapl:0", "package-0", 30_000_000))
    assert sample() == pytest.approx({"energy_package_w": 40})


@pytest.mark.parametrize("range_uj", [RANGE_UJ, 0, None], ids=["range known", "range 0", "range unknown"])
def test_a_counter_that_was_reset_is_absent_once(range_uj: int | None, tmp_path: Path) -> None:
    """A fall that no wrap explains (200 kW) gives no figure, and the next one is right."""
    lay(tmp_path, zone("intel-rapl:0", "package-0", 60_000_000_000, range_uj))
    clock = Clock()
    sample = EnergySampler(root=str(tmp_path), clock=clock)
    clock.now = 1.0
    lay(tmp_path, zone("intel-rapl:0", "package-0", 5_000_000, range_uj))
    assert sample() == {}
    clock.now = 2.0
    lay(tmp_path, zone("intel-rapl:0", "package-0", 55_000_000, range_uj))
    assert sample() == {"energy_package_w": 50}


@given(st.lists(st.tuples(st.integers(0, RANGE_UJ), st.integers(0, 30)), min_size=1, max_size=10))
def test_no_power_is_negative_or_absurd(
    tmp_path_factory: pytest.TempPathFactory, readings: list[tuple[int, int]]
) -> None:
    """Whatever the counter does: no exception, and a figure between 0 and what a machine can draw."""
    root = tmp_path_factory.mktemp("powercap")
    lay(root, zone("intel-rapl:0", "package-0", 0))
    clock = Clock()
    sample = EnergySampler(root=str(root), clock=clock)
    for energy_uj, tenths in readings:
        clock.now += tenths / 10
        lay(root, zone("intel-rapl:0", "package-0", energy_uj))
        assert all(0 <= watts <= 5000 for watts in sample().values())


@pytest.mark.parametrize("lost", ["name", "energy_uj"])
def test_a_sum_without_one_part_is_absent(lost: str, tmp_path: Path) -> None:
    """Where one memory's counter cannot be read, half the memory's power is not shown as all of it."""
    clock = Clock()
    files = server(1000)
    lay(tmp_path, files)
    sample = EnergySampler(root=str(tmp_path), clock=clock)
    clock.now = 1.0
    lay(tmp_path, server(1100))
    (tmp_path / f"sys/class/powercap/intel-rapl:1:0/{lost}").unlink()
    assert set(sample()) == {"energy_package_w", "energy_psys_w"} | ({"energy_dram_w"} if lost == "name" else set())


def test_counters_that_only_root_may_read_are_absent() -> None:
    """Kernels since 2020 refuse energy_uj to all others: a real permission error gives {}."""
    with refused("energy_uj") as laid:
        clock = Clock()
        sample = EnergySampler(root=str(laid(server(1000))), clock=clock)
        clock.now = 1.0
        assert sample() == {}


@pytest.mark.parametrize(
    "files",
    [{}, {"sys/class/powercap/dtpm/enabled": "0"}, zone("intel-rapl:0", "", 5), zone("intel-rapl:0", "odd", 5)],
    ids=["no powercap: macOS, Windows, a virtual machine", "no RAPL", "no name", "unknown name"],
)
def test_where_nothing_is_counted_there_is_nothing(files: dict[str, str], tmp_path: Path) -> None:
    """Machines without counters give {}."""
    lay(tmp_path, files)
    clock = Clock()
    sample = EnergySampler(root=str(tmp_path), clock=clock)
    clock.now = 1.0
    assert sample() == {}


def test_this_machine_reads_plausibly() -> None:
    """Where counters can be read, the power is that of a computer; on most machines that run tests there are none."""
    sample = EnergySampler()
    end = time.monotonic() + 0.1
    while time.monotonic() < end:  # the counters count what this burns
        pass
    assert all(0 <= watts <= 5000 for watts in sample().values())
