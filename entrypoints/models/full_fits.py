"""Models that train on all rows at once, a few iterations (trees, rounds) at a time where they can, else in one fit.

Advanced by any steps, a model equals that of a single fit with the same seed, and takes about the same time.
"""

from __future__ import annotations

import contextvars
import copy
import inspect
import math
import threading
import weakref
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrypoints.compute.contention import CoreWait, own_share
from entrypoints.models.learners import Learner, Loss, Outputs, predicted
from entrypoints.models.losses import Array

Predict = Callable[[Array], Any]
Pause = Callable[[Predict], None]  # called after an iteration, with what predicts by then
Fit = Callable[[Any, Array, NDArray[Any], Pause], None]  # an estimator, on X and y


def full_fit(estimator: Any, n_classes: int, outputs: Outputs, loss: Loss) -> Learner:
    """The learner of an estimator without ``partial_fit``, by what it can do."""
    given = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    bases = " ".join(base.__module__ for base in type(estimator).__mro__)
    fit: Fit | None = None
    iterations: Any = 1
    if "xgboost.sklearn" in bases and given["booster"] != "gblinear":  # which cannot predict while it trains
        fit, iterations = _xgboost, estimator.get_num_boosting_rounds()
    elif "lightgbm.sklearn" in bases:
        fit, iterations = _lightgbm, given["n_estimators"]
    elif "_hist_gradient_boosting" in bases:
        fit, iterations = _hist_gradient_boosting, given["max_iter"]
    elif "sklearn.ensemble._gb" in bases and "monitor" in inspect.signature(estimator.fit).parameters:
        fit, iterations = _gradient_boosting, given["n_estimators"]
    elif "warm_start" in given:
        iterations = given.get("n_estimators", 1)
    stops_early = given.get("early_stopping", given.get("n_iter_no_change"))
    if stops_early or not isinstance(iterations, int) or iterations < 2:
        return OneFit(estimator, n_classes, outputs, loss)
    if fit is None:
        return WarmStarts(estimator, n_classes, outputs, loss, iterations)
    return PausedFit(estimator, n_classes, outputs, loss, iterations, fit)


class OneFit(Learner):
    """In one step. What it predicts may be another class than that of its highest output: SVC has votes."""

    iterations = 1

    def __init__(self, estimator: Any, n_classes: int, outputs: Outputs, loss: Loss) -> None:
        super().__init__(estimator, n_classes, outputs, loss)
        self.decisions = partial(predicted, estimator, n_classes) if n_classes else None

    def step(self, X: Array, y: NDArray[Any], iterations: int = 1) -> None:
        """Fit it."""
        self.estimator.fit(X, y)


class WarmStarts(Learner):
    """By more trees each time: ``warm_start`` goes on with the random numbers of a single fit."""

    def __init__(self, estimator: Any, n_classes: int, outputs: Outputs, loss: Loss, trees: int) -> None:
        super().__init__(estimator, n_classes, outputs, loss)
        self.iterations = trees
        self._done = 0

    def step(self, X: Array, y: NDArray[Any], iterations: int = 1) -> None:
        """Add this number of trees."""
        self._done += iterations
        self.estimator.set_params(n_estimators=self._done, warm_start=True).fit(X, y)
        if self._done == self.iterations:
            self.estimator.set_params(warm_start=False)


class PausedFit(Learner):
    """By a single fit in a thread of its own, which waits between two iterations until it is to go on.

    What a library offers to go on with a model costs more, or gives another one. Of 100 trees in 20 parts, in CPU time
    of a single fit: paused 1.0; ``warm_start`` of scikit-learn's gradient boostings 1.2 and 2.8 to 5; ``xgb_model`` and
    ``init_model`` 2.7 to 7, with other trees where rows are drawn. One fold's fit after the other, in this thread,
    would give no mean over folds before the last one, and so no score to stop a trial by until then.
    """

    holds_rows = True

    def __init__(self, estimator: Any, n_classes: int, outputs: Outputs, loss: Loss, iterations: int, fit: Fit) -> None:
        super().__init__(estimator, n_classes, outputs, loss)
        self.iterations = iterations
        self._outputs_at_end = outputs
        self._done = 0
        self._fit = fit
        self._thread: _Thread | None = None

    def step(self, X: Array, y: NDArray[Any], iterations: int = 1) -> None:
        """Let the fit go on; the last time, to its end."""
        if self._thread is None:
            self._thread = _Thread(partial(self._fit, self.estimator, X, y))
            weakref.finalize(self, self._thread.abandon)  # where nobody lets it go on, it must not wait for ever
        self._done += iterations
        predict = self._thread.go_on(iterations if self._done < (self.iterations or 0) else math.inf)
        self.took_s = self._thread.took_s
        self.outputs = partial(_outputs_by, predict, self.n_classes) if predict else self._outputs_at_end


def _outputs_by(predict: Predict, n_classes: int, X: Array) -> Array:
    """Of a booster with two classes ``predict`` gives the probability of the second one."""
    outputs = np.asarray(predict(X))
    both = np.column_stack([1 - outputs, outputs]) if n_classes == 2 and outputs.ndim == 1 else outputs
    return both.astype(np.float64)


class _Abandoned(BaseException):
    """Ends a fit that nobody lets go on."""


class _Thread:
    """Of a fit. It knows nothing of its learner, which ends it by being forgotten."""

    def __init__(self, fit: Callable[[Pause], None]) -> None:
        self.took_s = 0.0  # without waiting to go on, or for a core
        self._turns: SimpleQueue[float] = SimpleQueue()  # the iterations of each; 0: never again
        self._pauses: SimpleQueue[Predict | BaseException | None] = SimpleQueue()
        self._left = 0.0
        # numpy's settings are those of the context in which training began.
        run = partial(contextvars.copy_context().run, self._run, fit)
        threading.Thread(target=run, name="paused-fit", daemon=True).start()

    def go_on(self, iterations: float) -> Predict | None:
        """Return after these iterations, with what predicts by now; None: the fit has come to its end."""
        self._turns.put(iterations)
        paused = self._pauses.get()
        if isinstance(paused, BaseException):
            raise paused
        return paused

    def abandon(self) -> None:
        """End the thread."""
        self._turns.put(0)

    def _run(self, fit: Callable[[Pause], None]) -> None:
        ended: BaseException | None = None
        self._core_wait = CoreWait()  # of this thread
        try:
            self._wait()
            fit(self._pause)
        except _Abandoned:
            return
        except BaseException as error:  # it is the learner's
            ended = error
        self._took()
        self._pauses.put(ended)

    def _pause(self, predict: Predict) -> None:
        self._left -= 1
        if self._left <= 0:
            self._took()
            self._pauses.put(predict)
            self._wait()

    def _took(self) -> None:
        elapsed_s = perf_counter() - self._began_s
        self.took_s += elapsed_s * own_share(elapsed_s, self._core_wait() - self._waited_s)

    def _wait(self) -> None:
        self._left = self._turns.get()
        if not self._left:
            raise _Abandoned
        self._began_s, self._waited_s = perf_counter(), self._core_wait()


def _xgboost(estimator: Any, X: Array, y: NDArray[Any], pause: Pause) -> None:
    from xgboost.callback import TrainingCallback

    class Pausing(TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            pause(model.inplace_predict)
            return False

    before = estimator.callbacks
    estimator.set_params(callbacks=[*(before or ()), Pausing()]).fit(X, y)
    estimator.set_params(callbacks=before)


def _lightgbm(estimator: Any, X: Array, y: NDArray[Any], pause: Pause) -> None:
    estimator.fit(X, y, callbacks=[lambda state: pause(state.model.predict)])


def _gradient_boosting(estimator: Any, X: Array, y: NDArray[Any], pause: Pause) -> None:
    def monitor(number: int, model: Any, _: Any) -> bool:
        now = copy.copy(model)
        now.estimators_ = model.estimators_[: number + 1]  # there is a place for all
        pause(now.predict_proba if hasattr(now, "predict_proba") else now.predict)
        return False

    estimator.fit(X, y, monitor=monitor)


def _hist_gradient_boosting(estimator: Any, X: Array, y: NDArray[Any], pause: Pause) -> None:
    """It calls a scorer after each iteration, and before the first one, which here never has it stop."""

    def score(model: Any, *_: Any, **__: Any) -> float:
        if model.n_iter_:
            now = copy.copy(model)
            del now._in_fit  # else it takes rows for binned ones
            pause(now.predict_proba if hasattr(now, "predict_proba") else now.predict)
        return 0.0

    asked = estimator.get_params(deep=False)
    never = {"early_stopping": True, "validation_fraction": None, "n_iter_no_change": estimator.max_iter + 2}
    estimator.set_params(scoring=score, **never).fit(X, y)
    estimator.set_params(**asked)
    # As a fit without a scorer leaves it.
    estimator.do_early_stopping_ = False
    estimator.train_score_ = np.array([])
    del estimator._scorer
