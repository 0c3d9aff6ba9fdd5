"""Losses and scores of a batch of outputs, held equal to scikit-learn's own where its models do not show them."""

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


def _sklearn_log_loss(outputs: Array, y: NDArray[Any]) -> float:
    """Of what SGDClassifier makes of linear outputs, here its features under a matrix of ones."""
    columns = outputs[:, None] if outputs.ndim == 1 else outputs
    width = columns.shape[1]
    model = SGDClassifier(loss="log_loss")
    model.classes_, model.coef_, model.intercept_ = np.arange(max(2, width)), np.eye(width), np.zeros(width)
    with np.errstate(invalid="ignore"):
        claims = model.predict_proba(columns)
    claims = np.where(np.isnan(claims), 1 / width, claims)  # before scikit-learn 1.8: claimed by no class
    return float(metrics.log_loss(y, claims, labels=np.arange(claims.shape[1])))


def _sklearn_hinge(outputs: Array, y: NDArray[Any]) -> float:
    if outputs.ndim == 1:
        # With one class only, scikit-learn takes it for the negative one. The mirrored rows have the same losses.
        return float(metrics.hinge_loss(np.concatenate([y, 1 - y]), np.concatenate([outputs, -outputs])))
    return float(metrics.hinge_loss(y, outputs, labels=np.arange(outputs.shape[1])))


@pytest.mark.parametrize(
    ("outputs", "n_classes"),
    [
        pytest.param(_random(ROWS), 2, id="binary"),
        pytest.param(_random(ROWS, 4), 4, id="multiclass"),
        pytest.param(_random(ROWS, scale=1e6), 2, id="saturated-binary"),
        pytest.param(_random(ROWS, 4, scale=1e6), 4, id="saturated-multiclass"),
        pytest.param(np.zeros(ROWS), 2, id="zero-binary"),
        pytest.param(np.zeros((ROWS, 4)), 4, id="zero-multiclass"),
        pytest.param(np.full((ROWS, 4), -1000.0), 4, id="claimed-by-no-class"),
    ],
)
@pytest.mark.parametrize(
    ("loss", "of_sklearn"), [(losses.log_loss_of_linear, _sklearn_log_loss), (losses.hinge, _sklearn_hinge)]
)
def test_loss_of_linear_outputs_equals_the_metric_of_scikit_learn(
    loss: Callable[..., float], of_sklearn: Callable[..., float], outputs: Array, n_classes: int
) -> None:
    """Of mixed classes, and of each class alone: a small batch often holds only one. The outputs stay as they are."""
    before = outputs.copy()
    for y in (_labels(n_classes), *(np.full(ROWS, label) for label in range(n_classes))):
        assert loss(outputs, y) == pytest.approx(of_sklearn(outputs, y), rel=1e-9, abs=1e-9)
    np.testing.assert_array_equal(outputs, before)


def test_log_loss_of_certain_models_is_clipped_as_scikit_learn_clips_it() -> None:
    """Certain and wrong is costly but finite."""
    y, certain = _labels(2), np.eye(2)[[0, 1] * (ROWS // 2)]
    assert losses.log_loss(certain, y) == pytest.approx(metrics.log_loss(y, certain, labels=[0, 1]), rel=1e-9)


def test_undecided_model_predicts_the_first_class() -> None:
    """As scikit-learn's do: a single output has to be above 0 for class 1."""
    y = _labels(2)
    assert losses.accuracy(np.zeros(ROWS), y) == losses.accuracy(np.zeros((ROWS, 2)), y) == np.mean(y == 0)


@pytest.mark.parametrize("n_classes", [2, 10])
def test_log_loss_of_models_that_are_certain_and_wrong_is_not_that_of_a_diverged_one(n_classes: int) -> None:
    """As the docs say: a row counts 36 at most, and a hundred times that of an untrained model is more."""
    wrong = np.zeros((ROWS, n_classes))
    wrong[:, 1] = 1.0
    largest = losses.log_loss(wrong, np.zeros(ROWS, dtype=int))
    assert largest == pytest.approx(36, abs=0.1)
    assert largest < DIVERGED_LOSS * np.log(n_classes)
