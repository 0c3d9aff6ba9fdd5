"""Per-process system metrics for MLflow runs and Ray Tune trials.

Inside an MLflow run, this records what the process and those below it use:

    import mlflow
    from mlflow_sysmetrics import SystemMetricsLogger

    with mlflow.start_run(), SystemMetricsLogger():
        train()

Around any other command: ``mlflow-sysmetrics run -- python train.py``. For the trials of a Tune script, give the tuner
``callbacks=[SystemMetricsCallback()]``. Importing this package imports neither mlflow, psutil nor ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_sysmetrics.autologging import autolog
    from mlflow_sysmetrics.limits import Criteria, CriteriaError
    from mlflow_sysmetrics.logger import SystemMetricsLogger
    from mlflow_sysmetrics.monitor import Monitor
    from mlflow_sysmetrics.ray_tune import CriteriaStopper as CriteriaStopper
    from mlflow_sysmetrics.ray_tune import SystemMetricsCallback as SystemMetricsCallback
    from mlflow_sysmetrics.ray_tune import system_metrics as system_metrics
    from mlflow_sysmetrics.sampling.process_tree import ProcessSampler

__all__ = ["Criteria", "CriteriaError", "Monitor", "ProcessSampler", "SystemMetricsLogger", "autolog"]
_HOME = {
    "Criteria": "limits",
    "CriteriaError": "limits",
    "Monitor": "monitor",
    "ProcessSampler": "sampling.process_tree",
    "SystemMetricsLogger": "logger",
    "autolog": "autologging",
    # Not in __all__, so that `import *` works without ray.
    "CriteriaStopper": "ray_tune",
    "SystemMetricsCallback": "ray_tune",
    "system_metrics": "ray_tune",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, at the first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
