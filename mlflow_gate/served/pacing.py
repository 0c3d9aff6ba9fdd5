"""When requests fall due. A pacer says how long to wait for the next one; who sends them knows no rates."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

# From the seconds since the start, and the number of requests so far, to seconds; negative: it is overdue.
Pacer = Callable[[float, int], float]


def stream(elapsed_s: float, requests: int) -> float:
    """Each request is due as soon as somebody can send it: when the one before is answered."""
    return 0.0


class Poisson:
    """So many requests a second, at random moments that do not depend on each other: a Poisson process."""

    def __init__(self, rate: float, seed: int = 0) -> None:
        self._rate = rate
        self._random = Random(seed)
        self._due_s = [self._random.expovariate(rate)]

    def __call__(self, elapsed_s: float, requests: int) -> float:
        while len(self._due_s) <= requests:
            self._due_s.append(self._due_s[-1] + self._random.expovariate(self._rate))
        return self._due_s[requests] - elapsed_s
