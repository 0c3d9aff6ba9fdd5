"""Algorithms of the user's own, by import path: what they are compared by, and what is said of those that cannot be."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.neural_network import MLPClassifier

from entrypoints.errors import UserError
from entrypoints.models.estimators import estimator
from entrypoints.models.learners import Learner

MLP_CLASSIFIER = "sklearn.neural_network.MLPClassifier"
MLP_REGRESSOR = "sklearn.neural_network.MLPRegressor"
FEATURES = 5
CLASSES = {"regression": 0, "classification": 2}
MINE = '''
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class Nearest(ClassifierMixin, BaseEstimator):
    """Predicts the class of the nearest mean, and has nothing to predict with but predict."""

    def fit(self, X, y):
        return self.partial_fit(X, y, np.unique(y))

    def partial_fit(self, X, y, classes=None):
        self.classes_ = classes if classes is not None else self.classes_
        self.means_ = np.array([X[y == label].mean(axis=0) if (y == label).any() else X[0] for label in self.classes_])
        return self

    def predict(self, X):
        return self.classes_[((X[:, None] - self.means_) ** 2).sum(axis=2).argmin(axis=1)]


class Mean(RegressorMixin, BaseEstimator):
    """Predicts the mean of all targets, one row of a column each, and draws nothing at random."""

    def fit(self, X, y):
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        self.seen_ = [*getattr(self, "seen_", []), *y]
        return self

    def predict(self, X):
        return np.full((len(X), 1), np.mean(self.seen_))


class Untagged:
    """Knows nothing of scikit-learn."""

    def partial_fit(self, X, y):
        return self


class Unfit(RegressorMixin, BaseEstimator):
    """Cannot be fitted but batch by batch."""

    def partial_fit(self, X, y):
        self.mean_ = np.mean(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


class Traceless(Unfit):
    """Does not show that it is trained."""

    def fit(self, X, y):
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))


class Broken(Mean):
    """Says several lines, or nothing."""

    def __init__(self, lines=""):
        self.lines = lines

    def partial_fit(self, X, y):
        raise KeyError if not self.lines else RuntimeError(self.lines)


class Hidden(Mean):
    """Has partial_fit only as a class."""

    def __getattribute__(self, name):
        if name == "partial_fit":
            raise AttributeError("this one has no partial_fit")
        return super().__getattribute__(name)
'''
Y = NDArray[Any]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a module of the user's, ``mine``, that can be imported."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("mine", "broken"):
        sys.modules.pop(name, None)


def _batch(n_classes: int, seed: int = 0) -> tuple[NDArray[np.float64], Y]:
    random = np.random.default_rng(seed)
    X = random.normal(size=(60, FEATURES))
    if not n_classes:
        return X, X[:, 0] - X[:, 1] + 0.1 * random.normal(size=60)
    return X, np.digitize(X[:, 0], np.linspace(-1, 1, n_classes - 1) if n_classes > 2 else [0.0])


def _learner(name: str, n_classes: int = 0, labels: Any = None, seed: int = 0, **hyperparameters: Any) -> Learner:
    classes = np.arange(n_classes) if labels is None else np.array(labels)
    return estimator(name).learner(hyperparameters, classes, seed)


def _trained(name: str, n_classes: int = 0, **given: Any) -> Learner:
    learner = _learner(name, n_classes, **given)
    for step in range(3):
        learner.step(*_batch(n_classes, seed=step))
    return learner


def _log_loss(learner: Learner, X: Any, y: Y, n_classes: int) -> float:
    return float(metrics.log_loss(y, learner.estimator.predict_proba(X), labels=np.arange(n_classes)))


def _hinge_loss(learner: Learner, X: Any, y: Y, n_classes: int) -> float:
    return float(metrics.hinge_loss(y, learner.estimator.decision_function(X), labels=np.arange(n_classes)))


def _zero_one_loss(learner: Learner, X: Any, y: Y, n_classes: int) -> float:
    return float(metrics.zero_one_loss(y, learner.estimator.predict(X)))


def _squared_error(learner: Learner, X: Any, y: Y, n_classes: int) -> float:
    return float(metrics.mean_squared_error(y, learner.estimator.predict(X)))


CLASSIFIERS = [
    pytest.param(name, n_classes, loss, id=f"{name.rpartition('.')[2]}-{n_classes}")
    for name, loss in (
        (MLP_CLASSIFIER, _log_loss),
        ("sklearn.naive_bayes.GaussianNB", _log_loss),
        ("sklearn.linear_model.Perceptron", _hinge_loss),
        ("sklearn.linear_model.SGDClassifier", _hinge_loss),
        ("mine.Nearest", _zero_one_loss),
    )
    for n_classes in (2, 3)
]
REGRESSORS = [
    pytest.param(name, 0, _squared_error, id=name.rpartition(".")[2])
    for name in (MLP_REGRESSOR, "sklearn.linear_model.SGDRegressor", "mine.Mean")
]


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(("name", "n_classes", "loss"), CLASSIFIERS + REGRESSORS)
def test_loss_and_score_equal_the_metrics_of_scikit_learn(name: str, n_classes: int, loss: Any) -> None:
    """Log loss where there are probabilities, else hinge loss, else the share of wrong rows; or the squared error."""
    learner = _trained(name, n_classes)
    X, y = _batch(n_classes, seed=9)
    outputs = learner.outputs(X)
    predicted = learner.estimator.predict(X)
    score = metrics.accuracy_score if n_classes else metrics.root_mean_squared_error
    assert outputs.dtype == np.float64
    assert learner.loss(outputs, y) == pytest.approx(loss(learner, X, y, n_classes), rel=1e-9)
    assert learner.score(outputs, y) == pytest.approx(score(y, predicted), rel=1e-9)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(("name", "n_classes", "loss"), CLASSIFIERS)
def test_estimator_predicts_the_labels_that_the_learner_was_given(name: str, n_classes: int, loss: Any) -> None:
    """Labels are text to the estimator and numbers to the loss and the score, which are the same as of numbers."""
    labels = ["maybe", "no", "yes"][-n_classes:]
    named, numbered = (_trained(name, n_classes, labels=given) for given in (labels, None))
    X, y = _batch(n_classes, seed=9)
    predicted = named.estimator.predict(X)
    assert predicted.tolist() == np.array(labels)[numbered.estimator.predict(X)].tolist()
    assert named.score(named.outputs(X), y) == pytest.approx(metrics.accuracy_score(np.array(labels)[y], predicted))
    assert named.loss(named.outputs(X), y) == pytest.approx(loss(numbered, X, y, n_classes), rel=1e-9)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("name", [MLP_CLASSIFIER, "sklearn.linear_model.Perceptron", "mine.Nearest"])
def test_first_batch_may_lack_a_class(name: str) -> None:
    """All classes are named with it."""
    learner = _learner(name, 3)
    X, y = _batch(3)
    learner.step(X, np.minimum(y, 1))
    learner.step(X, y)
    assert learner.estimator.classes_.tolist() == [0, 1, 2]


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "n_classes", "expected"),
    [
        pytest.param(MLP_CLASSIFIER, 2, np.log(2), id="probabilities-2"),
        pytest.param(MLP_CLASSIFIER, 4, np.log(4), id="probabilities-4"),
        pytest.param("sklearn.linear_model.Perceptron", 2, 1.0, id="decisions-2"),
        pytest.param("sklearn.linear_model.Perceptron", 4, 1.0, id="decisions-4"),
        pytest.param("mine.Nearest", 2, 1 / 2, id="predictions-2"),
        pytest.param("mine.Nearest", 4, 3 / 4, id="predictions-4"),
        pytest.param(MLP_REGRESSOR, 0, 4.0, id="regression"),
    ],
)
def test_untrained_loss_is_that_of_a_guess(name: str, n_classes: int, expected: float) -> None:
    """Of a standardised target that is its mean square; of classes it does not depend on which one is frequent."""
    y = np.zeros(20, dtype=int) if n_classes else np.full(20, -2.0)
    assert _learner(name, n_classes).untrained_loss(y) == pytest.approx(expected)


def test_estimator_is_that_of_a_plain_partial_fit_loop() -> None:
    """The learner adds nothing: the weights are equal in every bit."""
    plain = MLPClassifier(hidden_layer_sizes=[4], alpha=0.01, random_state=3)
    for step in range(3):
        plain.partial_fit(*_batch(3, seed=step), classes=np.arange(3))
    learner = _trained(MLP_CLASSIFIER, 3, seed=3, hidden_layer_sizes=[4], alpha=0.01)
    for mine, its in zip(learner.estimator.coefs_, plain.coefs_, strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "given", "random_state"),
    [
        pytest.param(MLP_REGRESSOR, {}, 7, id="the-seed"),
        pytest.param(MLP_REGRESSOR, {"random_state": 1}, 1, id="given"),
        pytest.param(MLP_REGRESSOR, {"random_state": None}, None, id="given-as-none"),
        pytest.param("mine.Mean", {}, "has none", id="has-none"),
    ],
)
def test_seed_is_the_random_state_unless_that_is_given(name: str, given: dict[str, Any], random_state: Any) -> None:
    """An algorithm without one is made all the same."""
    learner = _learner(name, seed=7, **given)
    assert getattr(learner.estimator, "random_state", "has none") == random_state


@pytest.mark.parametrize(
    ("name", "n_classes", "given", "scale"),
    [
        pytest.param(MLP_REGRESSOR, 0, {"solver": "sgd", "learning_rate_init": 1e200}, 1e200, id="MLPRegressor"),
        pytest.param(
            "sklearn.linear_model.SGDClassifier",
            2,
            {"learning_rate": "constant", "eta0": 1e300},
            1e300,
            id="SGDClassifier",
        ),
    ],
)
def test_step_to_weights_that_are_not_finite_raises_floating_point_error(
    name: str, n_classes: int, given: dict[str, Any], scale: float
) -> None:
    """That is divergence, and no mistake of anyone."""
    learner = _learner(name, n_classes, **given)
    X, y = _batch(n_classes)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"non-finite|overflow"):
        learner.step(X * scale, y)


def test_step_on_a_wrong_batch_raises_the_error_of_the_estimator() -> None:
    """Only weights that are not finite count as divergence."""
    learner = _trained(MLP_REGRESSOR)
    X, y = _batch(0)
    with pytest.raises(ValueError, match="features"):
        learner.step(X[:, 1:], y)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "task"),
    [
        pytest.param(MLP_CLASSIFIER, "classification", id="MLPClassifier"),
        pytest.param(MLP_REGRESSOR, "regression", id="MLPRegressor"),
        pytest.param("mine.Nearest", "classification", id="classifier-of-ones-own"),
        pytest.param("mine.Mean", "regression", id="regressor-of-ones-own"),
    ],
)
def test_name_and_task_are_known(name: str, task: str) -> None:
    """The name is what the user wrote."""
    found = estimator(name)
    assert (found.name, found.task) == (name, task)


def test_hyperparameters_are_those_of_the_constructor() -> None:
    """In its order."""
    assert estimator("sklearn.naive_bayes.GaussianNB").hyperparameters == ("priors", "var_smoothing")


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("nowhere.Model", "it cannot be imported (ModuleNotFoundError: No module named 'n", id="module"),
        pytest.param("sklearn.linear_model.Nothing", "it cannot be imported (AttributeError: ", id="class"),
        pytest.param(".Model", "it cannot be imported (ValueError: Empty module name)", id="no-module"),
        pytest.param("..Model", "it cannot be imported (TypeError: ", id="relative"),
        pytest.param("sklearn.base.clone", "it is not a class", id="function"),
        pytest.param("sklearn.ensemble.RandomForestClassifier", "it has no partial_fit", id="no-partial-fit"),
        pytest.param("sklearn.cluster.MiniBatchKMeans", "it is neither a classifier nor a regressor", id="clusters"),
        pytest.param(
            "sklearn.preprocessing.StandardScaler", "it is neither a classifier nor a regressor", id="transformer"
        ),
        pytest.param("mine.Untagged", "it is neither a classifier nor a regressor", id="without-tags"),
        pytest.param(
            "sklearn.multioutput.MultiOutputClassifier",
            "it cannot be made without arguments (MultiOutputClassifier.__init__() missing 1 required",
            id="needs-arguments",
        ),
    ],
)  # fmt: skip
def test_algorithm_that_cannot_be_trained_is_refused_in_one_sentence(name: str, why: str) -> None:
    """It says what was given, what is wrong with it and what can be given."""
    with pytest.raises(UserError) as raised:
        estimator(name)
    message = raised.value.message
    assert message.startswith(f"algorithm={name}: {why}")
    assert message.endswith(
        "; give the import path of a scikit-learn classifier or regressor with partial_fit, "
        "such as sklearn.neural_network.MLPClassifier"
    )
    assert "\n" not in message


@pytest.mark.parametrize(
    ("code", "why"),
    [
        pytest.param("1 / 0", "ZeroDivisionError: division by zero", id="error"),
        pytest.param("def (", "SyntaxError: invalid syntax (broken.py, line 1)", id="syntax"),
        pytest.param("import nowhere", "ModuleNotFoundError: No module named 'nowhere'", id="lacks-a-library"),
        pytest.param("raise ValueError('one.\\ntwo')", "ValueError: one", id="several-lines"),
        pytest.param("raise SystemExit(2)", "SystemExit: 2", id="script-that-ends"),
    ],
)
def test_module_that_fails_at_import_is_told_in_one_sentence(mine: Path, code: str, why: str) -> None:
    """Whatever a module of the user's does while it is imported, the user learns of it."""
    (mine / "broken.py").write_text(code)
    with pytest.raises(UserError) as raised:
        estimator("broken.Model")
    assert raised.value.message.startswith(f"algorithm=broken.Model: it cannot be imported ({why}")
    assert "\n" not in raised.value.message


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param(MLP_CLASSIFIER, {}, id="defaults"),
        pytest.param(MLP_REGRESSOR, {"hidden_layer_sizes": [4, 4], "alpha": 0.1}, id="values"),
        pytest.param("sklearn.naive_bayes.GaussianNB", {}, id="probabilities"),
        pytest.param("sklearn.linear_model.Perceptron", {}, id="decisions"),
        pytest.param("mine.Nearest", {}, id="predictions"),
        pytest.param("mine.Mean", {}, id="regression"),
        pytest.param(MLP_REGRESSOR, {"solver": "sgd", "learning_rate_init": 1e300}, id="overflows"),
        pytest.param(
            "sklearn.linear_model.SGDRegressor", {"learning_rate": "constant", "eta0": 1e300}, id="diverges-at-once"
        ),
    ],
)
@pytest.mark.filterwarnings("error")
def test_check_lets_what_trains_pass(name: str, values: dict[str, Any]) -> None:
    """Also what diverges there, without a warning: a rate too large for random rows may be right for the user's."""
    estimator(name).check(values, CLASSES[estimator(name).task])


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "values", "given", "why"),
    [
        pytest.param(
            MLP_CLASSIFIER, {"hidden_layer_sizes": "abc"}, "hidden_layer_sizes='abc'", "'hidden_layer_sizes' .* 'abc'",
            id="text",
        ),
        pytest.param(MLP_REGRESSOR, {"alpha": -1}, "alpha=-1", "'alpha' .* in the range", id="out-of-range"),
        pytest.param(
            MLP_CLASSIFIER, {"alpha": 0.1, "solver": "lbfgs"}, "alpha=0.1, solver='lbfgs'", "no attribute 'partial",
            id="solver-without-partial-fit",
        ),
        pytest.param(
            "sklearn.naive_bayes.MultinomialNB", {}, "its own defaults", "Negative values", id="needs-counts"
        ),
        pytest.param("mine.Mean", {"depth": 3}, "depth=3", "takes no arguments", id="unknown-name"),
        pytest.param("mine.Broken", {"lines": "one.\ntwo"}, r"lines='one.\ntwo'", "one", id="several-lines"),
        pytest.param("mine.Broken", {}, "its own defaults", "KeyError", id="without-words"),
        pytest.param("mine.Hidden", {}, "its own defaults", "no partial_fit", id="made-without-partial-fit"),
    ],
)  # fmt: skip
def test_check_refuses_what_does_not_train_in_one_sentence(
    name: str, values: dict[str, Any], given: str, why: str
) -> None:
    """It names the algorithm and the values, repeats what the algorithm said, and says what to do."""
    with pytest.raises(UserError) as raised:
        estimator(name).check(values, CLASSES[estimator(name).task])
    assert re.fullmatch(
        rf"algorithm={re.escape(name)} with {re.escape(given)} does not train on standardised features: .*{why}"
        r"[^;]*; choose other values in grid, or another algorithm",
        raised.value.message,
    ), raised.value.message


def test_check_tells_as_many_classes_apart_as_the_dataset_has() -> None:
    """A hyperparameter may hold a value for each class."""
    bayes = estimator("sklearn.naive_bayes.GaussianNB")
    bayes.check({"priors": [0.2, 0.3, 0.5]}, 3)
    with pytest.raises(UserError):
        bayes.check({"priors": [0.2, 0.3, 0.5]}, 2)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("name", ["mine.Unfit", "mine.Traceless"])
def test_check_refuses_what_scikit_learn_would_take_for_untrained(name: str) -> None:
    """The best model is logged in a pipeline, which asks for a fit method and for a sign of training."""
    with pytest.raises(UserError) as raised:
        estimator(name).check({}, CLASSES[estimator(name).task])
    assert raised.value.message == (
        f"algorithm={name}: scikit-learn still considers it unfitted after partial_fit; give it a fit method, and "
        "let partial_fit set an attribute whose name ends in _, such as coef_"
    )
