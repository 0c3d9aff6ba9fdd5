"""Ray Tune: one MLflow run per trial, with what its process used. The only package here that imports ray.

`callback` is told by Tune; `destination` says where runs go, `runs` has them, `measuring` measures trials' processes,
`endings` say how a trial ended. What a trial's process uses of it, such as ``payload``, comes without mlflow.
"""

from typing import TYPE_CHECKING

from mlflow_sysmetrics import lazy

if TYPE_CHECKING:
    from mlflow_sysmetrics.ray_tune.callback import SystemMetricsCallback
    from mlflow_sysmetrics.ray_tune.endings import error_line
    from mlflow_sysmetrics.ray_tune.inside import trial_run, trial_run_id
    from mlflow_sysmetrics.ray_tune.results import MEASURES_ITSELF, PAYLOAD_KEY, STOP_KEY, payload
    from mlflow_sysmetrics.ray_tune.stopper import CriteriaStopper
    from mlflow_sysmetrics.ray_tune.trainable import system_metrics

__all__ = ["MEASURES_ITSELF", "PAYLOAD_KEY", "STOP_KEY", "CriteriaStopper", "SystemMetricsCallback", "error_line"]
__all__ += ["payload", "system_metrics", "trial_run", "trial_run_id"]
__getattr__ = lazy(
    __name__,
    {
        **{"callback": "SystemMetricsCallback", "stopper": "CriteriaStopper", "trainable": "system_metrics"},
        **{"endings": "error_line", "inside": "trial_run trial_run_id"},
        "results": "MEASURES_ITSELF PAYLOAD_KEY STOP_KEY payload",
    },
)
