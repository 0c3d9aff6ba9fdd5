"""What one trial trains."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entrypoints.compute import own_modules
from entrypoints.datasets.splits import Split
from entrypoints.datasets.tables import Task
from entrypoints.models import algorithms
from entrypoints.options.length import DEFAULT_LENGTH, Length
from entrypoints.runs.tags import FOLD, TRAINING_STEP, Axis

REPORTS = 20  # of a trial on batches, spread over its training, so that short trials have a learning curve, too


@dataclass(frozen=True)
class Configuration:
    """One choice of algorithm and hyperparameters, and what all trials of a study share.

    A training step trains on one batch of every fold, and ``length`` ends the trial. On the other axis a step is a
    fold, whose model is fitted on all its rows.
    """

    searched: dict[str, Any]  # what may differ between trials, by the names that the user knows
    axis: Axis  # what the steps of its trial count
    seed: int
    length: Length = DEFAULT_LENGTH
    metric: str | None = None  # the score that scikit-learn's scorers call so; None: that of the task
    folders: tuple[Path, ...] = ()  # where the algorithm's module may be, if it is the user's own
    number: int = field(default=0, compare=False)  # in the order in which the study's trials are started, from 1 on
    role: str = ""  # ``reference``: the search is held against it

    @property
    def algorithm(self) -> str:
        """The name of what makes the models."""
        return str(self.searched["algorithm"])

    @property
    def batch_size(self) -> int:
        """Rows of a batch of a training step."""
        return int(self.searched["batch_size"])

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        """What the algorithm takes."""
        others = ("algorithm", "batch_size") if self.axis == TRAINING_STEP else ("algorithm",)
        return {name: value for name, value in self.searched.items() if name not in others}

    @property
    def key(self) -> str:
        """A text that identifies the configuration within its study."""
        return json.dumps(self.searched, sort_keys=True, default=str)

    @property
    def id(self) -> str:
        """A text that identifies the trial within its study."""
        return f"{self.key}#{self.role}"

    def find_algorithm(self, task: Task) -> algorithms.Algorithm:
        """What makes the models."""
        own_modules.look_in(self.folders, self.algorithm)
        return algorithms.find(self.algorithm, task)

    def epoch_steps(self, rows: int) -> int:
        """How many batches one pass over ``rows`` training rows has."""
        return math.ceil(rows / self.batch_size)

    def steps(self, rows: int) -> int:
        """How many times one model is trained, on ``rows`` training rows: on batches, or once on all."""
        if self.axis == FOLD:
            return 1
        return self.length.in_steps(self.epoch_steps(rows))

    def trial_steps(self, split: Split) -> int:
        """How many steps a trial on these folds has: batches or folds."""
        return len(split.folds) if self.axis == FOLD else self.steps(split.fit_rows)

    def report_steps(self, rows: int) -> int:
        """How many steps lie between two reports of a trial on batches."""
        return max(1, round(self.steps(rows) / REPORTS))
