"""What one trial trains."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entrypoints import own_modules
from entrypoints.datasets.tables import Task
from entrypoints.length import DEFAULT_LENGTH, Length
from entrypoints.models import algorithms

REPORTS = 20  # of a trial on batches, spread over its training, so that short trials have a learning curve, too


@dataclass(frozen=True)
class Configuration:
    """One choice of algorithm, batch size and hyperparameters, and what all trials of a study share.

    With a batch size a step trains on one batch of every fold, and ``length`` ends the trial. Without one a step is a
    fold, whose model is fitted on all its rows.
    """

    algorithm: str
    batch_size: int | None
    hyperparameters: Mapping[str, Any]
    seed: int
    length: Length = DEFAULT_LENGTH
    metric: str | None = None  # the score that scikit-learn's scorers call so; None: that of the task
    tol: float | None = None  # training that improves by less has converged; 0: none does; None: that is not searched
    folders: tuple[Path, ...] = ()  # where the algorithm's module may be, if it is the user's own
    number: int = field(default=0, compare=False)  # in the order in which the study's trials are started, from 1 on
    repeat: int = 0  # which repetition of the same configuration this trial is; 0: its first run, the one that counts

    @property
    def searched(self) -> dict[str, Any]:
        """What may differ between the trials of a study, by the names that the user knows."""
        batch_size = {} if self.batch_size is None else {"batch_size": self.batch_size}
        tol = {} if self.tol is None else {"tol": self.tol}
        return {"algorithm": self.algorithm, **batch_size, **self.hyperparameters, **tol}

    @property
    def key(self) -> str:
        """A text that identifies the configuration within its study."""
        return json.dumps(self.searched, sort_keys=True, default=str)

    @property
    def id(self) -> str:
        """A text that identifies the trial within its study: of repetitions, each has its own."""
        return f"{self.key}#{self.repeat}"

    def find_algorithm(self, task: Task) -> algorithms.Algorithm:
        """What makes the models."""
        own_modules.look_in(self.folders, self.algorithm)
        return algorithms.find(self.algorithm, task)

    def epoch_steps(self, rows: int) -> int:
        """How many batches one pass over ``rows`` training rows has."""
        return math.ceil(rows / (self.batch_size or rows))

    def steps(self, rows: int) -> int:
        """How many times one model is trained, on ``rows`` training rows: on batches at most, else once on all."""
        if self.batch_size is None:
            return 1
        return self.length.in_steps(self.epoch_steps(rows))

    def report_steps(self, rows: int) -> int:
        """How many steps lie between two reports of a trial on batches."""
        return max(1, round(self.steps(rows) / REPORTS))
