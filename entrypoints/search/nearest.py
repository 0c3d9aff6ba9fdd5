"""Which trials come nearest to their limits, and which limits cannot tell them apart, or were not applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from entrypoints.limits.costs import USUAL_NOISE
from entrypoints.limits.judging import Z, excess, resolved, violations
from entrypoints.limits.noise import MIN_DEGREES, group, noise_at_limits
from entrypoints.search.record import TrialRecord, costs
from mlflow_sysmetrics.limits import Criteria, Limit, Stop, Values

MOSTLY = 0.5  # of the trials


@dataclass(frozen=True)
class Judged:
    """The trials that break a study's criteria, nearest first, and the limits that cannot tell trials apart.

    ``inactive`` are the relative limits that have no number, and why.
    """

    nearest: list[tuple[TrialRecord, list[Stop]]]
    indistinct: list[str]
    inactive: list[str]


def judge(criteria: Criteria, trials: Sequence[TrialRecord]) -> Judged:
    """Sort the trials of a study by its criteria.

    Args:
        criteria: the limits.
        trials: of the study. One that its limits ended is judged by what it had cost, or was predicted to; one that
            was ended from outside is not.
    """
    finished = costs(trials)
    known = [
        (trial, {**_broken(trial), **trial.whole})
        for trial in trials
        if not trial.ended_from_outside and not trial.diverged
    ]
    limits = resolved(criteria, finished)
    broken = [(trial, figures) for trial, figures in known if violations(limits, figures)]
    broken.sort(key=lambda pair: excess(limits, pair[1]))
    nearest = [(trial, violations(limits, figures)) for trial, figures in broken]
    ended_by = Counter(trial.ending.stop.criterion for trial in trials if trial.ending)
    inactive = [limit for limit in criteria.limits if limit.resolve(finished) is None]
    why = [_not_applied(limit, finished, ended_by[str(limit)]) for limit in inactive]
    return Judged(nearest, _indistinct(criteria, trials, finished), why)


def _not_applied(limit: Limit, finished: Sequence[Values], ended: int) -> str:
    few = sum(limit.metric.name in figures for figures in finished) < limit.after
    why = f"fewer than {limit.after} trials have the figure" if few else f"the {limit.statistic} is negative"
    if ended:  # while it was of what trials to come were expected to cost
        return f"`{limit}` ended {ended}, by what trials were expected to cost, and was not applied to others: {why}"
    return f"`{limit}` was not applied: {why}"


def _broken(trial: TrialRecord) -> dict[str, float]:
    """The last value of the figure that ended a trial, for use where its final value is not predicted."""
    return {trial.ending.stop.metric: trial.ending.stop.value} if trial.ending else {}


def _indistinct(criteria: Criteria, trials: Sequence[TrialRecord], finished: Sequence[Values]) -> list[str]:
    """The limits that lie within the noise of most trials' figures, so that they cannot tell these apart."""
    groups = [(group(trial.configuration, trial.figures), trial.figures) for trial in trials if trial.complete]
    told = [trial.ending.stop.criterion for trial in trials if trial.ending]  # beyond the noise of their figures
    return [str(limit) for limit in criteria.limits if _within_noise(limit, groups, finished, told.count(str(limit)))]


def _within_noise(
    limit: Limit, groups: Sequence[tuple[Any, Values]], finished: Sequence[Values], told_apart: int
) -> bool:
    name, number = limit.metric.name, limit.resolve(finished)
    share = noise_at_limits(groups, name, MIN_DEGREES)
    band = Z * (USUAL_NOISE.get(name, 0.0) if share is None else share) * abs(number or 0.0)
    values = [figures[name] for _, figures in groups if name in figures]
    if number is None or not values or not band:
        return False
    return sum(abs(value - number) <= band for value in values) > MOSTLY * (len(values) + told_apart)
