"""Ray Tune: one MLflow run per trial, with what its process used. The only package here that imports ray.

`callback` is told by Tune; `destination` says where runs go, `runs` has them, `measuring` measures trials' processes,
`endings` say how a trial ended. Only the callback, which is imported at its first use, needs mlflow: trials may not.
"""

from typing import TYPE_CHECKING

from mlflow_sysmetrics.common.lazy import lazy
from mlflow_sysmetrics.ray_tune.endings import error_line
from mlflow_sysmetrics.ray_tune.inside import trial_run, trial_run_id
from mlflow_sysmetrics.ray_tune.results import MEASURES_ITSELF, PAYLOAD_KEY, payload

if TYPE_CHECKING:
    from mlflow_sysmetrics.ray_tune.callback import SystemMetricsCallback

__all__ = ["MEASURES_ITSELF", "PAYLOAD_KEY", "SystemMetricsCallback", "error_line", "payload"]
__all__ += ["trial_run", "trial_run_id"]
__getattr__ = lazy(__name__, {"callback": "SystemMetricsCallback"})
