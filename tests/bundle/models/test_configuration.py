"""What one trial trains: by what configurations are told apart, how long it is, and when it has converged."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reference import MLP_CLASSIFIER, bundled, configured
from sklearn.linear_model import SGDRegressor

from entrypoints.models.best_model import refit
from entrypoints.models.convergence import N_ITER_NO_CHANGE, Convergence
from entrypoints.models.cross_validation import CrossValidation

ROWS = 320  # 10 steps of 32 are an epoch


def test_key_tells_configurations_apart() -> None:
    """By what is searched: lists, the last digit of a number, numbers from words."""
    usual: dict[str, Any] = {"hidden_layer_sizes": [8, 4], "alpha": 1e-12}
    one, *others = (
        configured(MLP_CLASSIFIER, **usual | changes)
        for changes in ({}, {"hidden_layer_sizes": [4, 8]}, {"alpha": 1.0000000000000002e-12}, {"alpha": "1e-12"})
    )
    others.append(replace(one, tol=0.1))
    assert len({one.key, *(other.key for other in others)}) == 5
    assert replace(one, seed=8, place=9, repeat=1).key == one.key


def test_limit_that_is_reached_first_ends_the_trial() -> None:
    """Of 100 rows, for a batch size, steps and epochs, whose last batch may be smaller; 0 means no limit."""
    steps = {(8, 500, 0): 500, (8, 0, 2): 26, (100, 0, 2): 2, (8, 20, 2): 20, (8, 30, 2): 26}
    for (size, most, epochs), expected in steps.items():
        assert configured(batch_size=size, max_steps=most, max_epochs=epochs).steps(100) == expected


def _convergence(tol: float | None = 0.1) -> Convergence:
    return Convergence(configured(tol=tol), ROWS)


@pytest.mark.parametrize("tol", [0.5, 0.02, 0.003])
def test_convergence_is_where_scikit_learn_ends_its_fit(tol: float, capfd: pytest.CaptureFixture[str]) -> None:
    """Of the losses that scikit-learn prints after each epoch, the last one is that which reaches it."""
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 5))
    y = X @ np.arange(5) + random.normal(size=200)
    model = SGDRegressor(alpha=0, learning_rate="constant", eta0=0.001, tol=tol, max_iter=1000, verbose=1)
    model.fit(X, y)
    losses = [float(loss) for loss in re.findall(r"Avg\. loss: ([\d.]+)", capfd.readouterr().out)]
    convergence = _convergence(tol)
    assert [convergence.see(loss) for loss in losses] == [False] * (len(losses) - 1) + [True]
    assert len(losses) == model.n_iter_ < 1000


@pytest.mark.parametrize(
    ("losses", "reached"),
    [
        pytest.param([1.0] * 6, True, id="level"),
        pytest.param([1.0] * 5, False, id="too-early"),
        pytest.param([1.0, 0.9, 0.8, 0.7, 0.6, 0.5], False, id="improves-by-tol"),
        pytest.param([1.0, 0.99, 0.98, 0.97, 0.96, 0.95], True, id="improves-by-less"),
        pytest.param([1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.8], False, id="improves-at-last"),
        pytest.param([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], True, id="rises"),
        pytest.param([1.0, 2.0, 1.8, 1.6, 1.4, 1.2], True, id="falls-to-above-the-lowest"),
        pytest.param([1.0, math.nan, 1.0, 1.0, 1.0, 1.0], False, id="nan"),
    ],
)
def test_convergence_counts_epochs_without_improvement(losses: list[float], reached: bool) -> None:
    """Five in a row after the lowest loss."""
    convergence = _convergence()
    for loss in losses:
        convergence.see(loss)
    assert convergence.reached is reached


@pytest.mark.parametrize(
    ("dataset", "algorithm"),
    [
        pytest.param("red_wine", "linear", id="built-in"),
        pytest.param("diabetes", "sklearn.naive_bayes.GaussianNB", id="own"),
    ],
)
def test_trial_ends_when_its_training_loss_no_longer_improves(dataset: str, algorithm: str) -> None:
    """At the step at which the mean losses of its own epochs say so, and so does the refit of its model."""
    data = bundled(dataset)
    given: dict[str, Any] = {"max_steps": 200, "batch_size": 256}
    training = CrossValidation(configured(algorithm, **given, tol=0.02), data)
    whole = CrossValidation(configured(algorithm, **given), data)
    convergence = Convergence(configured(algorithm, **given, tol=0.02), data.split.fit_rows)
    losses = []
    while not convergence.reached:
        for _ in range(convergence.epoch_steps):
            whole.step()
        losses.append(np.mean([fold.take_row_loss() for fold in whole.folds]))
        convergence.see(float(losses[-1]))
    while not training.ended:
        training.step()
    assert (training.converged, whole.converged) == (True, False)
    assert training.step_number == whole.step_number < training.steps
    assert min(losses[:-N_ITER_NO_CHANGE]) - 0.02 < min(losses[-N_ITER_NO_CHANGE:])
    longer = refit(configured(algorithm, **given), data).pipeline[-1]
    shorter = refit(configured(algorithm, **given, tol=0.02), data).pipeline[-1]
    assert _trained_rows(shorter) < _trained_rows(longer)


def test_trial_that_no_longer_improves_because_it_diverged_has_not_converged() -> None:
    """It ends as well, and is told as what it is."""
    data = bundled("red_wine")
    limits = {"max_steps": 200, "batch_size": 256}
    training = CrossValidation(configured(learning_rate=50.0, tol=0.02, **limits), data)
    while not training.ended:
        training.step()
    training.report()
    assert training.step_number < 200
    assert (training.diverged, training.converged) == (True, False)


def _trained_rows(model: Any) -> float:
    return float(model.t_ if hasattr(model, "t_") else model.class_count_.sum())
