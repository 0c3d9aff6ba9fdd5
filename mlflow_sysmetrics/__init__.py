"""Per-process system metrics for MLflow runs and Ray Tune trials.

    from mlflow_sysmetrics import SystemMetricsLogger, autolog, measure

    with measure() as m:  # no MLflow needed
        train()
    m.summary["peak_memory_mb"]

    with mlflow.start_run(), SystemMetricsLogger(criteria="peak_memory_mb<=8000") as log:
        with log.phase("load"): ...

    autolog()  # from now on each mlflow.start_run() of this process is measured

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
    from mlflow_sysmetrics.measurement import Measurement, measure
    from mlflow_sysmetrics.ray_tune import CriteriaStopper as CriteriaStopper
    from mlflow_sysmetrics.ray_tune import SystemMetricsCallback as SystemMetricsCallback
    from mlflow_sysmetrics.ray_tune import system_metrics as system_metrics

__all__ = ["Criteria", "CriteriaError", "Measurement", "SystemMetricsLogger", "autolog", "measure"]
_HOME = {
    **{"Criteria": "limits", "CriteriaError": "limits", "SystemMetricsLogger": "logger", "autolog": "autologging"},
    **{"Measurement": "measurement", "measure": "measurement"},
    # Not in __all__, so that `import *` works without ray.
    **dict.fromkeys(("CriteriaStopper", "SystemMetricsCallback", "system_metrics"), "ray_tune"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, at the first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
