"""LightGBM and XGBoost: what a training leaves in its run, and how a limit ends it."""

from __future__ import annotations

import copy
import importlib
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from commands import clean_environment, store_uri, wait_until
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.base import clone
from sklearn.datasets import make_classification

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")

from mlflow_sysmetrics import boosters  # noqa: E402
from mlflow_sysmetrics.boosters import MAX_POINTS, BoosterCosts  # noqa: E402
from mlflow_sysmetrics.lightgbm import Costs as LightgbmCosts  # noqa: E402
from mlflow_sysmetrics.tags import STOP_REASON  # noqa: E402
from mlflow_sysmetrics.xgboost import Costs as XgboostCosts  # noqa: E402

X, y = make_classification(300, 10, random_state=0)
LGB, XGB = {"verbose": -1, "num_threads": 1, "objective": "binary"}, {"nthread": 1, "objective": "binary:logistic"}
MANY = 1_000_000  # rounds that nobody waits for
WITHIN_S = 60.0


def _lightgbm_train(costs: Any, rounds: int, **more: Any) -> Any:
    stops = [lightgbm.early_stopping(more["early_stopping_rounds"], verbose=False)] if more else []
    data = lightgbm.Dataset(X, y)
    valid = lightgbm.Dataset(X[::2], 1 - y[::2], reference=data)  # which each round makes worse
    return lightgbm.train(LGB, data, rounds, [valid], callbacks=[costs, *stops]).predict(X)


def _lightgbm_cv(costs: Any, rounds: int) -> Any:
    return lightgbm.cv(LGB, lightgbm.Dataset(X, y), rounds, nfold=2, callbacks=[costs])["valid binary_logloss-mean"]


def _lightgbm_classifier(costs: Any, rounds: int) -> Any:
    model = lightgbm.LGBMClassifier(n_estimators=rounds, n_jobs=1, verbose=-1)
    return model.fit(X, y, eval_set=[(X, y)], callbacks=[costs]).predict_proba(X)


def _xgboost_train(costs: Any, rounds: int, **more: Any) -> Any:
    data, valid = xgboost.DMatrix(X, y), xgboost.DMatrix(X[::2], 1 - y[::2])
    about = {"evals": [(valid, "valid")], "verbose_eval": False, **more}
    return xgboost.train(XGB, data, rounds, callbacks=[costs], **about).predict(data)


def _xgboost_cv(costs: Any, rounds: int) -> Any:
    return xgboost.cv(XGB, xgboost.DMatrix(X, y), rounds, nfold=2, callbacks=[costs])["test-logloss-mean"]


def _xgboost_classifier(costs: Any, rounds: int) -> Any:
    model = xgboost.XGBClassifier(n_estimators=rounds, n_jobs=1, callbacks=[costs])
    return model.fit(X, y, eval_set=[(X, y)], verbose=False).predict_proba(X)


DOORS = {
    LightgbmCosts: (_lightgbm_train, _lightgbm_cv, _lightgbm_classifier),
    XgboostCosts: (_xgboost_train, _xgboost_cv, _xgboost_classifier),
}
ALL = [pytest.param(door, train, id=train.__name__[1:]) for door, trains in DOORS.items() for train in trains]
TRAIN = [pytest.param(door, trains[0], id=trains[0].__name__[1:]) for door, trains in DOORS.items()]
Train = Callable[..., Any]


def after(client: MlflowClient, run_id: str, tag: str = "mlflow.user") -> Run:
    """The run once it has the summary, and this tag."""

    def is_there() -> bool:
        data = client.get_run(run_id).data
        return "elapsed_s" in data.metrics and tag in data.tags

    wait_until(is_there, WITHIN_S, f"the summary and {tag}")
    return client.get_run(run_id)


@pytest.mark.parametrize(("door", "train"), ALL)
def test_training_leaves_its_curves_and_its_summary(
    store_in_use: MlflowClient, door: type[BoosterCosts], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each iteration, in the active run, which nobody else ends."""
    monkeypatch.setattr(boosters, "MIN_POINT_S", 0.0)  # its iterations take less
    with mlflow.start_run() as run:
        train(door(), 30)
    metrics = after(store_in_use, run.info.run_id).data.metrics
    assert metrics["steps"] == 30
    assert metrics.keys() >= {"elapsed_s", "cpu_seconds", "peak_memory_mb", "memory_growth_mb"}
    scores = [name for name in metrics if "/" in name]
    for curve in ("memory_mb", "model_size_kb", "step_time_ms", scores[0]):
        steps = [point.step for point in store_in_use.get_metric_history(run.info.run_id, curve)]
        assert steps == list(range(2 if curve == "step_time_ms" else 1, 31)), curve
    assert metrics["elapsed_s"] > 0.9 * 30 * metrics["mean_step_time_ms"] / 1000


@pytest.mark.parametrize(("door", "train"), ALL)
def test_limit_ends_the_training_as_soon_as_it_is_foreseen(
    store_in_use: MlflowClient, door: type[BoosterCosts], train: Train
) -> None:
    """Long before it is broken, and the model predicts."""
    with mlflow.start_run() as run:
        predicted = train(door("elapsed_s<=30"), MANY)
    ended = after(store_in_use, run.info.run_id, "sysmetrics.stop_reason")
    assert np.isfinite(np.asarray(predicted)).all()
    assert len(predicted) > 0
    assert ended.data.metrics["elapsed_s"] < 30
    assert ended.data.tags["sysmetrics.stop_reason"].startswith("elapsed_s ")
    assert f"> 30 (predicted, step {ended.data.metrics['steps']:g})" in ended.data.tags["sysmetrics.stop_reason"]


@pytest.mark.parametrize(("door", "train"), TRAIN)
@pytest.mark.parametrize(("limits", "steps"), [("elapsed_s<=30", 6), ("peak_memory_mb<=1", 1)])
def test_training_that_stops_early_by_its_score_is_not_predicted(
    store_in_use: MlflowClient, door: type[BoosterCosts], train: Train, limits: str, steps: int
) -> None:
    """It may not come to its last iteration. Limits that are broken end it all the same."""
    with mlflow.start_run() as run:
        train(door(limits), MANY, early_stopping_rounds=5)
    ended = after(store_in_use, run.info.run_id, "sysmetrics.stop_reason" if steps == 1 else "mlflow.user")
    assert ended.data.metrics["steps"] == steps
    assert ("sysmetrics.stop_reason" in ended.data.tags) == (steps == 1)


@pytest.mark.parametrize(("door", "train"), TRAIN)
@pytest.mark.parametrize(("apart_s", "least", "most"), [(0.0, MAX_POINTS / 2, MAX_POINTS), (0.05, 0, 1001)])
def test_curves_of_a_long_training_are_thinned(
    store_in_use: MlflowClient,
    door: type[BoosterCosts],
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    apart_s: float,
    least: float,
    most: float,
) -> None:
    """To 200 points, which are some time apart; the last is of the last iteration."""
    monkeypatch.setattr(boosters, "MIN_POINT_S", apart_s)
    with mlflow.start_run() as run:
        train(door(), 1001)
    summary = after(store_in_use, run.info.run_id).data.metrics
    steps = [point.step for point in store_in_use.get_metric_history(run.info.run_id, "step_time_ms")]
    assert least < len(steps) <= min(most, 2 + summary["elapsed_s"] / (apart_s or 1e-9))
    assert steps[-1] == 1001


@pytest.mark.parametrize(
    ("door", "stored"),
    [
        (LightgbmCosts, lambda c: lightgbm.train(LGB, lightgbm.Dataset(X, y), 300, callbacks=[c]).model_to_string()),
        (XgboostCosts, lambda c: xgboost.train(XGB, xgboost.DMatrix(X, y), 300, callbacks=[c]).save_raw("ubj")),
    ],
)
def test_model_size_is_that_of_the_model_when_stored(
    store_in_use: MlflowClient, door: type[BoosterCosts], stored: Callable[[Any], Any]
) -> None:
    """Though it is added up from parts."""
    with mlflow.start_run() as run:
        whole = len(stored(door()))
    assert after(store_in_use, run.info.run_id).data.metrics["model_size_kb"] == pytest.approx(whole / 1000, rel=0.01)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda costs: pickle.loads(pickle.dumps(costs)), lambda costs: costs]
)
def test_another_training_in_the_same_run_has_a_run_below_it(
    store_in_use: MlflowClient, door: type[BoosterCosts], copied: Callable[[Any], Any]
) -> None:
    """Whether the callback is used again, or copied, as by scikit-learn or into a worker."""
    train = DOORS[door][0]
    with mlflow.start_run() as run:
        costs = door("elapsed_s<=100")
        train(costs, 3)
        train(copied(costs), 5)
    assert after(store_in_use, run.info.run_id).data.metrics["steps"] == 3
    assert [other.data.metrics["steps"] for other in below(store_in_use, run.info.run_id)] == [5]


@pytest.mark.parametrize("door", DOORS)
def test_what_mlflow_takes_to_begin_is_no_cost_of_a_training(
    store_in_use: MlflowClient, door: type[BoosterCosts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the first time in a process: where the callback is made, or at the first call of a copy."""
    found, takes_s = boosters.place_here, iter([1, 0, 1])

    def place_here() -> Any:
        time.sleep(next(takes_s))
        return found()

    monkeypatch.setattr(boosters, "place_here", place_here)
    with mlflow.start_run() as run:
        DOORS[door][0](costs := door(), 3)
        DOORS[door][0](copy.deepcopy(costs), 3)
    assert after(store_in_use, run.info.run_id).data.metrics["elapsed_s"] < 1
    (other,) = below(store_in_use, run.info.run_id)
    assert other.data.metrics["elapsed_s"] < 1


def below(client: MlflowClient, run_id: str, status: str = "FINISHED") -> list[Run]:
    """The runs below a run, once there is one with this status."""
    wanted = f"tags.`mlflow.parentRunId` = '{run_id}' and attributes.status = '{status}'"
    wait_until(lambda: client.search_runs(["0"], wanted), WITHIN_S, "the run below")
    return list(client.search_runs(["0"], wanted))


@pytest.mark.parametrize(("door", "train"), ALL)
def test_training_that_raises_has_a_run_that_failed(
    store_in_use: MlflowClient, door: type[BoosterCosts], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that run is its own."""
    with mlflow.start_run() as run:
        train(costs := door(), 3)
        iterated = boosters.Training.iterated

        def break_after(training: Any, *of: Any) -> bool:
            if len(training._times_s) > 3:
                raise LookupError("in an objective of the user's")
            return iterated(training, *of)

        monkeypatch.setattr(boosters.Training, "iterated", break_after)
        with pytest.raises(LookupError):
            train(costs, 5)
        costs._training.end()  # as another training does, or the end of the process
    (failed,) = below(store_in_use, run.info.run_id, "FAILED")
    assert failed.data.tags["sysmetrics.error"] == "the training has ended after iteration 3 of 5"


def test_limit_leaves_the_best_iteration_of_early_stopping(
    store_in_use: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of LightGBM, as without the limit: each round makes the model worse. XGBoost keeps it by itself."""
    monkeypatch.setattr(boosters.Training, "_why_end", lambda self, done: {STOP_REASON: "broken"} if done == 9 else {})
    with mlflow.start_run():
        limited = _lightgbm_train(LightgbmCosts(), 100, early_stopping_rounds=50)
        first = _lightgbm_train(LightgbmCosts(), 100, early_stopping_rounds=5)
    assert (limited == first).all()


def test_clones_and_fitted_models_hold_a_callback_of_their_own(store_in_use: MlflowClient) -> None:
    """XGBoost's estimators keep theirs: a model can be stored, and predicts where no run is active."""
    with mlflow.start_run():
        model = xgboost.XGBClassifier(n_estimators=3, callbacks=[XgboostCosts("elapsed_s<=100")])
        fitted = clone(model).fit(X, y)
    assert fitted.callbacks[0] is not model.callbacks[0]
    assert (pickle.loads(pickle.dumps(fitted)).predict(X) == fitted.predict(X)).all()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("limits", "uri", "said"),
    [
        ("peak_memry_mb<=3", None, "the closest is peak_memory_mb"),
        (3, None, "give a text such as"),
        (None, "nowhere://", "unknown kind of store"),
    ],
)
def test_mistake_is_one_sentence(
    store_in_use: MlflowClient, door: type[BoosterCosts], limits: Any, uri: str | None, said: str
) -> None:
    """When the callback is made."""
    mlflow.set_tracking_uri(uri or store_in_use.tracking_uri)
    with pytest.raises(ValueError, match=said) as raised:
        door(limits)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("library", "door", "version"), [(lightgbm, LightgbmCosts, "3.3.5"), (xgboost, XgboostCosts, "1.7.6")]
)
def test_library_that_is_too_old_is_one_sentence(
    library: Any, door: type[BoosterCosts], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At import."""
    monkeypatch.setattr(library, "__version__", version)
    with pytest.raises(ImportError, match=f"{library.__name__} {version} .*; install {library.__name__}>=") as raised:
        importlib.reload(sys.modules[door.__module__])
    assert "\n" not in str(raised.value)


FORKED = """
import multiprocessing
import subprocess
import sys

def train():
    import numpy
    import xgboost
    from mlflow_sysmetrics.delivery import door_runs
    from mlflow_sysmetrics.xgboost import Costs
    door_runs._AT_EXIT_S = 300  # a slow machine
    data = xgboost.DMatrix(numpy.eye(9), numpy.arange(9))
    xgboost.train({"nthread": 1}, data, 3, callbacks=[Costs()])

process = multiprocessing.get_context("fork").Process(target=train)
process.start()
process.join()
sys.exit(process.exitcode)
"""


def test_run_of_a_forked_process_is_written_at_its_end(empty_store: Path) -> None:
    """Which does not do what is registered for the end of Python."""
    env = clean_environment(MLFLOW_TRACKING_URI=store_uri(empty_store))
    subprocess.run([sys.executable, "-c", FORKED], env=env, timeout=300, check=True)
    (run,) = MlflowClient(store_uri(empty_store)).search_runs(["0"])
    assert (run.info.status, run.data.metrics["steps"]) == ("FINISHED", 3)
