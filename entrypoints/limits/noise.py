"""How much a cost varies between trials of equal cost, and which differences are too small to matter."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from entrypoints.limits.costs import USUAL_NOISE
from entrypoints.models.configuration import Configuration
from entrypoints.models.learners import ALGORITHMS
from entrypoints.trials.frame import Frame
from entrypoints.trials.trial import Trial
from mlflow_sysmetrics.limits import Values

MIN_DEGREES = 8  # of freedom, for a limit to use a noise
_MIN_SHOWN = 2  # the same for a report, whose intervals are as wide as the degrees are few
# Two single results differ by less in 95 % of cases (the repeatability limit of ISO 5725-6, per standard deviation).
REPEATABILITY = 1.96 * math.sqrt(2)
SMALL = 0.05  # a difference in a cost that is not worth a sentence,
SMALL_MB = 0.1  # and one in memory: a process takes or keeps a few pages by chance
_MAX_EXPONENT = 100.0
_RATES = re.compile("rate|lr|eta|alpha|lambda|momentum|l1|l2")


@dataclass(frozen=True)
class Noise:
    """How much a cost differs between trials of equal cost, from run to run.

    Attributes:
        share: the standard deviation of its logarithm, which is about a share of the cost.
        degrees: of freedom of that; infinite where it is not measured and the share is what is usual.
    """

    share: float
    degrees: float = math.inf

    @property
    def is_measured(self) -> bool:
        return math.isfinite(self.degrees)

    def least_difference(self, error_rate: float = 0.05) -> float:
        """By how much one of two equal costs exceeds the other, as a share, in no more than this share of cases."""
        tail = error_rate / 2
        t = -float(special.stdtrit(self.degrees, tail) if self.is_measured else special.ndtri(tail))
        return math.expm1(min(math.sqrt(2) * self.share * t, _MAX_EXPONENT))


def kind(configuration: Configuration) -> Hashable:
    """What is equal of trials that are expected to cost the same: all but rates and penalties, known by their names.

    Other numbers, such as ``max_features`` or ``C``, may change what a fit costs.
    """
    return repr(sorted((name, value) for name, value in configuration.searched.items() if not _RATES.search(name)))


def alike(trial: Trial) -> list[tuple[Hashable, Values]]:
    """The figures of a finished trial, each with its group, within which costs differ by noise alone.

    For a built-in algorithm, these are the trials of one kind that took the same number of steps. Any hyperparameter
    of another algorithm may affect the cost, so there a group is the folds of one trial.
    """
    configuration = trial.configuration
    if configuration.algorithm in ALGORITHMS:
        return [((kind(configuration), trial.figures.get("steps")), trial.figures)]
    return [(configuration.key, fold) for fold in trial.folds]


def measured(observed: Iterable[tuple[Hashable, float]], min_degrees: int = MIN_DEGREES) -> Noise | None:
    """The noise of a cost within groups; None with too few degrees of freedom.

    It is that of the larger half of the groups, if it is known: limits are on high costs, and the relative noise of
    small ones is larger.

    Args:
        observed: pairs of a group, and the cost of one of its trials.
        min_degrees: of freedom.
    """
    logarithms: dict[Hashable, list[float]] = {}
    for key, cost in observed:
        if cost > 0:
            logarithms.setdefault(key, []).append(math.log(cost))
    groups = sorted((np.array(values) for values in logarithms.values() if len(values) > 1), key=np.mean)
    for some, least in ((groups[len(groups) // 2 :], MIN_DEGREES), (groups, min_degrees)):
        degrees = sum(len(values) - 1 for values in some)
        if degrees >= least:
            squares = sum(float(((values - values.mean()) ** 2).sum()) for values in some)
            return Noise(math.sqrt(squares / degrees), degrees)
    return None


def noise_of(frame: Frame, cost: str) -> Noise:
    """The noise of a cost in the first study, or what is usual where its trials do not show it.

    If any two of them may differ in cost, it is that of the folds of a trial: an upper bound, since their rows differ.
    """
    ended = frame.ended
    found = None
    if len(ended) and cost in ended:
        found = measured(zip(_groups(frame), ended[cost].astype(float), strict=True), _MIN_SHOWN)
    if found is None and cost in frame.folds:
        folds = frame.folds[frame.folds["trial_id"].isin(ended["trial_id"])].dropna(subset=[cost])
        found = measured(zip(folds["trial_id"], folds[cost].astype(float), strict=True), _MIN_SHOWN)
    return found or Noise(USUAL_NOISE.get(cost, math.inf))


def _groups(frame: Frame) -> pd.Series[str]:
    """The group of each trial that ran to its end, as `alike` has it."""
    trials = frame.ended
    only = frame.studies["algorithm"].iloc[0]
    work = trials.reindex(columns=["algorithm", "batch_size", "steps"]).astype(object).fillna({"algorithm": only or ""})
    is_built_in = work["algorithm"].isin([*ALGORITHMS])
    return frame.configurations[trials.index].mask(is_built_in, work.map(str).agg(" ".join, axis=1))


def small(cost: str, size: float) -> float:
    """The difference in a cost of this size that is not worth a sentence, in its unit."""
    return max(SMALL * size, SMALL_MB if is_memory(cost) else 0.0)


def is_memory(figure: str) -> bool:
    """Whether a figure is an amount of memory in MB."""
    return figure.endswith("_mb") and ("memory" in figure or "rss" in figure)
