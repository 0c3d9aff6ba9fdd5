"""What is said while a study runs, on a terminal and in a log."""

import io
from unittest.mock import Mock

from cases import cases, tables
from machines import Clock

from entrypoints.study.progress import Progress


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        """Yes."""
        return True


@cases("options, limit_s, ends, seconds, says", tables(__file__, "progress.yaml"))
def test_progress_says_trials_best_and_time(options, limit_s, ends, seconds, says):
    """Time counts from the first trial on, and is never more than the limit leaves."""
    stream, clock = io.StringIO(), Clock(100.0)
    progress = Progress(8, "val_rmse", stream, clock, **options)
    clock.now += 10
    if limit_s:
        progress.begin(limit_s)
    clock.now += seconds
    for _ in range(ends):
        progress.trial_ended()
    progress.show(lambda: 0.65812)
    assert stream.getvalue() == f"{says}\n"


@cases("stream, interval_s", {"log": (io.StringIO, 5.0), "terminal": (Terminal, 0.2)})
def test_progress_writes_only_when_a_line_is_due(stream, interval_s):
    """The first at once, then one per interval: long in a log, short on a terminal. Only then the best is asked for."""
    clock, best = Clock(100.0), Mock(return_value=0.5)
    progress = Progress(8, "val_rmse", stream(), clock)
    progress.begin()
    asked = []
    for intervals in (0.0, 0.9, 0.2, 0.9, 0.2):
        clock.now += interval_s * intervals
        progress.show(best)
        asked.append(best.call_count)
    assert asked == [1, 1, 2, 2, 3]


@cases(
    "stream, written",
    {
        "log": (io.StringIO, "{}\n{}\n{}\n"),
        # What is said after the first line does not follow it in the same one.
        "terminal": (Terminal, "\r\033[K{}\n\r\033[K{}\r\033[K{}\n"),
    },
)
def test_progress_always_writes_the_last_line(stream, written):
    """Even just after another one, and with no time left. On a terminal each line takes the place of the one before."""
    output, clock = stream(), Clock(100.0)
    progress = Progress(1, "val_accuracy", output, clock)
    for _ in range(3):
        progress.show(lambda: None)  # in a log once: there is nothing to count yet
        clock.now += 10
    progress.begin()
    progress.show(lambda: None)
    clock.now += 0.1
    progress.trial_ended()
    progress.show(lambda: 0.77, last=True)
    assert output.getvalue() == written.format(
        "starting the processes",
        "0/1 trials, best val_accuracy -, 0 s elapsed",
        "1/1 trials, best val_accuracy 0.7700, 0 s elapsed",
    )
