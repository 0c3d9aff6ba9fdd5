"""What a stop rule would have done to a study that ran to its end, from the curves that it left.

The user's limits are replayed with the same guard and ledger that act in a trial; the other rules are the controls
that they are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np

from entrypoints.limits.cost_model import TOTALS
from entrypoints.limits.costs import OF_UNTRAINED
from entrypoints.limits.judging import resolved, violations
from entrypoints.limits.ledger import Ledger
from entrypoints.limits.stop_or_skip import EarlyEnd, Guard, Stopping, end_of
from entrypoints.models.configuration import Configuration
from entrypoints.models.cross_validation import DIVERGED_LOSS
from entrypoints.search.budget import Spending, spent, total
from mlflow_sysmetrics.limits import Criteria, Stop, Values

LOSS = "val_loss"
REDUCTION = 4  # of Ray Tune's ASHA: a rung lets one trial in REDUCTION through


@dataclass(frozen=True)
class Course:
    """One trial: its last figures, every metric's value at each report by training step, and where it was stopped.

    Attributes:
        stopped_by: the criterion that stopped it; None if none did, or where it was a scheduler or a time limit.
        began_ms: since 1970.
        ended_ms: since 1970.
        untrained_loss: its validation loss before the first step.
    """

    configuration: Configuration
    figures: Values
    reports: dict[int, dict[str, float]]
    diverged: bool
    stopped_at: int | None = None
    stopped_by: Stop | None = None
    run_id: str = ""
    began_ms: int = 0
    ended_ms: int = 0
    untrained_loss: float = 1.0  # about that of standardised targets, and of two classes

    @property
    def steps(self) -> int:
        """How many it had."""
        return max(self.reports)

    @property
    def spent(self) -> Spending:
        """By its end, early or not."""
        return spent(self.figures)

    def cost(self, step: int | None) -> Spending:
        """What it had spent by a step, if all its steps cost the same; None: by its end."""
        share = 1.0 if step is None else step / self.steps
        return Spending(self.spent.cpu_s * share, self.spent.wall_s * share)


@dataclass(frozen=True)
class Verdict:
    """A rule against the full study. Shares are of 1; regrets are in the score's own units, 0 at best.

    A false stop is that of a feasible trial which did not diverge; near its limit it is a borderline one.
    """

    saved_cpu: float
    saved_wall: float
    infeasible_cost: float
    false_stops: int
    borderline_stops: int
    feasible: int
    infeasible: int
    val_regret: float
    test_regret: float
    saved_steps: float


BORDER = 0.05  # of a limit: a trial whose figure lies so near to it may fall on either side in another run


def steps_of(ends: Sequence[EarlyEnd | None]) -> list[int | None]:
    """Where trials ended that ended so."""
    return [None if each is None else each.stop.step or 0 for each in ends]


def endings(
    courses: Sequence[Course], stopping: Stopping, rows: int, observed: Sequence[tuple[Configuration, Values]]
) -> list[EarlyEnd | None]:
    """How the user's limits end each trial; None where they do not, or not before its last step.

    Args:
        courses: in order of start.
        stopping: the limits.
        rows: the training rows of a fold.
        observed: what a forecast has seen before the first trial.
    """
    trials = [course.configuration for course in courses]
    ledger = Ledger(rows, stopping.criteria.metrics, trials, observed)
    ends: list[EarlyEnd | None] = []
    for course in courses:
        may_converge = course.configuration.may_converge
        steps = course.configuration.steps(rows) if may_converge else course.steps
        guard = Guard(stopping, ledger.brief(course.configuration), steps, may_converge=may_converge)
        ending = _guarded(course, guard)
        (step,) = steps_of([ending])
        ended = step is None
        figures = course.figures if ended else _figures_at(course, step or 0)
        expected = course.figures if ended and not may_converge else guard.expected(figures)
        end = end_of(ending, finished=ended, diverged=course.diverged)
        ledger.record(course.configuration, figures, expected, end)
        ends.append(ending)
    return ends


def by_first_report(courses: Sequence[Course]) -> list[int | None]:
    """One report of each trial; the best of them then goes on to its end."""
    firsts = [min(course.reports) for course in courses]
    losses = [course.reports[first].get(LOSS, np.inf) for course, first in zip(courses, firsts, strict=True)]
    best = int(np.argmin(losses))
    return [
        None if place == best or course.steps == first else first
        for place, (course, first) in enumerate(zip(courses, firsts, strict=True))
    ]


def by_median(courses: Sequence[Course], least: int = 5) -> list[int | None]:
    """The median rule of Vizier: stop where the best loss so far is above the median of the others' means until then.

    Golovin et al., Google Vizier: A Service for Black-Box Optimization, KDD 2017, section 3.2.2. As in Ray Tune, the
    others are those that came so far.
    """
    before: list[Course] = []
    stops: list[int | None] = []
    for course in courses:
        stop = next((step for step in _early(course) if _above_median(course, step, before, least)), None)
        seen = {step: report for step, report in course.reports.items() if stop is None or step <= stop}
        before.append(replace(course, reports=seen))
        stops.append(stop)
    return stops


def by_asha(courses: Sequence[Course], grace: int) -> list[int | None]:
    """Asynchronous successive halving: at each rung a trial goes on if its loss is in the best quarter so far.

    Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020, with Ray Tune's stopping variant.
    """
    rungs: dict[int, list[float]] = {}
    stops: list[int | None] = []
    for course in courses:
        stop = None
        rung = grace
        for step in _early(course):
            if step < rung:
                continue
            loss = course.reports[step].get(LOSS, np.inf)
            seen = rungs.setdefault(rung, [])
            if seen and loss > np.quantile(seen, 1 / REDUCTION):
                stop = step
            seen.append(loss)
            rung *= REDUCTION
            if stop is not None:
                break
        stops.append(stop)
    return stops


def at_random(courses: Sequence[Course], share: float, seed: int) -> list[int | None]:
    """Whole trials in random order until this share of the CPU seconds is spent; the others are skipped."""
    left = share * total(course.cost(None) for course in courses).cpu_s
    stops: list[int | None] = [0] * len(courses)
    for place in np.random.default_rng(seed).permutation(len(courses)):
        cost = courses[place].cost(None).cpu_s
        if cost <= left:
            left -= cost
            stops[place] = None
    return stops


def verdict(
    courses: Sequence[Course], stops: Sequence[int | None], criteria: Criteria, score: str, *, higher_is_better: bool
) -> Verdict:
    """Compare a rule with the full study: what it saved, and how much worse the feasible trial is that it leaves."""
    finished = [course.figures for course in courses if not course.diverged]
    sign = -1.0 if higher_is_better else 1.0
    limits = resolved(criteria, finished)
    feasible = [not violations(limits, course.figures) for course in courses]
    able = [place for place, course in enumerate(courses) if feasible[place] and not course.diverged]
    whole = total(course.cost(None) for course in courses)
    used = total(course.cost(stop) for course, stop in zip(courses, stops, strict=True))
    infeasible = [place for place in range(len(courses)) if not feasible[place]]
    stopped = [place for place in able if stops[place] is not None]
    border = [place for place in stopped if _near(limits, courses[place].figures)]
    left = [place for place in able if stops[place] is None]

    def regret(metric: str) -> float:
        if not left:
            return float("inf")
        ours, best = best_of(left), best_of(able)
        return sign * (courses[ours].figures[metric] - courses[best].figures[metric])

    def best_of(places: Sequence[int]) -> int:
        return min(places, key=lambda place: sign * courses[place].figures[f"val_{score}"])

    return Verdict(
        saved_cpu=1 - used.cpu_s / whole.cpu_s,
        saved_wall=1 - used.wall_s / whole.wall_s,
        infeasible_cost=_share(
            total(courses[place].cost(stops[place]) for place in infeasible).cpu_s,
            total(courses[place].cost(None) for place in infeasible).cpu_s,
        ),
        false_stops=len(stopped) - len(border),
        borderline_stops=len(border),
        feasible=len(able),
        infeasible=len(infeasible),
        val_regret=regret(f"val_{score}"),
        test_regret=regret(f"test_{score}"),
        saved_steps=1 - _share(_steps(courses, stops), _steps(courses, [None] * len(courses))),
    )


def at_full_length(course: Course, rows: int) -> Values:
    """The figures of a trial that would not have converged: its times are those of all its steps."""
    longer = course.configuration.steps(rows) / course.steps if course.configuration.may_converge else 1.0
    return {name: value * longer if name in TOTALS else value for name, value in course.figures.items()}


def _guarded(course: Course, guard: Guard) -> EarlyEnd | None:
    """How the guard ends a trial before its last step."""
    guard.skip_if_predicted()
    guard.crossed({name: course.figures[name] for name in OF_UNTRAINED if name in course.figures}, 0)
    step_s = course.figures["training_time_s"] / course.steps
    elapsed_s = course.figures["elapsed_s"] / course.steps
    hopeless_loss = DIVERGED_LOSS * course.untrained_loss
    for step in range(course.steps):
        if guard.ending:
            return guard.ending
        guard.stepped(step + 1, step_s, elapsed_s)
        report = course.reports.get(step + 1)
        if report is not None:
            if report.get(LOSS, math.inf) > hopeless_loss:
                guard.diverged(report.get(LOSS, math.inf), hopeless_loss, step + 1)
            guard.crossed(report, step + 1)
            guard.reported(report, step + 1, {})
    return None


def _figures_at(course: Course, step: int) -> dict[str, float]:
    """The figures of a trial that was stopped at a step: those of its last report, and the times until then."""
    seen = [each for each in course.reports if each <= step]
    figures = dict(course.reports[max(seen)]) if seen else {}
    share = step / course.steps
    times = {name: course.figures[name] * share for name in ("training_time_s", "elapsed_s")}
    return figures | times | {"mean_step_time_ms": course.figures["mean_step_time_ms"]}


def _early(course: Course) -> list[int]:
    """The steps of its reports but the last, where there is nothing left to stop."""
    return sorted(course.reports)[:-1]


def _above_median(course: Course, step: int, before: Sequence[Course], least: int) -> bool:
    means = [fmean(losses) for other in before if other.steps >= step and (losses := _losses(other, step))]
    own = _losses(course, step)
    return len(means) >= least and (not own or min(own) > median(means))


def _losses(course: Course, step: int) -> list[float]:
    return [figures[LOSS] for each, figures in course.reports.items() if each <= step and LOSS in figures]


def _near(limits: Criteria, figures: Values) -> bool:
    """Whether a figure lies within 5 % of its limit."""
    values = ((limit.number, figures.get(limit.metric.name)) for limit in limits.limits)
    return any(value is not None and abs(value - number) <= BORDER * abs(number) for number, value in values)


def _steps(courses: Sequence[Course], stops: Sequence[int | None]) -> int:
    return sum(course.steps if stop is None else stop for course, stop in zip(courses, stops, strict=True))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
