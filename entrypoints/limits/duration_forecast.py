"""How long a study will take: each kind of trial is timed for a few batches, where the trials will run."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from statistics import fmean, median
from typing import Any

from entrypoints.compute.contention import CoreWait, own_share
from entrypoints.datasets.prepared import Prepared
from entrypoints.models.configuration import Configuration
from entrypoints.models.cross_validation import FEW_ROWS, Fold

KIND_WITHIN_S = 0.2
ALL_WITHIN_S = 10.0
MAX_STEPS, MIN_STEPS = 100, 3
# The overhead of a trial: free the last one's memory, send a result to the driver, get the next configuration.
BETWEEN_TRIALS_S = 0.03

Kind = tuple[Any, ...]


@dataclass(frozen=True)
class Timing:
    """Seconds of one fold's model: a step, the ``partial_fit`` in it, validation, test, the latency's measurement.

    ``guessed`` ones are the mean of the others.
    """

    step_s: float
    fit_s: float
    validate_s: float
    test_s: float
    latency_s: float
    guessed: bool = False


@dataclass(frozen=True)
class Forecast:
    """The expected seconds of each trial, in the order of the configurations, and of the whole search.

    For a trial that may converge, this is the time of all its steps: an upper bound.
    """

    trials_s: list[float]
    search_s: float


def one_of_each(configurations: Iterable[Configuration]) -> list[Configuration]:
    """A configuration of each kind."""
    return list({kind(configuration): configuration for configuration in reversed(list(configurations))}.values())


def forecast(configurations: list[Configuration], data: Prepared, cpus: int, rounds: list[list[Timing]]) -> Forecast:
    """Count all steps of all trials.

    Args:
        configurations: of the trials.
        data: what they are trained on.
        cpus: how many trials run at once.
        rounds: the timings of ``one_of_each`` in each of the processes that have timed them.
    """
    kinds = [kind(configuration) for configuration in one_of_each(configurations)]
    mean = {each: _mean(timings[place] for timings in rounds) for place, each in enumerate(kinds)}
    expected = trial_seconds(configurations, data, mean)
    return Forecast(expected, search_seconds(expected, cpus))


def trial_seconds(configurations: list[Configuration], data: Prepared, timings: dict[Kind, Timing]) -> list[float]:
    """The wall time of each configuration's trial, from the timing of its kind."""
    rows, folds = data.split.fit_rows, len(data.split.folds)
    seconds = []
    for configuration in configurations:
        timing, steps = timings[kind(configuration)], configuration.steps(rows)
        reports = -(-steps // configuration.report_every)
        ending_s = timing.validate_s + timing.test_s + timing.latency_s
        fold_s = steps * timing.step_s + reports * timing.validate_s + ending_s
        seconds.append(folds * fold_s + BETWEEN_TRIALS_S)
    return seconds


def search_seconds(trials_s: list[float], cpus: int) -> float:
    """The wall time of a search: trials are handed out in order, each to the first free core."""
    free_at = [0.0] * cpus
    for trial_s in trials_s:
        heapq.heapreplace(free_at, free_at[0] + trial_s)
    return max(free_at)


def kind(configuration: Configuration) -> Kind:
    """What a trial's time depends on: fractions, such as rates and penalties, do not change it."""
    rest = {name: value for name, value in configuration.hyperparameters.items() if not isinstance(value, float)}
    return configuration.algorithm, configuration.batch_size, repr(sorted(rest.items()))


def time_kinds(configurations: Iterable[Configuration], data: Prepared) -> list[Timing]:
    """Time each configuration in this process; those that fail, or for which no time is left, get the mean."""
    began = time.perf_counter()
    timings: list[Timing | None] = []
    for configuration in configurations:
        timing = None
        if time.perf_counter() - began < ALL_WITHIN_S:
            with contextlib.suppress(Exception):  # the trial itself will report the error
                timing = _timing(configuration, data)
        timings.append(timing)
    mean = _mean([timing for timing in timings if timing is not None] or [Timing(0.0, 0.0, 0.0, 0.0, 0.0)])
    return [timing or replace(mean, guessed=True) for timing in timings]


def figures(
    configurations: list[Configuration], data: Prepared, timings: list[Timing]
) -> list[tuple[Configuration, dict[str, float]]]:
    """The times that a trial of each configuration would have at these timings."""
    of_kinds = {kind(configuration): timing for configuration, timing in zip(configurations, timings, strict=True)}
    elapsed = trial_seconds(configurations, data, of_kinds)
    pairs = []
    for configuration, timing, elapsed_s in zip(configurations, timings, elapsed, strict=True):
        if not timing.guessed:
            steps = configuration.steps(data.split.fit_rows)
            times = {"mean_step_time_ms": timing.fit_s * 1e3, "training_time_s": timing.fit_s * steps}
            pairs.append((configuration, times | {"elapsed_s": elapsed_s}))
    return pairs


def _timing(configuration: Configuration, data: Prepared) -> Timing:
    (fit, held_out), preprocessing = data.split.folds[0], data.preprocessings[0]
    fold = Fold(configuration, data, 0, fit, held_out, preprocessing)
    fold.step()  # the first step allocates
    steps: list[float] = []
    fits: list[float] = []
    core_wait = CoreWait()
    while len(steps) < MIN_STEPS or (len(steps) < MAX_STEPS and sum(steps) < KIND_WITHIN_S):
        before, trained_s, waited_s = time.perf_counter(), fold.training_time_s, core_wait()
        try:
            fold.step()
        except FloatingPointError:
            break
        steps.append(time.perf_counter() - before)
        share = own_share(steps[-1], core_wait() - waited_s)
        fits.append((fold.training_time_s - trained_s) * share)
    began = time.perf_counter()
    fold.validate()
    validate_s = time.perf_counter() - began
    return Timing(
        step_s=median(steps) if steps else 0.0,
        fit_s=median(fits) if fits else 0.0,
        validate_s=validate_s,
        test_s=validate_s * len(data.split.test) / len(held_out),
        latency_s=sum(fold.latencies_ms(FEW_ROWS)) / 1e3,
    )


def _mean(timings: Iterable[Timing]) -> Timing:
    """The mean of each time."""
    each = list(timings)
    names = [field.name for field in fields(Timing) if field.name != "guessed"]
    return Timing(
        **{name: fmean(getattr(timing, name) for timing in each) for name in names},
        guessed=all(timing.guessed for timing in each),
    )
