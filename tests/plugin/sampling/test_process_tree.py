"""Tests of sampling.process_tree: real families of processes, and made-up ones in a folder like /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlflow_sysmetrics.sampling.process_tree import Root

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="reads /proc")
LOOKS = 11  # after so many in a row the machine has been listed, whatever the kernel says of new processes


def pids_below(root: Root) -> list[int]:
    return [process.pid for process in root.descendants()]


# --- real processes ---------------------------------------------------------------------------------------------------


class Family:
    """A process that starts a process when it is told its own pid; so do those that it started."""

    SCRIPT = """
import os, sys, signal
def serve(commands, answers):
    signal.alarm(120)  # whatever becomes of the test
    ends = {}
    for line in commands:
        if int(line) != os.getpid():
            for end in ends.values():
                end.write(line)
                end.flush()
            continue
        theirs, mine = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(mine)
            for end in ends.values():
                end.close()
            serve(os.fdopen(theirs), answers)
        os.close(theirs)
        ends[child] = os.fdopen(mine, "w")
        print(child, file=answers, flush=True)
    signal.pause()  # an orphan
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
print(os.getpid(), flush=True)
serve(sys.stdin, sys.stdout)
"""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.root = int(process.stdout.readline())
        self.members = [psutil.Process(self.root)]

    def start_below(self, pid: int) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{pid}\n")
        self._process.stdin.flush()
        self.members.append(psutil.Process(int(self._process.stdout.readline())))
        return self.members[-1].pid


@contextmanager
def family() -> Iterator[Family]:
    """Yield a family of one, and end all of it afterwards."""
    argv = [sys.executable, "-c", Family.SCRIPT]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        made = Family(process)
        try:
            yield made
        finally:
            for member in made.members:
                with suppress(psutil.NoSuchProcess):
                    member.kill()


def end(pid: int) -> None:
    """End a process and wait until nothing of it is left."""
    ended = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    ended.wait(10)


def test_children_and_grandchildren_are_found_when_they_start() -> None:
    """Each is found at the first look after its start, parents before their children, also after many quiet looks."""
    with family() as ours:
        root = Root(ours.root)
        for quiet in (0, 1, 2, 5):
            for _ in range(quiet):
                pids_below(root)
            child = ours.start_below(ours.root)
            assert child in pids_below(root)
            grandchild = ours.start_below(child)
            below = pids_below(root)
            assert below.index(child) < below.index(grandchild)
            assert len(below) == len(set(below))
        assert sorted(below) == sorted(each.pid for each in psutil.Process(ours.root).children(recursive=True))


def test_the_same_object_stands_for_a_process_at_each_look() -> None:
    """What is kept of it, as its open files, is kept."""
    with family() as ours:
        ours.start_below(ours.root)
        root = Root(ours.root)
        (first,) = root.descendants()
        ours.start_below(ours.root)
        assert any(process is first for process in root.descendants())


def test_one_that_ended_leaves_and_its_child_does_too() -> None:
    """An orphan goes to a process outside at the next look, and does not come back."""
    with family() as ours:
        child = ours.start_below(ours.root)
        orphan, other = ours.start_below(child), ours.start_below(ours.root)
        root = Root(ours.root)
        assert set(pids_below(root)) == {child, orphan, other}
        end(child)
        for _ in range(LOOKS):
            assert pids_below(root) == [other]
        assert psutil.pid_exists(orphan)


def test_an_orphan_that_the_root_adopts_stays() -> None:
    """Where the root has asked for the orphans below it, they are its children then."""
    script = """
import ctypes, os, signal
from mlflow_sysmetrics.sampling.process_tree import Root
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
told, tell = os.pipe()
child = os.fork()
if child == 0:
    grandchild = os.fork()
    if grandchild:
        os.write(tell, b"%d\\n" % grandchild)
    signal.pause()
grandchild = int(os.read(told, 20))
root = Root(os.getpid())
print([process.pid for process in root.descendants()] == [child, grandchild])
for _ in range(3):
    root.descendants()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
print([process.pid for process in root.descendants()] == [grandchild])
os.kill(grandchild, signal.SIGKILL)
os.waitpid(grandchild, 0)
print(root.descendants() == [])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["True", "True", "True"]


BUSY = """
import os, subprocess
print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
while True:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_a_look_at_a_busy_family_never_raises() -> None:
    """While processes start and end all the time, each look finds the one that lasts, and none twice."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lasting = int(process.stdout.readline())
        try:
            root = Root(process.pid)
            for _ in range(300):
                below = pids_below(root)
                assert lasting in below
                assert len(below) == len(set(below))
        finally:
            process.kill()
            os.kill(lasting, signal.SIGKILL)


# --- a folder like /proc ----------------------------------------------------------------------------------------------


class Machine:
    """A folder like /proc, with a root (pid 100) among processes that are not below it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.starts = folder, 0
        self.parents: dict[int, int] = {}
        (folder / "meminfo").touch()
        for pid, parent in ((1, 0), (2, 1), (100, 1)):
            self.start(pid, parent)

    def start(self, pid: int, parent: int) -> None:
        self.starts += 1
        (self.folder / str(pid)).mkdir()
        self.parents[pid] = parent
        self._write(pid, self.starts)
        self.say(str(self.starts))

    def say(self, last_pid: str) -> None:
        (self.folder / "loadavg").write_text(f"0.00 0.00 0.00 1/9 {last_pid}\n")

    def _write(self, pid: int, started: int) -> None:
        fields = ["S", str(self.parents[pid]), *["0"] * 17, str(started), "0"]
        (self.folder / str(pid) / "stat").write_text(f"{pid} (a name) {' '.join(fields)}\n")

    def end(self, pid: int, to: int) -> None:
        """End a process, and give its children to another."""
        del self.parents[pid]
        stat = self.folder / str(pid) / "stat"
        stat.write_text("")  # the kernel lets nobody read it any more
        stat.unlink()
        stat.parent.rmdir()
        for child, parent in self.parents.items():
            if parent == pid:
                self.parents[child] = to
                started = int((self.folder / str(child) / "stat").read_text().split()[-2])
                self._write(child, started)

    def below(self, root: int) -> set[int]:
        found, level = set[int](), {root}
        while level := {pid for pid, parent in self.parents.items() if parent in level}:
            found |= level
        return found


@contextmanager
def machine() -> Iterator[Machine]:
    """Yield a machine whose processes are the ones that psutil and we see."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(psutil, "PROCFS_PATH", folder)
        yield Machine(Path(folder))


def check(machine: Machine, root: Root) -> None:
    """A look finds exactly the processes below the root, parents before their children."""
    found = pids_below(root)
    assert len(found) == len(set(found))
    assert set(found) == machine.below(100)
    seen = {100}
    for pid in found:
        assert machine.parents[pid] in seen
        seen.add(pid)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["start", "reuse", "end", "adopt", "half", "look"]), st.integers(0, 30)), max_size=40
)


@given(EVENTS)
@settings(max_examples=200, deadline=None)
@example([("start", 2), ("start", 3), ("look", 0), ("adopt", 0), ("look", 0), ("start", 1), ("look", 0)])
@example([("start", 2), ("look", 0), ("end", 0), ("start", 0), ("look", 0), ("reuse", 2), ("look", 0)])
def test_each_look_finds_what_is_below_whatever_happens_between(events: list[tuple[str, int]]) -> None:
    """Started, ended, orphaned, adopted, with the pid of one that was seen to be gone, or gone while it is read.

    Pids are given out in a circle, so between an end and a start with the same pid others were started and looked at.
    """
    with machine() as made:
        root, highest, free = Root(100), 100, list[int]()
        seen_gone: list[int] = []
        starts_seen = 0
        for kind, which in [*events, ("look", 0)]:
            pids = sorted(made.parents)
            mortal = [pid for pid in pids if pid not in (1, 2, 100)]
            if kind == "start" or (kind == "reuse" and not seen_gone):
                highest += 1
                made.start(highest, pids[which % len(pids)])
            elif kind == "reuse":
                made.start(seen_gone.pop(), pids[which % len(pids)])
            elif kind == "half":  # listed, but gone when it is read
                (made.folder / str(1000 + which)).mkdir(exist_ok=True)
            elif kind == "look":
                check(made, root)
                if made.starts > starts_seen:
                    starts_seen, seen_gone, free = made.starts, seen_gone + free, []
            elif mortal:
                pid = mortal[which % len(mortal)]
                made.end(pid, 100 if kind == "adopt" and pid in made.below(100) else 1)
                free.append(pid)


def test_a_process_with_the_pid_of_one_outside_is_found_in_the_end() -> None:
    """A pid that changed hands between two looks is read again, when it has been long outside."""
    with machine() as made:
        made.start(300, 1)
        root = Root(100)
        for _ in range(3):
            check(made, root)
        made.end(300, 1)
        made.start(300, 100)
        for _ in range(31):
            made.say(str(made.starts + 1))
            made.starts += 1
            root.descendants()
        assert pids_below(root) == [300]


@pytest.mark.parametrize(
    ("told", "looks"), [("0", 1), ("42", LOOKS)], ids=["none, as gVisor", "always the same, a system we do not know"]
)
def test_a_last_pid_that_is_made_up_delays_little(told: str, looks: int) -> None:
    """Where the kernel says that nothing was started, a new process is still found."""
    with machine() as made:
        made.say(told)
        root = Root(100)
        for _ in range(25):
            check(made, root)
        made.start(200, 100)
        made.say(told)
        assert 200 in [pid for _ in range(looks) for pid in pids_below(root)]


def test_a_last_pid_from_another_file_system_is_not_believed() -> None:
    """As lxcfs lays a file of its own over the kernel's."""
    with machine() as made:
        (made.folder / "loadavg").unlink()
        (made.folder / "loadavg").symlink_to("/proc/version")
        root = Root(100)
        made.say = lambda last_pid: None  # type: ignore[method-assign]
        for pid in (200, 201, 202):
            for _ in range(5):
                check(made, root)
            made.start(pid, 100)
            check(made, root)


def test_nothing_is_listed_while_the_kernel_started_nothing() -> None:
    """A quiet machine's processes are listed twice, and then at each tenth look only."""
    with machine() as made:
        root = Root(100)
        for _ in range(3):
            root.descendants()
        made.parents[200] = 100
        (made.folder / "200").mkdir()
        made._write(200, 200)
        assert [pids_below(root) for _ in range(10)][:7] == [[]] * 7


def test_a_lost_descriptor_loses_no_process() -> None:
    """A program that closed what it did not open still sees its child at the next look."""
    with family() as ours:
        child = ours.start_below(ours.root)
        root = Root(ours.root)
        for _ in range(4):
            assert pids_below(root) == [child]
        kept = [int(fd.name) for fd in Path("/proc/self/fd").iterdir() if f"/proc/{child}/" in os.path.realpath(fd)]
        assert kept
        for descriptor in kept:
            os.close(descriptor)
        assert pids_below(root) == [child]
