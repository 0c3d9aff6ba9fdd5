"""The watcher of a program: it goes on whatever its logger does, and settings are checked when they are given."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import threading
import time

import pytest

from mlflow_sysmetrics.command.outside import Settings, Watcher
from mlflow_sysmetrics.measure import Measurement
from mlflow_sysmetrics.sampling import GROUPS
from mlflow_sysmetrics.stopping.cause_of_death import MemoryKills
from mlflow_sysmetrics.tags import KILLED_FOR_MEMORY

LIMIT_S = 10.0
SPIN = "import time; end = time.process_time() + 0.25\nwhile time.process_time() < end: pass"


class FakeLogger:
    """A logger that notes what is asked of it, and fails where it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.calls: list[str] = []
        self.stopped = threading.Event()

    def start(self) -> None:
        """Note the start."""
        self._called("start")

    def stop(self) -> None:
        """Note the stop."""
        self._called("stop")
        self.stopped.set()

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails:
            raise RuntimeError(f"no {name} today")


def watcher_of(logger: FakeLogger) -> Watcher:
    """A watcher that uses this logger."""
    return Watcher("a run", "sqlite://", Settings(), make=lambda pid, watch: logger)


@pytest.mark.parametrize(
    ("interval_s", "groups", "wrong"),
    [
        (0, "process", "interval_s=0:"),
        (1, "", "groups='':"),
        (1, "process,disk", "groups='process,disk':"),
    ],
    ids=["zero", "no group", "unknown group"],
)
def test_settings_name_the_wrong_argument_and_what_is_allowed(interval_s: float, groups: str, wrong: str) -> None:
    """One sentence says which value is wrong, and of groups also which there are."""
    with pytest.raises(ValueError, match="give") as error:
        Settings.of(interval_s, groups)
    text = str(error.value)
    assert text.startswith(wrong)
    assert all((group in text) == wrong.startswith("groups") for group in GROUPS if group != "process")


def test_settings_take_groups_as_they_are_typed() -> None:
    """Blanks around the commas do not matter."""
    assert Settings.of(0.5, "process, container") == Settings(0.5, ("process", "container"))


def test_watcher_starts_and_stops_its_logger_once() -> None:
    """Stopping twice is stopping once."""
    logger = FakeLogger()
    watcher = watcher_of(logger)
    watcher.start(os.getpid())
    watcher.stop()
    watcher.stop()
    assert logger.calls == ["start", "stop"]


def test_program_is_read_before_any_thread_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may have to wait, and the program may have ended by then."""
    read: list[int] = []

    def note(self: Measurement) -> None:
        read.append(len(threading.enumerate()))

    monkeypatch.setattr(Measurement, "read", note)
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    watcher = watcher_of(FakeLogger())
    watcher.start(os.getpid())
    assert len(read) == 1


def test_watcher_that_was_not_started_stops() -> None:
    """As when the program could not be started."""
    logger = FakeLogger()
    watcher_of(logger).stop()
    assert logger.calls == []


@pytest.mark.parametrize("fails", ["start", "stop"])
def test_watcher_survives_its_logger(fails: str, caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong is one warning."""
    watcher = watcher_of(FakeLogger(fails))
    with caplog.at_level(logging.WARNING):
        watcher.start(os.getpid())
        watcher.stop()
    assert [f"no {fails} today" in record.getMessage() for record in caplog.records] == [True]


def test_machine_without_threads_costs_the_caller_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The program runs already: whoever started it goes on to wait for it, after one warning."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    logger = FakeLogger()
    watcher = watcher_of(logger)
    watcher.start(os.getpid())
    watcher.stop()
    assert logger.calls == []
    assert ["can't start new thread" in record.getMessage() for record in caplog.records] == [True]


def test_program_that_has_ended_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """It was too quick to be watched: no logger, no warning."""
    logger = FakeLogger()
    watcher = watcher_of(logger)
    with caplog.at_level(logging.WARNING):
        watcher.start(2**30)
        watcher.stop()
    assert (logger.calls, caplog.records) == ([], [])


def test_program_that_ends_before_its_logger_is_made_has_series_and_figures() -> None:
    """A store that answers late costs a short program none of its metrics; its time ends when it ends."""
    ended, watches = threading.Event(), []

    def make(pid: int, watch: Measurement) -> FakeLogger:
        watches.append(watch)
        assert ended.wait(LIMIT_S)
        return FakeLogger()

    watcher = Watcher("a run", "sqlite://", Settings(), make=make)
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", SPIN]) as program:
        watcher.start(program.pid)
        watcher.wait()
        took_s = time.monotonic() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        program.wait()
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended.set()
    watcher.stop()
    (watch,) = watches
    names = {name for window in watch.drain() for name in window.mean}
    assert {"process_memory_mb", "process_cpu_percent", "process_page_faults_per_s"} <= names
    figures = watch.figures()
    assert figures["elapsed_s"] == pytest.approx(took_s, abs=0.1)
    cpu_s = reaped.ru_utime + reaped.ru_stime - used.ru_utime - used.ru_stime
    assert figures["cpu_seconds"] == pytest.approx(cpu_s, abs=0.05)
    assert figures["peak_memory_mb"] > 1


def test_program_that_ends_before_it_is_read_in_a_thread_has_figures_of_its_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a thread that does not get to run in time would miss was read before."""
    monkeypatch.setattr(Measurement, "start", lambda watch: watch)
    watches = []

    def make(pid: int, watch: Measurement) -> FakeLogger:
        watches.append(watch)
        return FakeLogger()

    watcher = Watcher("a run", "sqlite://", Settings(), make=make)
    with subprocess.Popen([sys.executable, "-c", SPIN]) as program:
        watcher.start(program.pid)
        program.kill()
        watcher.wait()
    watcher.stop()
    (window,) = watches[0].drain()
    assert {"process_memory_mb", "process_cpu_percent", "process_page_faults_per_s"} <= window.mean.keys()


def test_what_the_kernel_kills_later_is_not_what_the_program_died_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivery takes seconds, in which another program of the same group may be killed for memory."""
    others: list[bool] = [False]
    monkeypatch.setattr(MemoryKills, "happened", lambda kills: others[0])
    watcher = watcher_of(FakeLogger())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        watcher.start(program.pid)
        program.kill()
        watcher.wait()
        others[0] = True
        watcher.stop()
        assert watcher.died_of(-9)[KILLED_FOR_MEMORY] == "false"


def test_watcher_does_not_keep_its_caller_waiting() -> None:
    """While a logger asks a server that does not answer, the program runs and its caller does what it has to."""
    answered = threading.Event()
    logger = FakeLogger()

    def make(pid: int, sample: object) -> FakeLogger:
        answered.wait(LIMIT_S)
        return logger

    watcher = Watcher("a run", "sqlite://", Settings(), make=make, ready_within_s=0.1)
    watcher.start(os.getpid())
    watcher.stop()
    assert logger.calls == []
    answered.set()
    assert logger.stopped.wait(LIMIT_S)
    assert logger.calls == ["start", "stop"]
