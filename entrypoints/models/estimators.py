"""Algorithms that an import path names: any importable classifier or regressor."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from entrypoints.datasets.tables import Task
from entrypoints.errors import UserError
from entrypoints.models import losses
from entrypoints.models.learners import BatchLearner, Learner, Loss, WholeFit, predicted, with_class_weights
from entrypoints.models.losses import Array, Target
from entrypoints.options.search_space import Space
from entrypoints.runs.tags import FOLD, TRAINING_STEP, Axis
from entrypoints.text import one_line

CHECKED_ROWS, CHECKED_FEATURES = 200, 20  # as many neighbours, or features of a tree, as users ask for
CHECKED_CLASSES = 3  # more take longer: boosting grows a tree for each; with two some refuse nothing
# One CPU core a trial, and no word for each tree. scikit-learn's own take one core unless told otherwise.
_OF_LIBRARIES = {
    "xgboost": {"n_jobs": 1},
    "lightgbm": {"n_jobs": 1, "verbosity": -1},
    "catboost": {"thread_count": 1, "verbose": False, "allow_writing_files": False},
}


@dataclass(frozen=True)
class Estimator:
    """An estimator class.

    Attributes:
        name: its import path, such as ``sklearn.svm.SVC``, or a short one.
        task: what it predicts.
        make: the class.
        grid, wide, usual, keeps_missing: see ``algorithms.Named``.
    """

    name: str
    task: Task
    make: Callable[..., Any]
    grid: Space = field(default_factory=dict)
    wide: Space = field(default_factory=dict)
    usual: Mapping[str, Any] = field(default_factory=dict)
    keeps_missing: bool = False

    @cached_property
    def hyperparameters(self) -> tuple[str, ...]:
        """The names that its constructor takes."""
        signature = inspect.signature(self.make).parameters.values()
        names = [parameter.name for parameter in signature if parameter.kind is not parameter.VAR_KEYWORD]
        made = self.make()  # XGBoost's signature says little, CatBoost's parameters are those that were given
        if hasattr(made, "get_params"):
            names += made.get_params(deep=False)
        return tuple(dict.fromkeys(names))

    @property
    def axis(self) -> Axis:
        """The axis of its trials: training steps if it has ``partial_fit``, else folds."""
        return TRAINING_STEP if hasattr(self.make, "partial_fit") else FOLD

    def learner(self, hyperparameters: Mapping[str, Any], n_classes: int, seed: int) -> Learner:
        """A new model; ``seed`` becomes its ``random_state``, where it has one that is not given.

        A fit on all rows stops early only where that is given: its length is a hyperparameter.
        """
        usual: dict[str, Any] = {"random_state": seed, **self.usual}
        learner: type[Learner] = BatchLearner
        if self.axis == FOLD:
            usual["early_stopping"] = False
            learner = WholeFit
        made = self._made(usual, hyperparameters)
        return learner(made, n_classes, *_outputs_and_loss(made, n_classes))

    def untuned(self, n_classes: int, seed: int) -> Learner | None:
        """A new model as the library makes and fits it by default; None: it has no fit."""
        if not hasattr(self.make, "fit"):
            return None
        made = self._made({"random_state": seed}, {})
        return WholeFit(made, n_classes, *_outputs_and_loss(made, n_classes))

    def _made(self, usual: Mapping[str, Any], hyperparameters: Mapping[str, Any]) -> Any:
        """An estimator with the usual values that its constructor takes, and these hyperparameters."""
        settings = {name: value for name, value in usual.items() if name in self.hyperparameters}
        settings |= _OF_LIBRARIES.get(self.make.__module__.partition(".")[0], {})
        return self.make(**settings | dict(hyperparameters))

    def check(self, hyperparameters: Mapping[str, Any], n_classes: int) -> None:
        """Check that a model can be created with these values and begin to train on standardised features.

        Args:
            hyperparameters: for its constructor.
            n_classes: the number of classes; 0 for regression.

        Raises:
            UserError: creating or training it fails.
        """
        random = np.random.default_rng(0)
        n_classes = min(n_classes, CHECKED_CLASSES)
        X, y = random.normal(size=(CHECKED_ROWS, CHECKED_FEATURES)), np.arange(CHECKED_ROWS) % max(2, n_classes)
        given = ", ".join(f"{name}={value!r}" for name, value in hyperparameters.items()) or "its own defaults"
        values = with_class_weights(hyperparameters, y) if self.axis == TRAINING_STEP else hyperparameters
        try:
            learner = self.learner(values, n_classes, seed=0)
            with np.errstate(over="ignore", invalid="ignore"):
                learner.step(X, y if n_classes else y.astype(float))
                learner.outputs(X)
        except FloatingPointError:
            return  # a rate that is too large for these rows may be right for others
        except Exception as error:  # whatever a class of the user's raises
            raise UserError(
                f"algorithm={self.name} with {given} does not train on standardised features: {one_line(error)}; "
                f"choose other values in space (under {self.name}: for it alone), or another algorithm"
            ) from error
        self._check_fitted(learner.estimator)

    def _check_fitted(self, trained: Any) -> None:
        """The pipeline that the best model becomes would not predict with it otherwise."""
        try:
            check_is_fitted(trained)
        except (NotFittedError, TypeError):
            raise UserError(
                f"algorithm={self.name}: scikit-learn still considers it unfitted after training; give it a fit "
                "method, and let training set an attribute whose name ends in _, such as coef_"
            ) from None


def _outputs_and_loss(estimator: Any, n_classes: int) -> tuple[Callable[[Array], Array], Loss]:
    """What a model of this class is compared by, and what that is computed from.

    A regressor by its squared error. A classifier by the log loss of ``predict_proba`` if it has that, else by the
    hinge loss of ``decision_function`` of each class, else by the share of wrong predictions.
    """
    if not n_classes:
        return lambda X: _numbers(np.reshape(estimator.predict(X), len(X))), losses.squared_error
    if hasattr(estimator, "predict_proba"):
        return lambda X: _numbers(estimator.predict_proba(X)), losses.log_loss
    if hasattr(estimator, "decision_function") and getattr(estimator, "decision_function_shape", "ovr") == "ovr":
        return lambda X: _numbers(estimator.decision_function(X)), losses.hinge
    return partial(predicted, estimator, n_classes), _share_of_wrong


def _numbers(outputs: Any) -> Array:
    return np.asarray(outputs, dtype=np.float64)


def _share_of_wrong(outputs: Array, y: Target) -> float:
    return 1.0 - float(outputs[np.arange(len(y)), y].mean())


def estimator(name: str) -> Estimator:
    """The estimator class at an import path.

    Raises:
        UserError: it is missing, or is none.
    """
    module_name, _, class_name = name.rpartition(".")
    try:
        make = getattr(importlib.import_module(module_name), class_name)
    except (Exception, SystemExit) as error:  # a module of the user's can raise anything while it is imported
        raise _wrong(name, f"it cannot be imported ({type(error).__name__}: {one_line(error)})") from error
    if not inspect.isclass(make):
        raise _wrong(name, "it is not a class")
    if not hasattr(make, "fit") and not hasattr(make, "partial_fit"):
        raise _wrong(name, "it has no fit")
    return Estimator(name, _task(name, make), make)


def _task(name: str, make: Callable[..., Any]) -> Task:
    try:
        made = make()
    except Exception as error:
        raise _wrong(name, f"it cannot be made without arguments ({one_line(error)})") from error
    with suppress(AttributeError, TypeError):  # without scikit-learn's tags
        if is_classifier(made):
            return "classification"
        if is_regressor(made):
            return "regression"
    raise _wrong(name, "it is neither a classifier nor a regressor (sklearn.base.ClassifierMixin or RegressorMixin)")


def _wrong(name: str, why: str) -> UserError:
    return UserError(
        f"algorithm={name}: {why}; give the import path of a scikit-learn classifier or regressor, such as "
        "sklearn.neural_network.MLPClassifier"
    )
