"""Ray Tune: one MLflow run per trial, with what its process used. The only package here that imports ray."""

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
