"""Is the candidate worse than the baseline? Pure functions on the numbers of pairs of runs.

A metric is judged after 3, 5, 7 and 10 pairs, and each look has its share of the error that all may make: with the
limits below, a one-sided paired t test finds in 1 % of checks that something is worse where nothing has changed, and in
5 % that a metric passes whose change is the tolerance. The limits were found by simulation of normal noise; those of
*worse* grow with the square of the number of pairs, as early looks are the least reliable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import chdtri, stdtrit

LOOKS = (3, 5, 7, 10)
WORSE, BETTER, PASSES, UNDECIDED = "worse", "better", "passes", "cannot be judged"
_P_WORSE, _P_PASSES = 0.0057, 0.0175  # at the last look, of all metrics together; at each look, of each metric
_P_MISSED = 0.05  # of a change of the detectable size


@dataclass(frozen=True)
class ComparedMetric:
    """A metric of a run that is compared; by default one that the program logs.

    Amounts are in `unit`. "%" is relative to the baseline, of a cost by the logarithm of each pair's ratio. "sd" is the
    standard deviation of the baseline's runs: how much seeds change it. "" is that of the metric itself.
    """

    name: str
    unit: str = "sd"
    tolerance: float = 1.0  # a change that is shown to be smaller passes
    min_change: float = 0.25  # a smaller change is never worse
    min_noise: float = 1e-9  # pairs that differ less do so by luck
    higher_is_better: bool = False
    is_cost: bool = False  # measured by us: positive, and never without noise; changes are ratios
    together: int = 1  # metrics of a check, which share the error


CPU = ComparedMetric("cpu_seconds", "%", 5.0, 2.0, 0.3, is_cost=True)
TRAINING_PHASE = "train"
PEAK_RSS = ComparedMetric("peak_rss_mb", "%", 2.0, 1.0, 0.1, is_cost=True)
# Of the whole program, and sampled: a short peak is seen in one run and missed in the next, so a few equal pairs do not
# tell how much they can differ.
MEMORY = ComparedMetric("peak_memory_mb", "%", 10.0, 5.0, 2.0, is_cost=True)
TIME = ComparedMetric("elapsed_s", "%", 25.0, 5.0, 0.3, is_cost=True)


def cpu_of_phase(name: str) -> ComparedMetric:
    """The CPU time of a phase of the program, as its own process logs it: without imports, whose noise hides it."""
    return replace(CPU, name=f"phase/{name}/cpu_seconds")


SERVED_CPU = ComparedMetric("served_cpu_ms", "%", 10.0, 5.0, 1.0, is_cost=True)
SERVED_MEMORY = ComparedMetric("served_memory_mb", "%", 2.0, 1.0, 0.1, is_cost=True)
SERVED_TIME = ComparedMetric("served_p50_ms", "%", 25.0, 5.0, 1.0, is_cost=True)
# Of two endpoints it is all that is known of each request, and both wait for the same machine.
ENDPOINT_TIME = ComparedMetric("served_p50_ms", "%", 10.0, 5.0, 1.0, is_cost=True)
# At a rate: what keeps up with it answers all of it.
ANSWERED = ComparedMetric("served_answered_per_s", "%", 5.0, 2.0, 0.3, higher_is_better=True, is_cost=True)


@dataclass(frozen=True)
class Finding:
    """What is known of a metric: its change with an interval, and the noise between pairs.

    They are in `unit`: "%", or that of the metric itself. The interval holds in 96.5 % at one look, so that its upper
    end holds in 95 % over all looks.
    """

    name: str
    verdict: str  # WORSE, BETTER, PASSES or UNDECIDED
    unit: str = ""
    change: float = 0.0
    low: float = 0.0
    high: float = 0.0
    noise: float = 0.0
    detectable: float = 0.0  # the smallest change for the worse that would have been found in 95 %
    why: str = ""  # how it was judged, where not by its noise
    rows: float = 0.0  # of a score of rows that cannot be judged: about how many would tell


class Differences(NamedTuple):
    """What the pairs differ by, more is worse; and the amounts of `ComparedMetric` in the same unit."""

    values: np.ndarray
    tolerance: float
    min_change: float
    min_noise: float


def judge(metric: ComparedMetric, baseline: Sequence[float], candidate: Sequence[float]) -> Finding:
    """Judge a metric by its values in pairs of runs. It may lack pairs that tell nothing of it."""
    a = np.asarray(baseline, float)
    b = np.asarray(candidate, float)
    n = len(a)
    if n < LOOKS[0]:
        why = f"too few pairs tell of it, {n}: in the others a side could not be measured"
        return Finding(metric.name, UNDECIDED, why=why)
    if metric.unit == "%" and not a.mean():  # of nothing there is no part that could be tolerated
        metric = replace(metric, unit="", tolerance=0.0, min_change=0.0)
    if metric.is_cost or np.ptp(a) or np.ptp(b):
        return by_noise(metric, _differences(metric, a, b), _P_WORSE * (n / LOOKS[-1]) ** 2, _P_PASSES)
    return _exactly(metric, a[0], b[0])


def by_noise(metric: ComparedMetric, pairs: Differences, p_worse: float, p_passes: float) -> Finding:
    """Judge the mean difference, with these errors at this look: to find anything worse, and to let it pass."""
    n = len(pairs.values)
    mean = float(pairs.values.mean())
    noise = max(float(pairs.values.std(ddof=1)), pairs.min_noise)
    error = noise / math.sqrt(n)
    # A one-sided t test finds a mean that is at least so much.
    surely = -stdtrit(n - 1, p_worse / metric.together) * error
    half = -stdtrit(n - 1, p_passes) * error
    detectable = max(pairs.min_change, surely - stdtrit(n - 1, _P_MISSED) * error)
    verdict = UNDECIDED
    if mean >= max(surely, pairs.min_change):
        verdict = WORSE
    elif pairs.tolerance - mean >= half:
        verdict = BETTER if -mean >= max(surely, pairs.min_change) else PASSES
    change = -mean if metric.higher_is_better else mean
    amounts = [change, change - half, change + half, noise, detectable]
    if metric.is_cost:
        amounts = [100 * math.expm1(amount) for amount in amounts]  # of logarithms of ratios
    return Finding(metric.name, verdict, metric.unit.replace("sd", ""), *amounts)


def _differences(metric: ComparedMetric, a: np.ndarray, b: np.ndarray) -> Differences:
    amounts = [metric.tolerance, metric.min_change, metric.min_noise]
    if metric.is_cost:
        a, b = np.log(a), np.log(b)
        amounts = [math.log1p(amount / 100) for amount in amounts]
    worse_by = a - b if metric.higher_is_better else b - a
    if metric.is_cost or not metric.unit:
        return Differences(worse_by, *amounts)
    if metric.unit == "%":
        return Differences(100 * worse_by / abs(a.mean()), *amounts)
    # In spreads of the candidate, where those of the baseline are all alike.
    spread = float((a if np.ptp(a) else b).std(ddof=1))
    # A few runs tell it roughly: in 95 % it is at most this, and in 95 % at least that.
    n = len(b)
    at_most, at_least = spread * np.sqrt((n - 1) / chdtri(n - 1, [0.95, 0.05]))
    tolerance = metric.tolerance * at_least
    return Differences(worse_by, tolerance, metric.min_change * at_most, metric.min_noise * spread)


def _exactly(metric: ComparedMetric, a: float, b: float) -> Finding:
    """The verdict on a metric that all runs of a side have alike."""
    worse_by = a - b if metric.higher_is_better else b - a
    rounding = 1e-9 * abs(a)
    tolerated = rounding
    if metric.unit == "%":
        tolerated = max(rounding, abs(a) * metric.tolerance / 100)
    verdict = PASSES
    if worse_by > tolerated:
        verdict = WORSE
    elif worse_by < -rounding:
        verdict = BETTER
    why = f"{a:.6g} -> {b:.6g} in every run; with {{pair}} as its seed, more than one case is judged"
    return Finding(metric.name, verdict, "", b - a, b - a, b - a, why=why)
