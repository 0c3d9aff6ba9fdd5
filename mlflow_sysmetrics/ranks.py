"""Several processes of one job: which of them this is, and what all of them use."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from mlflow_sysmetrics.metrics import combined

# Which process it is, and how many there are: of torchrun, Open MPI, MPICH and others with PMI, srun; on this machine.
_VARIABLES = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
)
_OF_A_RANK = re.compile(r"(?!system/)((?:.*/)?rank_(\d+))/([a-z_]+)")
_OF_SRUN = "SLURM_STEP_ID"  # a batch script has a number and a size without it, and is one process


def rank_here(environ: Mapping[str, str] = os.environ) -> tuple[int, int | None] | None:
    """The rank of this process in a job of several, and their number; None for a single one.

    They are in the variables of what has started it. Where those tell of one machine alone, the number is None: the job
    may have more of them.
    """
    for rank_name, size_name in _VARIABLES:
        rank = environ.get(rank_name, "")
        size = environ.get(size_name, "")
        if rank_name.startswith("SLURM") and not environ.get(_OF_SRUN, "").isdecimal():
            continue
        if rank.isdecimal() and size.isdecimal() and int(size) > 1:
            return int(rank), None if size_name.startswith("LOCAL") else int(size)
    return None


def job_summary(values: Mapping[str, float], size: int | None = None) -> dict[str, float]:
    """The summary of a job, from those of its ranks, which are named ``rank_<number>/<name>``; {} without any.

    A rank counts once it has its summary. Numbers from `size` on do not count: they are of an earlier job of the same
    run that had more processes.

    CPU time, memory, and what is read and written are sums, ``elapsed_s`` is the longest, ``mean_cpu_percent`` the sum
    of CPU time over it. Ranks have their peaks at different times: the sum is the most that all may have had at once.
    ``max_rank_peak_memory_mb`` is the peak of the largest, ``ranks`` their number.
    """
    by_rank: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        found = _OF_A_RANK.fullmatch(name)
        if found and (size is None or int(found[2]) < size):
            by_rank.setdefault(found[1], {})[found[3]] = value
    ranks = [rank for rank in by_rank.values() if "elapsed_s" in rank]
    if not ranks:
        return {}
    summary = combined(ranks, lambda metric: metric.of_ranks)
    peaks = [rank["peak_memory_mb"] for rank in ranks if "peak_memory_mb" in rank]
    if peaks:
        summary["max_rank_peak_memory_mb"] = max(peaks)
    summary["ranks"] = float(len(ranks))
    return summary
