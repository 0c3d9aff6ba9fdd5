"""The built-in algorithms: scikit-learn's SGD models, trained batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier, SGDRegressor

from entrypoints.datasets.tables import Task
from entrypoints.models import losses
from entrypoints.models.losses import Array

_DIVERGED = ("non-finite", "under-/overflow")  # in scikit-learn's errors about weights that are not finite


class Learner(Protocol):
    """One model, trained batch by batch on X (rows, features) and y (rows,): numbers, or each row's class by number.

    ``estimator`` is scikit-learn's, or what behaves like it.
    """

    estimator: Any

    def step(self, X: Array, y: NDArray[Any]) -> None:
        """Train on one batch. FloatingPointError: the weights are no longer finite: the model has diverged."""

    def outputs(self, X: Array) -> Array:
        """What the loss and the score are computed from, one row or number per row of X."""

    def loss(self, outputs: Array, y: NDArray[Any]) -> float:
        """The mean loss over rows."""

    def score(self, outputs: Array, y: NDArray[Any]) -> float:
        """Accuracy as a share of 1, or the root mean squared error in the units of y."""

    def untrained_loss(self, y: NDArray[Any]) -> float:
        """The loss of a model that knows nothing."""


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

    def learner(self, hyperparameters: Mapping[str, Any], n_classes: int, seed: int = 0) -> SGDLearner:
        """A new model.

        Args:
            hyperparameters: ``learning_rate``, the constant step size, and ``alpha``, the multiplier of the L2 penalty.
            n_classes: the number of classes; 0 for regression.
            seed: unused: batches arrive in random order, and nothing else is random.
        """
        return SGDLearner(self, hyperparameters["learning_rate"], hyperparameters["alpha"], n_classes)


class SGDLearner:
    """A ``Learner`` whose outputs are (rows,) for regression and two classes, and (rows, classes) for more."""

    def __init__(self, algorithm: SGD, learning_rate: float, alpha: float, n_classes: int) -> None:
        # Batches arrive in random order already, so shuffling inside partial_fit would only cost time.
        settings: dict[str, Any] = {
            "loss": algorithm.loss,
            "learning_rate": "constant",
            "eta0": learning_rate,
            "alpha": alpha,
            "shuffle": False,
        }
        self.estimator = SGDClassifier(**settings) if n_classes else SGDRegressor(**settings)
        self.loss = _LOSSES[algorithm.loss]
        self.score = losses.accuracy if n_classes else losses.rmse
        self._n_classes = n_classes
        self._first_call = {"classes": np.arange(n_classes)} if n_classes else {}

    def step(self, X: Array, y: NDArray[Any]) -> None:
        """Train on one batch."""
        partial_fit(self.estimator, X, y, **self._first_call)
        self._first_call = {}

    def outputs(self, X: Array) -> Array:
        """The linear outputs."""
        scores: Array = X @ self.estimator.coef_.T + self.estimator.intercept_
        return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores

    def untrained_loss(self, y: NDArray[Any]) -> float:
        """The loss of a model of zeros."""
        return self.loss(np.zeros((len(y), self._n_classes) if self._n_classes > 2 else len(y)), y)


def partial_fit(estimator: Any, X: Array, y: NDArray[Any], **first_call: NDArray[Any]) -> None:
    """The estimator's own; FloatingPointError where it says that its weights are no longer finite."""
    try:
        estimator.partial_fit(X, y, **first_call)
    except ValueError as error:
        if any(words in str(error) for words in _DIVERGED):
            raise FloatingPointError(str(error)) from error
        raise


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
