"""What trials are told of the others: figures of the finished ones, noise, predictions."""

import math
from dataclasses import replace

import pytest
import ray
from cases import cases
from commands import wait_until
from reference import MLP_REGRESSOR, configured

from entrypoints.limits.cost_history import CostHistory, Outlook, ask, ask_to_come, start, tell
from entrypoints.limits.cost_model import MIN_ENDED
from entrypoints.limits.costs import USUAL_NOISE, metrics
from entrypoints.limits.grammar import Limits
from entrypoints.limits.noise import MIN_DEGREES, group, measured
from entrypoints.models.trial_record import Trial, end_tags
from entrypoints.tags import STOP_HOW

ROWS = 1000
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
NAMED = ("training_time_s", "val_loss")


def _limits(*named):
    """On these metrics, of the mean of all trials: what it has come to, and of how many, can be read of its number."""
    return Limits.parse(", ".join(f"{name}<=1x mean after 1" for name in named), metrics("val_rmse", False))


def _history(*named, trials=(), timed=()):
    history = CostHistory(ROWS, _limits(*(named or NAMED)), trials)
    history.observe(timed)
    return history


def _outlook(history, configuration):
    (outlook,) = history.outlooks([configuration])
    return outlook


def _mean(history):
    """What the limit on the first metric has come to."""
    return _outlook(history, _of(8)).limits.bounds[0].number


def _of(size, learning_rate=0.01):
    return configured(batch_size=size, learning_rate=learning_rate)


def _costs(time_s):
    return {"training_time_s": time_s}


def _finished(configuration, costs):
    return Trial("", configuration, "FINISHED", costs)


def _stopped(configuration, costs, projected, how):
    return Trial("", configuration, "KILLED", costs, {STOP_HOW: how, **end_tags([], projected)})


def test_predictions_learn_what_trials_would_have_cost():
    """Not what they had cost when they were stopped; of a skipped one only a prediction is known.

    Where no more than that is known of a stopped one, nothing is learned.
    """
    history = _history()
    for size in SIZES * 3:
        history.record(_stopped(_of(size), _costs(1.0), _costs(50.0), "crossed"))
    seen = _outlook(history, _of(32)).predictions
    assert seen["training_time_s"].value == pytest.approx(50.0)
    assert _mean(history) == pytest.approx(50.0)  # relative limits are taken of it, too
    history.record(_stopped(_of(8), {}, _costs(99.0), "skipped"))
    assert _outlook(history, _of(32)).predictions == seen
    so_far = _history()
    for size in SIZES * 3:
        so_far.record(_stopped(_of(size), _costs(1.0), _costs(1.0), "crossed"))
    assert _outlook(so_far, _of(32)).predictions == {}


@cases("trials, known", {"too few": (MIN_DEGREES, False), "enough": (MIN_DEGREES + 1, True)})
def test_noise_that_trials_have_shown_replaces_the_usual_one(trials, known):
    """Of those that finished: a stopped one has the figures of where it was stopped. What none shows stays as usual."""
    history = _history("training_time_s", "elapsed_s")
    for number in range(trials):
        figures = {"training_time_s": 1.0 + 0.02 * (number % 2), "elapsed_s": 0.0 if number else 1.0}
        history.record(_finished(_of(8, learning_rate=0.001 * (number + 1)), figures))
        configuration = _of(8, learning_rate=0.002 * (number + 1))
        history.record(_stopped(configuration, _costs(0.1 * number), figures, "crossed"))
    seen, usual = _outlook(history, _of(8)).limits.bounds
    assert seen.noise / seen.number == pytest.approx(0.0104 if known else USUAL_NOISE["training_time_s"], rel=0.1)
    assert usual.noise / usual.number == pytest.approx(USUAL_NOISE["elapsed_s"])


def test_timings_of_a_study_that_goes_on_do_not_outweigh_the_trials_that_have_ended():
    """Each of its processes takes them, here twice too slow, after these trials were read from the store.

    They count for relative limits, too.
    """
    ended = [_finished(_of(size), _costs(0.01 * size)) for size in SIZES[:MIN_ENDED]]
    history = CostHistory(ROWS, _limits(*NAMED), earlier=ended)
    for _ in range(16):
        history.observe([(_of(size), _costs(0.02 * size)) for size in SIZES])
    assert _outlook(history, _of(64)).predictions["training_time_s"].low < 0.64
    assert _mean(history) == pytest.approx(0.01 * sum(SIZES[:MIN_ENDED]) / MIN_ENDED)


def test_trials_to_come_count_with_what_they_are_expected_to_cost():
    """Until they have ended; a repetition is not a trial of its own."""
    trials = [_of(size) for size in SIZES]
    timed = [(trial, _costs(0.01 * trial.batch_size)) for trial in trials]
    history = _history("training_time_s", trials=[*trials, replace(trials[0], repeat=1)], timed=timed)
    assert _mean(history) == pytest.approx(0.01 * sum(SIZES) / len(SIZES), rel=0.05)
    history.record(_finished(replace(trials[0], repeat=1), timed[0][1]))
    for trial in trials[1:]:
        history.record(_finished(trial, _costs(5.0)))
    (to_come,) = history.to_come()
    assert _mean(history) == pytest.approx((7 * 5.0 + to_come["training_time_s"]) / 8)
    assert to_come["training_time_s"] != 5.0
    history.record(_finished(trials[0], _costs(5.0)))
    assert history.to_come() == []
    assert _mean(history) == pytest.approx(5.0)


@cases(
    "metric, predicted",
    {
        "step time": ("mean_step_time_ms", True),
        "training time": ("training_time_s", True),
        "peak memory": ("peak_memory_mb", True),
        "loss": ("val_loss", False),
    },
)
def test_only_costs_that_grow_with_the_amounts_are_predicted(metric, predicted):
    """Of a loss or a CPU share the batch size says nothing, and a size is known before the first step anyway.

    Trials that do not converge say nothing of one that may; with a tol of 0 it cannot.
    """
    for tol, known in ((0.0, predicted), (0.01, False)):
        asked = configured(batch_size=32, learning_rate=0.01, tol=tol)
        history = _history(metric, trials=[asked])
        for size in SIZES * 3:
            history.record(_finished(_of(size), {metric: 1.0}))
        assert (metric in _outlook(history, asked).predictions) is known
        assert len(history.to_come()) == known  # for relative limits it counts with what it is expected to cost


@pytest.mark.usefixtures("local_ray")
def test_trial_is_told_by_the_process_of_the_history_what_was_timed_and_what_others_have_cost():
    """What was timed is there when `tell` returns. With one that has died, or none, a trial begins all the same.

    It then knows nothing, which costs it no training.
    """
    limits = _limits("training_time_s")
    process = start(ROWS, limits, [_of(SIZES[0])])
    ray.get(process.to_come.remote(), timeout=300)  # its process may be slow to start
    tell(process, [(_of(size), _costs(0.01 * size)) for size in SIZES])
    (outlook,) = ask(process, limits, [_of(SIZES[0])])
    mean = outlook.limits.bounds[0].number
    assert ask_to_come(process) == [{"training_time_s": mean}]
    assert mean == pytest.approx(0.01 * SIZES[0], rel=0.5)
    ended = _finished(_of(SIZES[0]), {"training_time_s": 2.0, "val_loss": 0.5})
    ray.get(process.record.remote(ended), timeout=300)
    (outlook,) = ask(process, limits, [_of(SIZES[0])])
    assert outlook.limits.bounds[0].number == 2.0
    ray.kill(process)
    wait_until(lambda: ask(process, limits, [_of(8)]) == [Outlook(limits)], 300, "the end of the process")
    for nobody in (process, None):
        tell(nobody, [])
        assert ask(nobody, limits, [_of(8)]) == [Outlook(limits)]


def _noise(logarithms):
    trials = [(kind, math.exp(value)) for kind, values in logarithms.items() for value in values]
    noise = measured([*trials, ("none", 0.0)])
    return noise and noise.share


@cases(
    "logarithms, share",
    {
        "one-group": ({"a": [0.0, 0.2] * 6}, math.sqrt(12 * 0.01 / 11)),
        "of-the-larger": ({"a": [0.0, 1.0] * 6, "b": [5.0, 5.2] * 6}, math.sqrt(12 * 0.01 / 11)),
        "of-all-if-few": ({"a": [0.0, 0.2] * 3, "b": [9.0, 9.2] * 3}, math.sqrt(12 * 0.01 / 10)),
        "too-few": ({"a": [0.0, 0.2] * (MIN_DEGREES // 2)}, None),
    },
)
def test_noise_is_the_spread_within_groups_of_the_larger_figures(logarithms, share):
    """As a share of the figure; small ones differ by a larger share of themselves, and are far from any limit."""
    assert _noise(logarithms) == (share if share is None else pytest.approx(share))


def test_group_holds_trials_whose_cost_cannot_differ():
    """Of the built-in algorithms those that differ by rate and penalty; of others only the same configuration."""

    def of(algorithm="linear", steps=60.0, **changes):
        return group(configured(algorithm, **changes), {"steps": steps})

    assert of(learning_rate=0.1) == of(learning_rate=0.2, alpha=2.0) == of(tol=0.0)
    assert of(MLP_REGRESSOR, alpha=0.1) == of(MLP_REGRESSOR, alpha=0.1) != of(MLP_REGRESSOR, alpha=0.2)
    others = [of(), of(batch_size=4), of(tol=0.1, steps=50.0)]
    assert len(set(others)) == len(others)
