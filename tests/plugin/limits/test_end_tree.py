"""Ending a tree of real processes, whatever they do about it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlflow_sysmetrics.limits import end_tree

# Starts a child that starts another, each of which may ignore SIGTERM, and says the ids of all.
TREE = """
import os, signal, subprocess, sys, time
depth, ignoring = int(sys.argv[1]), sys.argv[2] == "ignore"
if ignoring:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
child = None
if depth:
    child = subprocess.Popen([sys.executable, __file__, str(depth - 1), sys.argv[2]])
while True:
    time.sleep(60)
"""
# At SIGTERM it starts another process, and ends.
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
HYDRA = f"""
import os, signal, subprocess, sys, time
def grow(number, frame):
    child = subprocess.Popen([sys.executable, "-c", {DEAF!r}], stdout=subprocess.PIPE)
    child.stdout.readline()
    print(child.pid, flush=True)
    time.sleep(60)
signal.signal(signal.SIGTERM, grow)
print(os.getpid(), flush=True)
time.sleep(60)
"""

# Its child ignores SIGTERM, and starts another process once the parent is gone, which says so in a file.
ORPHAN = """
import os, signal, subprocess, sys, time
if len(sys.argv) == 2:
    subprocess.Popen([sys.executable, __file__, sys.argv[1], str(os.getpid())])
    time.sleep(60)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
while os.getppid() == int(sys.argv[2]):
    time.sleep(0.01)
says = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN);" + says, sys.argv[1]])
time.sleep(60)
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Programs that are killed with the test."""
    programs: list[subprocess.Popen[str]] = []
    yield programs
    for program in programs:
        for process in psutil.Process(program.pid).children(recursive=True) if program.poll() is None else []:
            process.kill()
        program.kill()
        program.wait()
        if program.stdout is not None:
            program.stdout.close()


def run(source: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a program."""
    path = folder / "program.py"
    path.write_text(source)
    return subprocess.Popen([sys.executable, str(path), *arguments], stdout=subprocess.PIPE, text=True)


def heard(program: subprocess.Popen[str]) -> int:
    """The next process id that a program says."""
    assert program.stdout is not None
    return int(program.stdout.readline())


def gone(pid: int) -> bool:
    """Whether a process has ended; of this one's children it may wait for their parent."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(("ignoring", "grace_s", "code"), [("heed", 10.0, -15), ("ignore", 0.2, -9)])
def test_whole_tree_is_gone(
    started: list[subprocess.Popen[str]], tmp_path: Path, ignoring: str, grace_s: float, code: int
) -> None:
    """Those that heed SIGTERM long before the grace is over, and those that ignore it after it."""
    program = run(TREE, tmp_path, "2", ignoring)
    started.append(program)
    pids = [heard(program) for _ in range(3)]
    assert end_tree(psutil.Process(program.pid), grace_s)
    assert all(map(gone, pids))
    assert program.wait() == code


def test_process_that_starts_meanwhile_is_ended_too(started: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    """By SIGKILL, as the one that started it when it was asked to end."""
    program = run(HYDRA, tmp_path)
    started.append(program)
    heard(program)
    assert end_tree(psutil.Process(program.pid), grace_s=1.0)
    assert gone(heard(program))
    assert program.wait() == -9


def test_exit_status_is_left_to_the_parent(started: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    """Who started the process still hears how it ended."""
    program = run(TREE, tmp_path, "0", "heed")
    started.append(program)
    pid = heard(program)
    assert end_tree(psutil.Process(pid))
    assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT) is not None
    assert program.wait() == -15


def test_process_that_has_ended_is_no_error(started: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    """It did so by itself meanwhile; another one that has its number by now is left alone."""
    program = run(TREE, tmp_path, "0", "heed")
    started.append(program)
    process = psutil.Process(heard(program))
    program.kill()
    program.wait()
    assert end_tree(process)


def test_process_that_ends_itself_ends_those_below_it_first(tmp_path: Path) -> None:
    """Also one that ignores SIGTERM, after the grace; then itself."""
    source = (
        "import os, psutil, subprocess, sys\n"
        "from mlflow_sysmetrics.limits import end_tree\n"
        f"child = subprocess.Popen([sys.executable, '-c', {DEAF!r} ], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "end_tree(psutil.Process(), grace_s=0.5)\n"
    )
    program = run(source, tmp_path)
    child = heard(program)
    assert program.wait(30) == -15
    assert gone(child)
    assert program.stdout is not None
    program.stdout.close()


def test_what_a_child_starts_when_its_parent_is_gone_is_gone_too(
    started: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    """It is below nothing that was there at first. The grace ends, by this clock, once it has started."""
    place = tmp_path / "pid"
    program = run(ORPHAN, tmp_path, str(place))
    started.append(program)
    child = heard(program)
    assert end_tree(psutil.Process(program.pid), 10.0, lambda: 100.0 if place.exists() and place.read_text() else 0.0)
    assert gone(child)
    assert gone(int(place.read_text()))
