"""Tests of mlflow_sysmetrics.sampling.procfs: real processes, their descriptors, and what a program may do to those."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mlflow_sysmetrics.sampling.procfs import Process

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="reads /proc")
FILES = ("stat", "statm", "io", "status")


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that waits, and end it afterwards."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
        finally:
            process.kill()


def descriptors(pid: int) -> list[int]:
    """This process's descriptors of files of that process in /proc."""
    return [int(fd.name) for fd in Path("/proc/self/fd").iterdir() if f"/proc/{pid}/" in os.path.realpath(fd)]


def read_all(process: Process) -> None:
    for name in FILES:
        process.read(name)


def test_files_stay_open_and_are_closed_with_the_object() -> None:
    """Each file has one descriptor however often it is read, and none once nobody has the process any more."""
    with sleeper() as sleeping:
        process = Process(sleeping.pid)
        assert descriptors(sleeping.pid) == []  # only looked at so far
        for _ in range(3):
            read_all(process)
        assert len(descriptors(sleeping.pid)) == len(FILES)
        del process
        assert descriptors(sleeping.pid) == []


def test_what_is_read_is_new_each_time() -> None:
    """An open file tells what is now, not what was when it was opened."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        watched = Process(child.pid)
        assert watched.stat()[0] in (b"S", b"R", b"D")
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert watched.stat()[0] == b"Z"


@pytest.mark.parametrize("name", FILES)
def test_a_process_that_is_gone_says_so_and_holds_nothing(name: str) -> None:
    """Reading any open file of it raises NoSuchProcess, and closes all of them."""
    with sleeper() as sleeping:
        process = Process(sleeping.pid)
        read_all(process)
    with pytest.raises(psutil.NoSuchProcess):
        process.read(name)
    assert descriptors(sleeping.pid) == []
    with pytest.raises(psutil.NoSuchProcess):
        process.stat()
    with pytest.raises(psutil.NoSuchProcess):
        Process(sleeping.pid)


def start_with_pid(pid: int) -> subprocess.Popen[bytes]:
    """Start a sleeping process with a pid that is free. Skips where the kernel does not let us, or is too busy."""
    for _ in range(50):
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        except OSError:
            pytest.skip("the kernel gives this user no say in pids")
        process = subprocess.Popen(["sleep", "600"])
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
    pytest.skip("others start processes all the time")


@pytest.mark.parametrize("kept", [True, False], ids=["open files", "no open files"])
def test_a_reused_pid_is_not_read_for_the_old_process(kept: bool) -> None:
    """Another process with the same pid is another process, for a reader with open files and for one without."""
    with sleeper() as old:
        process = Process(old.pid)
        if kept:
            process.stat()
    time.sleep(0.02)  # the kernel tells starts in hundredths of a second
    new = start_with_pid(old.pid)
    try:
        with pytest.raises(psutil.NoSuchProcess):
            process.stat()
        other = Process(new.pid)
        assert other.stat()
        assert other != process
        assert other == Process(new.pid)
        assert len({other, Process(new.pid), process}) == 2
    finally:
        new.kill()
        new.wait()


def test_open_files_have_a_bound_and_beyond_it_all_is_read() -> None:
    """However many processes are watched, 128 descriptors at most stay open."""
    with sleeper() as sleeping:
        many = [Process(sleeping.pid) for _ in range(100)]
        for process in many:
            read_all(process)
            assert process.stat()[0] in (b"S", b"R", b"D")
        assert 64 <= len(descriptors(sleeping.pid)) <= 128
        many.clear()
        del process
        assert descriptors(sleeping.pid) == []


@pytest.mark.parametrize("name", FILES)
def test_a_descriptor_that_became_another_file_is_left_alone(name: str) -> None:
    """A program that closes what it did not open, and opens its own there, keeps that open when we let go."""
    with sleeper() as sleeping, Path(os.devnull).open() as other:
        process = Process(sleeping.pid)
        process.read(name)
        (taken,) = descriptors(sleeping.pid)
        os.dup2(other.fileno(), taken)
        if name == "stat":
            with pytest.raises(OSError, match="descriptor"):
                process.stat()
            assert process.stat()
        process.close()
        del process
        assert os.path.realpath(f"/proc/self/fd/{taken}") == os.devnull
        os.close(taken)


def test_a_descriptor_that_was_closed_costs_one_reading() -> None:
    """The first reading fails, the next one is right."""
    with sleeper() as sleeping:
        process = Process(sleeping.pid)
        process.stat()
        for descriptor in descriptors(sleeping.pid):
            os.close(descriptor)
        with pytest.raises(OSError, match="descriptor"):
            process.stat()
        assert process.stat()


def test_a_file_that_is_not_there_or_not_ours_leaves_the_others_open() -> None:
    """A refusal is no reason to open everything again."""
    with sleeper() as sleeping:
        process = Process(sleeping.pid)
        read_all(process)
        opened = descriptors(sleeping.pid)
        with pytest.raises(FileNotFoundError):
            process.read("no such file")
        assert descriptors(sleeping.pid) == opened


@pytest.mark.parametrize(("pid", "error"), [(-1, psutil.NoSuchProcess), (0, psutil.NoSuchProcess), ("self", TypeError)])
def test_what_is_no_pid_is_refused(pid: int, error: type[Exception]) -> None:
    """Names in /proc that are not numbers do not count as pids."""
    with pytest.raises(error):
        Process(pid)
