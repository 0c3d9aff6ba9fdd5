"""What a trial will have cost at its end, from what its steps have cost so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev, variance

from scipy import special

from entrypoints.runs.tags import FOLD, TRAINING_STEP, Axis
from mlflow_sysmetrics.limits import digits

CONFIDENCE = 0.999  # of one bound: a trial is looked at many times
BLOCK_STEPS = 10  # steps whose times are averaged: single ones are far from normal
MIN_BLOCKS = 5
MAX_BLOCKS = 2 * MIN_BLOCKS  # then they are merged in pairs: a machine changes slowly, which short blocks do not show
WARM_UP = 2  # steps that take longer than later ones
MIN_FOLDS = 2
FOLDS_SPREAD = 0.1  # of the fits of equal models on a shared machine, as a share of their time,
FOLDS_DEGREES = 4  # which counts as much as five fits would: two or three say little of how much fits differ


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
        axis: what a step is. There are few folds, and each is a block. How much their fits differ is pooled with what
            is usual.
    """

    def __init__(self, axis: Axis = TRAINING_STEP) -> None:
        self.steps = 0
        self.total = 0.0
        self._axis = axis
        self._warm_up = WARM_UP if axis == TRAINING_STEP else 0
        self._min_blocks = MIN_BLOCKS if axis == TRAINING_STEP else MIN_FOLDS
        self._block_steps = BLOCK_STEPS if axis == TRAINING_STEP else 1
        self._warm_up_total = 0.0
        self._blocks: list[float] = []  # the mean of each full block
        self._open = 0.0
        self._open_steps = 0

    def add(self, amount: float) -> None:
        """Count one more step."""
        self.steps += 1
        self.total += amount
        if self.steps <= self._warm_up:
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
        steady = self.steps - self._warm_up
        return (self.total - self._warm_up_total) / steady if steady > 0 else None

    @property
    def error(self) -> float | None:
        """The standard error of that mean; None while there are too few blocks."""
        if len(self._blocks) < self._min_blocks:
            return None
        return self._spread / math.sqrt(len(self._blocks))

    @property
    def _degrees(self) -> int:
        """Of freedom, of the spread."""
        return len(self._blocks) - 1 + (FOLDS_DEGREES if self._axis == FOLD else 0)

    @property
    def _spread(self) -> float:
        """The standard deviation of blocks."""
        if self._axis == TRAINING_STEP:
            return stdev(self._blocks)
        usual = FOLDS_SPREAD * fmean(self._blocks)
        squares = FOLDS_DEGREES * usual**2 + (len(self._blocks) - 1) * variance(self._blocks)
        return math.sqrt(squares / self._degrees)

    def roughly_at(self, steps: float) -> float | None:
        """The total after ``steps`` steps if the rest cost the mean of those so far; None while too little is known.

        Precise enough to record what a trial would have cost, not to end it. Of infinite steps nothing is known.
        """
        rest, mean = steps - self.steps, self.mean
        if rest == 0:
            return self.total
        return None if mean is None or math.isinf(rest) else self.total + rest * mean

    def at(self, steps: float) -> Prediction | None:
        """The same with its interval; None while there are too few blocks for that."""
        value, error = self.roughly_at(steps), self.error
        if value is None or error is None:
            return None
        rest = steps - self.steps
        blocks, to_come = len(self._blocks), max(1.0, rest / self._block_steps)
        t = float(special.stdtrit(self._degrees, CONFIDENCE))
        half = t * error * rest * math.sqrt(1 + blocks / to_come)
        return Prediction(value, value - half, value + half)
