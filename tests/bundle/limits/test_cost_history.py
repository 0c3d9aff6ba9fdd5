"""What trials are told of the others: figures of the finished ones, noise, predictions."""

import math
from statistics import median

import pytest
import ray
from cases import cases
from commands import wait_until
from reference import MLP_REGRESSOR, configured

from entrypoints.limits.cost_history import CostHistory, ask, start, tell
from entrypoints.limits.costs import USUAL_NOISE, metrics
from entrypoints.limits.grammar import Limits
from entrypoints.limits.noise import MIN_DEGREES, alike, measured
from entrypoints.runs.tags import STOP_HOW
from entrypoints.trials.trial import Trial, end_tags

ROWS = 1000
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
TIME = "training_time_s"


def _limits(*named):
    """On these metrics, of the median of all trials: what it has come to can be read of its number."""
    return Limits.parse(", ".join(f"{name}<=1x median after 1" for name in named), metrics("val_rmse", False))


def _history(*named, trials=(), ended=()):
    return CostHistory(ROWS, _limits(*(named or [TIME])), trials, ended)


def _median(history):
    """What the limit on the first metric has come to."""
    return history.limits().rules[0].number


def _of(size, **changes):
    return configured(batch_size=size, **changes)


def _finished(configuration, cost, metric=TIME):
    return Trial("", configuration, "FINISHED", {metric: cost})


def _stopped(configuration, cost, projected, how="crossed"):
    tags = {STOP_HOW: how, **end_tags([], {TIME: projected})}
    return Trial("", configuration, "KILLED", {TIME: cost}, tags)


def test_stopped_trials_count_with_what_they_would_have_cost():
    """Not with what they had cost when they were stopped; those to come are expected to cost as much."""
    history = _history(trials=[_of(48), _of(8, alpha=2.0)], ended=[_stopped(_of(size), 1.0, 50.0) for size in SIZES])
    assert _median(history) == pytest.approx(50.0)
    assert [costs[TIME] for costs in history.to_come()] == pytest.approx([50.0])


def test_nothing_is_learned_of_a_stopped_trial_where_its_total_is_not_known():
    """Only what it had cost by then."""
    history = _history(trials=[_of(8, alpha=2.0)], ended=[_stopped(_of(size), 1.0, 1.0) for size in SIZES * 3])
    assert history.to_come() == []


@cases("trials, share", {"too few": (MIN_DEGREES, USUAL_NOISE[TIME]), "enough": (MIN_DEGREES + 1, 0.0104)})
def test_noise_that_trials_have_shown_replaces_the_usual_one(trials, share):
    """Of those that finished: a stopped one has the figures of where it was stopped."""
    history = _history()
    for number in range(trials):
        cost = 1.0 + 0.02 * (number % 2)
        history.record(_finished(_of(8, learning_rate=0.001 * (number + 1)), cost))
        history.record(_stopped(_of(8, learning_rate=0.002 * (number + 1)), 0.1 * number, cost))
    (bound,) = history.limits().rules
    assert bound.noise / bound.number == pytest.approx(share, rel=0.1)


def test_timings_of_a_study_that_goes_on_do_not_outweigh_the_trials_that_have_ended():
    """Each of its processes takes them, here twice too slow, after these trials were read from the store.

    They count for relative limits, too.
    """
    ended = [_finished(_of(size), 0.01 * size) for size in SIZES[:5]]
    history = _history(ended=ended)
    for _ in range(16):
        history.observe([(_of(size), {TIME: 0.02 * size}) for size in SIZES])
    assert _median(history) == pytest.approx(0.01 * median(SIZES[:5]))


def test_trials_to_come_count_with_what_they_are_expected_to_cost():
    """Until they have ended."""
    trials = [_of(size) for size in SIZES]
    history = _history(trials=trials)
    history.observe([(trial, {TIME: 0.01 * trial.batch_size}) for trial in trials])
    assert _median(history) == pytest.approx(0.01 * median(SIZES), rel=0.05)
    for trial in trials[4:]:
        history.record(_finished(trial, 5.0))
    to_come = [costs[TIME] for costs in history.to_come()]
    assert len(to_come) == 4
    assert _median(history) == pytest.approx(median([5.0] * 4 + to_come)) != 5.0
    for trial in trials[:4]:
        history.record(_finished(trial, 5.0))
    assert history.to_come() == []
    assert _median(history) == pytest.approx(5.0)


@cases(
    "metric, predicted",
    [("mean_step_time_ms", True), (TIME, True), ("peak_memory_mb", True), ("val_loss", False)],
)
def test_only_costs_that_grow_with_the_amounts_are_predicted(metric, predicted):
    """Nothing says what others will score."""
    asked = _of(32, learning_rate=0.5)
    history = _history(metric, trials=[asked], ended=[_finished(_of(size), 1.0, metric) for size in SIZES * 3])
    assert len(history.to_come()) == predicted


@pytest.mark.usefixtures("local_ray")
def test_trial_is_told_by_the_process_of_the_history_what_was_timed_and_what_others_have_cost():
    """What was timed is there when `tell` returns. With one that has died, or none, a trial begins all the same.

    It then knows nothing, which costs it no training.
    """
    limits, trial = _limits(TIME), _of(8)

    def number():
        return ask(process, limits).rules[0].number

    process = start(ROWS, limits, [trial])
    ray.get(process.to_come.remote(), timeout=300)  # its process may be slow to start
    tell(process, [(_of(size), {TIME: 0.01 * size}) for size in SIZES])
    assert number() == pytest.approx(0.08, rel=0.5)
    assert ray.get(process.to_come.remote(), timeout=300) == [{TIME: number()}]
    ray.get(process.record.remote(_finished(trial, 2.0)), timeout=300)
    assert number() == 2.0
    ray.kill(process)
    wait_until(lambda: ask(process, limits) == limits, 300, "the end of the process")
    for nobody in (process, None):
        tell(nobody, [])
        assert ask(nobody, limits) == limits


@cases(
    "groups, variance",
    {
        "one": ([[0.0, 0.2] * 6], 12 * 0.01 / 11),
        "of the larger": ([[0.0, 1.0] * 6, [5.0, 5.2] * 6], 12 * 0.01 / 11),
        "of all if few": ([[0.0, 0.2] * 3, [9.0, 9.2] * 3], 12 * 0.01 / 10),
    },
)
def test_noise_is_the_spread_within_groups_of_the_larger_figures(groups, variance):
    """Of their logarithms; small ones differ by a larger share of themselves, and are far from any limit."""
    trials = [(kind, math.exp(value)) for kind, values in enumerate(groups) for value in values]
    assert measured([*trials, ("none", 0.0)]).share ** 2 == pytest.approx(variance)


def test_costs_that_cannot_differ_are_alike():
    """Those of trials of a built-in algorithm that differ by rate and penalty; of another one those of its folds."""

    def of(algorithm="linear", steps=60.0, **changes):
        tags = end_tags([{TIME: 1.0}, {TIME: 1.1}])
        found = alike(Trial("", configured(algorithm, **changes), "FINISHED", {"steps": steps}, tags))
        return [key for key, _ in found]

    assert of(learning_rate=0.1) == of(learning_rate=0.2, alpha=2.0)
    others = {*of(), *of(batch_size=4), *of(steps=50.0)}
    assert len(others) == 3
    one, again = of(MLP_REGRESSOR, alpha=0.1)
    assert one == again
    assert one not in of(MLP_REGRESSOR, alpha=0.2)
