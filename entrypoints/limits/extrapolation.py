"""What a trial will have cost at its end, from what its steps have cost so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import stdev

from mlflow_sysmetrics.limits import digits

# Student's t of one bound at 99.9 %, by degrees of freedom: a trial is looked at many times.
_T = {4: 7.1732, 5: 5.8934, 6: 5.2076, 7: 4.7853, 8: 4.5008, 9: 4.2968}
BLOCK_STEPS = 10  # steps whose times are averaged: single ones are far from normal
MIN_BLOCKS = 5
MAX_BLOCKS = 2 * MIN_BLOCKS  # then they are merged in pairs: a machine changes slowly, which short blocks do not show
WARM_UP = 2  # steps that take longer than later ones


@dataclass(frozen=True)
class Prediction:
    """An expected value and the interval around it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value, low, high = (digits(each, 4) for each in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"


class Extrapolation:
    """Follows what each step adds to a total, such as seconds.

    The interval is that of a prediction: Student's t of the means of blocks of steps, which differ by chance, those to
    come as those so far.

    Args:
        block_steps: of the first blocks.
    """

    def __init__(self, block_steps: int = BLOCK_STEPS) -> None:
        self.steps = 0
        self.total = 0.0
        self._warm_up_total = 0.0
        self._block_steps = block_steps
        self._blocks: list[float] = []  # the mean of each full block
        self._open = 0.0
        self._open_steps = 0

    def add(self, amount: float) -> None:
        """Count one more step."""
        self.steps += 1
        self.total += amount
        if self.steps <= WARM_UP:
            self._warm_up_total = self.total
            return
        self._open += amount
        self._open_steps += 1
        if self._open_steps == self._block_steps:
            self._blocks.append(self._open / self._block_steps)
            self._open, self._open_steps = 0.0, 0
            if len(self._blocks) == MAX_BLOCKS:
                pairs = zip(self._blocks[::2], self._blocks[1::2], strict=True)
                self._blocks = [(first + second) / 2 for first, second in pairs]
                self._block_steps *= 2

    @property
    def mean(self) -> float | None:
        """What a step adds once it is warm; None before there is such a step."""
        steady = self.steps - WARM_UP
        return (self.total - self._warm_up_total) / steady if steady > 0 else None

    @property
    def error(self) -> float | None:
        """The standard error of that mean; None while there are too few blocks."""
        if len(self._blocks) < MIN_BLOCKS:
            return None
        return stdev(self._blocks) / math.sqrt(len(self._blocks))

    def roughly_at(self, steps: int) -> float | None:
        """The total after ``steps`` steps if the rest cost the mean of those so far; None while too little is known.

        Precise enough to record what a trial would have cost, not to end it.
        """
        rest, mean = steps - self.steps, self.mean
        if rest == 0:
            return self.total
        return None if mean is None else self.total + rest * mean

    def at(self, steps: int) -> Prediction | None:
        """The same with its interval; None while there are too few blocks for that."""
        value, error = self.roughly_at(steps), self.error
        if value is None or error is None:
            return None
        rest = steps - self.steps
        blocks, to_come = len(self._blocks), max(1.0, rest / self._block_steps)
        half = _T[blocks - 1] * error * rest * math.sqrt(1 + blocks / to_come)
        return Prediction(value, value - half, value + half)
