"""What a process or a trial may cost, what ends it before its own end, and what it died of.

A text of the `grammar` becomes `rules`. A `stop_tag` asks whether a person wants a run to end; `end_tree` ends
processes. `cause_of_death` says what the kernel did.
"""

from mlflow_sysmetrics.limits.cause_of_death import MemoryKills
from mlflow_sysmetrics.limits.end_tree import end_tree
from mlflow_sysmetrics.limits.grammar import (
    Limits,
    LimitsError,
    check_can_be_met,
    find_metric,
    parse_limit,
    process_limits,
)
from mlflow_sysmetrics.limits.rules import Kind, Limit, Metric, Stop, Values, digits, finite
from mlflow_sysmetrics.limits.stop_tag import StopTag

__all__ = ["Kind", "Limit", "Limits", "LimitsError", "Metric", "Stop", "Values", "find_metric", "finite"]
__all__ += ["check_can_be_met", "digits", "parse_limit", "process_limits"]
__all__ += ["MemoryKills", "StopTag", "end_tree"]
