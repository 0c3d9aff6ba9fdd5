"""What is read, and how.

`groups`: what can be asked for. `one_process`: at one moment; a new metric of a process begins there. `process_tree`:
the readings of all processes of a tree, added up and turned into rates. `container`, `gpu`: one
file for each other group. `files`: small files of the kernel, and rates.
"""

from mlflow_sysmetrics.arguments import check_seconds
from mlflow_sysmetrics.sampling.groups import GROUPS, check_groups, sampler
from mlflow_sysmetrics.sampling.one_process import HERE
from mlflow_sysmetrics.sampling.process_tree import ProcessSampler, check_pid

MEMORY_DEFINITION = HERE.memory_definition
__all__ = ["GROUPS", "MEMORY_DEFINITION", "ProcessSampler", "check_groups", "check_pid", "check_seconds", "sampler"]
