"""A second program that reads other processes from outside, by its own code and faster: python outside_reader.py PID.

It reads the process and all below it from ``/proc`` at 50 Hz, until its input ends, and writes a line for each reading:
unix time, process id, CPU seconds (user and system, without ended children), resident less shared memory in MB, and
the kernel's own high-water mark of resident memory in MB.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EVERY_S, LOOK_EVERY = 0.02, 10
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def _below(root: int) -> list[int]:
    parents = {}
    for name in (entry.name for entry in Path("/proc").iterdir()):
        if name.isdigit():
            try:
                parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [root]
    for pid in found:  # grows meanwhile
        found += [child for child, parent in parents.items() if parent == pid and child != os.getpid()]
    return found


def _read(pid: int) -> tuple[float, float, float] | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    mark = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
    return (int(fields[11]) + int(fields[12])) / TICKS, (resident - shared) * PAGE / 1e6, mark * 1024 / 1e6


def main(root: int) -> None:
    """Read until the input ends."""
    number, pids = 0, [root]
    while not select.select([sys.stdin], [], [], EVERY_S)[0]:
        if number % LOOK_EVERY == 0:
            pids = _below(root)
        number += 1
        for pid in pids:
            reading = _read(pid)
            if reading:
                print(time.time(), pid, *reading)


@dataclass(frozen=True)
class Outside:
    """The readings of one process: unix times, CPU seconds, memory and high-water mark in MB."""

    rows: list[tuple[float, float, float, float]]

    def cpu_s(self, began: float, ended: float) -> float:
        """CPU seconds between two unix times."""
        return self._cpu_at(ended) - self._cpu_at(began)

    def peak_mb(self, began: float, ended: float) -> float:
        """The highest reading of memory between two unix times."""
        return max(row[2] for row in self.rows if began <= row[0] <= ended)

    def memory_mb(self, at: float) -> list[float]:
        """The readings of memory just before and after a unix time."""
        before = [row[2] for row in self.rows if row[0] <= at][-2:]
        return before + [row[2] for row in self.rows if row[0] > at][:2]

    def _cpu_at(self, at: float) -> float:
        """Between two readings CPU time is taken to grow evenly."""
        before = max((row for row in self.rows if row[0] <= at), default=self.rows[0])
        after = min((row for row in self.rows if row[0] > at), default=self.rows[-1])
        share = (at - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
        return before[1] + min(1.0, max(0.0, share)) * (after[1] - before[1])


class Reader:
    """What the second program has written of each process."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def of(self, pid: int) -> Outside:
        """The readings of one process, since it became the program that it is: before, it is a copy of its parent."""
        lines = (line.split() for line in self._output.read_text().splitlines())
        rows = [tuple(map(float, (line[0], *line[2:]))) for line in lines if int(line[1]) == pid]
        became = max((at for at in range(1, len(rows)) if 0 < rows[at][3] < 0.5 * rows[at - 1][3]), default=0)
        return Outside([(at, cpu_s, memory_mb, mark_mb) for at, cpu_s, memory_mb, mark_mb in rows[became:]])


@contextmanager
def read_from_outside(pid: int, output: Path) -> Iterator[Reader]:
    """Let the second program read a process and those below it."""
    with (
        output.open("w") as out,
        subprocess.Popen([sys.executable, __file__, str(pid)], stdin=subprocess.PIPE, stdout=out) as reader,
    ):
        try:
            yield Reader(output)
        finally:
            assert reader.stdin is not None
            reader.stdin.close()
            reader.wait(10)


if __name__ == "__main__":
    main(int(sys.argv[1]))
