"""What is read of a process and those below it, and of GPUs, by `Sampler`.

`one_process` reads a process at one moment; `process_tree` adds up a tree and turns counters into rates.
"""

from mlflow_sysmetrics.sampling.cgroups import cgroup_limits, find_folders, read_file
from mlflow_sysmetrics.sampling.gpu import import_nvml, open_gpus
from mlflow_sysmetrics.sampling.one_process import (
    KB_MB,
    MEMORY,
    MEMORY_DEFINITION,
    collect_garbage,
    own_high_water_mb,
    reset_peak_rss,
    trim_heap,
)
from mlflow_sysmetrics.sampling.process_tree import ProcessSampler, check_pid
from mlflow_sysmetrics.sampling.sampler import Sampler
