"""Is the candidate worse than the baseline? Pure functions on the numbers of pairs of runs.

A summary is looked at after 3, 5, 7 and 10 pairs, and each look has its share of the error that all may make: with the
limits below, a one-sided paired t test finds in 1 % of checks that something is worse where nothing has changed, and in
5 % that a summary passes whose change is the tolerance. The limits were found by simulation of normal noise; those of
*worse* grow with the square of the number of pairs, as early looks are the least reliable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtri, stdtrit

LOOKS = (3, 5, 7, 10)
_WORSE, _PASSES = 0.0057, 0.0175  # p at the last look, of all summaries together; p at each look, of each


@dataclass(frozen=True)
class Summary:
    """A number of a run that is compared; by default a metric that the program logs.

    Amounts are in `unit`. "%" is relative to the baseline, of a cost by the logarithm of each pair's ratio. "sd" is the
    standard deviation of the baseline's runs: how much seeds change it.
    """

    name: str
    unit: str = "sd"
    tolerance: float = 1.0  # a change that is shown to be smaller passes
    least: float = 0.25  # a smaller change is never worse
    least_noise: float = 1e-9  # pairs that differ less do so by luck
    higher_is_better: bool = False
    is_cost: bool = False  # measured by us: positive, and never without noise


CPU = Summary("cpu_seconds", "%", 5.0, 2.0, 0.3, is_cost=True)
MEMORY = Summary("peak_rss_mb", "%", 2.0, 1.0, 0.1, is_cost=True)
TIME = Summary("elapsed_s", "%", 25.0, 5.0, 0.3, is_cost=True)


@dataclass(frozen=True)
class Judged:
    """What is known of a summary: its change with an interval, and the noise between pairs.

    They are in `unit`: "%", or that of the metric itself.

    The interval holds in 96.5 % at one look, so that its upper end holds in 95 % over all looks. `seen` is the smallest
    change for the worse that would have been found in 95 %.
    """

    name: str
    verdict: str  # "worse", "better", "passes" or "cannot be judged"
    unit: str
    change: float
    low: float
    high: float
    noise: float = 0.0
    seen: float = 0.0
    spread: float = 0.0  # of the baseline's runs, where that is the measure of its change: a standard deviation
    why: str = ""  # how it was judged, where not by its noise


def judge(
    summaries: Sequence[Summary],
    baseline: Sequence[Sequence[float]],
    candidate: Sequence[Sequence[float]],
    before: Sequence[Judged] = (),
) -> list[Judged]:
    """Judge each summary by its values in pairs of runs: row n of both has those of summary n.

    A row of the baseline may have a single value: that of a stored run, beside which all runs of the candidate stand.
    What was found to be worse at the look before stays so.
    """
    worse = {each.name for each in before if each.verdict == "worse"}
    judged = []
    for summary, *rows in zip(summaries, baseline, candidate, strict=True):
        a, b = (np.asarray(row, float) for row in rows)
        varies = summary.is_cost or np.ptp(a) or np.ptp(b)
        each = _judge(summary, a, b, _WORSE / len(summaries)) if varies else _exactly(summary, a[0], b[0])
        judged.append(replace(each, verdict="worse") if summary.name in worse else each)
    return judged


def _judge(summary: Summary, a: np.ndarray, b: np.ndarray, error: float) -> Judged:
    n, sign = len(b), -1.0 if summary.higher_is_better else 1.0  # worse is more
    least, tolerance, least_noise, spread = summary.least, summary.tolerance, summary.least_noise, 0.0
    if summary.is_cost:
        differences = np.log(b) - np.log(a)
        least, tolerance, least_noise = (math.log1p(each / 100) for each in (least, tolerance, least_noise))
    elif summary.unit == "%":
        differences = sign * 100 * (b - a) / abs(a.mean())
    else:  # in spreads of the candidate, where there is one baseline, or one seed
        differences, spread = sign * (b - a), float((a if np.ptp(a) else b).std(ddof=1))
        # A few runs tell it roughly: in 95 % it is at most this, and in 95 % at least that.
        at_most, at_least = spread * np.sqrt((n - 1) / chdtri(n - 1, [0.95, 0.05]))
        least, tolerance, least_noise = least * at_most, tolerance * at_least, least_noise * spread
    mean, noise = float(differences.mean()), max(float(differences.std(ddof=1)), least_noise)
    se = noise * math.sqrt(1 / n + (1 if len(a) == 1 else 0))  # one stored value is as noisy as one of these
    # A one-sided t test finds a mean that is at least so much; p at this look, for worse, to pass, and of a miss.
    surely, passes, found = -stdtrit(n - 1, [error * (n / LOOKS[-1]) ** 2, _PASSES, 0.05]) * se
    verdict = "cannot be judged"
    if mean >= max(surely, least):
        verdict = "worse"
    elif tolerance - mean >= passes:
        verdict = "better" if -mean >= max(surely, least) else "passes"
    change = sign * mean
    amounts = [change, change - passes, change + passes, noise, max(least, surely + found), spread]
    if summary.is_cost:
        amounts = [100 * math.expm1(each) for each in amounts]  # of logarithms of ratios
    return Judged(summary.name, verdict, summary.unit.replace("sd", ""), *amounts)


def _exactly(summary: Summary, a: float, b: float) -> Judged:
    """The verdict on a metric that all runs of a side have alike."""
    worse_by = a - b if summary.higher_is_better else b - a
    rounding = 1e-9 * abs(a)
    tolerated = max(rounding, abs(a) * summary.tolerance / 100 if summary.unit == "%" else 0.0)
    verdict = "worse" if worse_by > tolerated else "better" if worse_by < -rounding else "passes"
    why = "compared exactly, as it does not vary: give {pair} as a seed to judge it beyond this one"
    return Judged(summary.name, verdict, "", b - a, b - a, b - a, why=f"{a:.6g} -> {b:.6g}, {why}")
