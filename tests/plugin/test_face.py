"""Tests of what `from mlflow_sysmetrics import ...` offers."""

import sys

import pytest

import mlflow_sysmetrics


def test_integration_is_there_after_the_import_of_the_package(monkeypatch):
    """As the README's table names them."""
    monkeypatch.delattr(mlflow_sysmetrics, "optuna", raising=False)
    assert mlflow_sysmetrics.optuna.system_metrics.__module__ == "mlflow_sysmetrics.integrations.optuna"
    with pytest.raises(AttributeError):
        _ = mlflow_sysmetrics.keras


def test_star_import_works_without_ray(monkeypatch):
    """Whoever has no ray gets all that does not need it, and the import error of what does."""
    monkeypatch.delitem(sys.modules, "mlflow_sysmetrics.ray_tune.callback", raising=False)
    for name in ["ray", *(name for name in sys.modules if name.startswith("ray."))]:
        monkeypatch.setitem(sys.modules, name, None)
    found = {}
    exec("from mlflow_sysmetrics import *", found)
    assert found.keys() >= set(mlflow_sysmetrics.__all__)
    with pytest.raises(ImportError) as error:
        exec("from mlflow_sysmetrics import SystemMetricsCallback", found)
    assert str(error.value.name).partition(".")[0] == "ray"
