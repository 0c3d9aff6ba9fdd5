"""What models are compared by: one of scikit-learn's scores, and what it is of a model that ignores all features."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.utils.metaestimators import available_if

from entrypoints.datasets.splits import Split
from entrypoints.datasets.sysmetrics_rows import text_of
from entrypoints.datasets.tables import Table, Task
from entrypoints.errors import UserError
from entrypoints.models import losses
from entrypoints.models.learners import Loss
from entrypoints.models.losses import Array, Target
from entrypoints.text import closest, listed, one_line

NEGATED = "neg_"  # how scikit-learn's names of those begin whose lower values are better; there they are negative
_SUCH_AS = {
    "classification": "roc_auc, average_precision, f1_macro or balanced_accuracy",
    "regression": "neg_mean_absolute_error, neg_median_absolute_error or r2",
}
# Of scores whose higher values are better those that may be below 0, and above 1.
_BELOW_0 = ("r2", "explained_variance", "d2_", "matthews_corrcoef", "adjusted_")
_ABOVE_1 = ("positive_likelihood_ratio", "mutual_info_score")
# How outputs become probabilities, by the loss that is computed of them.
_PROBABILITIES: dict[Loss, Callable[[Array], Array]] = {
    losses.log_loss: lambda outputs: outputs,
    losses.log_loss_of_linear: losses.probabilities_of_linear,
}


@dataclass(frozen=True)
class Score:
    """One of scikit-learn's scores.

    Attributes:
        name: what its metrics are called after ``val_`` and ``test_``.
        higher_is_better: of the values that are logged.
        scorer: scikit-learn's, of which the higher value is always better.
        in_numpy: the same of a learner's outputs, of which a report needs many: a fast one, where there is one.
    """

    name: str
    higher_is_better: bool
    scorer: Callable[[Any, Any, Any], float]
    in_numpy: Loss | None = None

    @property
    def validated(self) -> str:
        """The metric that ranks trials."""
        return f"val_{self.name}"

    def bounded(self, value: float) -> float:
        """The nearest value that the score can have: the end of an interval may lie beyond."""
        if not self.name.startswith(_BELOW_0):
            value = max(value, 0.0)
        if self.higher_is_better and self.name not in _ABOVE_1:
            value = min(value, 1.0)
        return value

    @property
    def needs(self) -> list[str]:
        """The methods of a model of which it needs one."""
        needed = getattr(self.scorer, "_response_method", "predict")
        return [needed] if isinstance(needed, str) else list(needed)

    def of(self, outputs: Array, y: Target, loss: Loss) -> float:
        """The score of a learner's outputs (rows,) or (rows, classes); NaN where one is not finite, or it has none.

        Args:
            outputs: of a regression in the units of y.
            y: the target, or each row's class by number.
            loss: the learner's, which says what its outputs are.
        """
        if not np.isfinite(outputs).all():
            return math.nan
        try:
            return self._of_model(_model(outputs, loss), outputs, y)
        except ValueError:  # such as the logarithm of a negative prediction
            return math.nan

    def check(self, algorithm: str, loss: Loss) -> None:
        """Check that models predict what the score is computed from.

        Raises:
            UserError: they do not.
        """
        model = _model(np.zeros(1), loss)
        if not any(hasattr(model, name) for name in self.needs):
            raise UserError(
                f"metric={self._as_given}: it needs {' or '.join(self.needs)}, which {algorithm} has not; give another "
                "metric, or algorithms that have it"
            )

    def baseline(self, table: Table, split: Split) -> list[float]:
        """On each fold that of a model that ignores all features: it predicts the mean, or the shares of the classes.

        Raises:
            UserError: it is not defined for this target, one of the folds, or the test part.
        """
        y = np.searchsorted(table.classes, table.y) if table.classes else table.y
        if table.classes and task_of(self._as_given) == "regression":
            raise self._cannot_score(table, "it is of numbers, not of classes")
        model = DummyClassifier(strategy="prior") if table.classes else DummyRegressor()
        X = np.zeros((len(y), 1))
        values = []
        for fit, held_out in (*split.folds, (split.train, split.test)):
            model.fit(X[fit], y[fit])
            try:
                values.append(self._of_model(model, X[held_out], y[held_out]))
            except (ValueError, AttributeError) as error:  # the latter: it needs probabilities
                raise self._cannot_score(table, one_line(error)) from None
        if not np.isfinite(values).all():
            raise UserError(
                f"metric={self._as_given}: it is not defined on each fold and the test part, such as one with rows of "
                "one class alone; lower folds, or give another metric"
            )
        return values[:-1]

    def _cannot_score(self, table: Table, why: str) -> UserError:
        such = _SUCH_AS[table.task]
        return UserError(f"metric={self._as_given}: it cannot score {table.target}: {why}; use one such as {such}")

    @property
    def _as_given(self) -> str:
        return self.name if self.higher_is_better else f"{NEGATED}{self.name}"

    def _of_model(self, model: Any, X: Array, y: Target) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a class was never predicted, on each fold at each report
            value = float(self.scorer(model, X, y))
        return value if self.higher_is_better else -value


class _Numbers(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A model whose rows are its predictions."""

    def predict(self, rows: Array) -> Array:
        return rows


class _Classes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model whose rows are what a learner has put out for them."""

    def __init__(self, outputs: Array, loss: Loss) -> None:
        self.classes_ = np.arange(2 if outputs.ndim == 1 else outputs.shape[1])
        self.loss = loss

    def predict(self, rows: Array) -> NDArray[np.int64]:
        return (rows > 0).astype(np.int64) if rows.ndim == 1 else rows.argmax(axis=1)

    @available_if(lambda self: self.loss in _PROBABILITIES)  # type: ignore[untyped-decorator]
    def predict_proba(self, rows: Array) -> Array:
        return _PROBABILITIES[self.loss](rows)

    @available_if(lambda self: self.loss in (losses.hinge, losses.log_loss_of_linear))  # type: ignore[untyped-decorator]
    def decision_function(self, rows: Array) -> Array:
        return rows


def _model(outputs: Array, loss: Loss) -> Any:
    """What a scorer takes for the model that has put these out."""
    return _Numbers() if loss is losses.squared_error else _Classes(outputs, loss)


class _Swapped(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model of two classes, each under the number of the other."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.classes_ = np.arange(2)

    def predict(self, rows: Any) -> NDArray[Any]:
        return 1 - np.asarray(self.model.predict(rows))

    @available_if(lambda self: hasattr(self.model, "predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, rows: Any) -> Array:
        shares: Array = self.model.predict_proba(rows)[:, ::-1]
        return shares

    @available_if(lambda self: hasattr(self.model, "decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, rows: Any) -> Array:
        return -np.asarray(self.model.decision_function(rows))


class _OfFirst:
    """A scorer whose positive class is the first of two, where scikit-learn's own takes the second."""

    def __init__(self, scorer: Any) -> None:
        self._scorer = scorer
        self._response_method = getattr(scorer, "_response_method", "predict")

    def __call__(self, model: Any, X: Any, y: Any) -> float:
        return float(self._scorer(_Swapped(model), X, 1 - np.asarray(y)))


_AUTO: dict[Task, Score] = {
    "regression": Score("rmse", False, get_scorer("neg_root_mean_squared_error"), losses.rmse),
    "classification": Score("accuracy", True, get_scorer("accuracy"), losses.accuracy),
}


def find(metric: str | None, task: Task, positive: int = 1) -> Score:
    """The score of that name, as scikit-learn's scorers have it; None: RMSE or accuracy.

    Args:
        metric: its name.
        task: of the models.
        positive: of two classes the number of the one that it is of.

    Raises:
        UserError: there is none, or it is not of the task.
    """
    auto = _AUTO[task]
    if metric in (None, auto.name):
        return auto
    names = get_scorer_names()
    if metric not in names:
        close = difflib.get_close_matches(str(metric).lower(), names, n=4, cutoff=0.5)
        advice = f"use {' or '.join(close)}" if close else f"use one such as {_SUCH_AS[task]}"
        raise UserError(f"metric={metric}: scikit-learn has no scorer of this name; {advice}")
    scorer = get_scorer(metric)
    if positive == 0 and task_of(metric) == "classification":
        scorer = _OfFirst(scorer)
    return Score(metric.removeprefix(NEGATED), not metric.startswith(NEGATED), scorer)


@cache
def task_of(metric: str | None) -> Task | None:
    """The task that a score of this name is of; None: of any, as one of clusterings, or there is none."""
    for task, auto in _AUTO.items():
        if metric == auto.name:
            return task
    if metric not in get_scorer_names():
        return None
    scorer = get_scorer(metric)
    if not _can_score(scorer, DummyRegressor(), np.arange(4) + 0.5):
        return "classification"
    is_of_any = _can_score(scorer, DummyClassifier(), np.array(["a", "b"] * 2))
    return None if is_of_any else "regression"


def _can_score(scorer: Any, model: Any, y: NDArray[Any]) -> bool:
    X = np.zeros((len(y), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            scorer(model.fit(X, y), X, y)
        except (AttributeError, TypeError, ValueError):
            return False
    return True


def with_positive(table: Table, given: str | None) -> Table:
    """The table whose positive class is the given one, or by default the rarer of two.

    Raises:
        UserError: the class is none of two.
    """
    classes = table.classes
    if given is None and len(classes) != 2:
        return table
    if len(classes) != 2:
        raise UserError(
            f"positive={given}: one of two classes is allowed, and the target {table.target} has "
            f"{len(classes) or 'numbers in place of classes'}; leave positive out"
        )
    label = text_of(given)
    if given is None:
        label = classes[0] if 2 * np.count_nonzero(table.y == classes[0]) < len(table.y) else classes[1]
    if label not in classes:
        raise UserError(
            f"positive={given}: one of the classes of {table.target} is allowed: {listed(classes)}; "
            f"{closest(str(given), classes, 'use one of these')}"
        )
    positive = classes.index(label)
    return table if positive == table.positive else replace(table, positive=positive)  # a digest is kept
