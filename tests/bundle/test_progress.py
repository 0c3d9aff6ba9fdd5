"""What is said while a study runs, on a terminal and in a log."""

import io
from unittest.mock import Mock

from cases import cases
from machines import Clock

from entrypoints.progress import Progress


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        """Yes."""
        return True


EQUAL, FOUR = (dict.fromkeys(range(number), 1.0) for number in (8, 4))
AFTER_30_S = "8 trials, best val_rmse 0.6581, 30 s elapsed"


@cases(
    "expected, options, starts, ends, seconds, says",
    {
        "before the first trial": ({}, {}, (), (), 0, "starting the processes"),
        "none has ended": ({}, {}, (0, 1), (), 20, "0/8 trials, best val_rmse 0.6581, 20 s elapsed"),
        # Two of eight trials took 30 s, so the six that are left take 90 s.
        "equal trials": (EQUAL, {}, (0, 1), (0, 1), 30, f"2/{AFTER_30_S}, about 1 min 30 s left"),
        # 10 of 100 s are done and half of the 30 that run: 25 took 20 s, so the other 75 take 60 s.
        "in proportion to the forecasts": (
            {0: 10.0, 1: 30.0, 2: 40.0, 3: 20.0},
            {},
            (0, 1),
            (0,),
            20,
            "1/8 trials, best val_rmse 0.6581, 20 s elapsed, about 1 min 0 s left",
        ),
        # Only the trials of this command say how long the others take.
        "a study that goes on": (FOUR, {"done": 4}, (0,), (0,), 30, f"5/{AFTER_30_S}, about 1 min 30 s left"),
        # The limit counts from the first trial, too.
        "limit of 1 min": (EQUAL, {"limit_s": 60.0}, (0,), (0,), 30, f"1/{AFTER_30_S}, about 30 s left"),
        "limit of 10 min": (EQUAL, {"limit_s": 600.0}, (0,), (0,), 30, f"1/{AFTER_30_S}, about 3 min 30 s left"),
    },
)
def test_progress_says_trials_best_and_time(expected, options, starts, ends, seconds, says):
    """Time counts from the first trial on, and is never more than the limit leaves."""
    stream, clock = io.StringIO(), Clock(100.0)
    progress = Progress(8, "val_rmse", stream, clock, **options)
    progress.expect(expected)
    clock.now += 10
    for key in starts:
        progress.trial_started(key)
    clock.now += seconds
    for key in ends:
        progress.trial_ended(key)
    progress.show(lambda: 0.65812)
    assert stream.getvalue() == f"{says}\n"


@cases("stream, interval_s", {"log": (io.StringIO, 5.0), "terminal": (Terminal, 0.2)})
def test_progress_writes_only_when_a_line_is_due(stream, interval_s):
    """The first at once, then one per interval: long in a log, short on a terminal. Only then the best is asked for."""
    output, clock, best = stream(), Clock(100.0), Mock(return_value=0.5)
    progress = Progress(8, "val_rmse", output, clock)
    progress.trial_started("a")
    lines = []
    for moved in (0.0, interval_s * 0.9, interval_s * 0.2, interval_s * 0.9, interval_s * 0.2):
        clock.now += moved
        progress.show(best)
        lines.append(output.getvalue().count("0/8 trials"))
    assert lines == [1, 1, 2, 2, 3]
    assert best.call_count == 3


@cases("stream", {"log": io.StringIO, "terminal": Terminal})
def test_progress_always_writes_the_last_line(stream):
    """Even just after another one, and with no time left. On a terminal each line takes the place of the one before."""
    output, clock = stream(), Clock(100.0)
    progress = Progress(1, "val_accuracy", output, clock)
    for _ in range(3):
        progress.show(lambda: None)  # in a log once: there is nothing to count yet
        clock.now += 10
    progress.trial_started("a")
    progress.show(lambda: None)
    clock.now += 0.1
    progress.trial_ended("a")
    progress.show(lambda: 0.77, last=True)
    lines = ["starting the processes", "0/1 trials, best val_accuracy -, 0 s elapsed"]
    lines += ["1/1 trials, best val_accuracy 0.7700, 0 s elapsed"]
    if stream is Terminal:  # what is said after the first line does not follow it in the same one
        first, *others = (f"\r\033[K{line}" for line in lines)
        assert output.getvalue() == first + "\n" + "".join(others) + "\n"
    else:
        assert output.getvalue().splitlines() == lines
