"""How much a cost varies between trials of equal cost, and which differences are too small to matter."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable

import numpy as np

from entrypoints.models.configuration import Configuration
from entrypoints.models.learners import ALGORITHMS
from mlflow_sysmetrics.limits import Values

MIN_DEGREES = 8  # of freedom, for a limit to use a noise
# Two single results differ by less in 95 % of cases (the repeatability limit of ISO 5725-6, per standard deviation).
REPEATABILITY = 1.96 * math.sqrt(2)
SMALL = 0.05  # a difference in a cost that is not worth a sentence,
SMALL_MB = 0.1  # and one in memory: a process takes or keeps a few pages by chance


def group(configuration: Configuration, figures: Values) -> Hashable:
    """The group of a finished trial. Trials of one group differ in cost by noise alone.

    For a built-in algorithm, these are the trials with the same batch size that took the same number of steps.
    Any hyperparameter of the user's own algorithm may affect the cost, so there a group is one configuration.
    """
    if configuration.algorithm not in ALGORITHMS:
        return configuration.key
    return configuration.algorithm, configuration.batch_size, figures.get("steps")


def noise_at_limits(observed: Iterable[tuple[Hashable, Values]], metric: str) -> float | None:
    """The standard deviation of a cost within groups, as a share of it; None with too few degrees of freedom.

    It is that of the larger half of the groups, if it is known: limits are on high costs, and the relative noise of
    small ones is larger.

    Args:
        observed: pairs of a group, and the figures of one of its trials.
        metric: the figure.
    """
    logarithms: dict[Hashable, list[float]] = {}
    for each, figures in observed:
        if figures.get(metric, 0.0) > 0:
            logarithms.setdefault(each, []).append(math.log(figures[metric]))
    groups = sorted((np.array(values) for values in logarithms.values() if len(values) > 1), key=np.mean)
    for some in (groups[len(groups) // 2 :], groups):
        degrees = sum(len(values) - 1 for values in some)
        if degrees >= MIN_DEGREES:
            return math.sqrt(sum(float(((values - values.mean()) ** 2).sum()) for values in some) / degrees)
    return None


def small(figure: str, size: float) -> float:
    """The difference up to which a figure's change does not matter, as a share of its typical size."""
    return max(SMALL, SMALL_MB / size) if is_memory(figure) and size else SMALL


def is_memory(figure: str) -> bool:
    """Whether a figure is an amount of memory in MB."""
    return figure.endswith("_mb") and ("memory" in figure or "rss" in figure)
