"""Tests of what `from mlflow_sysmetrics import ...` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mlflow_sysmetrics

RAY = {"CriteriaStopper", "SystemMetricsCallback", "system_metrics"}


@pytest.mark.parametrize("name", sorted({*mlflow_sysmetrics.__all__, *RAY}))
def test_face_offers_what_users_import(name: str) -> None:
    """Each name is listed, and is the class or function of that name."""
    assert name in dir(mlflow_sysmetrics)
    assert getattr(mlflow_sysmetrics, name).__name__ == name


def test_misspelt_name_is_an_attribute_error() -> None:
    """As of any module, so that `hasattr` and `from ... import` work as usual."""
    with pytest.raises(AttributeError, match="no attribute 'SystemMetricLogger'"):
        mlflow_sysmetrics.SystemMetricLogger  # noqa: B018


def test_star_import_works_without_ray() -> None:
    """Whoever has no ray gets all that does not need it, and the import error of what does."""
    code = """
import sys
sys.modules["ray"] = None
from mlflow_sysmetrics import *
print(SystemMetricsLogger.__name__, Monitor.__name__, ProcessSampler.__name__, Criteria.__name__)
try:
    from mlflow_sysmetrics import SystemMetricsCallback
except ImportError as error:
    print(error.name.partition(".")[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["SystemMetricsLogger", "Monitor", "ProcessSampler", "Criteria", "ray"]
