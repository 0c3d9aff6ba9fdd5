"""What is tried: the settings and the dataset -> one configuration per trial."""

from __future__ import annotations

import itertools
from typing import Any

from entrypoints.errors import UserError
from entrypoints.learners import ALGORITHMS, Task
from entrypoints.options import AUTO, StudySettings
from entrypoints.splits import Split

SEARCHED = ("algorithm", "batch_size", "learning_rate", "alpha")
_FIXED = ("dataset", "target", "folds", "seed", "max_steps", "max_epochs", "report_every")

Config = dict[str, Any]


def algorithms_for(task: Task, asked: str) -> tuple[str, ...]:
    """The algorithms to search: those named, or all that fit the task.

    Raises:
        UserError: one of them is unknown or does not fit the task.
    """
    fitting = tuple(name for name, algorithm in ALGORITHMS.items() if algorithm.task == task)
    if asked == AUTO:
        return fitting
    names = tuple(dict.fromkeys(name.strip() for name in asked.split(",")))
    wrong = [name for name in names if name not in fitting]
    if wrong:
        raise UserError(
            f"algorithm={asked}: {wrong[0]} does not fit a {task} dataset, where {' or '.join(fitting)} does; "
            f"choose from these, or leave it out for {AUTO}"
            if wrong[0] in ALGORITHMS
            else f"algorithm={asked}: {wrong[0]} is not known; {', '.join(ALGORITHMS)} and {AUTO} are allowed, "
            f"of which {' and '.join(fitting)} fit a {task} dataset; choose from these"
        )
    return names


def grid(settings: StudySettings, split: Split, algorithms: tuple[str, ...]) -> list[Config]:
    """All configurations, in the order in which they are tried.

    Raises:
        UserError: a batch is larger than the smallest fold's training part.
    """
    rows = min(len(fit) for fit, _ in split.folds)
    sizes = settings.batch_sizes or tuple(2**i for i in range(1, rows.bit_length()))
    if max(sizes) > rows:
        raise UserError(
            f"batch_sizes={','.join(map(str, sizes))}: {max(sizes)} rows are more than the {rows} that a fold trains "
            f"on; the largest batch can be {rows}"
        )
    fixed = {key: getattr(settings, key) for key in _FIXED}
    # Small steps first: models that diverge come last, so the best so far means something early on.
    rates = sorted(settings.learning_rates)
    return [
        dict(zip(SEARCHED, values, strict=True)) | fixed
        for values in itertools.product(algorithms, sizes, rates, settings.alphas)
    ]


def run_name(config: Config, configs: list[Config]) -> str:
    """A trial's name: the values in which the trials of its study differ."""
    varied = [key for key in SEARCHED if any(other[key] != config[key] for other in configs)] or SEARCHED
    return " ".join(f"{key}={config[key]}" for key in varied)
