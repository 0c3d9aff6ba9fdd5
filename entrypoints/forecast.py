"""How long a study will take, from a few timed batches of each kind."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import Any

from entrypoints.cross_validation import Configuration, Fold
from entrypoints.prepared import Prepared

TIMED_STEPS = 8


def study_seconds(configs: list[dict[str, Any]], data: Prepared, cpus: int) -> float:
    """The expected wall time of the search in seconds: all steps of all trials, shared out over the CPU cores."""
    rows = max(len(fit) for fit, _ in data.split.folds)
    seconds_per_step: dict[tuple[str, int], float] = {}
    total = 0.0
    for config in configs:
        configuration = Configuration.from_dict(config)
        kind = (configuration.algorithm, configuration.batch_size)
        if kind not in seconds_per_step:
            seconds_per_step[kind] = _step_seconds(configuration, data)
        total += configuration.steps(rows) * len(data.split.folds) * seconds_per_step[kind]
    return total / cpus


def _step_seconds(configuration: Configuration, data: Prepared) -> float:
    (fit, held_out), preprocessing = data.split.folds[0], data.preprocessings[0]
    # What a step takes does not depend on its size, and small ones cannot overflow.
    configuration = replace(configuration, learning_rate=1e-6)
    fold = Fold(configuration, data, 0, fit, held_out, preprocessing)
    fold.step()  # the first step allocates
    times = []
    for _ in range(TIMED_STEPS):
        started = time.perf_counter()
        fold.step()
        times.append(time.perf_counter() - started)
    return median(times)
