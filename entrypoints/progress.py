"""How far a study is, and where its time went."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean
from typing import TextIO

LOG_EVERY_S = 5.0
TERMINAL_EVERY_S = 0.2


class Progress:
    """Counts finished trials and says how many, the best so far, and the time left.

    On a terminal it is one line that updates, in a log a line every few seconds. The time left is the expected
    time of the remaining trials, scaled by what the others took against what was expected of them.

    Args:
        total: how many trials there will be.
        score: the name of the score, such as ``val_rmse``.
        done: how many of them have ended already, before the time counts.
        stream: where to write.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        total: int,
        score: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        done: int = 0,
    ) -> None:
        self.done = self._done_before = done
        self.total = total
        self._score = score
        self._stream = stream or sys.stdout
        self._clock = clock
        self._began: float | None = None
        self._expected_s: Mapping[str, float] = {}
        self._running: set[str] = set()
        self._ended: list[str] = []
        self._last_line = -float("inf")

    def expect(self, seconds: Mapping[str, float]) -> None:
        """What each trial that is run here is expected to take, by its key. Until then all take the same."""
        self._expected_s = seconds

    def trial_started(self, key: str) -> None:
        """Note that a trial runs. Time counts from the first one."""
        if self._began is None:
            self._began = self._clock()
        self._running.add(key)

    def trial_ended(self, key: str) -> None:
        """Count one more trial that has ended."""
        self.done += 1
        self._running.discard(key)
        self._ended.append(key)

    def show(self, best: float | None, *, last: bool = False) -> None:
        """Write the line if it is due; the last one always."""
        terminal = self._stream.isatty()
        now = self._clock()
        if not last and now - self._last_line < (TERMINAL_EVERY_S if terminal else LOG_EVERY_S):
            return
        self._last_line = now
        self._stream.write(f"\r\033[K{self._line(best, now, last)}" if terminal else f"{self._line(best, now, last)}\n")
        if terminal and last:
            self._stream.write("\n")
        self._stream.flush()

    def _line(self, best: float | None, now: float, last: bool) -> str:
        if self._began is None:
            return "starting the processes"
        line = f"{self.done}/{self.total} trials, best {self._score} {'-' if best is None else f'{best:.4f}'}"
        line += f", {duration(now - self._began)} elapsed"
        if self._ended and not last:
            line += f", about {duration(self._left_s(now - self._began))} left"
        return line

    def _left_s(self, elapsed_s: float) -> float:
        usual_s = fmean(self._expected_s.values()) if self._expected_s else 1.0

        def expected_s(keys: Iterable[str]) -> float:
            return sum(self._expected_s.get(key, usual_s) for key in keys)

        all_s = sum(self._expected_s.values()) or usual_s * (self.total - self._done_before)
        done_s = expected_s(self._ended) + expected_s(self._running) / 2  # half done, on average
        return elapsed_s * max(0.0, all_s - done_s) / done_s


class Stages:
    """Where the time goes: the seconds of each named stage, one after the other.

    Args:
        start: unix time in seconds when the first stage began.
        clock: unix time in seconds.
    """

    def __init__(self, start: float, clock: Callable[[], float] = time.time) -> None:
        self.start = start
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._last = start

    def end(self, name: str) -> None:
        """Everything since the last stage was this one."""
        now = self._clock()
        self.seconds[name] = now - self._last
        self._last = now

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())


def duration(seconds: float) -> str:
    """A duration as people write it: 4 s, 2 min 5 s, 1 h 3 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
