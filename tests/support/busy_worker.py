"""What the workers of a test's process pool do. Imports next to nothing: spawned workers import it again."""

from __future__ import annotations

import time


def compute(seconds: float) -> list[tuple[float, float]]:
    """Compute for so long; return unix times of every fiftieth of a second, each with the CPU seconds used by then."""
    marks = [(time.time(), time.process_time())]
    end = marks[0][0] + seconds
    while (now := time.time()) < end:
        if now > marks[-1][0] + 0.02:
            marks.append((now, time.process_time()))
    return marks
