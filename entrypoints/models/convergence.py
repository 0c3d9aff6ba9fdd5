"""When training has converged: the rule by which scikit-learn's SGD ends ``fit`` (``_sgd_fast.pyx.tp``)."""

from __future__ import annotations

import math

from entrypoints.models.configuration import Configuration

N_ITER_NO_CHANGE = 5  # scikit-learn's default


class Convergence:
    """Reached when the mean training loss was above its lowest value minus ``tol`` for ``N_ITER_NO_CHANGE`` epochs.

    This loss excludes the penalty, which a user's own algorithm does not report.

    Args:
        configuration: whose ``tol`` counts; without one it is never reached.
        rows: that one model trains on.
    """

    def __init__(self, configuration: Configuration, rows: int) -> None:
        self.reached = False
        self.epoch_steps = configuration.epoch_steps(rows)
        self._tol = configuration.tol
        self._lowest = math.inf
        self._epochs = 0  # without improvement

    def due(self, step: int) -> bool:
        """Whether an epoch ends with this step, counted from 1."""
        return bool(self._tol) and step % self.epoch_steps == 0

    def see(self, loss: float) -> bool:
        """Take the mean loss of the epoch's rows; return whether convergence is reached."""
        self._epochs = self._epochs + 1 if loss > self._lowest - (self._tol or 0.0) else 0
        self._lowest = min(self._lowest, loss)
        self.reached = self._epochs >= N_ITER_NO_CHANGE
        return self.reached
