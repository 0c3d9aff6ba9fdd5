"""Whether the kernel has killed for memory: by made-up control groups, and by a real one where one can be made."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from memory_group import memory_group

from mlflow_sysmetrics.limits import MemoryKills
from mlflow_sysmetrics.tags import CAUSE_OF_DEATH, KILLED_FOR_MEMORY

PID = 4242
EATER = "kept = []\nwhile True: kept.append(b'x' * 1_000_000)"


def group(machine: Path, name: str, kills: int) -> None:
    """A control group that has counted so many kills."""
    folder = machine / "sys/fs/cgroup" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.events").write_text("populated 1\n")
    (folder / "memory.events").write_text(f"low 0\noom {kills + 9}\noom_kill {kills}\noom_group_kill 7\n")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The files of a machine on which the process is in the group `/job`, which may use 8,000 MB."""
    (tmp_path / f"proc/{PID}").mkdir(parents=True)
    (tmp_path / f"proc/{PID}/cgroup").write_text("0::/job\n")
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/mountinfo").write_text("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    group(tmp_path, "job", 2)
    (tmp_path / "sys/fs/cgroup/job/memory.max").write_text("8000000000\n")
    return tmp_path


@pytest.mark.parametrize(
    ("kills", "seen", "says", "tag"),
    [
        pytest.param(3, "", "killed by the kernel for memory", "true", id="by the kernel"),
        pytest.param(
            2, "ended by SIGKILL", "ended by SIGKILL, not killed by the kernel for memory", "false", id="kill"
        ),
    ],
)
def test_kill_that_the_group_has_counted_since_is_told(
    machine: Path, kills: int, seen: str, says: str, tag: str
) -> None:
    """With what it had and what it was allowed; kills of before are others'."""
    watched = MemoryKills(PID, str(machine))
    assert watched.happened() is False
    group(machine, "job", kills)
    tags = watched.death({"peak_memory_mb": 7912.4}, watched.happened(), seen)
    assert tags == {CAUSE_OF_DEATH: f"{says}: peak 7,912 MB of 8,000 MB allowed", KILLED_FOR_MEMORY: tag}


def test_kill_of_another_process_in_the_group_is_soon_over(machine: Path) -> None:
    """A container counts for all that run in it: only the last second or two say something of this process."""
    watched = MemoryKills(PID, str(machine))
    group(machine, "job", 3)
    watched.look()
    assert watched.happened() is True
    watched.look()
    assert watched.happened() is False


def test_kill_that_ended_the_process_stays_known(machine: Path) -> None:
    """However late its end is noticed."""
    watched = MemoryKills(PID, str(machine))
    group(machine, "job", 3)
    shutil.rmtree(machine / f"proc/{PID}")
    for _ in range(3):
        watched.look()
    assert watched.happened() is True


def test_group_into_which_the_process_moved_counts(machine: Path) -> None:
    """A program may be put into a group once it runs: that has counted fewer, or more."""
    watched = MemoryKills(PID, str(machine))
    for name, kills in (("late", 0), ("later", 9)):
        group(machine, name, kills)
        (machine / f"proc/{PID}/cgroup").write_text(f"0::/{name}\n")
        watched.look()
        assert watched.happened() is False
        group(machine, name, kills + 1)
        assert watched.happened() is True


def test_machine_that_tells_nothing_is_not_guessed_about(tmp_path: Path) -> None:
    """Neither yes nor no: no tag says one."""
    watched = MemoryKills(PID, str(tmp_path))
    assert watched.death({}, watched.happened()) == {
        CAUSE_OF_DEATH: "ended by SIGKILL; whether the kernel killed it for memory cannot be read here"
    }


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group of this machine with 60 MB; skips where none can be made."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(memory_group())
        except OSError as error:
            pytest.skip(f"no memory control group can be made here: {error}")
        yield folder


def _killed_in(folder: Path | None) -> bool | None:
    """What is told of a program that takes ever more memory in a group, or is killed by us without one."""
    enter = f"open({str(folder / 'cgroup.procs')!r}, 'w').write(str(__import__('os').getpid()))\n" if folder else ""
    source = f"import sys\nsys.stdin.readline()\n{enter}{EATER if folder else 'sys.stdin.readline()'}"
    with subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, text=True) as program:
        watched = MemoryKills(program.pid)
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
        if folder is None:
            program.kill()
        assert program.wait() == -9
    return watched.happened()


def test_real_kill_for_memory_is_told_from_any_other(small_group: Path) -> None:
    """Five of each."""
    if MemoryKills().happened() is None:
        pytest.skip("memory.events cannot be read here")
    assert [_killed_in(small_group) for _ in range(5)] == [True] * 5
    assert [_killed_in(None) for _ in range(5)] == [False] * 5
