"""The SGD learners: their loss, their score, one step.

Losses and scores are computed from ``coef_`` in numpy because scikit-learn's own functions cost as much per call
(70-200 us) as the ``partial_fit`` they would accompany; the tests hold both equal to scikit-learn's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import SGDClassifier, SGDRegressor

Array = NDArray[np.float64]
Task = Literal["regression", "classification"]


@dataclass(frozen=True)
class Algorithm:
    """A linear model: the task that it fits and scikit-learn's name of the loss that SGD minimises."""

    name: str
    task: Task
    loss: str


ALGORITHMS = {
    "linear": Algorithm("linear", "regression", "squared_error"),
    "logistic": Algorithm("logistic", "classification", "log_loss"),
    "svm": Algorithm("svm", "classification", "hinge"),
}


def score_name(task: Task) -> str:
    """What models of a task are compared by: ``rmse`` (lower is better) or ``accuracy`` (higher is better)."""
    return "rmse" if task == "regression" else "accuracy"


def better(task: Task, score: float, than: float) -> bool:
    """Whether a score beats another one of the same task."""
    return score < than if task == "regression" else score > than


class Learner:
    """One linear model, trained batch by batch.

    Args:
        algorithm: a name in ``ALGORITHMS``.
        learning_rate: the constant step size of SGD, > 0.
        alpha: the multiplier of the L2 penalty, >= 0.
        n_classes: the classes are 0 .. n_classes - 1; 0 for regression.
    """

    def __init__(self, algorithm: str, *, learning_rate: float, alpha: float, n_classes: int) -> None:
        self.algorithm = ALGORITHMS[algorithm]
        # Batches arrive in random order already, so shuffling inside partial_fit would only cost time.
        settings: dict[str, Any] = {
            "loss": self.algorithm.loss,
            "learning_rate": "constant",
            "eta0": learning_rate,
            "alpha": alpha,
            "shuffle": False,
        }
        regression = self.algorithm.task == "regression"
        self.estimator = SGDRegressor(**settings) if regression else SGDClassifier(**settings)
        self._first_call = {} if regression else {"classes": np.arange(n_classes)}

    def step(self, X: Array, y: NDArray[Any]) -> None:
        """Train on one batch: X (rows, features), y (rows,).

        Raises:
            FloatingPointError: the weights are no longer finite: the model has diverged.
        """
        try:
            self.estimator.partial_fit(X, y, **self._first_call)
        except ValueError as error:
            if "under-/overflow" in str(error):
                raise FloatingPointError(str(error)) from error
            raise
        self._first_call = {}

    def outputs(self, X: Array) -> Array:
        """The linear outputs: (rows,) for regression and two classes, (rows, classes) for more."""
        scores: Array = X @ self.estimator.coef_.T + self.estimator.intercept_
        return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores

    def loss(self, outputs: Array, y: NDArray[Any]) -> float:
        """The mean loss over rows, equal to scikit-learn's metric of the same name.

        ``mean_squared_error``, ``log_loss`` (of ``predict_proba``) or ``hinge_loss`` (for more than two classes the
        Crammer-Singer form that ``sklearn.metrics.hinge_loss`` uses).
        """
        return _LOSSES[self.algorithm.loss](outputs, y)

    def score(self, outputs: Array, y: NDArray[Any]) -> float:
        """Accuracy as a share of 1, or the root mean squared error in the units of y."""
        if self.algorithm.task == "regression":
            return float(np.sqrt(_squared_error(outputs, y)))
        predicted = outputs > 0 if outputs.ndim == 1 else outputs.argmax(axis=1)
        return float(np.mean(predicted == y))


def _squared_error(outputs: Array, y: NDArray[Any]) -> float:
    error = outputs - y
    return float(error @ error) / len(error)


def _log_loss(outputs: Array, y: NDArray[Any]) -> float:
    eps = np.finfo(outputs.dtype).eps  # what sklearn.metrics.log_loss clips to
    if outputs.ndim == 1:
        of_true = expit(np.where(y == 1, outputs, -outputs))
    else:
        # One model per class, normalised to sum to one, as SGDClassifier.predict_proba does.
        each = expit(outputs)
        total = each.sum(axis=1)
        nowhere = total == 0
        each[nowhere], total[nowhere] = 1.0, each.shape[1]
        of_true = each[np.arange(len(y)), y] / total
    return float(-np.log(of_true.clip(eps, 1 - eps)).mean())


def _hinge(outputs: Array, y: NDArray[Any]) -> float:
    if outputs.ndim == 1:
        margin = np.where(y == 1, outputs, -outputs)
    else:
        rows = np.arange(len(y))
        others = outputs.copy()
        others[rows, y] = -np.inf
        margin = outputs[rows, y] - others.max(axis=1)
    return float(np.maximum(0.0, 1.0 - margin).mean())


_LOSSES = {"squared_error": _squared_error, "log_loss": _log_loss, "hinge": _hinge}
