"""What is read: the groups `process` (a process and those below it), `container` and `gpu`, by `sampler`.

`one_process` reads a process at one moment; `process_tree` adds up a tree and turns counters into rates.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlflow_sysmetrics.sampling.groups import GROUPS, Sampler, check_groups, check_seconds, sampler

if TYPE_CHECKING:
    from mlflow_sysmetrics.sampling.container import cgroup_limits, find_folders, read_file
    from mlflow_sysmetrics.sampling.gpu import import_nvml, open_gpus
    from mlflow_sysmetrics.sampling.one_process import MEMORY_DEFINITION, reset_peak_rss
    from mlflow_sysmetrics.sampling.process_tree import ProcessSampler, check_pid

__all__ = ["GROUPS", "MEMORY_DEFINITION", "ProcessSampler", "Sampler", "cgroup_limits", "check_groups",
           "check_pid", "check_seconds", "find_folders", "import_nvml", "open_gpus", "read_file", "reset_peak_rss",
           "sampler"]  # fmt: skip
_HOME = {"cgroup_limits": "container", "find_folders": "container", "read_file": "container", "import_nvml": "gpu",
         "open_gpus": "gpu", "MEMORY_DEFINITION": "one_process", "reset_peak_rss": "one_process"}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is asked for, at the first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'process_tree')}"), name)
