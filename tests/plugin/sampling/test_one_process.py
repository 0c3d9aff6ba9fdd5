"""Tests of sampling.one_process: what we parse against psutil, and processes that refuse, end or are strange."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from made_up_files import lay, refused

from mlflow_sysmetrics.sampling.one_process import LINUX, PORTABLE, Parents, System
from mlflow_sysmetrics.sampling.process_tree import ProcessSampler, check_pid

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="reads /proc")
WORK = """
import os, resource, subprocess, sys, tempfile
subprocess.run([sys.executable, "-c", "x = b'x' * 30_000_000; sum(range(3_000_000))"])
data = b"x" * 20_000_000
with tempfile.TemporaryFile() as file:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
sum(range(5_000_000))
print("ready", flush=True)
input()
"""


@pytest.fixture(scope="module")
def frozen() -> Iterator[int]:
    """A process that has worked and had a child that worked, stopped where it is: nothing of it changes any more."""
    with subprocess.Popen([sys.executable, "-c", WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        yield process.pid
        process.kill()


def test_what_we_parse_is_what_psutil_says(frozen: int) -> None:
    """Every figure of another process, the two files that we read ourselves and what psutil reads for us."""
    reading, known = LINUX.read(LINUX.open(frozen), True), psutil.Process(frozen)
    times, memory, io = known.cpu_times(), known.memory_info(), known.io_counters()
    assert reading.cpu_s == pytest.approx(times.user + times.system)
    assert reading.reaped_cpu_s == pytest.approx(times.children_user + times.children_system)
    assert min(times.user, times.children_user) > 0
    assert reading.started / os.sysconf("SC_CLK_TCK") == pytest.approx(
        known.create_time() - psutil.boot_time(), abs=0.02
    )
    assert not reading.ended
    assert reading.levels == {
        "process_memory_mb": pytest.approx((memory.rss - memory.shared) / 1e6),
        "process_rss_mb": pytest.approx(memory.rss / 1e6),
        "process_threads": known.num_threads(),
    }
    faults = reading.counters["process_page_faults_per_s"]
    assert {**reading.counters, "process_page_faults_per_s": faults} == {
        "process_page_faults_per_s": faults,
        "process_context_switches_per_s": sum(known.num_ctx_switches()),
        "process_read_mb_per_s": io.read_bytes / 1e6,
        "process_write_mb_per_s": io.write_bytes / 1e6,
    }


def test_memory_without_a_shared_part_is_the_unique_one(frozen: int) -> None:
    """Where the system does not say what is shared. The libraries that all of Python's processes map are not in it."""
    levels, memory = PORTABLE.read(psutil.Process(frozen), True).levels, psutil.Process(frozen).memory_full_info()
    assert levels["process_memory_mb"] == pytest.approx(memory.uss / 1e6)
    assert levels["process_rss_mb"] == pytest.approx(memory.rss / 1e6)
    assert memory.uss < memory.rss


def test_what_we_read_of_this_process_is_what_psutil_says(tmp_path: Path) -> None:
    """Here no file but statm is read. Between two looks of psutil's, whose times are in hundredths of a second."""
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    known = psutil.Process()
    (tmp_path / "file").write_bytes(b"x" * 5_000_000)
    before, reading, after = known.cpu_times(), LINUX.read(known, True), known.cpu_times()
    io = known.io_counters()
    assert reading.counters["process_read_mb_per_s"] == pytest.approx(io.read_bytes / 1e6, abs=0.1)
    assert reading.counters["process_write_mb_per_s"] == pytest.approx(io.write_bytes / 1e6, abs=0.1)
    assert reading.levels["process_threads"] == pytest.approx(known.num_threads(), abs=1)
    assert set(LINUX.read(known, False).levels) == {"process_memory_mb", "process_rss_mb"}
    assert reading.cpu_s is not None
    assert before.user + before.system - 0.02 <= reading.cpu_s <= after.user + after.system + 0.02
    assert reading.reaped_cpu_s == pytest.approx(before.children_user + before.children_system, abs=0.03)
    assert reading.reaped_cpu_s > 0
    assert reading.started / os.sysconf("SC_CLK_TCK") == pytest.approx(
        known.create_time() - psutil.boot_time(), abs=0.02
    )
    assert not reading.ended


def test_page_faults_are_the_kernels_own_and_ended_childrens() -> None:
    """psutil does not have them; what getrusage says just before and after does."""

    def counted() -> int:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_minflt + usage.ru_majflt for usage in usages)

    subprocess.run(["true"], check=True)  # at least one child has ended
    before = counted()
    reading = LINUX.read(psutil.Process(), False)
    assert before <= reading.counters["process_page_faults_per_s"] <= counted()


def test_what_ended_children_wrote_is_in_the_writes_of_this_process(tmp_path: Path) -> None:
    """As their page faults are, and as the kernel counts it."""

    def of_children() -> int:
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_oublock * 512

    def read() -> int:
        return round(LINUX.read(psutil.Process(), True).counters["process_write_mb_per_s"] * 1e6)

    before, before_bytes = of_children(), read()
    subprocess.run([sys.executable, "-c", "open('file', 'wb').write(bytes(8_000_000))"], cwd=tmp_path, check=True)
    written_bytes = of_children() - before
    if not written_bytes:
        pytest.skip("the kernel counts no writes to this file system")
    assert read() - before_bytes >= written_bytes


def test_what_changes_slowly_is_left_out_unless_asked_for(frozen: int) -> None:
    """The reading ten times a second has what two files hold."""
    reading = LINUX.read(LINUX.open(frozen), False)
    assert set(reading.levels) == {"process_memory_mb", "process_rss_mb"}
    assert set(reading.counters) == {"process_page_faults_per_s"}


def test_an_ended_process_is_a_zombie_and_then_gone() -> None:
    """A zombie keeps its counters and holds no memory; once it is reaped, NoSuchProcess says so."""
    with subprocess.Popen([sys.executable, "-c", "sum(range(3_000_000))"]) as process:
        opened = LINUX.open(process.pid)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        for slow in (False, True):
            reading = LINUX.read(opened, slow)
            assert reading.ended
            assert reading.cpu_s
            assert reading.levels["process_memory_mb"] == 0
    with pytest.raises(psutil.NoSuchProcess):
        LINUX.read(opened, False)
    with pytest.raises(psutil.NoSuchProcess):
        LINUX.open(process.pid)


def raising(error: Exception) -> Callable[[], Any]:
    def ask() -> Any:
        raise error

    return ask


@pytest.mark.parametrize(
    "error",
    [
        psutil.AccessDenied(1),
        psutil.ZombieProcess(1),
        PermissionError(),
        NotImplementedError(),
        RuntimeError("io was empty"),
        ValueError("no field"),
        IndexError(),
        AttributeError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_figure_that_psutil_cannot_read_is_absent(error: Exception, frozen: int) -> None:
    """Refused, ended, or of a kernel that psutil does not know: the others stay."""
    process = SimpleNamespace(
        pid=frozen, num_threads=lambda: 3, io_counters=raising(error), num_ctx_switches=raising(error)
    )
    reading = LINUX.read(process, True)
    assert set(reading.levels) == {"process_memory_mb", "process_rss_mb", "process_threads"}
    assert set(reading.counters) == {"process_page_faults_per_s"}


@pytest.mark.parametrize("which", ["num_threads", "io_counters", "num_ctx_switches"])
def test_a_process_that_ends_while_it_is_read_is_gone(which: str, frozen: int) -> None:
    """Half of its figures would make sums that lack it."""
    known = psutil.Process(frozen)
    asks = {name: getattr(known, name) for name in ("num_threads", "io_counters", "num_ctx_switches")}
    process = SimpleNamespace(pid=frozen, **asks | {which: raising(psutil.NoSuchProcess(frozen))})
    with pytest.raises(psutil.NoSuchProcess):
        LINUX.read(process, True)


# --- a folder like /proc ----------------------------------------------------------------------------------------------

STAT = "77 (a) b) S 1 1 1 0 -1 0 10 20 3 4 500 600 70 80 20 0 1 0 4242 1 1 " + "0 " * 29 + "\n"
STATM = "1000 300 100 1 0 1 0\n"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that psutil and we take for /proc, with the process 77 in it."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    lay(tmp_path, {"77/stat": STAT, "77/statm": STATM, "stat": "btime 1000\n"})
    return tmp_path


def test_each_field_is_the_one_that_proc_5_names(proc: Path) -> None:
    """Page faults, own and children's, and times are summed; the name may hold spaces and parentheses."""
    reading, ticks = LINUX.read(SimpleNamespace(pid=77), False), os.sysconf("SC_CLK_TCK")
    assert (reading.started, reading.ended) == (4242, False)
    assert (reading.cpu_s, reading.reaped_cpu_s) == (1100 / ticks, 150 / ticks)
    assert reading.counters == {"process_page_faults_per_s": 37}
    pages = resource.getpagesize() / 1e6
    assert reading.levels == pytest.approx({"process_memory_mb": 200 * pages, "process_rss_mb": 300 * pages})


@pytest.mark.parametrize("statm", ["", "garbage\n", "1000\n", "1000 max 5\n"], ids=["empty", "garbled", "short", "odd"])
def test_memory_that_cannot_be_parsed_is_absent(statm: str, proc: Path) -> None:
    """Another kernel's file costs its own figures only."""
    lay(proc, {"77/statm": statm})
    reading = LINUX.read(SimpleNamespace(pid=77), False)
    assert reading.levels == {}
    assert reading.cpu_s


ROLLUP = "1000-2000 ---p 00000000 00:00 0   [rollup]\nPss_Anon: 2000 kB\nAnonymous: 5000 kB\nKSM: 0 kB\n"


@pytest.mark.parametrize(
    ("rollup", "megabytes"),
    [
        (ROLLUP, 3.072),
        (ROLLUP.replace("5000", "2000"), 0),
        (ROLLUP.replace("5000", "1999"), 0),
        (ROLLUP.replace("Pss_Anon", "Pss_Dirty"), None),
        (ROLLUP.replace("5000", "x"), None),
        ("", None),
        (None, None),
    ],
    ids=["shared", "alone", "rounded", "older kernel", "garbled", "ended", "no such file"],
)
def test_what_is_shared_is_the_anonymous_pages_less_ones_own_part(
    rollup: str | None, megabytes: float | None, proc: Path
) -> None:
    """In megabytes of 1e6 bytes; None where the kernel does not say."""
    lay(proc, {} if rollup is None else {"77/smaps_rollup": rollup})
    assert LINUX.read_shared is not None
    assert LINUX.read_shared(SimpleNamespace(pid=77)) == megabytes


def test_what_is_shared_of_another_users_process_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses it."""
    assert LINUX.read_shared is not None
    with refused("smaps_rollup") as laid:
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(laid({"77/smaps_rollup": ROLLUP})))
        assert LINUX.read_shared(SimpleNamespace(pid=77)) is None


@pytest.mark.parametrize("stat", ["", "77 a S 1", "77 (a) S 1 1", STAT.replace("500", "x")])
def test_a_process_that_cannot_be_parsed_gives_no_reading(stat: str, proc: Path) -> None:
    """It costs that reading; nothing raises, and the next one is right."""
    sample = ProcessSampler(77)
    assert sample()
    lay(proc, {"77/stat": stat})
    assert sample() == {}
    lay(proc, {"77/stat": STAT})
    assert sample()


def _stat(pid: int, parent: int) -> str:
    return STAT.replace("77 (a) b) S 1", f"{pid} (a) b) S {parent}")


FAMILY = {"78/stat": _stat(78, 77), "79/stat": _stat(79, 78), "80/stat": _stat(80, 77), "500/stat": _stat(500, 1)}


@pytest.mark.parametrize(
    ("gone", "changed", "found"),
    [
        pytest.param([], {}, {78, 79, 80}, id="none"),
        pytest.param([], {"81/stat": _stat(81, 79)}, {78, 79, 80, 81}, id="new"),
        pytest.param(["80"], {}, {78, 79}, id="ended"),
        pytest.param(["78"], {"79/stat": _stat(79, 1)}, {80}, id="orphan"),
        pytest.param([], {"79/stat": _stat(79, 1)}, {78, 80}, id="orphan of a zombie"),
        pytest.param(["78"], {"79/stat": _stat(79, 80)}, {79, 80}, id="adopted"),
        pytest.param([], {"80/stat": _stat(80, 1)}, {78, 79}, id="another process's pid"),
        pytest.param([], {"90/status": ""}, {78, 79, 80}, id="gone before it is read"),
    ],
)
def test_children_are_those_whose_file_names_their_parent(
    gone: list[str], changed: dict[str, str], found: set[int], proc: Path
) -> None:
    """At each look, whatever has changed since the last one; parents come first."""
    lay(proc, FAMILY)
    parents = Parents(lambda: 0.0)
    first = parents.below(77)
    assert sorted(first) == [78, 79, 80]
    assert first.index(78) < first.index(79)
    for pid in gone:
        shutil.rmtree(proc / pid)
    lay(proc, changed)
    assert set(parents.below(77)) == found


def test_all_parents_are_read_again_after_a_pause(proc: Path) -> None:
    """A pid that was a stranger's may be a child's by then."""
    now = [0.0]
    lay(proc, {**FAMILY, "1/stat": _stat(1, 0)})
    parents = Parents(lambda: now[0])
    assert set(parents.below(77)) == {78, 79, 80}
    lay(proc, {"500/stat": _stat(500, 77)})
    now[0] = 60.0
    assert set(parents.below(77)) == {78, 79, 80, 500}


def test_stat_of_a_stranger_is_read_once(proc: Path) -> None:
    """Else each look would cost as much as there are processes on the machine."""
    lay(proc, {**FAMILY, "1/stat": _stat(1, 0)})
    parents = Parents(lambda: 0.0)
    assert parents.below(77)
    lay(proc, {"500/stat": "not read"})
    assert set(parents.below(77)) == {78, 79, 80}


def test_hidden_processes_hide_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of other users may be listed and closed."""
    with refused("500/stat") as laid:
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(laid({"77/stat": STAT, "stat": "btime 1000\n", **FAMILY})))
        assert {process.pid for process in LINUX.descendants(SimpleNamespace(pid=77))} == {78, 79, 80}


@pytest.mark.parametrize("system", [pytest.param(LINUX, id="linux"), pytest.param(PORTABLE, id="portable")])
def test_children_are_those_that_psutil_finds(system: System) -> None:
    """Of a real process, one of whose children has two of its own."""
    line = ["sh", "-c", "sh -c 'sleep 600 & sleep 600 & echo; wait' & wait"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            root = psutil.Process(process.pid)
            found, known = system.descendants(root), root.children(recursive=True)
            assert len(known) == 3
            assert sorted(found, key=lambda each: each.pid) == sorted(known, key=lambda each: each.pid)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_process_whose_files_are_gone_is_gone(proc: Path) -> None:
    """Death between the first and the second file, too."""
    (proc / "77/statm").unlink()
    with pytest.raises(psutil.NoSuchProcess):
        LINUX.read(SimpleNamespace(pid=77), False)


def test_a_process_that_is_hidden_is_a_mistake_to_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under hidepid: one sentence says so at once, not an empty run later."""
    with refused("stat", "statm") as laid:
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(laid({"77/stat": STAT, "77/statm": STATM})))
        with pytest.raises(ValueError, match=r"pid=77: this process cannot be read: .*Permission denied"):
            check_pid(77)


@pytest.mark.parametrize("pid", [-1, 0, 2**22 + 1, "me", 1.5], ids=str)
def test_what_is_not_a_pid_is_named(pid: Any) -> None:
    """One sentence with the value."""
    with pytest.raises(ValueError, match=f"pid={pid!r}: there is no such process"):
        check_pid(pid)


def test_this_process_can_be_read_by_either_reader() -> None:
    """check_pid says nothing of this process, named or not; the portable reader's CPU time is the same account."""
    check_pid(None)
    check_pid(os.getpid())
    before = LINUX.read(psutil.Process(), False).cpu_s
    between = PORTABLE.read(psutil.Process(), False).cpu_s
    after = LINUX.read(psutil.Process(), False).cpu_s
    assert before is not None
    assert between is not None
    assert after is not None
    assert before <= between <= after
