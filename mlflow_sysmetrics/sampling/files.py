"""Files of /proc and /sys, read at once, and rates of the counters in them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

MIN_SPAN_S = 0.01  # a rate over less says nothing


def read_file(path: str) -> bytes:
    """The content of a small file of the kernel; b"" if it is missing or may not be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(descriptor, 65536):  # the kernel hands out a page at a time
            parts.append(part)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    return b"".join(parts)


def read_number(path: str) -> float | None:
    """The number that a file holds; None where it cannot be read or holds something else, such as `max`."""
    try:
        number = float(read_file(path))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


class Rates(Generic[Key]):
    """Each call takes the totals of counters and returns the growth per second of each since the last rates.

    The first totals have no rates, nor have any less than 10 ms later. A counter that was not there before has none,
    nor has one that has fallen (it was reset).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: dict[Key, float] = {}
        self._at = -math.inf

    def __call__(self, totals: Mapping[Key, float]) -> dict[Key, float]:
        """Return the rates of these totals since the last call, by the same names. Totals only grow, but for resets."""
        now = self._clock()
        span = now - self._at
        if span < MIN_SPAN_S:
            return {}
        rates = {}
        for name, total in totals.items():
            grown = total - self._before.get(name, math.inf)
            if grown >= 0:
                rates[name] = grown / span
        self._before, self._at = dict(totals), now
        return rates
