"""Losses and scores of a batch of outputs, held equal to scikit-learn's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.linear_model import SGDClassifier

from entrypoints.models import losses
from entrypoints.models.cross_validation import DIVERGED_LOSS
from entrypoints.models.losses import Array

ROWS = 40


def _random(*shape: int, scale: float = 1.0) -> Array:
    return np.random.default_rng(0).normal(scale=scale, size=shape)


def _labels(n_classes: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(0, n_classes, ROWS)


def _probabilities(n_classes: int) -> Array:
    claims = np.random.default_rng(2).random((ROWS, n_classes))
    return np.asarray(claims / claims.sum(axis=1, keepdims=True))


def _predict_proba(outputs: Array) -> Array:
    """What SGDClassifier makes of linear outputs, here its features under a matrix of ones."""
    columns = outputs[:, None] if outputs.ndim == 1 else outputs
    width = columns.shape[1]
    model = SGDClassifier(loss="log_loss")
    model.classes_, model.coef_, model.intercept_ = np.arange(max(2, width)), np.eye(width), np.zeros(width)
    with np.errstate(invalid="ignore"):
        probabilities = model.predict_proba(columns)
    return np.where(np.isnan(probabilities), 1 / width, probabilities)  # before scikit-learn 1.8: claimed by no class


def _sklearn_log_loss(outputs: Array, y: NDArray[Any]) -> float:
    probabilities = _predict_proba(outputs)
    return float(metrics.log_loss(y, probabilities, labels=np.arange(probabilities.shape[1])))


def _sklearn_hinge(outputs: Array, y: NDArray[Any]) -> float:
    if outputs.ndim == 1:
        # With one class only, scikit-learn takes it for the negative one. The mirrored rows have the same losses.
        return float(metrics.hinge_loss(np.concatenate([y, 1 - y]), np.concatenate([outputs, -outputs])))
    return float(metrics.hinge_loss(y, outputs, labels=np.arange(outputs.shape[1])))


OF_LINEAR = [
    pytest.param(losses.log_loss_of_linear, _sklearn_log_loss, id="log-loss"),
    pytest.param(losses.hinge, _sklearn_hinge, id="hinge"),
]
OUTPUTS = [
    pytest.param(_random(ROWS), 2, id="binary"),
    pytest.param(_random(ROWS, 4), 4, id="multiclass"),
    pytest.param(_random(ROWS, scale=1e6), 2, id="saturated-binary"),
    pytest.param(_random(ROWS, 4, scale=1e6), 4, id="saturated-multiclass"),
    pytest.param(np.zeros(ROWS), 2, id="zero-binary"),
    pytest.param(np.zeros((ROWS, 4)), 4, id="zero-multiclass"),
    pytest.param(np.full((ROWS, 4), -1000.0), 4, id="claimed-by-no-class"),
]


@pytest.mark.parametrize(("outputs", "n_classes"), OUTPUTS)
@pytest.mark.parametrize(("loss", "of_sklearn"), OF_LINEAR)
def test_loss_of_linear_outputs_equals_the_metric_of_scikit_learn(
    loss: Callable[..., float], of_sklearn: Callable[..., float], outputs: Array, n_classes: int
) -> None:
    """Of mixed classes, and of each class alone: a small batch often holds only one."""
    for y in (_labels(n_classes), *(np.full(ROWS, label) for label in range(n_classes))):
        assert loss(outputs, y) == pytest.approx(of_sklearn(outputs, y), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("probabilities", "n_classes"),
    [
        pytest.param(_probabilities(2), 2, id="two-classes"),
        pytest.param(_probabilities(5), 5, id="five-classes"),
        pytest.param(np.eye(2)[[0, 1] * (ROWS // 2)], 2, id="certain"),
    ],
)
def test_log_loss_of_probabilities_equals_the_metric_of_scikit_learn(probabilities: Array, n_classes: int) -> None:
    """Certain and wrong is costly but finite: 0 and 1 are clipped as scikit-learn clips them."""
    y = _labels(n_classes)
    expected = metrics.log_loss(y, probabilities, labels=np.arange(n_classes))
    assert losses.log_loss(probabilities, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "of_sklearn"),
    [
        pytest.param(losses.squared_error, metrics.mean_squared_error, id="squared-error"),
        pytest.param(losses.rmse, metrics.root_mean_squared_error, id="rmse"),
    ],
)
def test_error_of_a_regression_equals_the_metric_of_scikit_learn(
    loss: Callable[..., float], of_sklearn: Callable[..., float]
) -> None:
    """The RMSE is in the units of the target."""
    outputs, y = _random(2, ROWS, scale=30.0)
    assert loss(outputs, y) == pytest.approx(of_sklearn(y, outputs), rel=1e-9)


@pytest.mark.parametrize(
    ("outputs", "predicted"),
    [
        pytest.param(_random(ROWS), (_random(ROWS) > 0).astype(int), id="one-output-per-row"),
        pytest.param(_probabilities(2), _probabilities(2).argmax(axis=1), id="two-classes"),
        pytest.param(_probabilities(5), _probabilities(5).argmax(axis=1), id="five-classes"),
        pytest.param(np.zeros(ROWS), np.zeros(ROWS), id="undecided"),
    ],
)
def test_accuracy_is_the_share_of_rows_that_scikit_learn_counts(outputs: Array, predicted: NDArray[Any]) -> None:
    """The class with the highest output counts; a single output is above 0 for class 1."""
    y = _labels(outputs.shape[1] if outputs.ndim == 2 else 2)
    assert losses.accuracy(outputs, y) == pytest.approx(metrics.accuracy_score(y, predicted))


@pytest.mark.parametrize(
    "loss",
    [losses.hinge, losses.log_loss_of_linear, losses.log_loss, losses.accuracy],
    ids=lambda loss: loss.__name__,
)
def test_loss_leaves_the_outputs_as_they_are(loss: Callable[..., float]) -> None:
    """Loss and score are computed from the same outputs, so neither may change them."""
    outputs = _probabilities(4)
    outputs[0] = -1000.0
    before = outputs.copy()
    with np.errstate(all="ignore"):
        loss(outputs, _labels(4))
    np.testing.assert_array_equal(outputs, before)


@pytest.mark.parametrize(
    ("task", "name", "higher"), [("regression", "rmse", False), ("classification", "accuracy", True)]
)
def test_score_of_a_task_has_a_direction(task: Any, name: str, higher: bool) -> None:
    """A low RMSE and a high accuracy win."""
    assert (losses.score_name(task), losses.higher_is_better(task)) == (name, higher)


@pytest.mark.parametrize("n_classes", [2, 10])
def test_log_loss_of_models_that_are_certain_and_wrong_is_not_that_of_a_diverged_one(n_classes: int) -> None:
    """As the docs say: a row counts 36 at most, and a hundred times that of an untrained model is more."""
    wrong = np.zeros((ROWS, n_classes))
    wrong[:, 1] = 1.0
    largest = losses.log_loss(wrong, np.zeros(ROWS, dtype=int))
    assert largest == pytest.approx(36, abs=0.1)
    assert largest < DIVERGED_LOSS * np.log(n_classes)
