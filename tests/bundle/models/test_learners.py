"""The built-in learners: their loss, their score and their steps, held equal to scikit-learn's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.metrics import accuracy_score, hinge_loss, log_loss, mean_squared_error, root_mean_squared_error

from entrypoints.models.learners import ALGORITHMS, SGDLearner

FEATURES = 5
KINDS = [
    pytest.param("linear", 0, id="linear"),
    pytest.param("logistic", 2, id="logistic-binary"),
    pytest.param("logistic", 4, id="logistic-multiclass"),
    pytest.param("svm", 2, id="svm-binary"),
    pytest.param("svm", 4, id="svm-multiclass"),
]


def _batch(n_classes: int, rows: int = 40, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[Any]]:
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, FEATURES))
    return X, random.integers(0, n_classes, rows) if n_classes else random.normal(size=rows)


def _learner(algorithm: str, n_classes: int, learning_rate: float = 0.05, labels: Any = None) -> SGDLearner:
    classes = np.arange(n_classes) if labels is None else labels
    return ALGORITHMS[algorithm].learner({"learning_rate": learning_rate, "alpha": 0.001}, classes)


def _trained(algorithm: str, n_classes: int) -> SGDLearner:
    learner = _learner(algorithm, n_classes)
    for step in range(3):
        learner.step(*_batch(n_classes, seed=step + 1))
    return learner


def _sklearn_loss(learner: SGDLearner, X: NDArray[np.float64], y: NDArray[Any], n_classes: int) -> float:
    estimator = learner.estimator
    if not n_classes:
        return float(mean_squared_error(y, estimator.predict(X)))
    if estimator.loss == "log_loss":
        return float(log_loss(y, estimator.predict_proba(X), labels=np.arange(n_classes)))
    return float(hinge_loss(y, estimator.decision_function(X), labels=np.arange(n_classes)))


@pytest.mark.parametrize(("algorithm", "n_classes"), KINDS)
def test_loss_equals_the_metric_of_scikit_learn_after_every_step(algorithm: str, n_classes: int) -> None:
    """Squared error, log loss of predict_proba, or hinge loss, of each batch in turn."""
    learner = _learner(algorithm, n_classes)
    for step in range(10):
        X, y = _batch(n_classes, seed=step)
        learner.step(X, y)
        expected = _sklearn_loss(learner, X, y, n_classes)
        assert learner.loss(learner.outputs(X), y) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("algorithm", "n_classes"), KINDS)
def test_score_equals_the_metric_of_scikit_learn(algorithm: str, n_classes: int) -> None:
    """Accuracy, or the root mean squared error."""
    learner = _trained(algorithm, n_classes)
    X, y = _batch(n_classes, rows=200, seed=9)
    predicted = learner.estimator.predict(X)
    expected = accuracy_score(y, predicted) if n_classes else root_mean_squared_error(y, predicted)
    assert learner.score(learner.outputs(X), y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("algorithm", "n_classes"), KINDS)
def test_batch_is_one_update_per_row(algorithm: str, n_classes: int) -> None:
    """As the README says: a batch trains the same model as its rows one by one."""
    X, y = _batch(n_classes)
    whole, each = _learner(algorithm, n_classes), _learner(algorithm, n_classes)
    whole.step(X, y)
    for row in range(len(X)):
        each.step(X[row : row + 1], y[row : row + 1])
    np.testing.assert_allclose(whole.estimator.coef_, each.estimator.coef_, rtol=1e-9)
    np.testing.assert_allclose(whole.estimator.intercept_, each.estimator.intercept_, rtol=1e-9)


@pytest.mark.parametrize(("algorithm", "n_classes"), KINDS)
def test_estimator_after_steps_equals_a_plain_partial_fit_loop(algorithm: str, n_classes: int) -> None:
    """The learner adds nothing to scikit-learn: the weights are equal in every bit."""
    loss = {"linear": "squared_error", "logistic": "log_loss", "svm": "hinge"}[algorithm]
    settings: dict[str, Any] = {"loss": loss, "learning_rate": "constant", "eta0": 0.05, "alpha": 0.001}
    plain = (SGDClassifier if n_classes else SGDRegressor)(shuffle=False, **settings)
    more = {"classes": np.arange(n_classes)} if n_classes else {}
    learner = _learner(algorithm, n_classes)
    for step in range(20):
        # The first batch lacks a class, as small ones do.
        X, y = _batch(n_classes, seed=step)
        if step == 0 and n_classes:
            y = np.minimum(y, n_classes - 2)
        learner.step(X, y)
        plain.partial_fit(X, y, **more)
    np.testing.assert_array_equal(learner.estimator.coef_, plain.coef_)
    np.testing.assert_array_equal(learner.estimator.intercept_, plain.intercept_)


@pytest.mark.parametrize("labels", [["no", "yes"], ["maybe", "no", "yes"]], ids=["binary", "multiclass"])
@pytest.mark.parametrize("algorithm", ["logistic", "svm"])
def test_estimator_predicts_the_labels_that_the_learner_was_given(algorithm: str, labels: list[str]) -> None:
    """Batches hold each row's place among them, so that scores stay comparisons of numbers."""
    names, n_classes = np.array(labels), len(labels)
    learner, of_numbers = _learner(algorithm, n_classes, labels=names), _learner(algorithm, n_classes)
    X, y = _batch(n_classes)
    for each in (learner, of_numbers):
        each.step(X, y)
    predicted = learner.estimator.predict(X)
    assert predicted.tolist() == names[of_numbers.estimator.predict(X)].tolist()
    assert learner.score(learner.outputs(X), y) == pytest.approx(accuracy_score(names[y], predicted))


@pytest.mark.parametrize(
    ("algorithm", "n_classes", "loss"),
    [
        pytest.param("linear", 0, None, id="linear"),
        pytest.param("logistic", 2, np.log(2), id="logistic-binary"),
        pytest.param("logistic", 4, np.log(4), id="logistic-multiclass"),
        pytest.param("svm", 2, 1.0, id="svm-binary"),
        pytest.param("svm", 4, 1.0, id="svm-multiclass"),
    ],
)
def test_untrained_loss_is_that_of_a_model_of_zeros(algorithm: str, n_classes: int, loss: float | None) -> None:
    """What a trained model is held against: the mean square of the target, log k, or 1."""
    _, y = _batch(n_classes)
    expected = loss if loss is not None else np.mean(y**2)
    assert _learner(algorithm, n_classes).untrained_loss(y) == pytest.approx(expected)


@pytest.mark.parametrize(("algorithm", "n_classes"), KINDS)
def test_step_that_overflows_raises_floating_point_error(algorithm: str, n_classes: int) -> None:
    """Weights that are no longer finite are reported as divergence, not as a wrong argument."""
    learner = _learner(algorithm, n_classes, learning_rate=1e300)
    X, y = _batch(n_classes)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="overflow"):
        learner.step(X * 1e300, y)


@pytest.mark.parametrize(("algorithm", "n_classes"), KINDS)
def test_step_on_a_wrong_batch_raises_the_value_error_of_scikit_learn(algorithm: str, n_classes: int) -> None:
    """Only an overflow counts as divergence; a batch of another shape is a mistake."""
    learner = _trained(algorithm, n_classes)
    X, y = _batch(n_classes)
    with pytest.raises(ValueError, match="features"):
        learner.step(X[:, 1:], y)


def test_algorithms_are_known_by_their_own_names() -> None:
    """The table's keys are what users write and what runs record, with the task that each fits."""
    assert {name: (algorithm.name, algorithm.task) for name, algorithm in ALGORITHMS.items()} == {
        "linear": ("linear", "regression"),
        "logistic": ("logistic", "classification"),
        "svm": ("svm", "classification"),
    }
