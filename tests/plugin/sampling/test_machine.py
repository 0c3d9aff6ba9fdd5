"""Tests of sampling.machine: /proc and /sys as real machines have them, psutil's stand-in, this machine."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_files import Clock, lay, refused

from mlflow_sysmetrics.sampling.machine import MachineSampler, Totals, here, linux, portable

READ, WRITE = "machine_disk_read_mb_per_s", "machine_disk_write_mb_per_s"
RECEIVED, SENT = "machine_network_received_mb_per_s", "machine_network_sent_mb_per_s"
NET_HEADER = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls\n"
)


def disks(**mb: tuple[float, float]) -> str:
    """/proc/diskstats after so many megabytes read and written."""
    return "".join(
        f" 259       0 {name} 11 0 {read * 1e6 / 512:.0f} 9 22 0 {written * 1e6 / 512:.0f} 8 0 5 5 0 0 0 0 1 1\n"
        for name, (read, written) in mb.items()
    )


def network(**mb: tuple[float, float]) -> str:
    """/proc/net/dev after so many megabytes received and sent."""
    lines = (
        f"{name:>6}: {received * 1e6:.0f} 5 0 0 0 0 0 0 {sent * 1e6:.0f} 6 0 0 0 0 0 0\n"
        for name, (received, sent) in mb.items()
    )
    return NET_HEADER + "".join(lines)


def hardware(*paths: str) -> dict[str, str]:
    """Files that say by their place what a device is."""
    return {f"sys/{path}": "\n" for path in paths}


LAPTOP = hardware(
    "block/nvme0n1/size",
    "block/dm-0/slaves/nvme0n1p2/size",
    "block/loop3/size",
    "block/zram0/size",
    "class/net/wlp1s0/device/vendor",
    "class/net/docker0/bridge/x",
)


def read(root: Path, first: dict[str, str], then: dict[str, str]) -> dict[str, float]:
    """The figures over two seconds between the one and the other."""
    lay(root, first)
    clock = Clock()
    sample = MachineSampler(linux(str(root)), clock=clock)
    assert sample() == {}
    clock.now = 2.0
    lay(root, then)
    return sample()


def test_rates_are_megabytes_per_second(tmp_path: Path) -> None:
    """What grew by so many MB in two seconds, of the disk and the card."""
    first = LAPTOP | {"proc/diskstats": disks(nvme0n1=(10, 20)), "proc/net/dev": network(wlp1s0=(1, 2))}
    then = {"proc/diskstats": disks(nvme0n1=(16, 21)), "proc/net/dev": network(wlp1s0=(5, 2.5))}
    assert read(tmp_path, first, then) == pytest.approx({READ: 3, WRITE: 0.5, RECEIVED: 2, SENT: 0.25}, rel=1e-3)


def test_nothing_is_counted_twice(tmp_path: Path) -> None:
    """Partitions, mapped and looped disks and bridges move what the disk and the card move; loopback moves nothing."""
    names = ("nvme0n1", "nvme0n1p2", "dm-0", "loop3", "zram0")
    links = ("lo", "wlp1s0", "docker0", "veth12")
    first = LAPTOP | {
        "proc/diskstats": disks(**dict.fromkeys(names, (0, 0))),
        "proc/net/dev": network(**dict.fromkeys(links, (0, 0))),
    }
    then = {
        "proc/diskstats": disks(**dict.fromkeys(names, (4, 4))),
        "proc/net/dev": network(**dict.fromkeys(links, (4, 4))),
    }
    assert read(tmp_path, first, then) == pytest.approx({READ: 2, WRITE: 2, RECEIVED: 2, SENT: 2}, rel=1e-3)


def test_several_disks_and_cards_are_summed(tmp_path: Path) -> None:
    """Two of each move twice as much; a disk whose name holds a slash is found too."""
    places = hardware("block/sda/size", "block/cciss!c0d0/size", "class/net/eth0/device/x", "class/net/eth1/device/x")
    first = places | {
        "proc/diskstats": disks(sda=(0, 0), **{"cciss/c0d0": (0, 0)}),
        "proc/net/dev": network(eth0=(0, 0), eth1=(0, 0)),
    }
    then = {
        "proc/diskstats": disks(sda=(2, 2), **{"cciss/c0d0": (4, 4)}),
        "proc/net/dev": network(eth0=(2, 2), eth1=(4, 4)),
    }
    assert read(tmp_path, first, then) == pytest.approx({READ: 3, WRITE: 3, RECEIVED: 3, SENT: 3}, rel=1e-3)


def test_a_container_counts_its_own_link(tmp_path: Path) -> None:
    """Inside a container every card is virtual: all but loopback count."""
    first = {"proc/net/dev": network(lo=(0, 0), eth0=(0, 0))}
    assert read(tmp_path, first, {"proc/net/dev": network(lo=(9, 9), eth0=(2, 4))}) == {RECEIVED: 1, SENT: 2}


def test_a_device_that_comes_or_goes_makes_no_jump(tmp_path: Path) -> None:
    """A disk plugged in with a terabyte behind it adds what it moves from then on, and one that goes takes nothing."""
    places = hardware("block/sda/size", "block/sdb/size", "block/sdc/size")
    first = places | {"proc/diskstats": disks(sda=(0, 0), sdc=(50, 50))}
    assert read(tmp_path, first, {"proc/diskstats": disks(sda=(2, 2), sdb=(1e6, 1e6))}) == pytest.approx(
        {READ: 1, WRITE: 1}, rel=1e-3
    )


def test_a_counter_that_falls_gives_no_negative_rate(tmp_path: Path) -> None:
    """A card whose driver was loaded again begins at 0: its figure is absent for once."""
    first = LAPTOP | {"proc/net/dev": network(wlp1s0=(100, 100))}
    assert read(tmp_path, first, {"proc/net/dev": network(wlp1s0=(1, 102))}) == {SENT: 1}


@pytest.mark.parametrize(
    "files",
    [{}, {"proc/diskstats": "8 0 sda 1\nnot a line\n\n", "proc/net/dev": "Inter-|\n face |bytes\n eth0:\nodd\n"}],
    ids=["no files", "garbled"],
)
def test_what_cannot_be_read_is_absent(files: dict[str, str], tmp_path: Path) -> None:
    """Missing and broken files give {}."""
    assert read(tmp_path, files, {}) == {}


def test_files_that_are_refused_are_absent() -> None:
    """A real permission error on the network's file leaves the disks."""
    with refused("dev") as laid:
        files = {"proc/diskstats": disks(nvme0n1=(1, 1)), "proc/net/dev": network(wlp1s0=(1, 1))}
        clock = Clock()
        sample = MachineSampler(linux(str(laid(LAPTOP | files))), clock=clock)
        clock.now = 1.0
        assert set(sample()) == {READ, WRITE}


@given(
    st.lists(
        st.tuples(
            st.floats(0, 5),
            st.dictionaries(st.tuples(st.sampled_from([READ, SENT]), st.sampled_from("ab")), st.floats(0, 1e9)),
        ),
        max_size=15,
    )
)
def test_no_rate_is_ever_negative(readings: list[tuple[float, Totals]]) -> None:
    """Whatever devices and counters do: no exception, no negative rate."""
    clock, now = Clock(), dict[tuple[str, str], float]()
    sample = MachineSampler(lambda: dict(now), clock=clock)
    for seconds, totals in readings:
        clock.now += seconds
        now.clear()
        now.update(totals)
        assert all(value >= 0 for value in sample().values())


# --- other operating systems (the seam is substituted: nothing here runs on macOS or Windows) -------------------------


def stand_in(disks: Any, networks: Any) -> Any:
    """psutil as it is on a system: what a counter function returns, or the error it raises."""

    def call(answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return SimpleNamespace(
        Error=psutil.Error,
        disk_io_counters=lambda perdisk: call(disks),
        net_io_counters=lambda pernic: call(networks),
    )


DISK = SimpleNamespace(read_bytes=3_000_000, write_bytes=4_000_000)
LINK = SimpleNamespace(bytes_recv=1_000_000, bytes_sent=2_000_000)


@pytest.mark.parametrize(
    ("networks", "name"),
    [({"lo0": LINK, "en0": LINK}, "en0"), ({"Loopback Pseudo-Interface 1": LINK, "Ethernet": LINK}, "Ethernet")],
    ids=["macOS", "Windows"],
)
def test_elsewhere_psutil_counts(networks: dict[str, Any], name: str) -> None:
    """Disks and all links but loopback."""
    assert portable(stand_in({"disk0": DISK}, networks)) == {
        (READ, "disk0"): 3,
        (WRITE, "disk0"): 4,
        (RECEIVED, name): 1,
        (SENT, name): 2,
    }


@pytest.mark.parametrize(
    ("disks", "networks", "names"),
    [
        (None, {"en0": LINK}, {RECEIVED, SENT}),
        ({}, {}, set()),
        (RuntimeError("disabled"), {"en0": LINK}, {RECEIVED, SENT}),
        ({"disk0": DISK}, OSError(1, "no"), {READ, WRITE}),
        (AttributeError("no"), psutil.AccessDenied(), set()),
    ],
    ids=["no disks", "nothing", "disk counters off", "network refused", "neither"],
)
def test_what_psutil_cannot_tell_is_absent(disks: Any, networks: Any, names: set[str]) -> None:
    """One that fails leaves the other."""
    assert {name for name, _ in portable(stand_in(disks, networks))} == names


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_every_system_has_a_reader(system: str) -> None:
    """Here each of them reads this machine, Linux from its files and the others through psutil."""
    assert {metric for metric, _ in here(system)()} <= {READ, WRITE, RECEIVED, SENT}


# --- this machine -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not psutil.LINUX, reason="compares with /proc and /sys")
def test_this_machine_agrees_with_psutil() -> None:
    """Each whole disk and card that is read has the bytes that psutil has for it."""
    ours = linux()()
    disks, networks = psutil.disk_io_counters(perdisk=True, nowrap=False), psutil.net_io_counters(pernic=True)
    assert ours
    for (metric, device), megabytes in ours.items():
        if metric == READ:
            assert megabytes == pytest.approx(disks[device].read_bytes / 1e6, rel=0.01, abs=50)
        if metric == RECEIVED:
            assert megabytes == pytest.approx(networks[device].bytes_recv / 1e6, rel=0.01, abs=50)
    whole = {path.name for path in Path("/sys/block").glob("[snv]*") if (path / "device").exists()}
    assert {device for metric, device in ours if metric == READ} >= whole


def test_this_machine_reads_plausibly() -> None:
    """Traffic over loopback alone is no traffic of the machine: nothing negative, and no card is that fast."""
    clock = Clock()
    sample = MachineSampler(clock=clock)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"x" * 50_000)
    clock.now = 0.1
    reading = sample()
    assert all(0 <= value < 1e6 for value in reading.values())
