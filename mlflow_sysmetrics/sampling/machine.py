"""The group `machine`: what all processes of this machine move to and from its disks and networks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from mlflow_sysmetrics.sampling.files import Rates, read_file

Totals = dict[tuple[str, str], float]  # megabytes since the machine was started, by metric and device
_READ, _WRITE = "machine_disk_read_mb_per_s", "machine_disk_write_mb_per_s"
_RECEIVED, _SENT = "machine_network_received_mb_per_s", "machine_network_sent_mb_per_s"
_SECTOR_MB = 512 / 1e6  # whatever the disk's own sectors are


class MachineSampler:
    """Each call returns `machine_disk_read_mb_per_s`, `machine_disk_write_mb_per_s`,
    `machine_network_received_mb_per_s` and `machine_network_sent_mb_per_s`: megabytes (1e6 bytes) per second since the
    last such figures.

    Nothing is counted twice: not a partition beside its disk, a bridge beside its card, or what stays in the machine.
    Inside a container the network is the container's own. The first call after construction has them if 10 ms have
    passed. What cannot be read is absent.
    """

    def __init__(
        self, totals: Callable[[], Totals] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._totals = totals or here()
        self._rates = Rates[tuple[str, str]](clock)
        self._rates(self._totals())

    def __call__(self) -> dict[str, float]:
        """Take one reading."""
        values: dict[str, float] = {}
        for (metric, _), rate in self._rates(self._totals()).items():  # a device that came or went has none: no jump
            values[metric] = values.get(metric, 0.0) + rate
        return values


def here(system: str = sys.platform) -> Callable[[], Totals]:
    """The reader for this operating system."""
    if system == "linux":
        return linux()
    import psutil

    return partial(portable, psutil)


def linux(root: str = "/") -> Callable[[], Totals]:
    """Return a reader of /proc/diskstats and /proc/net/dev under `root`."""
    is_disk = lru_cache(maxsize=1024)(partial(_is_disk, Path(root) / "sys/block"))
    is_card = lru_cache(maxsize=1024)(partial(_is_card, Path(root) / "sys/class/net"))

    def totals() -> Totals:
        read: Totals = {}
        for line in _lines(root, "proc/diskstats"):
            _, _, disk, _, _, sectors_read, _, _, _, sectors_written, *_ = [*line.split(), *[""] * 10]
            if sectors_read.isdigit() and sectors_written.isdigit() and is_disk(disk):
                read[_READ, disk] = int(sectors_read) * _SECTOR_MB
                read[_WRITE, disk] = int(sectors_written) * _SECTOR_MB
        bytes_moved = {}
        for line in _lines(root, "proc/net/dev"):
            name, _, counts = line.partition(":")
            received, _, _, _, _, _, _, _, sent, *_ = [*counts.split(), *[""] * 9]
            if received.isdigit() and sent.isdigit() and name.strip() != "lo":
                bytes_moved[name.strip()] = int(received), int(sent)
        cards = [name for name in bytes_moved if is_card(name)] or list(bytes_moved)  # a container's are virtual
        for name in cards:
            read[_RECEIVED, name], read[_SENT, name] = (number / 1e6 for number in bytes_moved[name])
        return read

    return totals


def _lines(root: str, path: str) -> list[str]:
    return read_file(str(Path(root) / path)).decode(errors="replace").splitlines()


def _is_disk(folder: Path, name: str) -> bool:
    """Whether it is a whole disk that no other stands for: no partition, memory, mapped, RAID or looped device."""
    device = folder / name.replace("/", "!")
    return device.is_dir() and not name.startswith(("loop", "ram", "zram")) and not any(device.glob("slaves/*"))


def _is_card(folder: Path, name: str) -> bool:
    """Whether a device stands behind the interface: no bridge, bond, tunnel or end of a container's link."""
    return (folder / name / "device").exists()


def portable(psutil: Any) -> Totals:
    """What `psutil` counts; macOS and Windows have no finer account."""
    read: Totals = {}
    for name, disk in _counters(lambda: psutil.disk_io_counters(perdisk=True)).items():
        read[_READ, name] = disk.read_bytes / 1e6
        read[_WRITE, name] = disk.write_bytes / 1e6
    for name, network in _counters(lambda: psutil.net_io_counters(pernic=True)).items():
        if not name.lower().startswith(("lo0", "loopback")):
            read[_RECEIVED, name] = network.bytes_recv / 1e6
            read[_SENT, name] = network.bytes_sent / 1e6
    return read


def _counters(ask: Callable[[], Any]) -> dict[str, Any]:
    try:
        return ask() or {}
    except Exception:  # refused, switched off (Windows's RuntimeError) or not there
        return {}
