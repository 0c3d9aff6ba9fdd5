"""What is said while a study runs, on a terminal and in a log."""

from __future__ import annotations

import io
from typing import Any

import pytest
from clock import Clock

from entrypoints.progress import Progress, Stages, duration


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture
def clock() -> Clock:
    """One that the test moves."""
    return Clock(100.0)


def _running(clock: Clock, total: int, stream: io.StringIO, **options: Any) -> Progress:
    """Of so many equal trials, the first of which has begun."""
    progress = Progress(total, "val_rmse", stream, clock, **options)
    progress.expect({str(number): 1.0 for number in range(total - options.get("done", 0))})
    progress.trial_started("0")
    return progress


def test_progress_says_trials_best_and_time(clock: Clock) -> None:
    """Two of eight trials took 30 s, so the six that are left take 90 s."""
    stream = io.StringIO()
    progress = _running(clock, 8, stream)
    progress.trial_started("1")
    clock.now += 30
    progress.trial_ended("0")
    progress.trial_ended("1")
    progress.show(lambda: 0.65812)
    assert stream.getvalue() == "2/8 trials, best val_rmse 0.6581, 30 s elapsed, about 1 min 30 s left\n"


def test_time_left_is_in_proportion_to_the_forecasts(clock: Clock) -> None:
    """10 of 100 s are done and half of the 30 that run: 25 took 20 s, so the other 75 take 60 s."""
    stream = io.StringIO()
    progress = Progress(4, "val_rmse", stream, clock)
    progress.expect({"short": 10.0, "long": 30.0, "next": 40.0, "last": 20.0})
    for key in ("short", "long"):
        progress.trial_started(key)
    clock.now += 20
    progress.trial_ended("short")
    progress.show(lambda: None)
    assert stream.getvalue() == "1/4 trials, best val_rmse -, 20 s elapsed, about 1 min 0 s left\n"


@pytest.mark.parametrize(
    ("limit_s", "left"),
    [
        pytest.param(0.0, "3 min 30 s", id="none"),
        pytest.param(60.0, "20 s", id="before all trials"),
        pytest.param(600.0, "3 min 30 s", id="after all trials"),
        pytest.param(30.0, "0 s", id="over"),
    ],
)
def test_time_left_is_never_more_than_the_limit_leaves(clock: Clock, limit_s: float, left: str) -> None:
    """One trial took 30 s, and seven are left. The limit counts from the beginning, before the first trial."""
    stream = io.StringIO()
    progress = Progress(8, "val_rmse", stream, clock, limit_s=limit_s)
    progress.expect({str(number): 1.0 for number in range(8)})
    clock.now += 10
    progress.trial_started("0")
    clock.now += 30
    progress.trial_ended("0")
    progress.show(lambda: None)
    assert stream.getvalue() == f"1/8 trials, best val_rmse -, 30 s elapsed, about {left} left\n"


def test_progress_of_a_study_that_goes_on_knows_what_is_done(clock: Clock) -> None:
    """Only the trials of this command say how long the others take: one took 30 s, and three are left."""
    stream = io.StringIO()
    progress = _running(clock, 8, stream, done=4)
    clock.now += 30
    progress.trial_ended("0")
    progress.show(lambda: 0.65812)
    assert stream.getvalue() == "5/8 trials, best val_rmse 0.6581, 30 s elapsed, about 1 min 30 s left\n"


def test_progress_counts_time_from_the_first_trial(clock: Clock) -> None:
    """Later starts do not move it."""
    stream = io.StringIO()
    progress = Progress(8, "val_rmse", stream, clock)
    clock.now += 1000
    progress.trial_started("a")
    clock.now += 20
    progress.trial_started("a")
    progress.show(lambda: None)
    assert stream.getvalue() == "0/8 trials, best val_rmse -, 20 s elapsed\n"


def test_progress_before_the_first_trial_says_that_processes_start(clock: Clock) -> None:
    """There is nothing to count yet."""
    stream = io.StringIO()
    Progress(8, "val_rmse", stream, clock).show(lambda: None)
    assert stream.getvalue() == "starting the processes\n"


@pytest.mark.parametrize(
    ("stream", "interval_s"), [pytest.param(io.StringIO, 5.0, id="log"), pytest.param(Terminal, 0.2, id="terminal")]
)
def test_progress_writes_only_when_a_line_is_due(stream: type[io.StringIO], interval_s: float, clock: Clock) -> None:
    """The first at once, then one per interval: long in a log, short on a terminal. Only then the best is asked for."""
    output = stream()
    progress = Progress(8, "val_rmse", output, clock)
    progress.trial_started("a")
    lines = []
    asked: list[float] = []

    def best() -> float:
        asked.append(clock.now)
        return 0.5

    for moved in (0.0, interval_s * 0.9, interval_s * 0.2, interval_s * 0.9, interval_s * 0.2):
        clock.now += moved
        progress.show(best)
        lines.append(output.getvalue().count("0/8 trials"))
    assert lines == [1, 1, 2, 2, 3]
    assert len(asked) == 3


@pytest.mark.parametrize("stream", [pytest.param(io.StringIO, id="log"), pytest.param(Terminal, id="terminal")])
def test_progress_always_writes_the_last_line(stream: type[io.StringIO], clock: Clock) -> None:
    """Even just after another one; it ends with a line break and has no time left."""
    output = stream()
    progress = Progress(1, "val_accuracy", output, clock)
    progress.trial_started("a")
    progress.show(lambda: None)
    clock.now += 0.1
    progress.trial_ended("a")
    progress.show(lambda: 0.77, last=True)
    last = output.getvalue().replace("\r\033[K", "\n").strip().splitlines()[-1]
    assert last == "1/1 trials, best val_accuracy 0.7700, 0 s elapsed"
    assert output.getvalue().endswith("elapsed\n")


def test_progress_on_a_terminal_stays_on_one_line(clock: Clock) -> None:
    """Each line takes the place of the one before, to its end."""
    output = Terminal()
    progress = Progress(2, "val_rmse", output, clock)
    progress.trial_started("a")
    for _ in range(3):
        progress.show(lambda: 0.5)
        clock.now += 1
    assert output.getvalue().count("\r\033[K") == 3
    assert "\n" not in output.getvalue()


def test_progress_in_a_log_has_no_control_characters(clock: Clock) -> None:
    """A log holds whole lines of plain text."""
    output = io.StringIO()
    progress = Progress(2, "val_rmse", output, clock)
    for _ in range(3):
        progress.show(lambda: 0.5)
        clock.now += 10
    assert output.getvalue() == "starting the processes\n"  # once


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (4.4, "4 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.7, "1 h 0 min"),
        (3780, "1 h 3 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_duration_is_written_as_people_write_it(seconds: float, text: str) -> None:
    """Two units at most, and never 60 of one."""
    assert duration(seconds) == text


def test_stages_divide_all_the_time_since_the_start() -> None:
    """From the given start on, without a gap between stages, in the order in which they ended."""
    times = iter([104.0, 110.5])
    stages = Stages(100.0, clock=lambda: next(times))
    stages.end("data")
    stages.end("search")
    assert list(stages.seconds.items()) == [("data", 4.0), ("search", 6.5)]


def test_stages_are_written_with_their_seconds() -> None:
    """As the command's last line shows them."""
    stages = Stages(0.0)
    stages.seconds = {"data": 1.26, "best model": 12.0}
    assert str(stages) == "data 1.3 s, best model 12.0 s"
