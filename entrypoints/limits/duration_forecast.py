"""How long a study will take: a model of each algorithm and batch size is timed, where the trials will run."""

from __future__ import annotations

import contextlib
import heapq
import math
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple

import numpy as np

from entrypoints.datasets.prepared import Prepared
from entrypoints.models.configuration import Configuration
from entrypoints.models.cross_validation import FEW_ROWS, LATENCY_ROWS, Fold
from mlflow_sysmetrics.limits import Values

KIND_WITHIN_S = 0.2
ALL_WITHIN_S = 10.0
MAX_STEPS, MIN_STEPS = 100, 3
# The overhead of a trial: free the last one's memory, send a result to the driver, get the next configuration.
BETWEEN_TRIALS_S = 0.03


class Timing(NamedTuple):
    """Seconds of one fold's model: a step, the ``partial_fit`` in it, a validation, and its evaluation at the end."""

    step_s: float
    fit_s: float
    validate_s: float
    ending_s: float


@dataclass(frozen=True)
class Forecast:
    """The expected seconds of each trial, in the order of the configurations, and of the whole search.

    For a trial that may converge, this is the time of all its steps: an upper bound.
    """

    trials_s: list[float]
    search_s: float


def kind(configuration: Configuration) -> Hashable:
    """What a step is timed for."""
    return configuration.algorithm, configuration.batch_size, configuration.iterations


def one_of_each(configurations: Iterable[Configuration]) -> list[Configuration]:
    """The first configuration of each kind."""
    return list({kind(configuration): configuration for configuration in reversed(list(configurations))}.values())


def time_kinds(configurations: Iterable[Configuration], data: Prepared) -> list[dict[str, float] | None]:
    """What a trial of each configuration would cost, from a model that is timed in this process.

    None for those that fail, or for which no time is left.
    """
    began = time.perf_counter()
    timed: list[dict[str, float] | None] = []
    for configuration in configurations:
        timed.append(None)
        if time.perf_counter() - began < ALL_WITHIN_S:
            with contextlib.suppress(Exception), np.errstate(all="ignore"):  # the trial itself will report the error
                timed[-1] = trial_costs(configuration, data, _timing(configuration, data))
    return timed


def trial_costs(configuration: Configuration, data: Prepared, timing: Timing) -> dict[str, float]:
    """The times of a trial at this timing: it does all its steps, on all folds."""
    rows = data.split.fit_rows
    steps = configuration.steps(rows)
    reports = math.ceil(steps / configuration.report_steps(rows))
    fold_s = steps * timing.step_s + reports * timing.validate_s + timing.ending_s
    return {
        "mean_step_time_ms": timing.fit_s * 1e3,
        "training_time_s": timing.fit_s * steps,
        "elapsed_s": len(data.split.folds) * fold_s + BETWEEN_TRIALS_S,
    }


def forecast(configurations: Sequence[Configuration], cpus: int, rounds: Iterable[Iterable[Values | None]]) -> Forecast:
    """How long trials take.

    Args:
        configurations: of the trials.
        cpus: how many trials run at once.
        rounds: what each of some processes has timed for ``one_of_each``. A kind that none has timed takes the mean of
            the others.
    """
    seen: dict[Hashable, list[float]] = {}
    for timed in rounds:
        for configuration, costs in zip(one_of_each(configurations), timed, strict=True):
            if costs is not None:
                seen.setdefault(kind(configuration), []).append(costs["elapsed_s"])
    seconds = {each: fmean(elapsed_s) for each, elapsed_s in seen.items()}
    usual_s = fmean(seconds.values()) if seconds else BETWEEN_TRIALS_S
    trials_s = [seconds.get(kind(trial), usual_s) for trial in configurations]
    return Forecast(trials_s, search_seconds(trials_s, cpus))


def search_seconds(trials_s: Iterable[float], cpus: int) -> float:
    """The wall time of a search: trials are handed out in order, each to the first free core."""
    free_at = [0.0] * cpus
    for trial_s in trials_s:
        heapq.heapreplace(free_at, free_at[0] + trial_s)
    return max(free_at)


def _timing(configuration: Configuration, data: Prepared) -> Timing:
    (fit, held_out), preprocessing = data.split.folds[0], data.preprocessings[0]
    fold = Fold(configuration, data, 0, fit, held_out, preprocessing)
    longest, steps = configuration.steps(data.split.fit_rows), 0
    if longest > MIN_STEPS:
        fold.step()  # the first step allocates
    began, trained_s = time.perf_counter(), fold.training_time_s
    with contextlib.suppress(FloatingPointError):  # until then a diverging model costs what any other does
        while steps < MIN_STEPS or (steps < MAX_STEPS and time.perf_counter() - began < KIND_WITHIN_S):
            fold.step()
            steps += 1
            if fold.steps == longest:
                break
    took_s = time.perf_counter() - began
    began = time.perf_counter()
    fold.validate()
    validate_s = time.perf_counter() - began
    test_s = validate_s * len(data.split.test) / len(held_out)
    # A fit that is not complete may not predict a row yet.
    a_row_s = median(fold.latencies_ms(FEW_ROWS)) / 1e3 if fold.by_batch or fold.steps == longest else 0.0
    latency_s = a_row_s * LATENCY_ROWS / len(data.split.folds)
    return Timing(
        step_s=took_s / steps,
        fit_s=(fold.training_time_s - trained_s) / steps,
        validate_s=validate_s,
        ending_s=validate_s + test_s + latency_s,
    )
