"""The opponent of the search: scikit-learn's ``partial_fit`` in plain processes, with no metrics and no tracking.

Each process takes the next configuration from a queue, normalises its folds' tables once, and trains the folds one
after the other on the batches that the study trains on. scikit-learn runs with its default settings.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import queue
import time
from dataclasses import dataclass

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402

from entrypoints.models.fold import batches  # noqa: E402


@dataclass(frozen=True)
class Took:
    """Wall time from the moment when all processes are ready to the end of the last configuration.

    ``training_time_s`` is the time in ``partial_fit`` by configuration, mean over folds.
    """

    seconds: float
    training_time_s: dict[str, float]


def run(configurations, data, processes):
    """Train all configurations, in their order."""
    context = multiprocessing.get_context("spawn")
    work, times = context.Queue(), context.SimpleQueue()
    for configuration in configurations:
        work.put(configuration)
    ready = context.Barrier(processes + 1)
    workers = [context.Process(target=_work, args=(data, work, times, ready)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    ready.wait()
    started = time.perf_counter()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a process of the bare loop failed")
    took = time.perf_counter() - started
    return Took(took, dict(times.get() for _ in configurations))


def _work(data, work, times, ready):
    tables = [(fitted.transform(data.X), fitted.scaling.transform_target(data.y)) for fitted in data.preprocessings]
    gc.collect()
    gc.freeze()  # as the study's processes do: the metrics collect garbage, and need not look at the libraries
    ready.wait()
    while True:
        try:
            configuration = work.get(timeout=1 if work.empty() else 10)
        except queue.Empty:
            return
        times.put((configuration.key, _train(configuration, data, tables)))


def _train(configuration, data, tables):
    algorithm, classes = configuration.find_algorithm(data.task), np.arange(data.n_classes)
    steps, total_s = configuration.steps(max(len(fit) for fit, _ in data.split.folds)), 0.0
    for number, ((fit, _), (X, y)) in enumerate(zip(data.split.folds, tables, strict=True)):
        estimator = algorithm.learner(configuration.hyperparameters, len(classes), configuration.seed).estimator
        rows = batches(fit, configuration.batch_size, (configuration.seed, number))
        first_call = {"classes": classes} if data.n_classes else {}
        target = data.y if data.n_classes else y
        for _ in range(steps):
            batch = next(rows)
            some, some_y = X[batch], target[batch]
            started = time.perf_counter()
            estimator.partial_fit(some, some_y, **first_call)
            total_s += time.perf_counter() - started
            first_call = {}
    return total_s / len(tables)
