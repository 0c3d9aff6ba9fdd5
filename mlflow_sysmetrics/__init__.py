"""Per-process system metrics for MLflow runs and Ray Tune trials.

    from mlflow_sysmetrics import SystemMetricsLogger, autolog, measure

    with measure() as m:  # no MLflow needed
        train()
    m.summary["peak_memory_mb"]

    with mlflow.start_run(), SystemMetricsLogger(limits="peak_memory_mb<=8000") as log:
        with log.phase("load"): ...

    autolog()  # from now on each mlflow.start_run() of this process is measured

Around any other command: ``mlflow-sysmetrics run -- python train.py``. For the trials of a Tune script, give the tuner
``callbacks=[SystemMetricsCallback()]``. Importing this package imports neither mlflow, psutil nor ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow_sysmetrics.common.lazy import lazy

if TYPE_CHECKING:
    from mlflow_sysmetrics.limits import Limits, LimitsError
    from mlflow_sysmetrics.measurement import Measurement, measure
    from mlflow_sysmetrics.ray_tune import SystemMetricsCallback as SystemMetricsCallback
    from mlflow_sysmetrics.recording.autologging import autolog
    from mlflow_sysmetrics.recording.logger import SystemMetricsLogger

_RAY = "SystemMetricsCallback"  # not in __all__, so that `import *` works without ray
__all__ = ["Limits", "LimitsError", "Measurement", "SystemMetricsLogger", "autolog", "measure"]
__getattr__ = lazy(
    __name__,
    {
        "recording.autologging": "autolog",
        "limits": "Limits LimitsError",
        "recording.logger": "SystemMetricsLogger",
        "measurement": "Measurement measure",
        "ray_tune": _RAY,
    },
    modules="lightgbm optuna ray_tune sklearn xgboost",
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_RAY.split()})
