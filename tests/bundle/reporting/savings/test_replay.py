"""Stop rules replayed over the curves of trials that ran to their end: hand-worked examples, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from example_courses import EVERY, STEPS, costing
from reference import configured

from entrypoints.limits.costs import metrics
from entrypoints.limits.ledger import Ledger
from entrypoints.limits.stop_or_skip import Guard, Stopping
from entrypoints.reporting.savings.replay import (
    Course,
    Verdict,
    at_random,
    by_asha,
    by_first_report,
    by_median,
    endings,
    steps_of,
    verdict,
)
from entrypoints.search.budget import Spending
from mlflow_sysmetrics.limits import Criteria

ROWS = 1000
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)


def _course(losses: Sequence[float | None], every: int = EVERY, **figures: Any) -> Course:
    """A trial with these losses at its reports; it takes a second per report, all of it CPU time."""
    reports = {every * place: {} if loss is None else {"val_loss": loss} for place, loss in enumerate(losses, start=1)}
    usual = {"elapsed_s": float(len(losses)), "cpu_seconds": float(len(losses))}
    return Course(configured(), usual | figures, reports, diverged=False)


def _stopping(text: str, *, predict: bool = True) -> Stopping:
    return Stopping(Criteria.parse(text, metrics("regression")), predict)


def _stops(courses: Sequence[Course], stopping: Stopping, observed: Any = ()) -> list[int | None]:
    """Where the user's limits end trials."""
    return steps_of(endings(courses, stopping, ROWS, observed))


def test_course_costs_its_share_of_the_steps_until_it_is_stopped() -> None:
    """CPU seconds are those of its CPU share; a skipped one costs nothing."""
    course = costing(2.0)
    assert course.steps == STEPS
    assert course.cost(None) == course.cost(STEPS) == Spending(1.0, 2.0)
    assert course.cost(100) == Spending(0.2, 0.4)
    assert course.cost(0) == Spending(0.0, 0.0)


@pytest.mark.parametrize("predict", [True, False])
def test_limits_stop_the_expensive_ones_and_none_that_meets_them(predict: bool) -> None:
    """With predictions earlier than without, and before their first step once enough is known of the others."""
    costs = [1.0, 1.9, 8.0, 1.0, 9.0, 1.5, 21.0, 1.0]
    courses = [costing(step_ms, size) for step_ms, size in zip(costs, SIZES, strict=True)]
    stops = _stops(courses, _stopping("training_time_s<=1", predict=predict))
    assert [stop is not None for stop in stops] == [cost > 2 for cost in costs]
    # Beyond the limit and three times the usual noise of 10 %, or as soon as a prediction can be made.
    assert [stop for stop in stops if stop is not None] == ([51, 51, 51] if predict else [163, 145, 62])


def test_limits_skip_what_is_too_expensive_once_five_trials_have_ended() -> None:
    """With what a forecast has timed of it before the first trial; without predictions it begins all the same."""
    observed = [(configured(batch_size=size, max_steps=STEPS), {"training_time_s": 0.05 * size}) for size in SIZES]
    courses = [costing(0.1 * size, size) for size in SIZES]
    stops = _stops(courses, _stopping("training_time_s<=1"), observed)
    assert stops == [None, None, 51, 51, 51, 0, 0, 0]
    crossing = _stops(courses, _stopping("training_time_s<=1", predict=False), observed)
    assert crossing[:2] == [None, None]
    assert all(crossing[2:])


@pytest.mark.parametrize(
    ("text", "course", "stop"),
    [
        pytest.param("val_loss patience 2", costing(1.0, losses=(3, 1, 2, 2, 2)), 400, id="patience"),
        pytest.param("val_loss patience 3", costing(1.0, losses=(3, 1, 2, 2, 2)), None, id="patience at the end"),
        pytest.param("peak_memory_mb<=97", costing(1.0), 100, id="memory at a report, beyond its noise"),
        pytest.param("peak_memory_mb<=104", costing(1.0), None, id="memory at the end"),
        pytest.param("inference_latency_ms<=0.1", costing(1.0), 0, id="latency before the first step"),
        pytest.param("model_size_kb<=1", costing(1.0, model_size_kb=2.0), 0, id="size before the first step"),
        pytest.param("inference_p99_ms<=0.1", costing(1.0, inference_p99_ms=2.0), None, id="p99 at the end"),
        pytest.param("mean_step_time_ms<=1", costing(2.0), 100, id="mean at the first report"),
        pytest.param("val_loss<=0.01", costing(1.0), None, id="limit on a curve"),
        pytest.param("elapsed_s<=3", costing(10.0), 51, id="wall time, predicted"),
    ],
)
def test_limits_of_every_kind_are_replayed(text: str, course: Course, stop: int | None) -> None:
    """Each where a running trial would have been ended."""
    assert _stops([course], _stopping(text)) == [stop]


@pytest.mark.parametrize(
    ("losses", "untrained", "diverged", "stop"),
    [
        pytest.param((1, 99, 101, 1e9, 1e9), 1.0, True, 400, id="beyond a hundred times that of an untrained model"),
        pytest.param((99, 229, 231, 232, 1e9), 2.3, True, 400, id="of ten classes"),
        pytest.param((1, 99, 101, 1, 1), 1.0, False, None, id="came back"),
        pytest.param((1, 1e4, 1e3, 200, 20), 1.0, False, None, id="comes back slowly"),
        pytest.param((1, 1, 1, 1, 1e9), 1.0, True, None, id="at the end"),
    ],
)
def test_diverged_trial_is_stopped_at_the_second_report_that_shows_it(
    losses: tuple[float, ...], untrained: float, diverged: bool, stop: int | None
) -> None:
    """Whatever the limits are."""
    course = replace(costing(1.0, losses=losses), diverged=diverged, untrained_loss=untrained)
    assert _stops([course], _stopping("peak_memory_mb<=1000")) == [stop]


def test_relative_limits_come_from_the_trials_before() -> None:
    """The sixth is the first that is judged by the others; those that were stopped are not among them."""
    costs = [1.0, 1.0, 9.0, 1.0, 1.0, 9.0, 1.0, 9.0]
    courses = [costing(step_ms) for step_ms in costs]
    stops = _stops(courses, _stopping("training_time_s<=2x median", predict=False))
    assert [place for place, stop in enumerate(stops) if stop is not None] == [5, 7]


def test_stopped_trials_teach_what_they_would_have_cost() -> None:
    """Once eight have been stopped, their likes are skipped."""
    courses = [costing(9.0, size) for size in SIZES * 2]
    assert _stops(courses, _stopping("training_time_s<=1")) == [51] * 8 + [0] * 8


def test_trial_that_may_converge_is_replayed_without_predictions_of_its_totals() -> None:
    """It is stopped when its time is up, not before its first step, nor for what the rest of its steps would take."""
    courses = [costing(3.0, size) for size in SIZES * 2]
    courses = [replace(course, configuration=replace(course.configuration, tol=0.01)) for course in courses]
    assert _stops(courses, _stopping("training_time_s<=1")) == [434] * 16
    assert _stops(courses, _stopping("training_time_s<=1.6")) == [None] * 16


def test_replay_agrees_with_a_guard_that_is_driven_by_hand() -> None:
    """Step by step, with a ledger that is told of the trials before."""
    courses = [costing(step_ms, size) for step_ms, size in zip((1.0, 3.0, 2.9, 1.2, 5.0), SIZES, strict=False)]
    stopping = _stopping("training_time_s<=1, val_loss patience 4")
    ledger, stops = Ledger(ROWS, stopping.criteria.metrics), []
    for course in courses:
        guard = Guard(stopping, ledger.brief(course.configuration), STEPS)
        guard.skip_if_predicted()
        step, step_s = 0, course.figures["mean_step_time_ms"] / 1e3
        while step < STEPS and not guard.ended():
            step += 1
            guard.stepped(step, step_s, 2 * step_s)
        ended = step == STEPS
        figures = dict(course.figures) if ended else {"training_time_s": step * step_s}
        expected = course.figures if ended else guard.expected(figures)
        ledger.record(course.configuration, figures, expected, "finished" if ended else "stopped")
        stops.append(None if ended else step)
    assert _stops(courses, stopping) == stops
    assert None in stops
    assert set(stops) != {None}


def test_first_report_only_lets_the_best_go_on() -> None:
    """One without a loss is not it; a trial of one report had its end there."""
    courses = [_course([3.0, 1.0]), _course([2.0, 9.0]), _course([None, 0.5]), _course([4.0])]
    assert by_first_report(courses) == [100, None, 100, None]


def test_median_rule_compares_the_best_so_far_with_the_means_of_those_before() -> None:
    """By hand: the first two have means of 2 and 4 at step 100, and 1.5 and 3 at step 200."""
    before = [_course([2.0, 1.0, 1.0]), _course([4.0, 2.0, 2.0])]
    trials = {
        "above 3 at 100": (_course([3.1, 0.0, 0.0]), 100),
        "at 3, then above 2.25": (_course([3.0, 2.9, 0.0]), 200),
        "its best counts": (_course([2.0, 9.0, 9.0]), None),
        "improves in time": (_course([3.0, 2.0, 1.0]), None),
        "the last report is its end": (_course([2.0, 2.0]), None),
        "no loss": (_course([None, 1.0, 1.0]), 100),
    }
    for course, stop in trials.values():
        assert by_median([*before, course], least=2) == [None, None, stop]


def test_median_rule_waits_for_enough_trials() -> None:
    """Five unless it is said otherwise."""
    courses = [*[_course([1.0, 1.0])] * 5, _course([9.0, 9.0])]
    assert by_median(courses) == [None] * 5 + [100]
    assert by_median(courses[1:]) == [None] * 5


def test_median_rule_knows_nothing_of_a_trial_beyond_where_it_was_stopped() -> None:
    """At step 200 only the first two have come so far: 1.9 is below 2, and above 1 with the third."""
    first, second = _course([1.0, 1.0, 1.0]), _course([3.0, 3.0, 3.0])
    stopped = _course([5.0, -5.0, -5.0])
    assert by_median([first, second, stopped, _course([1.9, 1.9, 1.9])], least=2) == [None, None, 100, None]
    # Nor does it count with what it had until then: that made the median 3.
    assert by_median([first, second, stopped, _course([2.5, 2.5, 2.5])], least=2) == [None, None, 100, 200]


def test_asha_lets_the_best_quarter_through_each_rung() -> None:
    """By hand: rungs at 100 and 400; a trial is compared with those that came there before."""
    courses = [
        _course([4.0, 9.0, 9.0, 4.0, 9.0]),  # the first is alone at every rung
        _course([5.0, 0.0, 0.0, 0.0, 0.0]),  # above 4
        _course([4.25, 0.0, 0.0, 0.0, 0.0]),  # at the lower quartile of 4 and 5
        _course([3.0, 9.0, 9.0, 4.5, 0.0]),  # at 400 it is above the lower quartile of 4 and 0
        _course([3.5, 0.0, 0.0, -1.0, 9.0]),  # at the lower quartile of 3, 4, 4.25 and 5 is 3.75
        _course([None, 0.0, 0.0, 0.0, 0.0]),  # no loss
        _course([3.9, 0.0, 0.0, 0.0, 0.0]),  # above the lower quartile, 3.625, and below the median
    ]
    assert by_asha(courses, EVERY) == [None, 100, None, 400, None, 100, 100]


def test_asha_counts_a_rung_at_the_first_report_at_or_beyond_it() -> None:
    """And never the last report, where there is nothing left to stop."""
    assert by_asha([_course([1.0, 1.0, 1.0]), _course([0.5, 2.0, 2.0])], 150) == [None, 200]
    assert by_asha([_course([1.0]), _course([2.0])], EVERY) == [None, None]


def test_random_control_spends_at_most_its_share() -> None:
    """Whole trials, and as many as fit."""
    courses = [_course([1.0] * length) for length in (1, 2, 3, 4, 5, 6, 7, 8)]
    for seed in range(20):
        stops = at_random(courses, 0.5, seed)
        assert set(stops) == {0, None}
        spent_s = sum(course.cost(stop).cpu_s for course, stop in zip(courses, stops, strict=True))
        skipped = [course.cost(None).cpu_s for course, stop in zip(courses, stops, strict=True) if stop == 0]
        assert spent_s <= 18 < spent_s + min(skipped)
    assert at_random(courses, 1.0, 0) == [None] * 8
    assert at_random(courses, 0.0, 0) == [0] * 8


def test_random_control_is_seeded() -> None:
    """The same seed draws the same trials, and another one others."""
    courses = [_course([1.0] * 3) for _ in range(20)]
    assert at_random(courses, 0.5, 1) == at_random(courses, 0.5, 1) != at_random(courses, 0.5, 2)


def _scored(val: float, test: float, cost_s: float, *, diverged: bool = False) -> Course:
    """A trial of ten reports whose limited figure is its cost, half of it CPU time."""
    figures = {"val_rmse": val, "test_rmse": test, "elapsed_s": cost_s, "cpu_seconds": cost_s / 2}
    return replace(_course([1.0] * 10, **figures), diverged=diverged)


BEST, GOOD, LATE, LARGE = (
    _scored(0.5, 0.7, 6.0),
    _scored(0.6, 0.6, 8.0),
    _scored(0.9, 0.9, 9.8),
    _scored(0.1, 0.1, 40.0),
)
STUDY = [BEST, GOOD, LATE, LARGE]


def _verdict(stops: Sequence[int | None], *, higher: bool = False, courses: Sequence[Course] = STUDY) -> Verdict:
    criteria = Criteria.parse("elapsed_s<=10", metrics("regression"))
    return verdict(courses, stops, criteria, "rmse", higher_is_better=higher)


def test_rule_that_stops_nothing_saves_and_loses_nothing() -> None:
    """Three of four trials are feasible, and the infeasible one costs all that it can."""
    assert _verdict([None] * 4) == Verdict(0.0, 0.0, 1.0, 0, 0, 3, 1, 0.0, 0.0, 0.0)


def test_saving_is_what_stopped_trials_have_left() -> None:
    """The infeasible one at half, the late one at a tenth: 28.82 of 63.8 s."""
    found = _verdict([None, None, 100, 500])
    assert found.saved_wall == pytest.approx((0.9 * 9.8 + 20) / 63.8)
    assert found.saved_cpu == pytest.approx(found.saved_wall)
    assert found.saved_steps == pytest.approx((900 + 500) / 4000)
    assert found.infeasible_cost == pytest.approx(0.5)
    assert (found.val_regret, found.test_regret) == (0.0, 0.0)


def test_cpu_and_wall_time_are_saved_by_themselves() -> None:
    """A trial that mostly waits saves more of the one than of the other."""
    idle = replace(BEST, figures={**BEST.figures, "cpu_seconds": 0.0})
    found = _verdict([0, None], courses=[idle, GOOD])
    assert found.saved_cpu == 0.0
    assert found.saved_wall == pytest.approx(6 / 14)


@pytest.mark.parametrize(
    ("stops", "false", "borderline"),
    [
        pytest.param([None, None, None, 100], 0, 0, id="infeasible"),
        pytest.param([100, None, None, None], 1, 0, id="feasible"),
        pytest.param([None, None, 100, None], 0, 1, id="a fiftieth below the limit"),
        pytest.param([0, 0, 0, 0], 2, 1, id="all"),
    ],
)
def test_stops_of_feasible_trials_are_false_or_borderline(stops: list[int | None], false: int, borderline: int) -> None:
    """Within 5 % of its limit a trial may fall on either side in another run."""
    found = _verdict(stops)
    assert (found.false_stops, found.borderline_stops, found.feasible) == (false, borderline, 3)


def test_regret_is_how_much_worse_the_chosen_trial_is() -> None:
    """Chosen by validation; on the test part the second choice may even be better."""
    found = _verdict([100, None, None, 100])
    assert found.val_regret == pytest.approx(0.1)
    assert found.test_regret == pytest.approx(-0.1)


def test_regret_where_higher_is_better_is_what_is_missing() -> None:
    """The best accuracy is then the highest one."""
    found = _verdict([None, None, 100, 100], higher=True)
    assert found.val_regret == pytest.approx(0.9 - 0.6)
    assert found.test_regret == pytest.approx(0.9 - 0.6)


def test_rule_that_leaves_no_feasible_trial_has_infinite_regret() -> None:
    """There is nothing to choose."""
    found = _verdict([100, 100, 100, None])
    assert found.val_regret == found.test_regret == float("inf")


def test_without_a_feasible_trial_no_model_is_left() -> None:
    """Which is not "no regret"; without infeasible trials there is no cost of them."""
    found = _verdict([100], courses=[LARGE])
    assert (found.val_regret, found.feasible, found.false_stops) == (math.inf, 0, 0)
    assert _verdict([None], courses=[BEST]).infeasible_cost == 0.0


def test_diverged_trial_is_neither_the_best_nor_a_false_stop() -> None:
    """However good its last report looks."""
    found = _verdict([100, None], courses=[_scored(0.01, 0.01, 1.0, diverged=True), BEST])
    assert found.val_regret == 0.0
    assert found.false_stops == 0
