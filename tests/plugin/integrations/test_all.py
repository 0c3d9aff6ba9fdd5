"""What scikit-learn, Optuna, LightGBM and XGBoost have in common: mistakes, a store that is away, old libraries."""

import importlib

import mlflow
import numpy as np
import pytest
from cases import cases
from fits import Fit
from sklearn.model_selection import GridSearchCV

from mlflow_sysmetrics.delivery import writer_for
from mlflow_sysmetrics.delivery.sync import deliver

X, y = np.arange(40.0).reshape(-1, 1), np.arange(40) % 2
NOWHERE = "http://127.0.0.1:9"


def _sklearn(limits):
    pytest.importorskip("sklearn.callback")
    from mlflow_sysmetrics.sklearn import SystemMetricsCallback

    search = GridSearchCV(Fit(), {"megabytes": [1, 2]}, cv=2).set_callbacks(SystemMetricsCallback(limits))
    return lambda: search.fit(X, y)


def _optuna(limits):
    optuna = pytest.importorskip("optuna", "5")
    from mlflow_sysmetrics.optuna import system_metrics

    objective = system_metrics(limits)(lambda trial: 1.0)
    return lambda: optuna.create_study().optimize(objective, 1)


def _lightgbm(limits):
    lightgbm = pytest.importorskip("lightgbm")
    from mlflow_sysmetrics.lightgbm import SystemMetricsCallback

    callback = SystemMetricsCallback(limits)
    return lambda: lightgbm.train({"verbose": -1}, lightgbm.Dataset(X, y), 3, callbacks=[callback])


def _xgboost(limits):
    xgboost = pytest.importorskip("xgboost")
    from mlflow_sysmetrics.xgboost import SystemMetricsCallback

    callback = SystemMetricsCallback(limits)
    return lambda: xgboost.train({"nthread": 1}, xgboost.DMatrix(X, y), 3, callbacks=[callback])


of_each = cases("door", {"scikit-learn": _sklearn, "Optuna": _optuna, "LightGBM": _lightgbm, "XGBoost": _xgboost})


@of_each
@cases(
    "limits, uri, sentence",
    {
        "misspelt": ("peak_memry_mb<=3", None, "limits=.*did you mean peak_memory_mb"),
        "not of a process": ("val_loss<=3", None, "limits=val_loss<=3: unknown metric 'val_loss'; use one of cpu_s"),
        "no text": (3, None, "limits=3: give a text such as"),
        "no store": (None, "nowhere://", "tracking_uri='nowhere://': unknown kind of store"),
    },
)
def test_mistake_is_one_sentence(door, limits, uri, sentence, store_in_use):
    """Where the callback is made, or the objective decorated."""
    mlflow.set_tracking_uri(uri or store_in_use.tracking_uri)
    with pytest.raises(ValueError, match=f"^{sentence}.*$"):
        door(limits)


@of_each
def test_limit_below_what_the_process_has_is_one_sentence(door, store_in_use):
    """Before any fit, trial or tree."""
    sentence = r"limits=peak_memory_mb<=20: the process has peak_memory_mb [\d.]+ .*; raise .* memory_growth_mb"
    with pytest.raises(ValueError, match=f"^{sentence}.*$"):
        door("peak_memory_mb<=20")()
    assert store_in_use.search_runs(["0"]) == []


@of_each
def test_store_that_is_away_costs_no_training(door, store_in_use):
    """It ends as without us, and `mlflow-sysmetrics sync` delivers its runs."""
    mlflow.set_tracking_uri(NOWHERE)
    door(None)()
    writer_for(NOWHERE).close_all(0.0)
    assert not deliver(tracking_uri=store_in_use.tracking_uri).left
    assert {run.info.status for run in store_in_use.search_runs(["0"])} == {"FINISHED"}


@cases("name, version", {"Optuna": ("optuna", "4.9"), "LightGBM": ("lightgbm", "3.3"), "XGBoost": ("xgboost", "1.7")})
def test_library_that_is_too_old_is_one_sentence(name, version, monkeypatch):
    """At import."""
    library = pytest.importorskip(name)
    door = importlib.import_module(f"mlflow_sysmetrics.integrations.{name}")
    monkeypatch.setattr(library, "__version__", version)
    with pytest.raises(ImportError, match=rf"^{name} {version} .*; install {name}>=\d$"):
        importlib.reload(door)
