"""How far a study is."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

from entrypoints.text import duration

LOG_EVERY_S = 5.0
TERMINAL_EVERY_S = 0.2


class Progress:
    """Counts finished trials and says how many, the best so far, and the time left.

    On a terminal it is one line that updates, in a log a line every few seconds. The trials that are left are taken to
    need as long as those that are done.

    Args:
        total: how many trials there will be.
        score: the name of the score, such as ``val_rmse``.
        stream: where to write.
        clock: seconds that never go back.
        done: how many of them have ended already, before the time counts.
        is_most: whether there may be fewer trials.
    """

    def __init__(
        self,
        total: int,
        score: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        done: int = 0,
        is_most: bool = False,
    ) -> None:
        self.done = done
        self.total = total
        self._done_before = done
        self._score = score
        self._stream = stream or sys.stdout
        self._clock = clock
        self._limit_s = math.inf
        self._is_most = is_most
        self._began: float | None = None
        self._last_line = -math.inf
        self._held_against: dict[str, float] = {}

    def hold_against(self, name: str, score: float) -> None:
        """Show the score of this beside the best so far."""
        self._held_against[name] = score

    def begin(self, limit_s: float = math.inf) -> None:
        """Note that the first trial runs: time counts from here. The search ends this many seconds later at most."""
        self._limit_s = limit_s
        self._began = self._clock()

    def trial_ended(self) -> None:
        """Count one more trial that has ended."""
        self.done += 1

    def show(self, best: Callable[[], float | None], *, last: bool = False) -> None:
        """Write the line if it is due; the last one always. ``best``, the best score so far, is only asked then."""
        terminal = self._stream.isatty()
        now = self._clock()
        if not last and now - self._last_line < (TERMINAL_EVERY_S if terminal else LOG_EVERY_S):
            return
        if self._began is None and self._last_line > -math.inf and not (last and terminal):
            return  # said already
        self._last_line = now
        line = self._line(best(), now, last)
        is_replaced = terminal and not last and self._began is not None  # other lines follow the first one
        self._stream.write(f"\r\033[K{line}" if terminal else line)
        self._stream.write("" if is_replaced else "\n")
        self._stream.flush()

    def _line(self, best: float | None, now: float, last: bool) -> str:
        if self._began is None:
            return "starting the processes"
        elapsed_s = now - self._began
        of = f"{self.done} of at most {self.total} trials" if self._is_most else f"{self.done}/{self.total} trials"
        line = f"{of}, best {self._score} {'-' if best is None else f'{best:.4f}'}"
        if self._held_against:
            line += f" ({', '.join(f'{name} {score:.4f}' for name, score in self._held_against.items())})"
        line += f", {duration(elapsed_s)} elapsed"
        left_s = self._limit_s - elapsed_s
        done_here = self.done - self._done_before
        if not self._is_most:
            left_s = min(left_s, elapsed_s * (self.total - self.done) / done_here) if done_here else math.inf
        if last or left_s == math.inf:
            return line
        about = "at most" if self._is_most else "about"
        return f"{line}, {about} {duration(max(0.0, left_s))} left"
