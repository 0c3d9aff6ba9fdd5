"""Whether the kernel has killed for memory: by made-up control groups and logs, and by a real group where one can be.

A real out-of-memory kill needs a memory control group that this process may make; machines without one skip it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from memory_group import memory_group

from mlflow_sysmetrics.limits import Death, MemoryKills
from mlflow_sysmetrics.tags import CAUSE_OF_DEATH, KILLED_FOR_MEMORY

PID = 4242
EATER = "kept = []\nwhile True: kept.append(b'x' * 1_000_000)"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The files of a machine on which the process is in the group `/job`, which may use 8,000 MB."""
    (tmp_path / f"proc/{PID}").mkdir(parents=True)
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/pid").symlink_to("pid:[4026531836]")
    (tmp_path / f"proc/{PID}/cgroup").write_text("0::/job\n")
    (tmp_path / "proc/self/mountinfo").write_text("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    group = tmp_path / "sys/fs/cgroup/job"
    group.mkdir(parents=True)
    (group / "cgroup.events").write_text("populated 1\n")
    (group / "memory.max").write_text("8000000000\n")
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 5\noom 3\noom_kill 2\noom_group_kill 0\n")
    return tmp_path


def events(machine: Path) -> None:
    """The group counts a third kill now."""
    path = machine / "sys/fs/cgroup/job/memory.events"
    path.write_text("oom 9\noom_kill 3\noom_group_kill 7\n")


def test_kill_that_the_group_has_counted_since_is_told(machine: Path) -> None:
    """With what it had and what it was allowed; kills of before are others'."""
    kills = MemoryKills(PID, str(machine))
    assert kills.happened([PID]) is False
    events(machine)
    death = kills.death({"peak_memory_mb": 7912.4}, kills.happened([PID]))
    assert str(death) == "killed by the kernel for memory: peak 7,912 MB of 8,000 MB allowed"
    assert death.tags == {CAUSE_OF_DEATH: str(death), KILLED_FOR_MEMORY: "true"}


def test_other_kill_is_not_called_one_for_memory(machine: Path) -> None:
    """As by `kill -9`."""
    kills = MemoryKills(PID, str(machine))
    death = kills.death({"peak_memory_mb": 100.0}, kills.happened([PID]))
    assert str(death) == "ended by SIGKILL, not killed by the kernel for memory: peak 100 MB of 8,000 MB allowed"
    assert death.tags[KILLED_FOR_MEMORY] == "false"


def test_kill_of_another_process_in_the_group_is_soon_over(machine: Path) -> None:
    """A container counts for all that run in it: only the last second or two say something of this process."""
    kills = MemoryKills(PID, str(machine))
    events(machine)
    kills.look()
    assert kills.happened([PID]) is True
    kills.look()
    kills.look()
    assert kills.happened([PID]) is False


def test_group_into_which_the_process_moved_counts(machine: Path) -> None:
    """A program may be put into a group once it runs: `look` sees it."""
    inner = machine / "sys/fs/cgroup/late"
    inner.mkdir()
    (inner / "cgroup.events").write_text("populated 1\n")
    (inner / "memory.events").write_text("oom_kill 0\n")
    kills = MemoryKills(PID, str(machine))
    (machine / f"proc/{PID}/cgroup").write_text("0::/late\n")
    kills.look()
    (inner / "memory.events").write_text("oom_kill 1\n")
    assert kills.happened([PID]) is True


def test_machine_that_tells_nothing_is_not_guessed_about(tmp_path: Path) -> None:
    """Neither yes nor no: no tag says one."""
    kills = MemoryKills(PID, str(tmp_path))
    death = kills.death({}, kills.happened([PID]))
    assert death == Death("ended by SIGKILL", None, None, None)
    assert str(death) == "ended by SIGKILL; whether the kernel killed it for memory cannot be read here"
    assert KILLED_FOR_MEMORY not in death.tags


@pytest.fixture
def log(machine: Path) -> Path:
    """The kernel's log, with a kill of before; no group counts kills."""
    (machine / "sys/fs/cgroup/job/memory.events").unlink()
    (machine / "dev").mkdir()
    log = machine / "dev/kmsg"
    log.write_text(f"3,1,1,-;Out of memory: Killed process {PID} (old)\n")
    return log


def test_kernels_log_names_the_process(machine: Path, log: Path) -> None:
    """Only what is new in it, and only the processes in question."""
    kills = MemoryKills(PID, str(machine))
    assert kills.happened([PID]) is False
    with log.open("a") as file:
        file.write("3,2,2,-;Memory cgroup out of memory: Killed process 99 (python) total-vm:1kB\n")
    assert kills.happened([PID]) is False
    assert kills.happened([PID, 99]) is True
    assert kills.happened([PID, 99]) is True, "the log is read once"
    kills.close()
    kills.close()


def test_kill_in_the_kernels_log_is_soon_over(machine: Path, log: Path) -> None:
    """The program has gone on without that process: its end, hours later, has another cause."""
    kills = MemoryKills(PID, str(machine))
    with log.open("a") as file:
        file.write("3,2,2,-;Out of memory: Killed process 99 (python) total-vm:1kB\n")
    kills.look()
    assert kills.happened([PID, 99]) is True
    kills.look()
    assert kills.happened([PID, 99]) is False


def test_kill_that_ended_the_process_stays_known(machine: Path, log: Path) -> None:
    """However late its end is noticed."""
    kills = MemoryKills(PID, str(machine))
    with log.open("a") as file:
        file.write(f"3,2,2,-;Out of memory: Killed process {PID} (python) total-vm:1kB\n")
    kills.look()
    shutil.rmtree(machine / f"proc/{PID}")
    for _ in range(3):
        kills.look()
    assert kills.happened([PID]) is True


def test_kernels_log_says_nothing_in_a_container(machine: Path) -> None:
    """It has the ids of processes that the machine's first namespace knows, not those that are seen here."""
    (machine / "sys/fs/cgroup/job/memory.events").unlink()
    (machine / "proc/self/ns/pid").unlink()
    (machine / "proc/self/ns/pid").symlink_to("pid:[4026532201]")
    (machine / "dev").mkdir()
    (machine / "dev/kmsg").touch()
    kills = MemoryKills(PID, str(machine))
    (machine / "dev/kmsg").write_text(f"3,2,2,-;Out of memory: Killed process {PID} (python) total-vm:1kB\n")
    assert kills.happened([PID]) is None


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group of this machine, of either version, with 60 MB; skips where none can be made."""
    with ExitStack() as stack:
        try:
            group = stack.enter_context(memory_group())
        except OSError as error:
            pytest.skip(f"no memory control group can be made here: {error}")
        yield group


def _killed_in(group: Path | None) -> bool | None:
    """What is told of a program that takes ever more memory in a group, or is killed by us without one."""
    enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write(str(__import__('os').getpid()))\n" if group else ""
    waits = "import sys\nsys.stdin.readline()\n"
    source = waits + enter + (EATER if group else "import time\ntime.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, text=True) as program:
        kills = MemoryKills(program.pid)
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
        if group is None:
            program.kill()
        assert program.wait() == -9
    told = kills.happened([program.pid])
    kills.close()
    return told


def test_real_kill_for_memory_is_told_from_any_other(small_group: Path) -> None:
    """Five of each."""
    if MemoryKills().happened([0]) is None:
        pytest.skip("neither memory.events nor the kernel's log can be read here")
    assert [_killed_in(small_group) for _ in range(5)] == [True] * 5
    assert [_killed_in(None) for _ in range(5)] == [False] * 5
