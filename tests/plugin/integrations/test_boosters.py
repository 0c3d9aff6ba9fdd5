"""LightGBM and XGBoost: what a training leaves in its run, and how a limit ends it."""

import contextlib
import copy
import gc
import pickle
import subprocess
import sys
import time
from unittest.mock import Mock

import mlflow
import numpy as np
import pytest
from cases import cases
from commands import clean_environment, store_uri, the_run, wait_until
from machines import use_cpu
from sklearn.base import clone
from sklearn.datasets import make_classification

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")

from mlflow_sysmetrics import SystemMetricsLogger  # noqa: E402
from mlflow_sysmetrics.delivery import writer_for  # noqa: E402
from mlflow_sysmetrics.delivery.sync import deliver  # noqa: E402
from mlflow_sysmetrics.integrations import boosters  # noqa: E402
from mlflow_sysmetrics.lightgbm import SystemMetricsCallback as LightgbmCallback  # noqa: E402
from mlflow_sysmetrics.xgboost import SystemMetricsCallback as XgboostCallback  # noqa: E402

X, y = make_classification(300, 10, random_state=0)
LGB, XGB = {"verbose": -1, "num_threads": 1, "objective": "binary"}, {"nthread": 1, "objective": "binary:logistic"}
DATA = xgboost.DMatrix(X, y)
MANY = 20_000  # rounds, which take far longer than the limits below
WITHIN_S = 60.0


def lightgbm_train(callback, rounds, *more):
    data = lightgbm.Dataset(X, y)
    valid = lightgbm.Dataset(X[::2], 1 - y[::2], reference=data)  # which each round makes worse
    return lightgbm.train(LGB, data, rounds, [valid], callbacks=[callback, *more]).predict(X)


def lightgbm_cv(callback, rounds):
    return lightgbm.cv(LGB, lightgbm.Dataset(X, y), rounds, nfold=2, callbacks=[callback])["valid binary_logloss-mean"]


def xgboost_train(callback, rounds):
    evals = [(DATA, "train")]
    return xgboost.train(XGB, DATA, rounds, callbacks=[callback], evals=evals, verbose_eval=False).predict(DATA)


def xgboost_cv(callback, rounds):
    return xgboost.cv(XGB, DATA, rounds, nfold=2, callbacks=[callback])["test-logloss-mean"]


TRAIN = {"lightgbm train": (LightgbmCallback, lightgbm_train), "xgboost train": (XgboostCallback, xgboost_train)}
CV = {"lightgbm cv": (LightgbmCallback, lightgbm_cv), "xgboost cv": (XgboostCallback, xgboost_cv)}
of_each_training = cases("callback, train", TRAIN)
of_each = cases("callback, train", TRAIN | CV)


def written(client, run_id):
    """The run with all that was written."""
    writer_for(client.tracking_uri).close_all(WITHIN_S)
    return client.get_run(run_id)


def the_ended(client, status):
    """The run that has this status, once there is one."""
    wanted = f"attributes.status = '{status}' and metrics.elapsed_s > 0"
    wait_until(lambda: client.search_runs(["0"], wanted), WITHIN_S, f"a run that is {status}")
    (run,) = client.search_runs(["0"], wanted)
    return run


@of_each
def test_training_leaves_its_curves_and_its_summary(store_in_use, callback, train):
    """From the first iteration to the last, in the active run, which nobody else ends."""
    with mlflow.start_run() as run:
        train(callback(), 30)
    metrics = written(store_in_use, run.info.run_id).data.metrics
    assert metrics["steps"] == 30
    assert metrics.keys() >= {"elapsed_s", "cpu_seconds", "peak_memory_mb", "memory_growth_mb"}
    score = next(name for name in metrics if "/" in name)
    for curve, first in {"memory_mb": 1, score: 1, "step_time_ms": 30}.items():
        steps = [point.step for point in store_in_use.get_metric_history(run.info.run_id, curve)]
        assert steps[0] <= first, curve
        assert steps[-1] == 30, curve
    assert metrics["elapsed_s"] > 0.9 * 30 * metrics["mean_step_time_ms"] / 1000


@of_each
@cases("is_own_run", [False, True])
def test_limit_ends_the_training_and_its_run_is_killed(store_in_use, callback, train, is_own_run):
    """With the reason, also where `with mlflow.start_run()` ends the run; and the model predicts."""
    with contextlib.nullcontext() if is_own_run else mlflow.start_run():
        predicted = train(callback("elapsed_s<=0.2"), MANY)
    assert np.isfinite(predicted).all()
    writer_for(store_in_use.tracking_uri).close_all(WITHIN_S)
    run = the_ended(store_in_use, "KILLED")
    assert run.data.tags["sysmetrics.stop_reason"].startswith("elapsed_s ")


def test_summary_of_a_run_with_a_logger_is_of_the_whole_run(store_in_use):
    """The training adds its curves and steps."""
    with mlflow.start_run() as run, SystemMetricsLogger() as logger:
        use_cpu(0.3)
        xgboost_train(XgboostCallback(), 3)
    metrics = written(store_in_use, run.info.run_id).data.metrics
    assert metrics["steps"] == 3
    assert {name: metrics[name] for name in logger.summary} == logger.summary


def test_run_that_goes_on_after_a_limit_and_fails_is_failed(store_in_use):
    """What its `with` says of it counts more."""
    with contextlib.suppress(LookupError), mlflow.start_run() as run:
        xgboost_train(XgboostCallback("elapsed_s<=0.01"), MANY)
        raise LookupError
    assert store_in_use.get_run(run.info.run_id).info.status == "FAILED"


def test_curves_of_a_long_training_are_thinned(store_in_use):
    """To points that are some time apart, and of the last iteration."""
    with mlflow.start_run() as run:
        lightgbm_train(LightgbmCallback(), 2001)
    summary = written(store_in_use, run.info.run_id).data.metrics
    history = store_in_use.get_metric_history(run.info.run_id, "step_time_ms")
    assert 2 < len(history) <= 2 + summary["elapsed_s"] / boosters.MIN_POINT_S
    assert history[-1].step == 2001


@of_each_training
@cases("copied", {"unpickled": lambda costs: pickle.loads(pickle.dumps(costs)), "itself": lambda costs: costs})
def test_another_training_in_the_same_run_has_a_run_below_it(store_in_use, callback, train, copied):
    """Whether the callback is used again, or copied, as by scikit-learn or into a worker."""
    with mlflow.start_run() as run:
        costs = callback()
        train(costs, 3)
        train(copied(costs), 5)
    assert written(store_in_use, run.info.run_id).data.metrics["steps"] == 3
    (other,) = store_in_use.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    assert other.info.status == "FINISHED"
    assert other.data.metrics["steps"] == 5


def test_what_mlflow_takes_to_begin_is_no_cost_of_a_training(store_in_use, monkeypatch):
    """A new database, or the first question: where the callback is made, or at the first call of a copy."""
    find, takes_s = boosters.current_run, iter([1, 0, 1])

    def slow():
        time.sleep(next(takes_s))
        return find()

    monkeypatch.setattr(boosters, "open_store", lambda: time.sleep(1))
    monkeypatch.setattr(boosters, "current_run", slow)
    with mlflow.start_run():
        lightgbm_train(costs := LightgbmCallback(), 3)
        lightgbm_train(copy.deepcopy(costs), 3)
    writer_for(store_in_use.tracking_uri).close_all(WITHIN_S)
    assert max(run.data.metrics["elapsed_s"] for run in store_in_use.search_runs(["0"])) < 1


def test_training_that_raises_has_a_run_that_failed(store_in_use):
    """Where that run is its own. It ends once the callback is gone."""
    broken = Mock(side_effect=LookupError, before_iteration=False, order=99)  # after ours
    with pytest.raises(LookupError):
        lightgbm_train(LightgbmCallback(), 5, broken)
    failed = the_ended(store_in_use, "FAILED")
    assert failed.data.tags["sysmetrics.error"] == "the training has ended after iteration 1"


def test_end_by_early_stopping_of_lightgbm_is_found(store_in_use):
    """It is not told: the run ends once the callback is gone, in whichever thread the garbage collector meets it."""
    callback = LightgbmCallback()
    callback.itself = callback
    lightgbm_train(callback, MANY, lightgbm.early_stopping(5, verbose=False))
    with callback._training._run._lock:  # as where the writer's thread runs the collector
        del callback
        gc.collect()
    assert the_ended(store_in_use, "FINISHED").data.metrics["steps"] == 6


def test_clones_and_fitted_models_hold_a_callback_of_their_own(store_in_use):
    """XGBoost's estimators keep theirs: a model can be stored, and predicts where no run is active."""
    with mlflow.start_run():
        model = xgboost.XGBClassifier(n_estimators=3, callbacks=[XgboostCallback("elapsed_s<=100")])
        fitted = clone(model).fit(X, y)
    assert fitted.callbacks[0] is not model.callbacks[0]
    assert (pickle.loads(pickle.dumps(fitted)).predict(X) == fitted.predict(X)).all()


FORKED = """
import multiprocessing
import sys

def train():
    import numpy
    import xgboost
    from mlflow_sysmetrics.xgboost import SystemMetricsCallback
    data = xgboost.DMatrix(numpy.eye(9), numpy.arange(9))
    xgboost.train({"nthread": 1}, data, 3, callbacks=[SystemMetricsCallback()])

process = multiprocessing.get_context("fork").Process(target=train)
process.start()
process.join()
sys.exit(process.exitcode)
"""


def test_run_of_a_forked_process_is_written_at_its_end(empty_store, journals):
    """Which does not do what is registered for the end of Python."""
    env = clean_environment(MLFLOW_TRACKING_URI=store_uri(empty_store), MLFLOW_SYSMETRICS_SPOOL=str(journals))
    subprocess.run([sys.executable, "-c", FORKED], env=env, timeout=300, check=True)
    assert not deliver().left  # if a busy machine has not done so in five seconds
    run = the_run(empty_store)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["steps"] == 3
