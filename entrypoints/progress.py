"""How far a study is, and where its time went."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from statistics import fmean
from typing import Any, TextIO

LOG_EVERY_S = 5.0
TERMINAL_EVERY_S = 0.2
RECENT = 3  # trials of a kind: under limits the later ones end sooner


class Progress:
    """Counts finished trials and says how many, the best so far, and the time left.

    On a terminal it is one line that updates, in a log a line every few seconds. Each remaining trial is taken to last
    as long as the last three of its kind, those with an equal forecast; without any, as its forecast, scaled by what
    the others took against theirs.

    Args:
        total: how many trials there will be.
        score: the name of the score, such as ``val_rmse``.
        stream: where to write.
        clock: seconds that never go back.
        done: how many of them have ended already, before the time counts.
        limit_s: after how many seconds from now the search ends at the latest; 0: no limit.
    """

    def __init__(
        self,
        total: int,
        score: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        done: int = 0,
        limit_s: float = 0.0,
    ) -> None:
        self.done = self._done_before = done
        self.total = total
        self._score = score
        self._stream = stream or sys.stdout
        self._clock = clock
        self._ends = self._clock() + limit_s if limit_s else math.inf
        self._began: float | None = None
        self._expected_s: Mapping[Any, float] = {}
        self._running: dict[Hashable, float] = {}  # by key: when it started
        self._took_s: dict[Hashable, float] = {}
        self._last_line = -math.inf

    def expect(self, seconds: Mapping[Any, float]) -> None:
        """What each trial that is run here is expected to take, by its key. Until then all take the same."""
        self._expected_s = seconds

    def trial_started(self, key: Hashable) -> None:
        """Note that a trial runs. Time counts from the first one."""
        now = self._clock()
        if self._began is None:
            self._began = now
        self._running[key] = now

    def trial_ended(self, key: Hashable) -> None:
        """Count one more trial that has ended."""
        self.done += 1
        now = self._clock()
        self._took_s[key] = now - self._running.pop(key, now)

    def show(self, best: Callable[[], float | None], *, last: bool = False) -> None:
        """Write the line if it is due; the last one always. ``best``, the best score so far, is only asked then."""
        terminal = self._stream.isatty()
        now = self._clock()
        if not last and now - self._last_line < (TERMINAL_EVERY_S if terminal else LOG_EVERY_S):
            return
        if self._began is None and self._last_line > -math.inf and not last:
            return  # said already
        self._last_line = now
        line = self._line(best(), now, last)
        self._stream.write(f"\r\033[K{line}" if terminal else f"{line}\n")
        if terminal and last:
            self._stream.write("\n")
        self._stream.flush()

    def _line(self, best: float | None, now: float, last: bool) -> str:
        if self._began is None:
            return "starting the processes"
        line = f"{self.done}/{self.total} trials, best {self._score} {'-' if best is None else f'{best:.4f}'}"
        line += f", {duration(now - self._began)} elapsed"
        left_s = None if last else self._left_s(now, now - self._began)
        return line if left_s is None else f"{line}, about {duration(left_s)} left"

    def _left_s(self, now: float, elapsed_s: float) -> float | None:
        """None until trials have taken some time."""
        gone_s = {key: now - started for key, started in self._running.items()}
        trials_s = sum(self._took_s.values()) + sum(gone_s.values())
        if not self._took_s or not trials_s:
            return None
        likely_s = self._likely_s()
        waiting = [key for key in self._expected_s if key not in self._took_s and key not in gone_s]
        unknown = [""] * (0 if self._expected_s else self.total - self.done - len(gone_s))
        left_s = sum(map(likely_s, [*waiting, *unknown]))
        left_s += sum(max(0.0, likely_s(key) - so_far_s) for key, so_far_s in gone_s.items())
        left_s *= elapsed_s / trials_s  # as many at once as until now
        return max(0.0, min(left_s, self._ends - now))

    def _likely_s(self) -> Callable[[Hashable], float]:
        """How long a trial that has not ended will have taken, by its key."""
        alike_s: dict[float | None, list[float]] = {}
        for key, took_s in self._took_s.items():
            alike_s.setdefault(self._expected_s.get(key), []).append(took_s)
        usual_s = fmean(self._took_s.values())
        forecasts_s = fmean(self._expected_s.get(key, usual_s) for key in self._took_s)

        def likely_s(key: Hashable) -> float:
            forecast_s = self._expected_s.get(key)
            if forecast_s in alike_s:
                return fmean(alike_s[forecast_s][-RECENT:])
            return usual_s if forecast_s is None or not forecasts_s else forecast_s * usual_s / forecasts_s

        return likely_s


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
