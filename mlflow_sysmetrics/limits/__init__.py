"""What a process or a trial may cost (`limits`), what ends a process before its own end, and what it died of."""

from mlflow_sysmetrics.limits.cause_of_death import MemoryKills
from mlflow_sysmetrics.limits.end_tree import GRACE_S, KILLED_WITHIN_S, end_tree
from mlflow_sysmetrics.limits.grammar import (
    Judge,
    Limits,
    LimitsError,
    check_attainable,
    process_limits,
)
from mlflow_sysmetrics.limits.rules import Kind, Limit, Metric, Patience, Stop, Values, digits, finite
from mlflow_sysmetrics.limits.watchdog import Watchdog, stopped_by_person

__all__ = ["Judge", "Kind", "Limit", "Limits", "LimitsError", "Metric", "Patience", "Stop", "Values", "finite"]
__all__ += ["check_attainable", "digits", "process_limits"]
__all__ += ["GRACE_S", "KILLED_WITHIN_S", "MemoryKills", "Watchdog", "end_tree", "stopped_by_person"]
