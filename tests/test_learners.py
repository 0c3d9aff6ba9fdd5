"""The learners' losses, scores and steps, held equal to scikit-learn's own."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.metrics import accuracy_score, hinge_loss, log_loss, mean_squared_error, root_mean_squared_error

from entrypoints.learners import ALGORITHMS, Learner, better, score_name

FEATURES = 5
KINDS = [
    pytest.param("linear", 0, id="linear"),
    pytest.param("logistic", 2, id="logistic-binary"),
    pytest.param("logistic", 4, id="logistic-multiclass"),
    pytest.param("svm", 2, id="svm-binary"),
    pytest.param("svm", 4, id="svm-multiclass"),
]
CLASSIFIERS = KINDS[1:]


def _batch(n_classes: int, rows: int = 40, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[Any]]:
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, FEATURES))
    return X, random.integers(0, n_classes, rows) if n_classes else random.normal(size=rows)


def _trained(algorithm: str, n_classes: int, steps: int = 3) -> Learner:
    learner = Learner(algorithm, learning_rate=0.05, alpha=0.001, n_classes=n_classes)
    for step in range(steps):
        learner.step(*_batch(n_classes, seed=step + 1))
    return learner


def _sklearn_loss(learner: Learner, X: NDArray[np.float64], y: NDArray[Any], n_classes: int) -> float:
    estimator = learner.estimator
    if learner.algorithm.loss == "squared_error":
        return float(mean_squared_error(y, estimator.predict(X)))
    labels = np.arange(n_classes)
    if learner.algorithm.loss == "log_loss":
        return float(log_loss(y, estimator.predict_proba(X), labels=labels))
    outputs = estimator.decision_function(X)
    if n_classes == 2:
        # With one class only, scikit-learn takes it for the negative one. The mirrored rows have the same losses.
        y, outputs = np.concatenate([y, 1 - y]), np.concatenate([outputs, -outputs])
    return float(hinge_loss(y, outputs, labels=labels))


@pytest.mark.parametrize(("algorithm", "n_classes"), KINDS)
def test_loss_equals_the_metric_of_scikit_learn_after_every_step(algorithm: str, n_classes: int) -> None:
    """Squared error, log loss of predict_proba, or hinge loss, of each batch in turn."""
    learner = Learner(algorithm, learning_rate=0.05, alpha=0.001, n_classes=n_classes)
    for step in range(10):
        X, y = _batch(n_classes, seed=step)
        learner.step(X, y)
        expected = _sklearn_loss(learner, X, y, n_classes)
        assert learner.loss(learner.outputs(X), y) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("algorithm", "n_classes"), CLASSIFIERS)
def test_loss_of_a_batch_with_one_class_equals_the_metric_of_scikit_learn(algorithm: str, n_classes: int) -> None:
    """A small batch often holds one class only; each class is tried."""
    learner = _trained(algorithm, n_classes)
    X, _ = _batch(n_classes, rows=6)
    for label in range(n_classes):
        y = np.full(len(X), label)
        expected = _sklearn_loss(learner, X, y, n_classes)
        assert learner.loss(learner.outputs(X), y) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("algorithm", "n_classes"), CLASSIFIERS)
def test_loss_of_saturated_outputs_equals_the_metric_of_scikit_learn(algorithm: str, n_classes: int) -> None:
    """Probabilities that round to 0 and 1 are clipped as scikit-learn clips them, and the loss stays finite."""
    learner = _trained(algorithm, n_classes)
    learner.estimator.coef_ *= 1e6
    X, y = _batch(n_classes)
    outputs = learner.outputs(X)
    assert np.abs(outputs).min() > 100
    loss = learner.loss(outputs, y)
    assert np.isfinite(loss)
    assert loss == pytest.approx(_sklearn_loss(learner, X, y, n_classes), rel=1e-9, abs=1e-9)


def test_log_loss_of_rows_that_no_class_claims_equals_the_metric_of_scikit_learn() -> None:
    """Where every class's probability underflows to 0, all classes are equally likely."""
    learner = _trained("logistic", 4)
    learner.estimator.coef_ *= 0.0
    learner.estimator.intercept_[:] = -1000.0
    X, y = _batch(4)
    loss = learner.loss(learner.outputs(X), y)
    assert loss == pytest.approx(_sklearn_loss(learner, X, y, 4), rel=1e-9)
    assert loss == pytest.approx(np.log(4), rel=1e-9)


def test_loss_leaves_the_outputs_as_they_are() -> None:
    """Loss and score are computed from the same outputs, so neither may change them."""
    for algorithm, n_classes in (param.values for param in KINDS):
        learner = _trained(str(algorithm), int(str(n_classes)))
        X, y = _batch(int(str(n_classes)))
        outputs = learner.outputs(X)
        before = outputs.copy()
        learner.loss(outputs, y)
        learner.score(outputs, y)
        np.testing.assert_array_equal(outputs, before)


@pytest.mark.parametrize(("algorithm", "n_classes"), KINDS)
def test_score_equals_the_metric_of_scikit_learn(algorithm: str, n_classes: int) -> None:
    """Accuracy, or the root mean squared error."""
    learner = _trained(algorithm, n_classes)
    X, y = _batch(n_classes, rows=200, seed=9)
    predicted = learner.estimator.predict(X)
    expected = accuracy_score(y, predicted) if n_classes else root_mean_squared_error(y, predicted)
    assert learner.score(learner.outputs(X), y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("algorithm", "n_classes"), KINDS)
def test_estimator_after_steps_equals_a_plain_partial_fit_loop(algorithm: str, n_classes: int) -> None:
    """The learner adds nothing to scikit-learn: the weights are equal in every bit."""
    loss = {"linear": "squared_error", "logistic": "log_loss", "svm": "hinge"}[algorithm]
    settings: dict[str, Any] = {"loss": loss, "learning_rate": "constant", "eta0": 0.05, "alpha": 0.001}
    plain = (SGDClassifier if n_classes else SGDRegressor)(shuffle=False, **settings)
    more = {"classes": np.arange(n_classes)} if n_classes else {}
    learner = Learner(algorithm, learning_rate=0.05, alpha=0.001, n_classes=n_classes)
    for step in range(20):
        # The first batch lacks a class, as small ones do.
        X, y = _batch(n_classes, seed=step)
        if step == 0 and n_classes:
            y = np.minimum(y, n_classes - 2)
        learner.step(X, y)
        plain.partial_fit(X, y, **more)
    np.testing.assert_array_equal(learner.estimator.coef_, plain.coef_)
    np.testing.assert_array_equal(learner.estimator.intercept_, plain.intercept_)


@pytest.mark.parametrize(("algorithm", "n_classes"), KINDS)
def test_step_that_overflows_raises_floating_point_error(algorithm: str, n_classes: int) -> None:
    """Weights that are no longer finite are reported as divergence, not as a wrong argument."""
    learner = Learner(algorithm, learning_rate=1e300, alpha=0.0, n_classes=n_classes)
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


@pytest.mark.parametrize(
    ("task", "name", "good", "bad"),
    [
        pytest.param("regression", "rmse", 0.5, 0.7, id="regression-low"),
        pytest.param("classification", "accuracy", 0.7, 0.5, id="classification-high"),
    ],
)
def test_better_follows_the_direction_of_the_score(task: Any, name: str, good: float, bad: float) -> None:
    """A low RMSE and a high accuracy win, and a tie is no win."""
    assert score_name(task) == name
    assert better(task, good, than=bad)
    assert not better(task, bad, than=good)
    assert not better(task, good, than=good)


def test_algorithms_are_known_by_their_own_names() -> None:
    """The table's keys are what users write and what runs record."""
    assert {name: algorithm.name for name, algorithm in ALGORITHMS.items()} == {
        "linear": "linear",
        "logistic": "logistic",
        "svm": "svm",
    }
