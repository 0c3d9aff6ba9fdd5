"""What a process or a trial may cost, and what ends it before its own end.

`grammar` reads criteria, `judge` applies them, `process_criteria` says which of them a single process may have. `brake`
ends a process once, by `end_tree`, for a broken limit or for the tag that `stop_button` looks for. `cause_of_death`:
whether the kernel killed it for lack of memory.
"""

from mlflow_sysmetrics.limits.brake import Brake, reason_of_a_person
from mlflow_sysmetrics.limits.cause_of_death import Death, MemoryKills
from mlflow_sysmetrics.limits.end_tree import GRACE_S, KILLED_WITHIN_S, end_tree
from mlflow_sysmetrics.limits.grammar import CriteriaError, Kind, Limit, Metric, Patience, Values, finite
from mlflow_sysmetrics.limits.judge import Criteria, Judge, Stop, Z
from mlflow_sysmetrics.limits.process_criteria import check_readable, process_criteria
from mlflow_sysmetrics.limits.stop_button import StopButton

__all__ = [
    "GRACE_S",
    "KILLED_WITHIN_S",
    "Brake",
    "Criteria",
    "CriteriaError",
    "Death",
    "Judge",
    "Kind",
    "Limit",
    "MemoryKills",
    "Metric",
    "Patience",
    "Stop",
    "StopButton",
    "Values",
    "Z",
    "check_readable",
    "end_tree",
    "finite",
    "process_criteria",
    "reason_of_a_person",
]
