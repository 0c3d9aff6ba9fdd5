"""Tests of sampling.one_process: what we parse against psutil, and processes that refuse, end or are strange."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import psutil
import pytest
from cases import cases
from machines import child, lay

from mlflow_sysmetrics.sampling import ProcessSampler, check_pid
from mlflow_sysmetrics.sampling.one_process import LINUX, PORTABLE

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="reads /proc")
WORK = """
import tempfile
subprocess.run([sys.executable, "-c", "x = b'x' * 30_000_000; sum(range(3_000_000))"])
data = b"x" * 20_000_000
with tempfile.TemporaryFile() as file:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
sum(range(5_000_000))
"""


@pytest.fixture(scope="module")
def frozen():
    """A process that has worked and had a child that worked, stopped where it is: nothing of it changes any more."""
    with child() as process:
        process.do(f"exec({WORK!r}); print()")
        os.kill(process.pid, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        yield process.pid


def test_what_we_parse_is_what_psutil_says(frozen):
    """Every figure of another process. Of its context switches the kernel tells those of one thread: there are none."""
    reading = LINUX.read(LINUX.open(frozen), True)
    known = psutil.Process(frozen)
    times = known.cpu_times()
    memory = known.memory_info()
    io = known.io_counters()
    fields = Path(f"/proc/{frozen}/stat").read_text().rpartition(")")[2].split()
    assert min(times.user, times.children_user) > 0
    assert reading.cpu_s == pytest.approx(times.user + times.system)
    assert reading.reaped_cpu_s == pytest.approx(times.children_user + times.children_system)
    assert reading.system_cpu_s == pytest.approx(times.system + times.children_system)
    levels = [(memory.rss - memory.shared) / 1e6, memory.rss / 1e6, known.num_threads()]
    assert list(reading.levels.values()) == pytest.approx(levels)
    assert reading.counters == {
        "page_faults": sum(map(int, fields[7:11])),  # numbers 10 to 13 of proc(5), children's included
        "read_mb": io.read_bytes / 1e6,
        "write_mb": io.write_bytes / 1e6,
    }


def test_what_psutil_says_elsewhere_is_nearly_the_same(frozen):
    """Memory is the unique one there: the libraries that all of Python's processes map are not in it."""
    portable, linux = (system.read(psutil.Process(frozen), True) for system in (PORTABLE, LINUX))
    memory = psutil.Process(frozen).memory_full_info()
    assert portable.levels == linux.levels | {"process_memory_mb": pytest.approx(memory.uss / 1e6)}
    assert portable.cpu_s == pytest.approx(linux.cpu_s)


def test_what_the_os_refuses_elsewhere_is_absent():
    """As the memory of another user's process is on macOS."""
    process = Mock()
    process.cpu_times.return_value = SimpleNamespace(user=5.0, system=1.0)
    process.num_threads.return_value = 3
    process.memory_full_info.side_effect = psutil.AccessDenied(1)
    assert PORTABLE.read(process, True).levels == {"process_threads": 3.0}


def test_what_we_read_of_this_process_is_what_psutil_says(tmp_path):
    """Here no file but statm is read. Its CPU time is exact, far below the kernel's tick; psutil's are hundredths."""
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    (tmp_path / "file").write_bytes(b"x" * 5_000_000)
    known = psutil.Process()
    before_s = time.process_time()
    reading = LINUX.read(known, True)
    assert before_s <= reading.cpu_s <= time.process_time()
    times = known.cpu_times()
    assert 0 < reading.reaped_cpu_s == pytest.approx(times.children_user + times.children_system, abs=0.03)
    assert reading.system_cpu_s == pytest.approx(times.system + times.children_system, abs=0.03)
    io = known.io_counters()
    assert reading.counters["read_mb"] == pytest.approx(io.read_bytes / 1e6, abs=0.1)
    assert reading.counters["write_mb"] == pytest.approx(io.write_bytes / 1e6, abs=0.1)
    assert reading.levels["process_threads"] == pytest.approx(known.num_threads(), abs=1)
    assert set(LINUX.read(known, False).levels) == {"process_memory_mb", "process_rss_mb"}


# --- a folder like /proc ----------------------------------------------------------------------------------------------

STAT = "77 (a) b) S 1 1 1 0 -1 0 10 20 3 4 500 600 70 80 20 0 1 0 4242 1 1 " + "0 " * 29 + "\n"
STATM = "1000 300 100 1 0 1 0\n"


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """A folder that psutil and we take for /proc, with the process 77 in it, of which nothing else may be read."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    lay(tmp_path, {"77/stat": STAT, "77/statm": STATM, "stat": "btime 1000\n"})
    return tmp_path


def test_status_of_a_user_in_hundreds_of_groups_is_read_whole(proc):
    """The line of groups comes before what is read."""
    groups = " ".join(str(10**9 + number) for number in range(1000))
    lay(proc, {"77/status": f"Name:\ta\nGroups:\t{groups}\nVmHWM:\t    2000 kB\nThreads:\t3\n"})
    reading = LINUX.read(SimpleNamespace(pid=77), True)
    assert (reading.high_water_mb, reading.levels["process_threads"]) == (2.048, 3)


ROLLUP = "1000-2000 ---p 00000000 00:00 0   [rollup]\nPss_Anon: 2000 kB\nAnonymous: 5000 kB\nKSM: 0 kB\n"


@cases(
    "rollup, megabytes",
    {
        "shared": (ROLLUP, 3.072),
        "rounded": (ROLLUP.replace("5000", "1999"), 0),
        "older kernel": (ROLLUP.replace("Pss_Anon", "Pss_Dirty"), 0),
        "no such file": (None, 0),
    },
)
def test_what_is_shared_is_the_anonymous_pages_less_ones_own_part(rollup, megabytes, proc):
    """In megabytes of 1e6 bytes; 0 where the kernel does not say."""
    lay(proc, {} if rollup is None else {"77/smaps_rollup": rollup})
    assert LINUX.read_shared(SimpleNamespace(pid=77)) == megabytes


@cases("stat", ["", "77 a S 1", "77 (a) S 1 1", STAT.replace("500", "x")])
def test_a_process_that_cannot_be_parsed_gives_no_reading(stat, proc):
    """It costs that reading; nothing raises, and the next one is right."""
    sample = ProcessSampler(77)
    assert sample()
    lay(proc, {"77/stat": stat})
    assert sample() == {}
    lay(proc, {"77/stat": STAT})
    assert sample()


def stats(parents):
    """The files of processes with these parents."""
    return {f"{pid}/stat": STAT.replace("77 (a) b) S 1", f"{pid} (a) b) S {parents[pid]}") for pid in parents}


FAMILY = {78: 77, 79: 78, 80: 77, 500: 1}


def below(parents):
    """The processes below the made-up one."""
    return [process.pid for process in LINUX.descendants(SimpleNamespace(pid=77), parents)]


@cases(
    "gone, changed, found",
    {
        "new": ("", {81: 79}, {78, 79, 80, 81}),
        "ended": ("80", {}, {78, 79}),
        "orphan": ("78", {79: 1}, {80}),
        "orphan of a zombie": ("", {79: 1}, {78, 80}),
        "adopted": ("78", {79: 80}, {79, 80}),
    },
)
def test_children_are_those_whose_file_names_their_parent(gone, changed, found, proc):
    """At each look, whatever has changed since the last one; parents come first. One is gone before it is read."""
    lay(proc, stats(FAMILY) | {"90/status": ""})
    parents = {}
    first = below(parents)
    assert sorted(first) == [78, 79, 80]
    assert first.index(78) < first.index(79)
    if gone:
        shutil.rmtree(proc / gone)
    lay(proc, stats(changed))
    assert set(below(parents)) == found


def test_hidden_processes_hide_no_others_and_are_a_mistake_to_ask_for(proc, monkeypatch):
    """As under hidepid: one sentence says so at once, not an empty run later."""
    open_it = os.open

    def refuse(path, *more):
        if path.endswith("500/stat"):
            raise PermissionError(13, "Permission denied", path)
        return open_it(path, *more)

    lay(proc, stats(FAMILY) | {"500/statm": STATM})
    monkeypatch.setattr(os, "open", refuse)
    assert set(below({})) == {78, 79, 80}
    with pytest.raises(ValueError, match=r"pid=500: this process cannot be read: .*Permission denied"):
        check_pid(500)
