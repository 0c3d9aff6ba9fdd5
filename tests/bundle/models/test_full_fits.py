"""Models without ``partial_fit``: advanced by turns they are those of single fits, at each of their points."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from sklearn import get_config
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression

from entrypoints.models.algorithms import find
from entrypoints.models.learners import Learner

LENGTHS = ("n_estimators", "max_iter")
TURNS = (1, 1, 3, 5)


def _kind(name: str, n_classes: int, **given: Any) -> Any:
    return pytest.param(name, n_classes, given, id=f"{name.rpartition('.')[2]}-{n_classes}")


@pytest.mark.parametrize(
    ("name", "n_classes", "given"),
    [
        _kind("forest", 3),
        _kind("forest", 0, max_features=0.5),
        _kind("sklearn.ensemble.BaggingClassifier", 2),
        _kind("sklearn.ensemble.GradientBoostingClassifier", 3, subsample=0.5, max_features=0.5),
        _kind("boosting", 2, max_features=0.5, class_weight="balanced"),
        _kind("boosting", 3),
        _kind("boosting", 0, early_stopping=True),
        _kind("xgboost", 2, subsample=0.5, colsample_bytree=0.5),
        _kind("xgboost", 0),
        _kind("xgboost", 0, booster="gblinear"),
        _kind("lightgbm", 2, subsample=0.5, subsample_freq=1),
        _kind("lightgbm", 3),
        _kind("sklearn.svm.SVC", 3),
    ],
)
@pytest.mark.filterwarnings("error")
def test_model_is_at_each_point_that_of_a_single_fit(name: str, n_classes: int, given: dict[str, Any]) -> None:
    """Bit for bit: what it predicts, its loss and what it is made with; it needs no more iterations than are asked."""
    X, y = make_regression(400, 8, noise=20, random_state=0)
    if n_classes:
        X, y = make_classification(400, 8, n_informative=5, n_classes=n_classes, flip_y=0.1, random_state=0)
    algorithm = find(name, "classification" if n_classes else "regression")
    length = next((each for each in LENGTHS if each in algorithm.hyperparameters), None)
    in_one = "sklearn.svm" in name or "booster" in given or "early_stopping" in given
    given |= {} if in_one else {length: sum(TURNS)}
    learner = algorithm.learner(given, n_classes, seed=3)
    plain, done, usual = clone(learner.estimator), 0, get_config()
    assert learner.iterations == (1 if in_one else sum(TURNS))
    for turn in (1,) if in_one else TURNS:
        learner.step(X, y, turn)
        assert get_config() == usual  # within a fit, scikit-learn skips checks
        done += turn
        so_far = clone(plain).set_params(**({} if in_one else {length: done})).fit(X, y)
        np.testing.assert_array_equal(learner.outputs(X), _outputs(so_far, X))
    assert str(learner.estimator.get_params()) == str(so_far.get_params())
    np.testing.assert_array_equal(learner.estimator.predict(X), so_far.predict(X))


def _outputs(model: Any, X: Any) -> Any:
    for name in ("predict_proba", "decision_function"):
        if hasattr(model, name):
            return np.asarray(getattr(model, name)(X), dtype=np.float64)
    return np.asarray(model.predict(X), dtype=np.float64)


@pytest.mark.parametrize("name", ["boosting", "sklearn.ensemble.GradientBoostingRegressor", "xgboost", "lightgbm"])
def test_fit_that_is_forgotten_half_way_ends(name: str) -> None:
    """As that of a trial that a limit has stopped: no rows stay behind."""
    rows, y = make_regression(100, 4, random_state=0)
    learner: Learner | None = find(name, "regression").learner({}, 0, seed=0)
    assert learner is not None
    learner.step(rows, y)
    held = weakref.ref(rows)
    del rows
    assert held() is not None
    learner = None
    gc.collect()
    assert held() is None
