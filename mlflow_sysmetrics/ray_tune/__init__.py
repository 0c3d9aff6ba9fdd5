"""Ray Tune: one MLflow run per trial, with what its process used. The only package here that imports ray.

`callback` is told by Tune; `trial_runs` has the run of each trial, `trial_watches` which process it has and where, and
`node_watches` watches those of one node. `endings` and `low_memory` say how a trial ended.

What a trial's process uses of it, such as ``payload``, comes without mlflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_sysmetrics.ray_tune.callback import SystemMetricsCallback
    from mlflow_sysmetrics.ray_tune.results import MEASURES_ITSELF, PAYLOAD_KEY, STOP_KEY, error_line, payload
    from mlflow_sysmetrics.ray_tune.stopper import CriteriaStopper
    from mlflow_sysmetrics.ray_tune.trainable import system_metrics

__all__ = [
    "MEASURES_ITSELF",
    "PAYLOAD_KEY",
    "STOP_KEY",
    "CriteriaStopper",
    "SystemMetricsCallback",
    "error_line",
    "payload",
    "system_metrics",
]
_HOME = {"SystemMetricsCallback": "callback", "CriteriaStopper": "stopper", "system_metrics": "trainable"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, at the first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'results')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
