"""LightGBM and XGBoost: what a training leaves in its run, and how a limit ends it."""

import contextlib
import copy
import gc
import importlib
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pytest
from busy_worker import use_cpu
from commands import clean_environment, store_uri, wait_until
from mlflow import MlflowClient
from sklearn.base import clone
from sklearn.datasets import make_classification

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")

from mlflow_sysmetrics import SystemMetricsLogger, boosters  # noqa: E402
from mlflow_sysmetrics.delivery import writer  # noqa: E402
from mlflow_sysmetrics.delivery.store import Store  # noqa: E402
from mlflow_sysmetrics.lightgbm import SystemMetricsCallback as LightgbmCallback  # noqa: E402
from mlflow_sysmetrics.xgboost import SystemMetricsCallback as XgboostCallback  # noqa: E402

X, y = make_classification(300, 10, random_state=0)
LGB, XGB = {"verbose": -1, "num_threads": 1, "objective": "binary"}, {"nthread": 1, "objective": "binary:logistic"}
MANY = 20_000  # rounds, which take far longer than the limits below
WITHIN_S = 60.0


def _lightgbm_train(callback, rounds, **more):
    stops = [lightgbm.early_stopping(more["early_stopping_rounds"], verbose=False)] if more else []
    data = lightgbm.Dataset(X, y)
    valid = lightgbm.Dataset(X[::2], 1 - y[::2], reference=data)  # which each round makes worse
    return lightgbm.train(LGB, data, rounds, [valid], callbacks=[callback, *stops]).predict(X)


def _lightgbm_cv(callback, rounds):
    return lightgbm.cv(LGB, lightgbm.Dataset(X, y), rounds, nfold=2, callbacks=[callback])["valid binary_logloss-mean"]


def _xgboost_train(callback, rounds, **more):
    data, valid = xgboost.DMatrix(X, y), xgboost.DMatrix(X[::2], 1 - y[::2])
    about = {"evals": [(valid, "valid")], "verbose_eval": False, **more}
    return xgboost.train(XGB, data, rounds, callbacks=[callback], **about).predict(data)


def _xgboost_cv(callback, rounds):
    return xgboost.cv(XGB, xgboost.DMatrix(X, y), rounds, nfold=2, callbacks=[callback])["test-logloss-mean"]


CALLBACKS = {
    LightgbmCallback: (_lightgbm_train, _lightgbm_cv),
    XgboostCallback: (_xgboost_train, _xgboost_cv),
}
ALL = [
    pytest.param(callback, train, id=train.__name__[1:]) for callback, trains in CALLBACKS.items() for train in trains
]
TRAIN = [pytest.param(callback, trains[0], id=trains[0].__name__[1:]) for callback, trains in CALLBACKS.items()]
Train = Callable[..., Any]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """What is logged reaches the store sooner than after two seconds."""
    monkeypatch.setattr(writer, "ASK_EVERY_S", 0.05)


def after(client, run_id, tag="mlflow.user"):
    """The run once it has the summary, and this tag."""

    def is_there():
        data = client.get_run(run_id).data
        return "elapsed_s" in data.metrics and tag in data.tags

    wait_until(is_there, WITHIN_S, f"the summary and {tag}")
    return client.get_run(run_id)


@pytest.mark.parametrize(("callback", "train"), ALL)
def test_training_leaves_its_curves_and_its_summary(store_in_use, callback, train, monkeypatch):
    """Of each iteration, in the active run, which nobody else ends."""
    monkeypatch.setattr(boosters, "MIN_POINT_S", 0.0)  # its iterations take less
    monkeypatch.setattr(boosters, "MIN_POINT_SHARE", 0.0)
    with mlflow.start_run() as run:
        train(callback(), 30)
    metrics = after(store_in_use, run.info.run_id).data.metrics
    assert metrics["steps"] == 30
    assert metrics.keys() >= {"elapsed_s", "cpu_seconds", "peak_memory_mb", "memory_growth_mb"}
    scores = [name for name in metrics if "/" in name]
    for curve in ("memory_mb", "step_time_ms", scores[0]):
        steps = [point.step for point in store_in_use.get_metric_history(run.info.run_id, curve)]
        assert steps == list(range(2 if curve == "step_time_ms" else 1, 31)), curve
    assert metrics["elapsed_s"] > 0.9 * 30 * metrics["mean_step_time_ms"] / 1000


@pytest.mark.parametrize(
    ("callback", "train", "is_own_run"),
    [(*each.values, False) for each in ALL] + [(*each.values, True) for each in TRAIN],
)
def test_limit_ends_the_training_and_its_run_is_killed(store_in_use, callback, train, is_own_run):
    """With the reason, also where `with mlflow.start_run()` ends the run; and the model predicts."""
    with contextlib.nullcontext() if is_own_run else mlflow.start_run():
        predicted = train(callback("elapsed_s<=0.2"), MANY)
    wait_until(lambda: store_in_use.search_runs(["0"], "attributes.status != 'RUNNING'"), WITHIN_S, "the end")
    (run,) = store_in_use.search_runs(["0"])
    ended = after(store_in_use, run.info.run_id, "sysmetrics.stop_reason")
    assert ended.info.status == "KILLED"
    assert ended.data.tags["sysmetrics.stopped_by"] == "limits"
    assert ended.data.tags["sysmetrics.stop_reason"].startswith("elapsed_s ")
    assert len(predicted) > 0
    assert np.isfinite(np.asarray(predicted)).all()


def test_summary_of_a_run_with_a_logger_is_of_the_whole_run(store_in_use):
    """The training adds its curves and steps."""
    with mlflow.start_run() as run, SystemMetricsLogger() as logger:
        use_cpu(0.3)
        _xgboost_train(XgboostCallback(), 3)
        wait_until(lambda: "steps" in store_in_use.get_run(run.info.run_id).data.metrics, WITHIN_S, "the steps")
    metrics = store_in_use.get_run(run.info.run_id).data.metrics
    assert metrics["steps"] == 3
    assert {name: metrics[name] for name in logger.summary} == logger.summary


def test_run_that_goes_on_after_a_limit_and_fails_is_failed(store_in_use):
    """What its `with` says of it counts more."""
    with contextlib.suppress(LookupError), mlflow.start_run() as run:
        _xgboost_train(XgboostCallback("elapsed_s<=0.01"), MANY)
        raise LookupError
    assert store_in_use.get_run(run.info.run_id).info.status == "FAILED"


SENTENCE = r"^limits=peak_memory_mb<=20: the process has peak_memory_mb [\d.]+ .*; raise .* memory_growth_mb"


@pytest.mark.parametrize("callback", CALLBACKS)
def test_limit_below_what_the_process_has_is_one_sentence(store_in_use, callback, monkeypatch):
    """At the start, and not after one tree. Of a copy, where its training begins."""
    with pytest.raises(ValueError, match=SENTENCE):
        callback("peak_memory_mb<=20")
    with monkeypatch.context() as patch:  # another process may have less
        patch.setattr(boosters, "check_attainable", lambda limits, values: None)
        costs = copy.deepcopy(callback("peak_memory_mb<=20"))
    with pytest.raises(ValueError, match=SENTENCE):
        CALLBACKS[callback][0](costs, 3)


def test_curves_of_a_long_training_are_thinned(store_in_use, monkeypatch):
    """To points that are some time apart, and of the last iteration."""
    monkeypatch.setattr(boosters, "MIN_POINT_S", 0.01)
    with mlflow.start_run() as run:
        _lightgbm_train(LightgbmCallback(), 1001)
    summary = after(store_in_use, run.info.run_id).data.metrics
    history = store_in_use.get_metric_history(run.info.run_id, "step_time_ms")
    assert 2 < len(history) <= 2 + summary["elapsed_s"] / 0.01
    assert history[-1].step == 1001


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize(
    "copied", [lambda costs: pickle.loads(pickle.dumps(costs)), lambda costs: costs], ids=["unpickled", "itself"]
)
def test_another_training_in_the_same_run_has_a_run_below_it(store_in_use, callback, copied):
    """Whether the callback is used again, or copied, as by scikit-learn or into a worker."""
    train = CALLBACKS[callback][0]
    with mlflow.start_run() as run:
        costs = callback("elapsed_s<=100")
        train(costs, 3)
        train(copied(costs), 5)
    assert after(store_in_use, run.info.run_id).data.metrics["steps"] == 3
    assert [other.data.metrics["steps"] for other in below(store_in_use, run.info.run_id)] == [5]


def test_store_is_open_before_a_training_is_measured(monkeypatch):
    """A database that is created beside a training takes both cores from it for seconds."""
    done = []
    monkeypatch.setattr(Store, "open", lambda store: done.append("open"))
    monkeypatch.setattr(boosters.Measurement, "start", lambda measurement: done.append("start"))
    LightgbmCallback()
    assert done == ["open", "start"]


def test_what_mlflow_takes_to_begin_is_no_cost_of_a_training(store_in_use, monkeypatch):
    """For the first time in a process: where the callback is made, or at the first call of a copy."""
    find, takes_s = boosters.current_run, iter([1, 0, 1])

    def slow():
        time.sleep(next(takes_s))
        return find()

    monkeypatch.setattr(boosters, "current_run", slow)
    with mlflow.start_run() as run:
        _lightgbm_train(costs := LightgbmCallback(), 3)
        _lightgbm_train(copy.deepcopy(costs), 3)
    assert after(store_in_use, run.info.run_id).data.metrics["elapsed_s"] < 1
    (other,) = below(store_in_use, run.info.run_id)
    assert other.data.metrics["elapsed_s"] < 1


def below(client, run_id, status="FINISHED"):
    """The runs below a run, once there is one with this status."""
    wanted = f"tags.`mlflow.parentRunId` = '{run_id}' and attributes.status = '{status}'"
    wait_until(lambda: client.search_runs(["0"], wanted), WITHIN_S, "the run below")
    return list(client.search_runs(["0"], wanted))


def _raise_in_lightgbm(callback):
    def broken(env):
        raise LookupError("in a callback of the user's")

    broken.order = callback.order + 1  # type: ignore[attr-defined]
    lightgbm.train(LGB, lightgbm.Dataset(X, y), 5, callbacks=[callback, broken])


def test_training_that_raises_has_a_run_that_failed(store_in_use):
    """Where that run is its own. It ends once the callback is gone."""
    with pytest.raises(LookupError):
        _raise_in_lightgbm(LightgbmCallback())
    (failed,) = store_runs(store_in_use, "FAILED")
    assert failed.data.tags["sysmetrics.error"] == "the training has ended after iteration 1"


def test_end_by_early_stopping_of_lightgbm_is_found(store_in_use):
    """It is not told: the run ends once the callback is gone, in whichever thread the garbage collector meets it."""
    callback = LightgbmCallback()
    callback.itself = callback
    _lightgbm_train(callback, MANY, early_stopping_rounds=5)
    run = callback._training._run
    with run._lock:  # as where the writer's thread runs the collector
        del callback
        gc.collect()
    (run,) = store_runs(store_in_use, "FINISHED")
    assert run.data.metrics["steps"] == 6


def store_runs(client, status):
    wanted = f"attributes.status = '{status}' and metrics.elapsed_s > 0"
    wait_until(lambda: client.search_runs(["0"], wanted), WITHIN_S, f"a run that is {status}")
    return list(client.search_runs(["0"], wanted))


def test_clones_and_fitted_models_hold_a_callback_of_their_own(store_in_use):
    """XGBoost's estimators keep theirs: a model can be stored, and predicts where no run is active."""
    with mlflow.start_run():
        model = xgboost.XGBClassifier(n_estimators=3, callbacks=[XgboostCallback("elapsed_s<=100")])
        fitted = clone(model).fit(X, y)
    assert fitted.callbacks[0] is not model.callbacks[0]
    assert (pickle.loads(pickle.dumps(fitted)).predict(X) == fitted.predict(X)).all()


@pytest.mark.parametrize(
    ("limits", "uri", "said"),
    [
        ("peak_memry_mb<=3", None, "did you mean peak_memory_mb"),
        (3, None, "give a text such as"),
        (None, "nowhere://", "unknown kind of store"),
    ],
)
def test_mistake_is_one_sentence(store_in_use, limits, uri, said):
    """When the callback is made."""
    mlflow.set_tracking_uri(uri or store_in_use.tracking_uri)
    with pytest.raises(ValueError, match=said) as raised:
        LightgbmCallback(limits)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("library", "callback", "version"), [(lightgbm, LightgbmCallback, "3.3.5"), (xgboost, XgboostCallback, "1.7.6")]
)
def test_library_that_is_too_old_is_one_sentence(library, callback, version, monkeypatch):
    """At import."""
    monkeypatch.setattr(library, "__version__", version)
    with pytest.raises(ImportError, match=f"{library.__name__} {version} .*; install {library.__name__}>=") as raised:
        importlib.reload(sys.modules[callback.__module__])
    assert "\n" not in str(raised.value)


FORKED = """
import multiprocessing
import subprocess
import sys

def train():
    import numpy
    import xgboost
    from mlflow_sysmetrics.delivery import writer
    from mlflow_sysmetrics.xgboost import SystemMetricsCallback
    writer._AT_EXIT_S = 300  # a slow machine
    data = xgboost.DMatrix(numpy.eye(9), numpy.arange(9))
    xgboost.train({"nthread": 1}, data, 3, callbacks=[SystemMetricsCallback()])

process = multiprocessing.get_context("fork").Process(target=train)
process.start()
process.join()
sys.exit(process.exitcode)
"""


def test_run_of_a_forked_process_is_written_at_its_end(empty_store):
    """Which does not do what is registered for the end of Python."""
    env = clean_environment(MLFLOW_TRACKING_URI=store_uri(empty_store))
    subprocess.run([sys.executable, "-c", FORKED], env=env, timeout=300, check=True)
    (run,) = MlflowClient(store_uri(empty_store)).search_runs(["0"])
    assert (run.info.status, run.data.metrics["steps"]) == ("FINISHED", 3)
