"""When a trial has converged."""

import re

import numpy as np
from cases import cases
from reference import bundled, configured, trained_on
from sklearn.linear_model import SGDRegressor

from entrypoints.models.best_model import refit
from entrypoints.models.convergence import Convergence
from entrypoints.models.cross_validation import training_of


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
    """At the step at which the mean losses of its own epochs say so, and so does the refit of its model."""
    data = bundled("red_wine")
    until_the_end = configured(steps=200, batch_size=256)
    whole = training_of(until_the_end, data)
    until_converged = configured(steps=200, batch_size=256, tol=0.02)
    convergence = Convergence(until_converged, data.split.fit_rows)
    while not convergence.reached:
        epoch_ends = whole.step_number + convergence.epoch_steps
        while whole.step_number < epoch_ends:
            whole.advance()
        losses = [fold.row_loss.take() for fold in whole.folds]
        convergence.see(np.mean(losses))
    training, _ = trained_on(data, until_converged)
    assert training.step_number == training.steps == whole.step_number < 200
    assert refit(until_converged, data).estimator.t_ < refit(until_the_end, data).estimator.t_
