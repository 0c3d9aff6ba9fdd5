"""One model in training: its rows, its batches, and what its steps take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from time import perf_counter

import numpy as np

from entrypoints.compute import memory
from entrypoints.compute.contention import CoreWait, own_share
from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.splits import Rows
from entrypoints.datasets.sysmetrics_rows import Preprocessing
from entrypoints.models import scores
from entrypoints.models.configuration import Configuration
from entrypoints.models.learners import Learner, with_class_weights
from entrypoints.models.losses import Array, Target
from entrypoints.models.trained import Model
from entrypoints.runs.tags import FOLD, TRAINING_STEP

MEASURED_STEPS = 2  # later ones take no more memory
LOSS_ROWS = 1000  # about as many training rows, evenly spread, have the training loss of a fit on all of them


def batches(rows: Rows, batch_size: int, seed: tuple[int, int]) -> Iterator[Rows]:
    """Row numbers, batch by batch without end: each epoch is a new random order, its last batch may be smaller."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(rows)
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size].astype(np.intp)  # with which numpy is fastest


def _learner(configuration: Configuration, data: Prepared, rows: Rows) -> Learner:
    """An untrained model of a configuration, to be trained on these rows."""
    values = configuration.hyperparameters
    if configuration.axis == TRAINING_STEP:
        values = with_class_weights(values, data.y[rows])
    algorithm = configuration.find_algorithm(data.task)
    return algorithm.learner(values, data.n_classes, configuration.seed)


class Mean:
    """The mean of what was added since it was last taken."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0

    def add(self, value: float) -> None:
        """Count one more value."""
        self._sum += value
        self._count += 1

    def take(self) -> float:
        """The mean; what was added no longer counts."""
        mean = self._sum / self._count
        self._sum = 0.0
        self._count = 0
        return mean


class Fold:
    """One model in training. A step trains on one batch, or is the fit on all rows.

    Args:
        configuration: what is trained.
        data: the dataset.
        number: the fold's number; with the configuration's seed it fixes the order of the batches.
        fit: row numbers to train on.
        held_out: row numbers to validate on.
        preprocessing: fitted on ``fit`` alone.

    Attributes:
        model: the model as it is by now.
        untrained: makes the same one as it was at its start.
        steps: how many were done.
        training_time_s: of all steps, without the time in which other processes had the core.
        memory_mb: what the model and a step of it add to this process; None where it is not measured.
        step_loss: the mean training loss of steps.
    """

    memory_mb: float | None = None

    def __init__(
        self,
        configuration: Configuration,
        data: Prepared,
        number: int,
        fit: Rows,
        held_out: Rows,
        preprocessing: Preprocessing,
    ) -> None:
        self.untrained = partial(Fold, configuration, data, number, fit, held_out, preprocessing)
        score = scores.find(configuration.metric, data.task, data.positive)
        if configuration.find_algorithm(data.task).keeps_missing:
            preprocessing = replace(preprocessing, keeps_missing=True, flagged=())
        self.model = Model(_learner(configuration, data, fit), preprocessing, score, data)
        self.number = number
        self.held_out = held_out
        self.steps = 0
        self.training_time_s = 0.0
        self.step_loss = Mean()
        self._core_wait = CoreWait()
        self._axis = configuration.axis
        if configuration.axis == FOLD:
            self._batches = iter([fit])
            self._loss_every = max(1, len(fit) // LOSS_ROWS)
        else:
            self._batches = batches(fit, configuration.batch_size, (configuration.seed, number))
            self._loss_every = 1

    def step(self, steps: int = 1) -> None:
        """Train on each of the next batches, or fit on all rows, timed, and note the loss after each."""
        self._train(map(self.model.part, islice(self._batches, steps)))

    def _train(self, parts: Iterable[tuple[Array, Target]]) -> None:
        learner = self.model.learner
        took_s = 0.0
        began = perf_counter()
        waited_s = self._core_wait()
        try:
            for X, y in parts:
                self.steps += 1
                started = perf_counter()
                learner.step(X, y)
                took_s += perf_counter() - started
                some = slice(None, None, self._loss_every)
                self.step_loss.add(learner.loss(learner.outputs(X[some]), y[some]))
        finally:
            self.training_time_s += took_s * own_share(perf_counter() - began, self._core_wait() - waited_s)


class MeasuredFold(Fold):
    """A model whose first steps are measured: by how many megabytes they raise the memory of this process.

    ``memory_mb`` is the most that the model and its step have taken, with what its earlier steps have left: what the
    first one only allocates, as a moment of zeros, takes memory when the second one writes to it. It is None where the
    OS does not tell. The rows of a batch are part of it. All rows, of which a user has such a table anyway, are not.
    """

    _kept_mb = 0.0

    def step(self, steps: int = 1) -> None:
        """As of any fold; a step that is measured is one."""
        if self.steps >= MEASURED_STEPS:
            super().step(steps)
            return
        rows = next(self._batches)
        parts: Iterable[tuple[Array, Target]] = map(self.model.part, [rows])
        if self._axis == FOLD:
            parts = list(parts)
        else:
            self.model.data.X[rows]  # pages of shared memory count as the process's when it first reads them
        raised = memory.raised(lambda: self._train(parts))
        if raised is None:
            return
        self.memory_mb = max(self.memory_mb or 0.0, self._kept_mb + raised.peak_mb)
        self._kept_mb += raised.kept_mb
