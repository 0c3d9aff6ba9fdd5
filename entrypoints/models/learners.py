"""What a trial trains: by ``partial_fit`` or by ``fit``; and the built-in algorithms: scikit-learn's SGD models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.utils.class_weight import compute_class_weight

from entrypoints.datasets.tables import Task
from entrypoints.models import losses
from entrypoints.models.losses import Array, Target
from entrypoints.options.search_space import Space
from entrypoints.runs.tags import TRAINING_STEP, Axis

Outputs = Callable[[Array], Array]
Loss = Callable[[Array, Target], float]

_DIVERGED = ("non-finite", "under-/overflow")  # in scikit-learn's errors about weights that are not finite


@dataclass(eq=False)
class Learner:
    """One model, trained on X (rows, features) and y (rows,): numbers, or each row's class by number.

    Attributes:
        estimator: scikit-learn's, or what behaves like it.
        n_classes: the number of classes; 0 for regression.
        outputs: what the loss and scores are computed from, of each row of X: a number, or one of each class.
        loss: the mean loss over rows of these outputs.
        decisions: 1 for the predicted class; None: that is always the one with the highest output.
    """

    estimator: Any
    n_classes: int
    outputs: Outputs
    loss: Loss
    decisions: Outputs | None = None

    def step(self, X: Array, y: Target) -> None:
        """Train on these rows.

        Raises:
            FloatingPointError: the weights are no longer finite: the model has diverged.
        """
        raise NotImplementedError

    def untrained_loss(self, y: Target) -> float:
        """The loss of predicting the mean of a standardised target, or no class more than another."""
        if self.n_classes:
            return self.loss(np.full((len(y), self.n_classes), 1 / self.n_classes), y)
        return self.loss(np.zeros(len(y)), y)


@dataclass(eq=False)
class BatchLearner(Learner):
    """By ``partial_fit``."""

    def __post_init__(self) -> None:
        self._would_divide = getattr(self.estimator, "batch_size", None) == "auto"  # scikit-learn's MLP, over 200 rows
        self._first_call: dict[str, Any] = {}
        if self.n_classes and "classes" in inspect.signature(self.estimator.partial_fit).parameters:
            self._first_call = {"classes": np.arange(self.n_classes)}

    def step(self, X: Array, y: Target) -> None:
        """Train on one batch."""
        if self._would_divide:
            self.estimator.batch_size = len(X)
        try:
            self.estimator.partial_fit(X, y, **self._first_call)
        except ValueError as error:
            if any(words in str(error) for words in _DIVERGED):
                raise FloatingPointError(str(error)) from error
            raise
        if self._would_divide:
            self.estimator.batch_size = "auto"  # as it was made
        self._first_call = {}


def with_class_weights(hyperparameters: Mapping[str, Any], y: Target) -> Mapping[str, Any]:
    """With the weights that ``class_weight: balanced`` comes to for these rows, all of which no batch shows."""
    if hyperparameters.get("class_weight") != "balanced":
        return hyperparameters
    classes = np.unique(y)
    weights = compute_class_weight("balanced", classes=classes, y=y)
    return {**hyperparameters, "class_weight": dict(zip(classes.tolist(), weights.tolist(), strict=True))}


@dataclass(eq=False)
class WholeFit(Learner):
    """By ``fit``, on all rows at once."""

    def __post_init__(self) -> None:
        # SVC has votes: what it predicts may be another class than that of its highest output.
        if self.n_classes:
            self.decisions = partial(predicted, self.estimator, self.n_classes)

    def step(self, X: Array, y: Target) -> None:
        """Train to the end."""
        self.estimator.fit(X, y)


def predicted(estimator: Any, n_classes: int, X: Array) -> Array:
    """(rows, classes): 1 for the class that an estimator predicts, 0 for all others."""
    one_hot: Array = np.eye(n_classes)[np.reshape(estimator.predict(X), len(X)).astype(int)]
    return one_hot


@dataclass(frozen=True)
class SGD:
    """A linear model that SGD trains on batches; ``loss`` is scikit-learn's name of what it minimises."""

    name: str
    task: Task
    loss: str

    axis: ClassVar[Axis] = TRAINING_STEP
    keeps_missing: ClassVar[bool] = False
    grid: ClassVar[Space] = {"learning_rate": [0.1, 0.01, 0.001, 0.0001], "alpha": [0.001, 0.01, 0.1]}
    wide: ClassVar[Space] = grid

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """The names that it takes."""
        own = tuple(self.grid)
        return own if self.task == "regression" else (*own, "class_weight")

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
        if n_classes:
            estimator = SGDClassifier(**settings, class_weight=hyperparameters.get("class_weight"))
        else:
            estimator = SGDRegressor(**settings)
        return BatchLearner(estimator, n_classes, partial(_linear_outputs, estimator), _LOSSES[self.loss])


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
