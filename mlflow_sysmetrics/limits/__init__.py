"""What a process or a trial may cost (`limits`), what ends a process before its own end, and what it died of."""

from mlflow_sysmetrics.limits.cause_of_death import MemoryKills
from mlflow_sysmetrics.limits.extrapolation import MIN_BLOCKS, WARM_UP, Extrapolation, Prediction
from mlflow_sysmetrics.limits.grammar import (
    Judge,
    Limits,
    LimitsError,
    check_readable,
    groups_for,
    process_limits,
)
from mlflow_sysmetrics.limits.rules import Kind, Limit, Metric, Patience, Stop, Values, finite
from mlflow_sysmetrics.limits.stopping import GRACE_S, KILLED_WITHIN_S, Brake, StopButton, end_tree, reason_of_a_person

__all__ = ["Judge", "Kind", "Limit", "Limits", "LimitsError", "Metric", "Patience", "Stop", "Values", "finite"]
__all__ += ["check_readable", "groups_for", "process_limits"]
__all__ += ["MIN_BLOCKS", "WARM_UP", "Extrapolation", "Prediction"]
__all__ += ["GRACE_S", "KILLED_WITHIN_S", "Brake", "MemoryKills", "StopButton", "end_tree", "reason_of_a_person"]
