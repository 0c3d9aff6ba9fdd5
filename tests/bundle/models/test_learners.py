"""Algorithms by name: their models and losses, held equal to scikit-learn's own, and what is said of others."""

import re
import sys

import numpy as np
import pytest
from own_models import NEAREST
from reference import LOSSES, MLP_CLASSIFIER, MLP_REGRESSOR, OF_SGD, loss
from sklearn import metrics
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPRegressor

from entrypoints.errors import UserError
from entrypoints.models import losses, scores
from entrypoints.models.algorithms import find, find_all
from entrypoints.models.cross_validation import DIVERGED_LOSS
from entrypoints.models.estimators import Estimator, estimator
from entrypoints.models.learners import ALGORITHMS

FEATURES = 5
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
KINDS = [
    pytest.param(name, n_classes, id=f"{name.rpartition('.')[2]}-{n_classes}")
    for names, sizes in (
        (("linear", MLP_REGRESSOR, "mine.Mean"), (0,)),
        (("logistic", "svm", MLP_CLASSIFIER, BAYES, PERCEPTRON, "mine.Nearest"), (2, 3)),
    )
    for name in names
    for n_classes in sizes
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


@pytest.mark.parametrize(("name", "n_classes"), KINDS)
def test_loss_and_score_equal_the_metrics_of_scikit_learn(name, n_classes):
    """Of rows that were not trained on; the score is the accuracy, or the root mean squared error."""
    learner, (X, y) = _trained(name, n_classes), _batch(n_classes, seed=9)
    outputs, predicted = learner.outputs(X), learner.estimator.predict(X)
    score = metrics.accuracy_score if n_classes else metrics.root_mean_squared_error
    in_numpy = scores.find(None, "classification" if n_classes else "regression").in_numpy
    assert in_numpy
    assert outputs.dtype == np.float64
    assert learner.loss(outputs, y) == pytest.approx(loss(learner.estimator, X, y, n_classes), rel=1e-9, abs=1e-9)
    assert in_numpy(outputs, y) == pytest.approx(score(y, predicted), rel=1e-9)


def test_random_state_that_is_given_wins_over_the_seed():
    """Also where it is that nothing is fixed."""
    assert _learner(MLP_REGRESSOR, 0, seed=7, random_state=None).estimator.random_state is None


@pytest.mark.parametrize(
    ("name", "n_classes", "expected"),
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


@pytest.mark.parametrize(
    ("name", "n_classes", "given", "scale"),
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


def _random(*shape, scale=1.0):
    return np.random.default_rng(0).normal(scale=scale, size=shape)


def _labels(n_classes):
    return np.random.default_rng(1).integers(0, n_classes, ROWS)


def _sklearn_log_loss(outputs, y):
    """Of what SGDClassifier makes of linear outputs, here its features under a matrix of ones."""
    columns = outputs[:, None] if outputs.ndim == 1 else outputs
    width = columns.shape[1]
    model = SGDClassifier(loss="log_loss")
    model.classes_, model.coef_, model.intercept_ = np.arange(max(2, width)), np.eye(width), np.zeros(width)
    with np.errstate(invalid="ignore"):
        claims = model.predict_proba(columns)
    claims = np.where(np.isnan(claims), 1 / width, claims)  # before scikit-learn 1.8: claimed by no class
    return float(metrics.log_loss(y, claims, labels=np.arange(claims.shape[1])))


@pytest.mark.parametrize(
    ("outputs", "n_classes"),
    [
        pytest.param(_random(ROWS, scale=1e6), 2, id="saturated-binary"),
        pytest.param(_random(ROWS, 4, scale=1e6), 4, id="saturated-multiclass"),
        pytest.param(np.zeros((ROWS, 4)), 4, id="zero-multiclass"),
        pytest.param(np.full((ROWS, 4), -1000.0), 4, id="claimed-by-no-class"),
    ],
)
def test_log_loss_of_linear_outputs_equals_the_metric_of_scikit_learn(outputs, n_classes):
    """Of mixed classes, and of each class alone: a small batch often holds only one. The outputs stay as they are."""
    before = outputs.copy()
    for y in (_labels(n_classes), *(np.full(ROWS, label) for label in range(n_classes))):
        ours = losses.log_loss_of_linear(outputs, y)
        assert ours == pytest.approx(_sklearn_log_loss(outputs, y), rel=1e-9, abs=1e-9)
    np.testing.assert_array_equal(outputs, before)


def test_log_loss_of_models_that_are_certain_and_wrong_is_not_that_of_a_diverged_one():
    """It is clipped as scikit-learn does: a row counts 36 at most, as the docs say; DIVERGED_LOSS is more."""
    wrong, y = np.zeros((ROWS, 2)), np.zeros(ROWS, dtype=int)
    wrong[:, 1] = 1.0
    largest = losses.log_loss(wrong, y)
    assert largest == pytest.approx(metrics.log_loss(y, wrong, labels=[0, 1]), rel=1e-9)
    assert largest == pytest.approx(36, abs=0.1)
    assert largest < DIVERGED_LOSS * np.log(2)


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "asked", "names"),
    [
        pytest.param("regression", "auto", ["linear"], id="all-of-regression"),
        pytest.param("classification", "svm, logistic,svm", ["svm", "logistic"], id="several-without-repetition"),
        pytest.param("classification", f"logistic,{MLP_CLASSIFIER}", ["logistic", MLP_CLASSIFIER], id="mixed"),
    ],
)
def test_algorithms_are_those_asked_for_or_all_built_in_ones_that_fit(task, asked, names):
    """In the order in which they were named."""
    found = find_all(task, asked)
    assert [algorithm.name for algorithm in found] == names
    assert [isinstance(algorithm, Estimator) for algorithm in found] == [name not in ALGORITHMS for name in names]


@pytest.mark.parametrize(
    ("asked", "named", "says"),
    [
        ("svm,linear", "svm,linear", "logistic, svm, mlp, forest, .* do"),
        ("svm,,", "", "linear, logistic"),
        ("auto,svm", "auto", "alone"),
    ],
)
def test_list_of_algorithms_with_a_mistake_is_refused_in_one_sentence(asked, named, says):
    """One of another task, a gap, and what stands for all of them."""
    with pytest.raises(UserError, match=f"^algorithm={named}: .*{says}"):
        find_all("classification", asked)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("sklearn.linear_model.Nothing", "it cannot be imported (AttributeError: ", id="class"),
        pytest.param("sklearn.base.clone", "it is not a class", id="function"),
        pytest.param("sklearn.cluster.KMeans", "it is neither a classifier nor a regressor", id="clusters"),
        pytest.param("mine.Untagged", "it is neither a classifier nor a regressor", id="without-tags"),
        pytest.param("sklearn.multioutput.MultiOutputClassifier", "it cannot be made without", id="needs-arguments"),
        pytest.param("broken.Model", "it cannot be imported (SystemExit: 2)", id="script-that-ends"),
    ],
)
def test_class_that_cannot_be_trained_is_refused_in_one_sentence(mine, name, why):
    """Whatever a module does while it is imported: what was given, what is wrong with it and what can be given."""
    (mine / "broken.py").write_text("raise SystemExit(2)")
    with pytest.raises(UserError) as raised:
        estimator(name)
    assert raised.value.message.startswith(f"algorithm={name}: {why}")
    ends = "; give the import path of a scikit-learn classifier or regressor, such as "
    assert raised.value.message.partition(ends)[2] == MLP_CLASSIFIER


# --- what is tried before the search -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "n_classes"),
    [
        pytest.param(BAYES, {"priors": [0.2, 0.3, 0.5]}, 3, id="a-value-for-each-class"),
        pytest.param("mine.Nearest", {}, 2, id="predictions"),
        pytest.param(PERCEPTRON, {"class_weight": "balanced"}, 2, id="weights-that-no-batch-shows"),
        pytest.param(MLP_REGRESSOR, {"solver": "sgd", "learning_rate_init": 1e300}, 0, id="diverges"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_check_lets_what_trains_pass(name, values, n_classes):
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
        pytest.param("mine.Broken", {"lines": "one.\ntwo"}, r"lines='one.\ntwo'", "one", id="several-lines"),
        pytest.param("mine.Broken", {}, "its own defaults", "KeyError", id="without-words"),
        pytest.param(
            *("xgboost.XGBClassifier", {"learning_rate": "fast"}, "learning_rate='fast'", "could not be parsed"),
            id="in-a-whole-fit",
        ),
    ],
)
def test_check_refuses_what_does_not_train_in_one_sentence(name, values, given, why):
    """It names the algorithm and the values, repeats what the algorithm said, and says what to do."""
    with pytest.raises(UserError) as raised:
        estimator(name).check(values, 0 if name in (MLP_REGRESSOR, "mine.Broken") else 2)
    assert re.fullmatch(
        rf"algorithm={re.escape(name)} with {re.escape(given)} does not train on standardised features: .*{why}"
        rf"[^;]*; choose other values in space \(under {re.escape(name)}: for it alone\), or another algorithm",
        raised.value.message,
    ), raised.value.message


def test_check_refuses_what_scikit_learn_would_take_for_untrained():
    """The best model is logged in a pipeline, which asks for a fit method and for a sign of training."""
    with pytest.raises(UserError) as raised:
        estimator("mine.Unfit").check({}, 0)
    assert raised.value.message == (
        "algorithm=mine.Unfit: scikit-learn still considers it unfitted after training; give it a fit method, and "
        "let training set an attribute whose name ends in _, such as coef_"
    )
