"""When a trial has converged."""

import re

import numpy as np
from cases import cases
from reference import FOLDS, Plain, bundled, configured, trained_on
from sklearn.linear_model import SGDRegressor

from entrypoints.models.best_model import refit
from entrypoints.models.convergence import Convergence


@cases("tol, rate", [(0.02, 0.001), (0.001, 0.1)])
def test_convergence_is_where_scikit_learn_ends_its_fit(tol, rate, capfd):
    """Of the losses that scikit-learn prints after each epoch, the last one is that which reaches it.

    Those of the high rates jump about.
    """
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 5))
    y = X @ np.arange(5) + random.normal(size=200)
    model = SGDRegressor(alpha=0, learning_rate="constant", eta0=rate, tol=tol, max_iter=1000, verbose=1)
    model.fit(X, y)
    printed = capfd.readouterr().out
    *losses, last = map(float, re.findall(r"Avg\. loss: ([\d.]+)", printed))
    convergence = Convergence(configured(tol=tol), rows=200)
    for loss in losses:
        assert not convergence.see(loss)
    assert convergence.see(last)
    assert len(losses) + 1 == model.n_iter_ < 1000


def test_trial_ends_when_its_training_loss_no_longer_improves():
    """By the mean loss over the rows of an epoch and over folds; its refit ends, too."""
    data = bundled("red_wine")
    settings = {"steps": 200, "batch_size": 740, "learning_rate": 0.0005}
    until_the_end, until_converged = configured(**settings), configured(**settings, tol=0.002)
    epochs = []
    for number in range(FOLDS):
        losses = Plain(data, until_the_end, number).train(200).train_losses
        epochs.append(np.average(np.reshape(losses, (-1, 2)), axis=1, weights=[740, data.split.fit_rows - 740]))
    convergence = Convergence(until_converged, data.split.fit_rows)
    last = next(number for number, loss in enumerate(np.mean(epochs, axis=0), 1) if convergence.see(loss))
    training, _ = trained_on(data, until_converged)
    assert training.step_number == training.steps == last * convergence.epoch_steps
    assert refit(until_converged, data).estimator.t_ < refit(until_the_end, data).estimator.t_
