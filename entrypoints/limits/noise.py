"""How much a figure varies between trials of equal cost, and which differences are more than that."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from entrypoints.limits.costs import USUAL_NOISE
from entrypoints.models.configuration import Configuration
from entrypoints.models.learners import ALGORITHMS
from mlflow_sysmetrics.limits import Values

MIN_DEGREES = 8  # of freedom, for a limit to use a noise, and to tell what the order of trials explains
MIN_REPEATED = 2  # of freedom, to report it at all: one configuration that ran three times
SHARE = "share"  # the unit of a noise that is relative
KINDS, REPEATS, FOLDS, UNKNOWN = "kinds", "repeats", "folds", "unknown"
# Two single results differ by less in 95 % of cases (the repeatability limit of ISO 5725-6, per standard deviation).
REPEATABILITY = 1.96 * math.sqrt(2)
SMALL = 0.05  # a difference in a cost that is not worth a sentence,
SMALL_MB = 0.1  # and one in memory: a process takes or keeps a few pages by chance
# Five families of findings: effects, interactions, trends, differences, order. Of studies without any real difference,
# at most 5 % report one.
TOLD_P = 0.05 / 5


@dataclass(frozen=True)
class Noise:
    """How much a figure differs from run to run.

    Attributes:
        figure: its name.
        noise: the standard deviation of one configuration's figure, as a share of it; of the score the standard error
            of the difference between two models, in the score's own unit. None where it is unknown.
        unit: of noise and margin: ``share``, or the score's name.
        margin: two trials that differ by no more may be equal. None where it is unknown.
        degrees_of_freedom: of noise.
        source: ``kinds`` (trials whose cost cannot differ), ``repeats`` (of one configuration), ``folds``, ``unknown``.
    """

    figure: str
    noise: float | None
    unit: str
    margin: float | None
    degrees_of_freedom: int
    source: str

    @property
    def row(self) -> dict[str, Any]:
        """As a row of noise.json."""
        return asdict(self)

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Noise:
        """From a row of noise.json."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})

    def as_share(self, of: float) -> float:
        """The noise as a share of a typical value of the figure; 0 where it is unknown."""
        if self.noise is None:
            return 0.0
        return self.noise if self.unit == SHARE else self.noise / abs(of) if of else math.inf


def group(configuration: Configuration, figures: Values) -> Hashable:
    """The group of a finished trial. Trials of one group differ in cost by noise alone.

    For a built-in algorithm, these are the trials with the same batch size and tol that took the same number of steps.
    Any hyperparameter of the user's own algorithm may affect the cost, so there a group is one configuration.
    """
    if configuration.algorithm not in ALGORITHMS:
        return configuration.key
    return configuration.algorithm, configuration.batch_size, configuration.tol or 0.0, figures.get("steps")


def noise(observed: Sequence[tuple[Any, Values]], metric: str, least: int) -> float | None:
    """The relative standard deviation of a metric among trials of the same group; None with too few degrees of freedom.

    Args:
        observed: pairs of a group, and the figures of one trial of that group.
        metric: the figure.
        least: the minimum degrees of freedom.
    """
    groups = _logarithms(observed, metric)
    degrees = sum(len(values) - 1 for values in groups.values())
    if degrees < max(least, 1):
        return None
    return math.sqrt(sum(float(((values - values.mean()) ** 2).sum()) for values in groups.values()) / degrees)


def noise_at_limits(observed: Sequence[tuple[Any, Values]], metric: str, least: int) -> float | None:
    """The noise of figures near a limit: that of the larger half of the groups, if it is known.

    Limits are on high costs, and the relative noise of small figures is larger. Arguments as for ``noise``.
    """
    means = {each: float(values.mean()) for each, values in _logarithms(observed, metric).items()}
    middle = median(means.values()) if means else 0.0
    larger = noise([pair for pair in observed if means.get(pair[0], -math.inf) >= middle], metric, least)
    return noise(observed, metric, least) if larger is None else larger


def of_costs(trials: Sequence[tuple[Configuration, Values]], names: Iterable[str]) -> list[Noise]:
    """The noise of each of these figures over the trials that ran to their end, repeated ones included."""
    observed = [(group(configuration, figures), figures) for configuration, figures in trials]
    return [_of_cost(observed, name) for name in names]


def of_score(score: str, folds: Sequence[Sequence[float]], *, higher_is_better: bool) -> Noise:
    """The noise of the score, from fold to fold.

    Folds differ in how hard they are, alike for all models: what is left of the scores without the means of folds and
    of models is noise. Taken of the better half of the models, since bad ones differ more. The standard error of the
    difference between two means adds the share of test to training rows to 1/n, for n folds, since these share
    training rows (Nadeau and Bengio, Machine Learning 52, 2003). The margin is that of a t-test at 5 % of each other
    model against one (Bonferroni), so that what is chosen among many is not called better by that alone.

    Args:
        score: its name.
        folds: the scores of each model on each fold; models that lack one are left out.
        higher_is_better: of the score.
    """
    unknown = Noise(score, None, score, None, 0, UNKNOWN)
    full = max(map(len, folds), default=0)
    table: NDArray[np.float64] = np.array([row for row in folds if len(row) == full and np.isfinite(row).all()])
    if len(table) < 2 or full < 2:
        return unknown
    means = table.mean(axis=1) * (-1 if higher_is_better else 1)
    better = table[means <= np.median(means)] if len(table) > 3 else table
    if len(better) < 2:
        return unknown
    left = better - better.mean(axis=1, keepdims=True) - better.mean(axis=0) + better.mean()
    degrees = (len(better) - 1) * (full - 1)
    error = math.sqrt(2 * float((left**2).sum()) / degrees * (1 / full + 1 / (full - 1)))
    margin = float(stats.t.ppf(1 - 0.025 / (len(table) - 1), degrees)) * error
    return Noise(score, error, score, margin, degrees, FOLDS)


def margins(noises: Iterable[Noise]) -> dict[str, float]:
    """The smallest difference in each figure that is not noise; a usual value where the noise is unknown."""
    usual = {name: REPEATABILITY * share for name, share in USUAL_NOISE.items()}
    return usual | {each.figure: each.margin for each in noises if each.margin is not None}


def worth_telling(p: float, difference: float, noise: float, small: float = SMALL) -> bool:
    """Whether to report a finding: significant after correction, larger than the noise, and not too small to matter.

    Args:
        p: adjusted for all tests of its family.
        difference: as a share of the figure.
        noise: as a share of the figure.
        small: the share up to which a difference does not matter.
    """
    return bool(p < TOLD_P and abs(difference) > max(noise, small))


def small(figure: str, size: float) -> float:
    """The difference up to which a figure's change does not matter, as a share of its typical size."""
    return max(SMALL, SMALL_MB / size) if is_memory(figure) and size else SMALL


def cheapest_by_chance(noise: Noise | None, others: int) -> float:
    """The share by which the cheapest of several equal trials may look cheaper than another; more only in 1 % of cases.

    By Bonferroni's correction over the others, with Student's t for as many degrees of freedom as the noise has. A
    noise that this study does not show is taken as usual; infinite where there is no usual one.
    """
    usual = USUAL_NOISE.get(noise.figure) if noise else None
    share, degrees = (noise.noise, noise.degrees_of_freedom) if noise and noise.noise is not None else (usual, math.inf)
    if share is None or not others:
        return math.inf
    t = float(stats.t.isf(TOLD_P / others, degrees))
    return math.expm1(min(math.sqrt(2) * share * t, 100.0))


def cheapest(cost: str, values: Sequence[float], by_chance: float, margin: float) -> tuple[int, bool | None]:
    """The place of the cheapest of equal models, and whether it costs less than the first; None: maybe by chance.

    Of several that cost less and are as cheap the first is chosen, since which of them is cheapest is chance.

    Args:
        cost: what is compared.
        values: of the models, the best first; NaN where unknown, but not of all.
        by_chance: see ``cheapest_by_chance``.
        margin: the share by which two may differ and be as cheap.
    """
    known = [place for place, value in enumerate(values) if not math.isnan(value)]
    lowest = min(known, key=values.__getitem__)
    cheaper = _is_cheaper(cost, values[lowest], values[0], by_chance)
    if not cheaper:
        return lowest, cheaper
    as_cheap = (place for place in known if values[place] <= values[lowest] * (1 + margin))
    return next(place for place in as_cheap if _is_cheaper(cost, values[place], values[0], by_chance)), True


def _is_cheaper(cost: str, value: float, than: float, by_chance: float) -> bool | None:
    """Whether a cost is less by more than 5 %, of memory also 0.1 MB; None where it is, but may be by chance."""
    if value * (1 + SMALL) >= than or (is_memory(cost) and than - value <= SMALL_MB):
        return False
    return value * (1 + by_chance) < than or None


def is_memory(figure: str) -> bool:
    """Whether a figure is an amount of memory in MB."""
    return figure.endswith("_mb") and ("memory" in figure or "rss" in figure)


def _of_cost(observed: Sequence[tuple[Hashable, Values]], name: str) -> Noise:
    groups = _logarithms(observed, name)
    degrees = sum(len(values) - 1 for values in groups.values())
    share = noise(observed, name, MIN_REPEATED)
    if share is None:
        return Noise(name, None, SHARE, None, degrees, UNKNOWN)
    of_kinds = any(isinstance(each, tuple) for each in groups)
    return Noise(name, share, SHARE, REPEATABILITY * share, degrees, KINDS if of_kinds else REPEATS)


def _logarithms(observed: Sequence[tuple[Any, Values]], metric: str) -> dict[Any, NDArray[np.float64]]:
    """The logarithms of a figure in each group of several trials."""
    by_group: dict[Any, list[float]] = {}
    for each, figures in observed:
        if figures.get(metric, 0.0) > 0:
            by_group.setdefault(each, []).append(math.log(figures[metric]))
    return {each: np.array(values) for each, values in by_group.items() if len(values) > 1}
