"""Algorithms by name: their models and losses, held equal to scikit-learn's own, and what is said of others."""

import sys

import numpy as np
import pytest
from cases import cases, sentence, tables
from own_models import NEAREST
from reference import LOSSES, MLP_CLASSIFIER, MLP_REGRESSOR, OF_SGD, loss
from sklearn import metrics
from sklearn.neural_network import MLPRegressor

from entrypoints.errors import UserError
from entrypoints.models import losses, scores
from entrypoints.models.algorithms import find, find_all
from entrypoints.models.cross_validation import DIVERGED_LOSS
from entrypoints.models.estimators import Estimator, estimator
from entrypoints.models.learners import ALGORITHMS

FEATURES = 5
REFUSALS = tables(__file__, "refusals.yaml")
MINE = '''
from sklearn.base import RegressorMixin


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


class Broken(Mean):
    """Says several lines, or nothing."""

    def __init__(self, lines=""):
        self.lines = lines

    def partial_fit(self, X, y):
        raise KeyError if not self.lines else RuntimeError(self.lines)
'''


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """The folder of a module of the user's, ``mine``, that can be imported."""
    (tmp_path / "mine.py").write_text(NEAREST + MINE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("mine", "broken"):
        sys.modules.pop(name, None)


# --- models ------------------------------------------------------------------------------------------------

PERCEPTRON, BAYES = "sklearn.linear_model.Perceptron", "sklearn.naive_bayes.GaussianNB"
CLASSIFIERS = ("logistic", "svm", MLP_CLASSIFIER, BAYES, PERCEPTRON, "mine.Nearest")
KINDS = [
    *((name, 0) for name in ("linear", MLP_REGRESSOR, "mine.Mean")),
    *((name, n_classes) for name in CLASSIFIERS for n_classes in (2, 3)),
]


def _batch(n_classes, seed=0):
    random = np.random.default_rng(seed)
    X = random.normal(size=(60, FEATURES))
    if not n_classes:
        return X, X[:, 0] - X[:, 1] + 0.1 * random.normal(size=60)
    return X, np.digitize(X[:, 0], [-0.4, 0.4] if n_classes > 2 else [0.0])


def _learner(name, n_classes, seed=0, **given):
    return find(name, "classification" if n_classes else "regression").learner(
        (OF_SGD if name in LOSSES else {}) | given, n_classes, seed
    )


def _trained(name, n_classes, **given):
    """On three batches, the first of which lacks a class, as small ones do."""
    learner = _learner(name, n_classes, **given)
    for step in range(3):
        X, y = _batch(n_classes, seed=step)
        learner.step(X, np.minimum(y, n_classes - 2) if n_classes > 2 and not step else y)
    return learner


def test_network_makes_one_update_of_a_large_batch():
    """scikit-learn's own makes one of each 200 rows, unless told how many there are."""
    X = np.random.default_rng(0).normal(size=(401, FEATURES))
    learner, plain = _learner(MLP_REGRESSOR, 0), MLPRegressor(random_state=0)
    learner.step(X, X[:, 0])
    assert learner.estimator.get_params() == plain.get_params()
    plain.set_params(batch_size=401).partial_fit(X, X[:, 0])
    np.testing.assert_array_equal(learner.outputs(X), plain.predict(X))


@cases("name, n_classes", KINDS)
def test_loss_and_score_equal_the_metrics_of_scikit_learn(name, n_classes):
    """Of rows that were not trained on; the score is the accuracy, or the root mean squared error."""
    learner, (X, y) = _trained(name, n_classes), _batch(n_classes, seed=9)
    outputs, predicted = learner.outputs(X), learner.estimator.predict(X)
    score = metrics.accuracy_score if n_classes else metrics.root_mean_squared_error
    in_numpy = scores.find(None, "classification" if n_classes else "regression").in_numpy
    assert outputs.dtype == np.float64
    assert learner.loss(outputs, y) == pytest.approx(loss(learner.estimator, X, y, n_classes), rel=1e-9, abs=1e-9)
    assert in_numpy(outputs, y) == pytest.approx(score(y, predicted), rel=1e-9)


def test_random_state_that_is_given_wins_over_the_seed():
    """Also where it is that nothing is fixed."""
    assert _learner(MLP_REGRESSOR, 0, seed=7, random_state=None).estimator.random_state is None


@cases(
    "name, n_classes, expected",
    [
        ("linear", 0, 4.0),
        ("logistic", 4, np.log(4)),
        ("svm", 4, 1.0),
        ("mine.Nearest", 4, 3 / 4),
    ],
)
def test_untrained_loss_is_that_of_a_guess(name, n_classes, expected):
    """Of a standardised target that is its mean square; of classes it does not depend on which one is frequent."""
    y = np.zeros(20, dtype=int) if n_classes else np.full(20, -2.0)
    assert _learner(name, n_classes).untrained_loss(y) == pytest.approx(expected)


@cases(
    "name, n_classes, given, scale",
    [
        *((name, 0 if name == "linear" else 3, {"learning_rate": 1e300}, 1e300) for name in LOSSES),
        (MLP_REGRESSOR, 0, {"solver": "sgd", "learning_rate_init": 1e200}, 1e200),
    ],
)
def test_step_to_weights_that_are_not_finite_is_divergence(name, n_classes, given, scale):
    """And no mistake of anyone, as a batch of another shape is."""
    learner, (X, y) = _learner(name, n_classes, **given), _batch(n_classes)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"non-finite|overflow"):
        learner.step(X * scale, y)
    with pytest.raises(ValueError, match="features"):
        _trained(name, n_classes).step(X[:, 1:], y)


# --- losses ------------------------------------------------------------------------------------------------

ROWS = 40


@cases(
    "outputs, expected",
    {
        "certain": ([1e6, -1e6, -1e6], 0.0),
        "certain and wrong": ([-1e6, 1e6, -1e6], 36.04),
        "undecided": ([0.0, 0.0, 0.0], np.log(3)),
        "claimed by no class": ([-1000.0, -1000.0, -1000.0], np.log(3)),
    },
)
def test_log_loss_of_extreme_linear_outputs_is_that_of_clipped_probabilities(outputs, expected):
    """Of models that say nothing, or too much. A small batch often holds a single class; the outputs stay."""
    rows = np.array([outputs] * 2)
    assert losses.log_loss_of_linear(rows, np.zeros(2, dtype=int)) == pytest.approx(expected, abs=0.01)
    assert rows.tolist() == [outputs] * 2
    if expected != np.log(3):
        of_two = losses.log_loss_of_linear(-rows[:, 0], np.zeros(2, dtype=int))
        assert of_two == pytest.approx(expected, abs=0.01)


def test_log_loss_of_models_that_are_certain_and_wrong_is_not_that_of_a_diverged_one():
    """It is clipped as scikit-learn does: a row counts 36 at most, as the docs say; DIVERGED_LOSS is more."""
    wrong, y = np.zeros((ROWS, 2)), np.zeros(ROWS, dtype=int)
    wrong[:, 1] = 1.0
    largest = losses.log_loss(wrong, y)
    assert largest == pytest.approx(metrics.log_loss(y, wrong, labels=[0, 1]), rel=1e-9)
    assert largest == pytest.approx(36, abs=0.1)
    assert largest < DIVERGED_LOSS * np.log(2)


# --- names -------------------------------------------------------------------------------------------------


@cases(
    "task, asked, names",
    {
        "all-of-regression": ("regression", "auto", ["linear"]),
        "several-without-repetition": ("classification", "svm, logistic,svm", ["svm", "logistic"]),
        "mixed": ("classification", f"logistic,{MLP_CLASSIFIER}", ["logistic", MLP_CLASSIFIER]),
    },
)
def test_algorithms_are_those_asked_for_or_all_built_in_ones_that_fit(task, asked, names):
    """In the order in which they were named."""
    found = find_all(task, asked)
    assert [algorithm.name for algorithm in found] == names
    assert [isinstance(algorithm, Estimator) for algorithm in found] == [name not in ALGORITHMS for name in names]


@cases("asked, says", REFUSALS["lists of algorithms"])
def test_list_of_algorithms_with_a_mistake_is_refused_in_one_sentence(asked, says):
    with pytest.raises(UserError, match=sentence(says)):
        find_all("classification", asked)


@cases("name, why", REFUSALS["classes"])
def test_class_that_cannot_be_trained_is_refused_in_one_sentence(mine, name, why):
    """Whatever a module does while it is imported: what was given, what is wrong with it and what can be given."""
    (mine / "broken.py").write_text("raise SystemExit(2)")
    advice = f"give the import path of a scikit-learn classifier or regressor, such as {MLP_CLASSIFIER}"
    with pytest.raises(UserError, match=sentence(f"algorithm={name}: {why}; {advice}")):
        estimator(name)


# --- what is tried before the search -----------------------------------------------------------------------


@cases(
    "name, values, n_classes",
    {
        "a-value-for-each-class": (BAYES, {"priors": [0.2, 0.3, 0.5]}, 3),
        "predictions": ("mine.Nearest", {}, 2),
        "weights-that-no-batch-shows": (PERCEPTRON, {"class_weight": "balanced"}, 2),
        "diverges": (MLP_REGRESSOR, {"solver": "sgd", "learning_rate_init": 1e300}, 0),
    },
)
@pytest.mark.filterwarnings("error")
def test_check_lets_what_trains_pass(name, values, n_classes):
    """Also what diverges there, without a warning: a rate too large for random rows may be right for the user's."""
    estimator(name).check(values, n_classes)


@cases("name, values, n_classes, says", REFUSALS["values"])
def test_check_refuses_what_does_not_train_in_one_sentence(name, values, n_classes, says):
    """It names the algorithm and the values, repeats what the algorithm said, and says what to do."""
    advice = f"choose other values in space (under {name}: for it alone), or another algorithm"
    with pytest.raises(UserError, match=sentence(f"algorithm={name} with {says}; {advice}")):
        estimator(name).check(values, n_classes)


def test_check_refuses_what_scikit_learn_would_take_for_untrained():
    """The best model is logged in a pipeline, which asks for a fit method and for a sign of training."""
    with pytest.raises(UserError, match=r"mine\.Unfit: scikit-learn still considers it unfitted after training; give"):
        estimator("mine.Unfit").check({}, 0)
