"""What models are trained for, and what they are compared by unless told otherwise: of a batch of outputs.

They are computed in numpy because scikit-learn's own functions cost as much per call (70-200 us) as the ``partial_fit``
that they would accompany; the tests hold both equal.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]
Target = NDArray[Any]  # numbers, or each row's class by number

_EPS = float(np.finfo(np.float64).eps)  # what sklearn.metrics.log_loss clips probabilities to
_LARGEST_LOG_LOSS = -math.log(_EPS)


def rmse(outputs: Array, y: Target) -> float:
    """The root mean squared error in the units of y."""
    return float(np.sqrt(squared_error(outputs, y)))


def accuracy(outputs: Array, y: Target) -> float:
    """The share of rows whose class is predicted."""
    return float(np.mean(predicted_classes(outputs) == y))


def predicted_classes(outputs: Array) -> NDArray[Any]:
    """The class with the highest output, by number; a single output per row is that of class 1 against 0."""
    return outputs > 0 if outputs.ndim == 1 else outputs.argmax(axis=1)


def squared_error(outputs: Array, y: Target) -> float:
    """``sklearn.metrics.mean_squared_error``."""
    error = outputs - y
    return float(error @ error) / len(error)


def log_loss(probabilities: Array, y: Target) -> float:
    """``sklearn.metrics.log_loss`` of probabilities (rows, classes)."""
    of_true = probabilities[np.arange(len(y)), y]
    return float(-np.log(of_true.clip(_EPS, 1 - _EPS)).mean())


def log_loss_of_linear(outputs: Array, y: Target) -> float:
    """``sklearn.metrics.log_loss`` of what ``SGDClassifier.predict_proba`` makes of linear outputs."""
    if outputs.ndim == 1:  # in four operations: it is computed at every step
        losses = np.minimum(np.logaddexp(0.0, np.where(y, -outputs, outputs)), _LARGEST_LOG_LOSS)
        return float(losses.sum()) / len(y)
    return log_loss(probabilities_of_linear(outputs), y)


def probabilities_of_linear(outputs: Array) -> Array:
    """What ``SGDClassifier.predict_proba`` makes of linear outputs: (rows, classes)."""
    each: Array = expit(outputs)
    if outputs.ndim == 1:
        return np.column_stack([1.0 - each, each])
    # One model per class, normalised to sum to one.
    total = each.sum(axis=1, keepdims=True)
    nowhere = total[:, 0] == 0
    each[nowhere], total[nowhere] = 1.0, each.shape[1]
    each /= total
    return each


def hinge(outputs: Array, y: Target) -> float:
    """``sklearn.metrics.hinge_loss``; for more than two classes that is the Crammer-Singer form."""
    if outputs.ndim == 1:
        margin = np.where(y == 1, outputs, -outputs)
    else:
        rows = np.arange(len(y))
        others = outputs.copy()
        others[rows, y] = -np.inf
        margin = outputs[rows, y] - others.max(axis=1)
    return float(np.maximum(0.0, 1.0 - margin).mean())
