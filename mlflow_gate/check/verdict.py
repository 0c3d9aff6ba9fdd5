"""Is the candidate worse than the baseline? Pure functions on the numbers of pairs of runs.

The true change of a metric lies in one of three zones:

    never worse    up to a quarter of the tolerance: at most 1 % of checks find anything worse, of all metrics together
    tolerated      up to the tolerance: at most 5 % find this metric worse
    worse          above the tolerance: at most 5 % let it pass

So a metric passes if it is surely below the tolerance, and is worse if it is shown to be above the tolerance and is
surely above "never worse". Else it is undecided, and more pairs may tell. Each of the looks at the pairs has its share
of these errors, found by simulation of normal noise for one-sided paired t tests. The share of "never worse" grows with
the number of pairs, as early looks are the least reliable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import chdtri, stdtrit

LOOKS = (3, 5, 7, 10, 14, 20)  # numbers of pairs
MAX_PAIRS = LOOKS[-1]
NEVER_WORSE = 0.25  # of the tolerance
WORSE, BETTER, PASSES, UNDECIDED = "worse", "better", "passes", "cannot be judged"
_P_SURELY = 0.004  # at the last look, of all metrics together
_P_SHOWN = 0.012  # at each look, of each metric
_P_MISSED = 0.05  # of a change of the detectable size


@dataclass(frozen=True)
class ComparedMetric:
    """A metric of a run that is compared; by default one that the program logs.

    Amounts are in `unit`. "%" is relative to the baseline, of a cost by the logarithm of each pair's ratio. "sd" is the
    standard deviation of the baseline's runs: how much seeds change it. "" is that of the metric itself.
    """

    name: str
    unit: str = "sd"
    tolerance: float = 1.0
    min_noise: float = 1e-9  # pairs that differ less do so by luck
    higher_is_better: bool = False
    is_cost: bool = False  # measured by us: positive, and never without noise; changes are ratios
    together: int = 1  # metrics of a check, which share the error


CPU = ComparedMetric("cpu_seconds", "%", 5.0, 0.3, is_cost=True)
TRAINING_PHASE = "train"
PEAK_RSS = ComparedMetric("peak_rss_mb", "%", 2.0, 0.1, is_cost=True)
# Of the whole program, and sampled: a short peak is seen in one run and missed in the next, so a few equal pairs do not
# tell how much they can differ.
MEMORY = ComparedMetric("peak_memory_mb", "%", 10.0, 2.0, is_cost=True)
TIME = ComparedMetric("elapsed_s", "%", 25.0, 0.3, is_cost=True)


def cpu_of_phase(name: str) -> ComparedMetric:
    """The CPU time of a phase of the program, as its own process logs it: without imports, whose noise hides it."""
    return replace(CPU, name=f"phase/{name}/cpu_seconds")


SERVED_CPU = ComparedMetric("served_cpu_ms", "%", 10.0, 1.0, is_cost=True)
SERVED_MEMORY = ComparedMetric("served_memory_mb", "%", 2.0, 0.1, is_cost=True)
SERVED_TIME = ComparedMetric("served_p50_ms", "%", 25.0, 1.0, is_cost=True)
# Of two endpoints it is all that is known of each request, and both wait for the same machine.
ENDPOINT_TIME = ComparedMetric("served_p50_ms", "%", 10.0, 1.0, is_cost=True)
# At a rate: what keeps up with it answers all of it.
ANSWERED = ComparedMetric("served_answered_per_s", "%", 5.0, 0.3, higher_is_better=True, is_cost=True)


@dataclass(frozen=True)
class Finding:
    """What is known of a metric: its change with an interval, and the noise between pairs.

    They are in `unit`: "%", or that of the metric itself. The interval holds in 97.6 % at one look, so that either end
    holds in 95 % over all looks.
    """

    name: str
    verdict: str  # WORSE, BETTER, PASSES or UNDECIDED
    unit: str = ""
    change: float = 0.0
    low: float = 0.0
    high: float = 0.0
    noise: float = 0.0
    detectable: float = 0.0  # the smallest change for the worse that would have been found in 95 %
    tolerance: float = 0.0  # a larger change is worse
    why: str = ""  # how it was judged, where not by its noise
    rows: float = 0.0  # of a score of rows that cannot be judged: about how many would tell


class Differences(NamedTuple):
    """What the pairs differ by, more is worse; and the amounts of `ComparedMetric` in the same unit.

    There are two tolerances where it is not known exactly: a change below the smaller one passes, and one above the
    larger one is worse.
    """

    values: np.ndarray
    passes_below: float
    worse_above: float
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
        metric = replace(metric, unit="", tolerance=0.0)
    if metric.is_cost or np.ptp(a) or np.ptp(b):
        return by_noise(metric, _differences(metric, a, b), _P_SURELY * n / MAX_PAIRS, _P_SHOWN)
    return _exactly(metric, a[0], b[0])


def by_noise(metric: ComparedMetric, pairs: Differences, p_surely: float, p_shown: float) -> Finding:
    """Judge the mean difference, with these errors at this look: that of all metrics, and that of each."""
    n = len(pairs.values)
    mean = float(pairs.values.mean())
    noise = max(float(pairs.values.std(ddof=1)), pairs.min_noise)
    error = noise / math.sqrt(n)
    # A one-sided t test finds a mean that is at least so much.
    bounds = _bounds(n, error, pairs.worse_above, p_surely / metric.together, p_shown)
    verdict = UNDECIDED
    if mean > max(bounds.surely, pairs.worse_above + bounds.half):
        verdict = WORSE
    elif mean + bounds.half < pairs.passes_below:
        verdict = BETTER if -mean > bounds.surely else PASSES
    change = -mean if metric.higher_is_better else mean

    def in_unit(amount: float) -> float:
        return 100 * math.expm1(amount) if metric.is_cost else amount  # of the logarithm of a ratio

    return Finding(
        metric.name,
        verdict,
        metric.unit.replace("sd", ""),
        change=in_unit(change),
        low=in_unit(change - bounds.half),
        high=in_unit(change + bounds.half),
        noise=in_unit(noise),
        detectable=in_unit(bounds.detectable),
        tolerance=in_unit(pairs.worse_above),
    )


class _Bounds(NamedTuple):
    surely: float  # a mean above it surely is above "never worse"
    half: float  # of the interval
    detectable: float


def _bounds(n: int, error: float, tolerance: float, p_surely: float, p_shown: float) -> _Bounds:
    """Of a mean of n pairs with this standard error."""
    surely = NEVER_WORSE * tolerance - stdtrit(n - 1, p_surely) * error
    half = -stdtrit(n - 1, p_shown) * error
    return _Bounds(surely, half, max(surely, tolerance + half) - stdtrit(n - 1, _P_MISSED) * error)


def detectable_after(n: int, metric: ComparedMetric, finding: Finding) -> float:
    """About the smallest change that n pairs find in 95 %, if the noise between them stays what it is."""
    error = finding.noise / math.sqrt(n)
    return _bounds(n, error, finding.tolerance, _P_SURELY * n / MAX_PAIRS / metric.together, _P_SHOWN).detectable


def _differences(metric: ComparedMetric, a: np.ndarray, b: np.ndarray) -> Differences:
    tolerance, min_noise = metric.tolerance, metric.min_noise
    if metric.is_cost:
        a, b = np.log(a), np.log(b)
        tolerance, min_noise = math.log1p(tolerance / 100), math.log1p(min_noise / 100)
    worse_by = a - b if metric.higher_is_better else b - a
    if metric.is_cost or not metric.unit:
        return Differences(worse_by, tolerance, tolerance, min_noise)
    if metric.unit == "%":
        return Differences(100 * worse_by / abs(a.mean()), tolerance, tolerance, min_noise)
    # In spreads of the candidate, where those of the baseline are all alike.
    spread = float((a if np.ptp(a) else b).std(ddof=1))
    # A few runs tell it roughly: in 98 % it is at most this, and in 98 % at least that.
    n = len(b)
    at_most, at_least = spread * np.sqrt((n - 1) / chdtri(n - 1, [0.98, 0.02]))
    return Differences(worse_by, tolerance * at_least, tolerance * at_most, min_noise * spread)


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
