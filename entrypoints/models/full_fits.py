"""Models that train on all rows at once, a few iterations (trees, rounds) at a time where they can, else in one fit.

Advanced by any steps, a model equals that of a single fit with the same seed, and takes about the same time.
"""

from __future__ import annotations

import contextvars
import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet
from sklearn import config_context, get_config, set_config

from entrypoints.models.learners import Learner, Loss, Outputs, predicted
from entrypoints.models.losses import Array, Target

Predict = Callable[[Array], Any]
Pause = Callable[[Predict], None]  # called after an iteration, with what predicts by then
Fit = Callable[[Any, Array, Target, Pause], None]  # an estimator, on X and y


def full_fit(estimator: Any, n_classes: int, outputs: Outputs, loss: Loss) -> Learner:
    """The learner of an estimator without ``partial_fit``, by what it can do."""
    given = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    iterations, fit = _by_iterations(estimator, given)
    stops_early = given.get("early_stopping", given.get("n_iter_no_change"))
    if stops_early or not isinstance(iterations, int) or iterations < 2:
        return one_fit(estimator, n_classes, outputs, loss)
    if fit is None:
        return WarmStarts(estimator, n_classes, outputs, loss, iterations)
    return PausedFit(estimator, n_classes, outputs, loss, iterations, fit=fit)


def one_fit(estimator: Any, n_classes: int, outputs: Outputs, loss: Loss) -> Learner:
    """The learner of an estimator that is fitted at once."""
    # SVC has votes: what it predicts may be another class than that of its highest output.
    decisions = partial(predicted, estimator, n_classes) if n_classes else None
    return OneFit(estimator, n_classes, outputs, loss, 1, decisions)


def _by_iterations(estimator: Any, given: Mapping[str, Any]) -> tuple[Any, Fit | None]:
    """How many iterations a fit has, and what pauses between them; None: only ``warm_start`` can."""
    bases = " ".join(base.__module__ for base in type(estimator).__mro__)
    if "xgboost.sklearn" in bases and given["booster"] != "gblinear":  # which cannot predict while it trains
        return estimator.get_num_boosting_rounds(), _xgboost
    if "lightgbm.sklearn" in bases:
        return given["n_estimators"], _lightgbm
    if "_hist_gradient_boosting" in bases:
        return given["max_iter"], _hist_gradient_boosting
    if "sklearn.ensemble._gb" in bases and "monitor" in inspect.signature(estimator.fit).parameters:
        return given["n_estimators"], _gradient_boosting
    return given.get("n_estimators", 1) if "warm_start" in given else 1, None


class OneFit(Learner):
    """In one step."""

    def step(self, X: Array, y: Target, iterations: int = 1) -> None:
        """Fit it."""
        self.estimator.fit(X, y)


class WarmStarts(Learner):
    """By more trees each time: ``warm_start`` goes on with the random numbers of a single fit."""

    _done = 0

    def step(self, X: Array, y: Target, iterations: int = 1) -> None:
        """Add this number of trees."""
        self._done += iterations
        self.estimator.set_params(n_estimators=self._done, warm_start=True).fit(X, y)
        if self._done == self.iterations:
            self.estimator.set_params(warm_start=False)


@dataclass(eq=False)
class PausedFit(Learner):
    """By a single fit that pauses after an iteration until it is to go on, on a stack of its own: a greenlet.

    What a library offers to go on with a model costs more, or gives another one. Of 100 trees in 20 parts, in CPU time
    of a single fit: paused 1.0; ``warm_start`` of scikit-learn's gradient boostings 1.2 and 2.8 to 5; ``xgb_model`` and
    ``init_model`` 2.7 to 7, with other trees where rows are drawn. One fold's fit after the other, without pauses,
    would give no mean over folds before the last one, and so no score to stop a trial by until then.
    """

    holds_rows = True

    fit: Fit = field(kw_only=True)

    def __post_init__(self) -> None:
        self._outputs_at_end = self.outputs
        self._done = 0
        self._paused: greenlet | None = None

    def step(self, X: Array, y: Target, iterations: int = 1) -> None:
        """Let the fit go on; the last time, to its end."""
        if self._paused is None:
            # It knows nothing of this learner, so that it ends, with its rows, as soon as the learner is forgotten.
            self._paused = greenlet(partial(_in_turns, self.fit, self.estimator, X, y))
            self._paused.gr_context = contextvars.copy_context()  # which holds numpy's settings
        self._done += iterations
        with config_context():  # scikit-learn's settings within a fit are not those of who waits for it
            predict = self._paused.switch(iterations if self._done != self.iterations else math.inf)
        self.outputs = partial(_outputs_by, predict, self.n_classes) if predict else self._outputs_at_end


def _in_turns(fit: Fit, estimator: Any, X: Array, y: Target, turn: float) -> None:
    """Fit, and after each turn of so many iterations hand what predicts by then to the one who waits for it."""
    waiting, left = getcurrent().parent, turn

    def pause(predict: Predict) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            within = get_config()
            left = waiting.switch(predict)
            set_config(**within)

    fit(estimator, X, y, pause)


def _outputs_by(predict: Predict, n_classes: int, X: Array) -> Array:
    """Of a booster with two classes ``predict`` gives the probability of the second one."""
    outputs = np.asarray(predict(X))
    if n_classes == 2 and outputs.ndim == 1:
        outputs = np.column_stack([1 - outputs, outputs])
    return outputs.astype(np.float64)


def _xgboost(estimator: Any, X: Array, y: Target, pause: Pause) -> None:
    from xgboost.callback import TrainingCallback

    class Pausing(TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            pause(model.inplace_predict)
            return False

    before = estimator.callbacks
    estimator.set_params(callbacks=[*(before or ()), Pausing()]).fit(X, y)
    estimator.set_params(callbacks=before)


def _lightgbm(estimator: Any, X: Array, y: Target, pause: Pause) -> None:
    estimator.fit(X, y, callbacks=[lambda state: pause(state.model.predict)])


def _gradient_boosting(estimator: Any, X: Array, y: Target, pause: Pause) -> None:
    def monitor(number: int, model: Any, _: Any) -> bool:
        now = copy.copy(model)
        now.estimators_ = model.estimators_[: number + 1]  # there is a place for all
        pause(_predict(now))
        return False

    estimator.fit(X, y, monitor=monitor)


def _predict(model: Any) -> Predict:
    predict: Predict = getattr(model, "predict_proba", model.predict)
    return predict


def _hist_gradient_boosting(estimator: Any, X: Array, y: Target, pause: Pause) -> None:
    """It calls a scorer after each iteration, and before the first one, which here never has it stop."""

    def score(model: Any, *_: Any, **__: Any) -> float:
        if model.n_iter_:
            now = copy.copy(model)
            del now._in_fit  # else it takes rows for binned ones
            pause(_predict(now))
        return 0.0

    asked = estimator.get_params(deep=False)
    never = {"early_stopping": True, "validation_fraction": None, "n_iter_no_change": estimator.max_iter + 2}
    estimator.set_params(scoring=score, **never).fit(X, y)
    estimator.set_params(**asked)
    # As a fit without a scorer leaves it.
    estimator.do_early_stopping_ = False
    estimator.train_score_ = np.array([])
    del estimator._scorer
