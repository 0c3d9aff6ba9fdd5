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
from entrypoints.models.estimators import estimator

FEATURES = 5
CASES = tables(__file__, "cases.yaml")
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


def _task(n_classes):
    return "classification" if n_classes else "regression"


def _batch(n_classes, seed=0):
    random = np.random.default_rng(seed)
    X = random.normal(size=(60, FEATURES))
    if n_classes:
        return X, np.digitize(X[:, 0], [0.0, 0.8][: n_classes - 1])
    return X, X[:, 0] - X[:, 1] + 0.1 * random.normal(size=60)


def _learner(name, n_classes, **given):
    usual = OF_SGD if name in LOSSES else {}
    return find(name, _task(n_classes)).learner(usual | given, n_classes, 7)


def _trained(name, n_classes):
    """On three batches, the first of which lacks a class, as small ones do."""
    learner = _learner(name, n_classes)
    for seed in range(3):
        X, y = _batch(n_classes, seed)
        learner.step(X, y if seed else y.clip(max=1))
    return learner


def test_network_makes_one_update_of_a_large_batch():
    """scikit-learn's own makes one of each 200 rows, unless told how many there are."""
    X = np.random.default_rng(0).normal(size=(401, FEATURES))
    y = X[:, 0]
    learner = _learner(MLP_REGRESSOR, 0)
    learner.step(X, y)
    plain = MLPRegressor(random_state=7)
    assert learner.estimator.get_params() == plain.get_params()
    plain.set_params(batch_size=401).partial_fit(X, y)
    np.testing.assert_array_equal(learner.outputs(X), plain.predict(X))


@cases("name, n_classes", CASES["kinds"])
def test_loss_and_score_equal_the_metrics_of_scikit_learn(name, n_classes):
    """Of rows that were not trained on; the score is the accuracy, or the root mean squared error."""
    learner = _trained(name, n_classes)
    X, y = _batch(n_classes, seed=9)
    outputs = learner.outputs(X)
    assert outputs.dtype == np.float64
    made = learner.estimator
    assert learner.loss(outputs, y) == pytest.approx(loss(made, X, y, n_classes))
    score = metrics.accuracy_score if n_classes else metrics.root_mean_squared_error
    found = scores.find(None, _task(n_classes)).in_numpy(outputs, y)
    assert found == pytest.approx(score(y, made.predict(X)))


def test_random_state_that_is_given_wins_over_the_seed():
    """Also where it is that nothing is fixed."""
    assert _learner(MLP_REGRESSOR, 0, random_state=None).estimator.random_state is None


@cases("name, n_classes, expected", CASES["guesses"])
def test_untrained_loss_is_that_of_a_guess(name, n_classes, expected):
    """Of a standardised target that is its mean square; of classes it does not depend on which one is frequent."""
    y = np.repeat(0 if n_classes else -2.0, 20)
    assert _learner(name, n_classes).untrained_loss(y) == pytest.approx(expected)


@cases("name, n_classes, given, scale", CASES["divergence"])
def test_step_to_weights_that_are_not_finite_is_divergence(name, n_classes, given, scale):
    """And no mistake of anyone, as a batch of another shape is."""
    learner = _learner(name, n_classes, **given)
    X, y = _batch(n_classes)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"non-finite|overflow"):
        learner.step(X * scale, y)
    with pytest.raises(ValueError, match="features"):
        _trained(name, n_classes).step(X[:, 1:], y)


# --- losses ------------------------------------------------------------------------------------------------


@cases("outputs, expected", CASES["extreme outputs"])
def test_log_loss_of_extreme_linear_outputs_is_that_of_clipped_probabilities(outputs, expected):
    """Of models that say nothing, or too much. A small batch often holds a single class; the outputs stay."""
    rows = np.array([outputs] * 2)
    y = np.array([0, 0])
    assert losses.log_loss_of_linear(rows, y) == pytest.approx(expected, abs=0.01)
    assert rows.tolist() == [outputs] * 2
    if expected != 1.0986:
        assert losses.log_loss_of_linear(-rows[:, 0], y) == pytest.approx(expected, abs=0.01)


def test_log_loss_of_models_that_are_certain_and_wrong_is_not_that_of_a_diverged_one():
    """It is clipped as scikit-learn does: a row counts 36 at most, as the docs say; DIVERGED_LOSS is more."""
    wrong = np.array([[0.0, 1.0], [1.0, 0.0]])
    y = np.array([0, 1])
    largest = losses.log_loss(wrong, y)
    assert largest == pytest.approx(metrics.log_loss(y, wrong))
    assert largest == pytest.approx(36, abs=0.1)
    assert largest < DIVERGED_LOSS * np.log(2)


# --- names -------------------------------------------------------------------------------------------------


@cases("task, asked, names", CASES["lists of algorithms"])
def test_algorithms_are_those_asked_for_or_all_built_in_ones_that_fit(task, asked, names):
    """In the order in which they were named."""
    assert [algorithm.name for algorithm in find_all(task, asked)] == names


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


@cases("name, values, n_classes", CASES["what trains"])
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
