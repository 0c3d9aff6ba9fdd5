"""A name -> an algorithm: built in, or the user's own."""

from __future__ import annotations

from entrypoints.datasets.tables import Task
from entrypoints.errors import UserError
from entrypoints.models.estimators import estimator
from entrypoints.models.learners import ALGORITHMS, Algorithm
from entrypoints.settings import AUTO


def find(name: str) -> Algorithm:
    """The algorithm of that name.

    Raises:
        UserError: unknown algorithm.
    """
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    if "." in name:
        return estimator(name)
    raise UserError(
        f"algorithm={name}: unknown algorithm; use {', '.join(ALGORITHMS)}, or the import path of an estimator with "
        f"partial_fit, such as sklearn.neural_network.MLPClassifier, or {AUTO} alone for all built-in ones that fit"
    )


def find_all(task: Task, asked: str) -> tuple[Algorithm, ...]:
    """The algorithms that a text names, separated by commas; ``auto`` stands for the built-in ones that fit the task.

    Raises:
        UserError: one of them is unknown or does not fit the task.
    """
    fitting = tuple(algorithm for algorithm in ALGORITHMS.values() if algorithm.task == task)
    if asked == AUTO:
        return fitting
    found = [find(name) for name in dict.fromkeys(name.strip() for name in asked.split(","))]
    for algorithm in found:
        if algorithm.task != task:
            raise UserError(
                f"algorithm={asked}: {algorithm.name} does not fit a {task} dataset, where "
                f"{' or '.join(each.name for each in fitting)} does; choose from these, or leave it out for {AUTO}"
            )
    return tuple(found)
