"""One model trained batch by batch, and the built-in algorithms: scikit-learn's SGD models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier, SGDRegressor

from entrypoints.datasets.tables import Task
from entrypoints.models import losses
from entrypoints.models.losses import Array

Loss = Callable[[Array, NDArray[Any]], float]

_DIVERGED = ("non-finite", "under-/overflow")  # in scikit-learn's errors about weights that are not finite


class Learner:
    """One model, trained batch by batch on X (rows, features) and y (rows,): numbers, or each row's class by number.

    Args:
        estimator: scikit-learn's, or what behaves like it.
        n_classes: the number of classes; 0 for regression.
        outputs: what the loss and scores are computed from, of each row of X: a number, or one of each class.
        loss: the mean loss over rows of these outputs.
    """

    def __init__(self, estimator: Any, n_classes: int, outputs: Callable[[Array], Array], loss: Loss) -> None:
        self.estimator, self.outputs, self.loss = estimator, outputs, loss
        self._n_classes = n_classes
        takes_classes = n_classes and "classes" in inspect.signature(estimator.partial_fit).parameters
        self._first_call = {"classes": np.arange(n_classes)} if takes_classes else {}

    def step(self, X: Array, y: NDArray[Any]) -> None:
        """Train on one batch. FloatingPointError: the weights are no longer finite: the model has diverged."""
        try:
            self.estimator.partial_fit(X, y, **self._first_call)
        except ValueError as error:
            if any(words in str(error) for words in _DIVERGED):
                raise FloatingPointError(str(error)) from error
            raise
        self._first_call = {}

    def untrained_loss(self, y: NDArray[Any]) -> float:
        """The loss of predicting the mean of a standardised target, or no class more than another."""
        n_classes = self._n_classes
        return self.loss(np.full((len(y), n_classes), 1 / n_classes) if n_classes else np.zeros(len(y)), y)


class Algorithm(Protocol):
    """An algorithm: its name, its task, and a method that creates learners."""

    @property
    def name(self) -> str:
        """As the user writes it."""

    @property
    def task(self) -> Task:
        """What its models predict."""

    def learner(self, hyperparameters: Mapping[str, Any], n_classes: int, seed: int) -> Learner:
        """A new model of the classes 0 to ``n_classes`` - 1, or with 0 classes of numbers."""


@dataclass(frozen=True)
class SGD:
    """A linear model that SGD trains; ``loss`` is scikit-learn's name of what it minimises."""

    name: str
    task: Task
    loss: str

    def learner(self, hyperparameters: Mapping[str, Any], n_classes: int, seed: int = 0) -> Learner:
        """A new model.

        Args:
            hyperparameters: ``learning_rate``, the constant step size, ``alpha``, the multiplier of the L2 penalty, and
                maybe ``class_weight``.
            n_classes: the number of classes; 0 for regression.
            seed: unused: batches arrive in random order, and nothing else is random.
        """
        settings: dict[str, Any] = {
            "loss": self.loss,
            "learning_rate": "constant",
            "eta0": hyperparameters["learning_rate"],
            "alpha": hyperparameters["alpha"],
            "shuffle": False,  # batches arrive in random order already: it would only cost time
        }
        weights = {"class_weight": hyperparameters.get("class_weight")}
        estimator = SGDClassifier(**settings, **weights) if n_classes else SGDRegressor(**settings)
        return Learner(estimator, n_classes, partial(_linear_outputs, estimator), _LOSSES[self.loss])


def _linear_outputs(estimator: Any, X: Array) -> Array:
    """(rows,) for regression and two classes, (rows, classes) for more."""
    scores: Array = X @ estimator.coef_.T + estimator.intercept_
    return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores


_LOSSES = {
    "squared_error": losses.squared_error,
    "log_loss": losses.log_loss_of_linear,
    "hinge": losses.hinge,
}
ALGORITHMS = {
    algorithm.name: algorithm
    for algorithm in (
        SGD("linear", "regression", "squared_error"),
        SGD("logistic", "classification", "log_loss"),
        SGD("svm", "classification", "hinge"),
    )
}
