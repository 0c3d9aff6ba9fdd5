"""The best model, refitted: equal to scikit-learn's own pipeline, what it is compared with, and what it cost."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from cases import cases
from machines import Clock
from reference import FOLDS, MLP_REGRESSOR, SVR, Plain, bundled, configured, configured_whole, features_of, table_of

from entrypoints.errors import UserError
from entrypoints.models.best_model import IN_TIME, latency_ms, raw_rows_model, refit

# Its module takes 40 MB late, once in a process; each model takes 20 MB. Without a width it does not train.
LATE = """
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

late = []

class Late(RegressorMixin, BaseEstimator):
    def __init__(self, width=None):
        self.width = width

    def fit(self, X, y):
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        if not late:
            late.append(np.ones(40 * 125_000))
        if not hasattr(self, "held_"):
            self.held_ = np.ones(self.width * 125_000)
        return self

    def predict(self, X):
        return np.zeros(len(X))
"""


@pytest.fixture
def late(tmp_path, monkeypatch):
    """The name of that estimator, which can be imported for the first time."""
    (tmp_path / "late_model.py").write_text(LATE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "late_model.Late"
    del sys.modules["late_model"]


@cases(
    "name, score, configuration",
    {
        "linear": ("red_wine", "test_rmse", configured(steps=40)),
        "logistic": ("diabetes", "test_accuracy", configured("logistic", steps=40)),
        "forest": ("diabetes", "test_accuracy", configured_whole("forest", 8)),
        "SVR": ("red_wine", "test_rmse", configured_whole(SVR)),
    },
)
def test_refitted_model_and_its_figures_are_those_of_plain_scikit_learn(name, score, configuration):
    """Trained on all rows, from a frame of raw columns to the target's own units or labels, for every row of the table.

    Score and loss are those of the training part's model on the test part; what the training took is beside them.
    """
    data = bundled(name)
    table = table_of(name)
    best = refit(configuration, data)
    train = data.split.train
    test = data.split.test
    rows = np.arange(len(data.X))
    predicted = raw_rows_model(best, table).predict(features_of(table, rows))
    expected = _plain(data, configuration, np.r_[train, test]).predict(rows)
    if table.classes:
        assert predicted.tolist() == np.array(table.classes)[expected].tolist()
    else:
        np.testing.assert_allclose(predicted, expected)
    tested = _plain(data, configuration, train)
    found = best.figures
    assert found[score] == best.test.value == pytest.approx(tested.score(test))
    assert found["test_loss"] == pytest.approx(tested.loss(test))
    assert found[f"{score}_low"] < found[score] < found[f"{score}_high"]
    assert found["refit_training_time_s"] > 0
    assert found["refit_cpu_seconds"] > 0


def _mode(y):
    return np.bincount(y).argmax()


def _plain(data, configuration, rows):
    return Plain(data, configuration, FOLDS, rows).train(configuration.steps(len(rows)))


def test_rows_that_belong_together_say_less_of_other_rows_and_rows_in_time_nothing():
    """Of the score on the test part."""
    data = bundled("red_wine")
    split = data.split
    groups = np.zeros(len(data.X), dtype=int)
    groups[split.test] = np.arange(len(split.test)) // 48
    tests = []
    for changed in (split, replace(split, groups=groups), replace(split, folds=replace(split.folds, in_time=True))):
        best = refit(configured(), replace(data, split=changed))
        tests.append(best.test)
    of_rows, of_groups, of_times = tests
    assert of_rows.value == of_groups.value == of_times.value
    assert of_rows.degrees == 19
    assert of_groups.degrees == 9
    assert of_times.why_unknown == IN_TIME


def test_gain_of_tuning_is_over_what_the_library_makes_by_default():
    """On the same rows of the test part. A poor model has lost; of one whose training loop is ours nothing is said."""
    data = bundled("red_wine")
    figures = refit(configured("mlp", steps=2), data).figures
    default = configured(MLP_REGRESSOR, batch_size=None)
    untuned = replace(default, searched={"algorithm": MLP_REGRESSOR})
    error = _plain(data, untuned, data.split.train).score(data.split.test)
    assert figures["gain_rmse"] == pytest.approx(error - figures["test_rmse"])
    assert figures["gain_rmse_low"] < figures["gain_rmse"] < figures["gain_rmse_high"] < 0
    assert "gain_rmse" not in refit(configured(), data).figures


@cases("name, score, constant", {"mean": ("red_wine", "rmse", np.mean), "mode": ("diabetes", "accuracy", _mode)})
def test_gain_over_the_baseline_is_on_the_same_rows_of_the_test_part(name, score, constant):
    """The baseline is the mean of the training part, or its most frequent class."""
    data = bundled(name)
    figures = refit(configured_whole("forest", 8), data).figures
    y = data.y[data.split.test]
    ignoring = constant(data.y[data.split.train])
    gain = figures[f"gain_over_baseline_{score}"]
    if data.n_classes:
        assert gain == pytest.approx(figures["test_accuracy"] - np.mean(y == ignoring))
        assert figures["test_predicted_classes"] == 2
    else:
        assert gain == pytest.approx(np.sqrt(np.mean((y - ignoring) ** 2)) - figures["test_rmse"])
    assert figures[f"gain_over_baseline_{score}_low"] < gain < figures[f"gain_over_baseline_{score}_high"]


def test_defaults_that_cannot_be_trained_cost_no_study_its_result(late):
    """An estimator of the user's can do anything."""
    figures = refit(configured_whole(late, width=1), bundled("red_wine")).figures
    assert "test_rmse" in figures
    assert "gain_rmse" not in figures


@pytest.mark.skipif(sys.platform != "linux", reason="its high-water mark is the kernel's")
def test_what_a_module_loads_late_is_no_memory_of_the_refit(late):
    best = refit(configured(late, steps=3, width=20), bundled("red_wine"))
    assert best.figures["refit_memory_growth_mb"] == pytest.approx(20, abs=5)


def test_refit_that_diverges_names_what_was_chosen():
    """A model can overflow on the whole training part though it did on no fold; the user learns which values did."""
    with pytest.raises(UserError, match=r"algorithm=linear, batch_size=32, learning_rate=1e\+300, alpha=0\.001: "):
        refit(configured(learning_rate=1e300), bundled("red_wine"))


@cases("row_s, rows", {"few columns": (0.001, 50), "very many": (9.0, 5)})
def test_latency_is_measured_within_about_a_second(row_s, rows):
    """Of five rows at least, however long they take."""
    clock = Clock()
    sizes = []

    def predict(frame):
        sizes.append(len(frame))
        clock.now += row_s

    model = SimpleNamespace(predict=predict)
    assert latency_ms(model, table_of("red_wine"), clock) == pytest.approx(1e3 * row_s)
    assert sizes == [1] * rows
