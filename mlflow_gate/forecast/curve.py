"""The cost of a program as a curve over its size, `a + b * size ** c`, and what it says of a size that was not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_EXPONENTS = np.linspace(0.05, 3.0, 60)
_FLOORS = np.concatenate([[0.0], np.logspace(-3, 3, 60)])  # a over the rest, at the largest size
_DRAWS = 20_000
_PERCENT = (2.5, 50, 97.5)


class Forecast(NamedTuple):
    """What a cost will be, with the ends of its 95 % interval, and the exponent c."""

    low: float
    middle: float
    high: float
    exponent: float


def forecast_cost(sizes: Sequence[float], costs: Sequence[float], full: float, min_noise: float) -> Forecast:
    """Forecast a cost at the size `full`. `min_noise` is the least noise of a run, relative to its cost.

    The noise is taken to be normal on logarithms. Each exponent and each floor counts by how well it fits (a uniform
    prior; the scale and the noise are integrated out), so the interval holds the doubt about the curve, too.
    """
    largest = max(sizes)
    x = np.asarray(sizes, float) / largest
    exponents, floors = (grid.ravel() for grid in np.meshgrid(_EXPONENTS, _FLOORS))
    residuals = np.log(np.asarray(costs, float)) - np.log(floors[:, None] + x ** exponents[:, None])
    scales = residuals.mean(axis=1)
    runs = len(x)
    squares = ((residuals - scales[:, None]) ** 2).sum(axis=1) + runs * min_noise**2
    weights = (squares / squares.min()) ** (-(runs - 1) / 2)
    random = np.random.default_rng(0)
    drawn = random.choice(len(weights), _DRAWS, p=weights / weights.sum())
    noise = np.sqrt(squares[drawn] / (runs - 1) * (1 + 1 / runs)) * random.standard_t(runs - 1, _DRAWS)
    curves = scales[drawn] + np.log(floors[drawn] + (full / largest) ** exponents[drawn])
    low, middle, high = np.exp(np.percentile(curves + noise, _PERCENT))
    return Forecast(float(low), float(middle), float(high), float(np.median(exponents[drawn])))
