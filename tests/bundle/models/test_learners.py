"""Algorithms by name: their models, held equal to scikit-learn's own, and what is said of those that cannot be."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import LOSSES, MLP_CLASSIFIER, MLP_REGRESSOR, OF_SGD
from sklearn import metrics
from sklearn.linear_model import SGDClassifier, SGDRegressor

from entrypoints.errors import UserError
from entrypoints.models.algorithms import find, find_all
from entrypoints.models.estimators import Estimator, estimator
from entrypoints.models.learners import ALGORITHMS, Learner

FEATURES = 5
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

'''


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a module of the user's, ``mine``, that can be imported."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("mine", "broken"):
        sys.modules.pop(name, None)


# --- models ------------------------------------------------------------------------------------------------

PERCEPTRON, BAYES = "sklearn.linear_model.Perceptron", "sklearn.naive_bayes.GaussianNB"
KINDS = [
    pytest.param(name, n_classes, id=f"{name.rpartition('.')[2]}-{n_classes}")
    for names, sizes in (
        (("linear", MLP_REGRESSOR, "sklearn.linear_model.SGDRegressor", "mine.Mean"), (0,)),
        (("logistic", "svm", MLP_CLASSIFIER, BAYES, PERCEPTRON, "mine.Nearest"), (2, 3)),
    )
    for name in names
    for n_classes in sizes
]


def _batch(n_classes: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[Any]]:
    random = np.random.default_rng(seed)
    X = random.normal(size=(60, FEATURES))
    if not n_classes:
        return X, X[:, 0] - X[:, 1] + 0.1 * random.normal(size=60)
    return X, np.digitize(X[:, 0], [-0.4, 0.4] if n_classes > 2 else [0.0])


def _learner(name: str, n_classes: int, seed: int = 0, **given: Any) -> Learner:
    return find(name).learner((OF_SGD if name in LOSSES else {}) | given, n_classes, seed)


def _trained(name: str, n_classes: int, **given: Any) -> Learner:
    """On three batches, the first of which lacks a class, as small ones do."""
    learner = _learner(name, n_classes, **given)
    for step in range(3):
        X, y = _batch(n_classes, seed=step)
        learner.step(X, np.minimum(y, n_classes - 2) if n_classes > 2 and not step else y)
    return learner


def _metric(learner: Learner, X: NDArray[np.float64], y: NDArray[Any], n_classes: int) -> float:
    """Log loss where there are probabilities, else hinge loss, else the share of wrong rows; or the squared error."""
    model, labels = learner.estimator, np.arange(n_classes)
    if not n_classes:
        return float(metrics.mean_squared_error(y, model.predict(X)))
    if hasattr(model, "predict_proba"):
        return float(metrics.log_loss(y, model.predict_proba(X), labels=labels))
    if hasattr(model, "decision_function"):
        return float(metrics.hinge_loss(y, model.decision_function(X), labels=labels))
    return float(metrics.zero_one_loss(y, model.predict(X)))


@pytest.mark.parametrize(("name", "n_classes"), KINDS)
def test_loss_and_score_equal_the_metrics_of_scikit_learn(name: str, n_classes: int) -> None:
    """Of rows that were not trained on; the score is the accuracy, or the root mean squared error."""
    learner, (X, y) = _trained(name, n_classes), _batch(n_classes, seed=9)
    outputs, predicted = learner.outputs(X), learner.estimator.predict(X)
    score = metrics.accuracy_score if n_classes else metrics.root_mean_squared_error
    assert outputs.dtype == np.float64
    assert learner.loss(outputs, y) == pytest.approx(_metric(learner, X, y, n_classes), rel=1e-9, abs=1e-9)
    assert learner.score(outputs, y) == pytest.approx(score(y, predicted), rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_weights_of_a_built_in_algorithm_are_those_of_a_plain_loop(name: str) -> None:
    """Equal in every bit: nothing is added to scikit-learn. A batch is one update for each of its rows."""
    n_classes = 0 if name == "linear" else 3
    settings: dict[str, Any] = {"loss": LOSSES[name], "eta0": OF_SGD["learning_rate"], "alpha": OF_SGD["alpha"]}
    kind = SGDClassifier if n_classes else SGDRegressor
    plain, by_rows = (kind(learning_rate="constant", shuffle=False, **settings) for _ in range(2))
    more, learner = {"classes": np.arange(n_classes)} if n_classes else {}, _learner(name, n_classes)
    for step in range(3):
        X, y = _batch(n_classes, seed=step)
        learner.step(X, y)
        plain.partial_fit(X, y, **more)
        for row in range(len(X)):
            by_rows.partial_fit(X[row : row + 1], y[row : row + 1], **more)
    np.testing.assert_array_equal(learner.estimator.coef_, plain.coef_)
    np.testing.assert_array_equal(learner.estimator.intercept_, plain.intercept_)
    np.testing.assert_allclose(learner.estimator.coef_, by_rows.coef_, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "given", "random_state"),
    [
        pytest.param(MLP_REGRESSOR, {"random_state": 1}, 1, id="given"),
        pytest.param(MLP_REGRESSOR, {"random_state": None}, None, id="given-as-none"),
        pytest.param("mine.Mean", {}, "has none", id="has-none"),
    ],
)
def test_seed_is_the_random_state_unless_that_is_given(name: str, given: dict[str, Any], random_state: Any) -> None:
    """An algorithm without one is made all the same."""
    assert getattr(_learner(name, 0, seed=7, **given).estimator, "random_state", "has none") == random_state


@pytest.mark.parametrize(
    ("name", "n_classes", "expected"),
    [
        *(("linear", 0, 4.0), ("logistic", 2, np.log(2)), ("logistic", 4, np.log(4)), ("svm", 2, 1.0), ("svm", 4, 1.0)),
        *((MLP_REGRESSOR, 0, 4.0), (MLP_CLASSIFIER, 4, np.log(4)), (PERCEPTRON, 4, 1.0), ("mine.Nearest", 4, 3 / 4)),
    ],
)
def test_untrained_loss_is_that_of_a_guess(name: str, n_classes: int, expected: float) -> None:
    """Of a standardised target that is its mean square; of classes it does not depend on which one is frequent."""
    y = np.zeros(20, dtype=int) if n_classes else np.full(20, -2.0)
    assert _learner(name, n_classes).untrained_loss(y) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "n_classes", "given", "scale"),
    [
        *((name, 0 if name == "linear" else 3, {"learning_rate": 1e300}, 1e300) for name in LOSSES),
        (MLP_REGRESSOR, 0, {"solver": "sgd", "learning_rate_init": 1e200}, 1e200),
    ],
)
def test_step_to_weights_that_are_not_finite_is_divergence(
    name: str, n_classes: int, given: dict[str, Any], scale: float
) -> None:
    """And no mistake of anyone, as a batch of another shape is."""
    learner, (X, y) = _learner(name, n_classes, **given), _batch(n_classes)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"non-finite|overflow"):
        learner.step(X * scale, y)
    with pytest.raises(ValueError, match="features"):
        _trained(name, n_classes).step(X[:, 1:], y)


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "asked", "names"),
    [
        pytest.param("regression", "auto", ["linear"], id="all-of-regression"),
        pytest.param("classification", "auto", ["logistic", "svm"], id="all-of-classification"),
        pytest.param("classification", "svm, logistic,svm", ["svm", "logistic"], id="several-without-repetition"),
        pytest.param("classification", f"logistic,{MLP_CLASSIFIER}", ["logistic", MLP_CLASSIFIER], id="mixed"),
        pytest.param("regression", "mine.Mean", ["mine.Mean"], id="own"),
    ],
)
def test_algorithms_are_those_asked_for_or_all_built_in_ones_that_fit(task: Any, asked: str, names: list[str]) -> None:
    """In the order in which they were named."""
    found = find_all(task, asked)
    assert [algorithm.name for algorithm in found] == names
    assert [isinstance(algorithm, Estimator) for algorithm in found] == [name not in ALGORITHMS for name in names]


@pytest.mark.parametrize(
    ("task", "asked", "named", "says"),
    [
        pytest.param("regression", "svm", "svm", ["svm does not fit a regression", "linear does"], id="other-task"),
        pytest.param("classification", "svm,linear", "svm,linear", ["logistic or svm does"], id="one-of-several"),
        pytest.param("regression", "forest", "forest", ["linear, logistic, svm", "import path", "auto"], id="unknown"),
        pytest.param("regression", "linear,,", "", ["linear, logistic, svm"], id="gap-in-a-list"),
        pytest.param("classification", "auto,svm", "auto", ["auto alone"], id="auto-in-a-list"),
        pytest.param("classification", "svm,no.Where", "no.Where", ["cannot be imported"], id="one-not-importable"),
    ],
)
def test_algorithm_that_does_not_fit_is_refused_in_one_sentence(
    task: Any, asked: str, named: str, says: list[str]
) -> None:
    """It says what was given, what is wrong with it and what fits."""
    with pytest.raises(UserError) as raised:
        find_all(task, asked)
    message = raised.value.message
    assert message.startswith(f"algorithm={named}: ")
    assert [text for text in says if text not in message] == []
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("nowhere.Model", "it cannot be imported (ModuleNotFoundError: No module named 'n", id="module"),
        pytest.param("sklearn.linear_model.Nothing", "it cannot be imported (AttributeError: ", id="class"),
        pytest.param("..Model", "it cannot be imported (TypeError: ", id="relative"),
        pytest.param("sklearn.base.clone", "it is not a class", id="function"),
        pytest.param("sklearn.ensemble.RandomForestClassifier", "it has no partial_fit", id="no-partial-fit"),
        pytest.param("sklearn.cluster.MiniBatchKMeans", "it is neither a classifier nor a regressor", id="clusters"),
        pytest.param("mine.Untagged", "it is neither a classifier nor a regressor", id="without-tags"),
        pytest.param("sklearn.multioutput.MultiOutputClassifier", "it cannot be made without", id="needs-arguments"),
        pytest.param("broken.Model", "it cannot be imported (SystemExit: 2)", id="script-that-ends"),
    ],
)
def test_class_that_cannot_be_trained_is_refused_in_one_sentence(mine: Path, name: str, why: str) -> None:
    """Whatever a module does while it is imported: what was given, what is wrong with it and what can be given."""
    (mine / "broken.py").write_text("raise SystemExit(2)")
    with pytest.raises(UserError) as raised:
        estimator(name)
    message = raised.value.message
    assert message.startswith(f"algorithm={name}: {why}")
    assert message.endswith(
        "; give the import path of a scikit-learn classifier or regressor with partial_fit, "
        "such as sklearn.neural_network.MLPClassifier"
    )
    assert "\n" not in message


# --- what is tried before the search -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "n_classes"),
    [
        pytest.param(MLP_CLASSIFIER, {}, 2, id="defaults"),
        pytest.param(MLP_REGRESSOR, {"hidden_layer_sizes": [4, 4], "alpha": 0.1}, 0, id="values"),
        pytest.param(BAYES, {"priors": [0.2, 0.3, 0.5]}, 3, id="a-value-for-each-class"),
        pytest.param("mine.Nearest", {}, 2, id="predictions"),
        pytest.param(MLP_REGRESSOR, {"solver": "sgd", "learning_rate_init": 1e300}, 0, id="diverges"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_check_lets_what_trains_pass(name: str, values: dict[str, Any], n_classes: int) -> None:
    """Also what diverges there, without a warning: a rate too large for random rows may be right for the user's."""
    estimator(name).check(values, n_classes)


@pytest.mark.parametrize(
    ("name", "values", "given", "why"),
    [
        pytest.param(MLP_REGRESSOR, {"alpha": -1}, "alpha=-1", "'alpha' .* in the range", id="out-of-range"),
        pytest.param(
            *(MLP_CLASSIFIER, {"alpha": 0.1, "solver": "lbfgs"}, "alpha=0.1, solver='lbfgs'", "no attribute 'partial"),
            id="solver-without-partial-fit",
        ),
        pytest.param(BAYES, {"priors": [0.2, 0.3, 0.5]}, r"priors=[0.2, 0.3, 0.5]", "priors", id="too-many-classes"),
        pytest.param("mine.Mean", {"depth": 3}, "depth=3", "takes no arguments", id="unknown-name"),
        pytest.param("mine.Broken", {"lines": "one.\ntwo"}, r"lines='one.\ntwo'", "one", id="several-lines"),
        pytest.param("mine.Broken", {}, "its own defaults", "KeyError", id="without-words"),
    ],
)
def test_check_refuses_what_does_not_train_in_one_sentence(
    name: str, values: dict[str, Any], given: str, why: str
) -> None:
    """It names the algorithm and the values, repeats what the algorithm said, and says what to do."""
    with pytest.raises(UserError) as raised:
        estimator(name).check(values, 0 if name in (MLP_REGRESSOR, "mine.Mean", "mine.Broken") else 2)
    assert re.fullmatch(
        rf"algorithm={re.escape(name)} with {re.escape(given)} does not train on standardised features: .*{why}"
        r"[^;]*; choose other values in space, or another algorithm",
        raised.value.message,
    ), raised.value.message


@pytest.mark.parametrize("name", ["mine.Unfit", "mine.Traceless"])
def test_check_refuses_what_scikit_learn_would_take_for_untrained(name: str) -> None:
    """The best model is logged in a pipeline, which asks for a fit method and for a sign of training."""
    with pytest.raises(UserError) as raised:
        estimator(name).check({}, 0)
    assert raised.value.message == (
        f"algorithm={name}: scikit-learn still considers it unfitted after partial_fit; give it a fit method, and "
        "let partial_fit set an attribute whose name ends in _, such as coef_"
    )
