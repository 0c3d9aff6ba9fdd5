"""Several processes of one job: which one this is, and what all of them use, side by side or one after the other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

# Which process it is, and how many there are: of torchrun, Open MPI, MPICH and others with PMI, srun; on this machine.
_VARIABLES = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
)
_OF_A_RANK = re.compile(r"((?:.*/)?rank_(\d+))/([a-z_]+)")
_OF_SRUN = "SLURM_STEP_ID"  # a batch script has a number and a size without it, and is one process
_CPU = ("cpu_seconds", "user_cpu_seconds", "system_cpu_seconds")
_IO, _MEMORY = ("read_mb", "write_mb"), ("peak_memory_mb", "memory_growth_mb", "peak_gpu_memory_mb")
JOB_SUMMARY = ("max_rank_peak_memory_mb", "ranks")  # of a job, beside those of a process
COUNTS = ("trials", "stopped", "failed", "restarts")  # of an experiment's trials


def rank_here(environ: Mapping[str, str] = os.environ) -> tuple[int, int | None] | None:
    """The rank of this process in a job of several, and their number; None for a single one.

    They are in the variables of what has started it. Where those tell of one machine alone, the number is None: the job
    may have more of them.
    """
    for rank, size in _VARIABLES:
        if rank.startswith("SLURM") and not environ.get(_OF_SRUN, "").isdecimal():
            continue
        if environ.get(rank, "").isdecimal() and environ.get(size, "").isdecimal() and int(environ[size]) > 1:
            return int(environ[rank]), None if size.startswith("LOCAL") else int(environ[size])
    return None


def job_summary(values: Mapping[str, float], size: int | None = None) -> dict[str, float]:
    """The summary of a job, from those of its ranks, which are named ``rank_<number>/<name>``.

    Numbers from `size` on do not count: they are of an earlier job of the same run that had more processes.

    CPU time, memory, and what is read and written are sums, ``elapsed_s`` is the longest, ``mean_cpu_percent`` the sum
    of CPU time over it. Ranks have their peaks at different times: the sum is the most that all may have had at once.
    ``max_rank_peak_memory_mb`` is the peak of the largest, ``ranks`` their number. {} where there is none.
    """
    by_rank: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        found = None if name.startswith("system/") else _OF_A_RANK.fullmatch(name)
        if found and (size is None or int(found[2]) < size):
            by_rank.setdefault(found[1], {})[found[3]] = value
    ranks = list(by_rank.values())
    summary = _combined(ranks, (*_CPU, *_MEMORY, *_IO), ("elapsed_s", "steps", "peak_rss_mb"))
    if not summary:
        return {}
    if peaks := [own["peak_memory_mb"] for own in ranks if "peak_memory_mb" in own]:
        summary["max_rank_peak_memory_mb"] = max(peaks)
    return summary | {"ranks": float(len(ranks))}


def summary_in_turn(stretches: Iterable[Mapping[str, float] | None]) -> dict[str, float]:
    """The summary of work that several processes did one after the other, from those of each.

    ``elapsed_s``, CPU time, and what is read and written are sums, memory is the largest, and ``mean_cpu_percent`` is
    total CPU time over total ``elapsed_s``. A sum is absent if one process lacks its part; memory is taken from those
    that have it, since a process may end before it uses a GPU. None in place of a summary means that it is unknown:
    then the result is empty.
    """
    each = list(stretches)
    known = [stretch for stretch in each if stretch is not None]
    if len(known) < len(each):
        return {}
    sums = [name for name in ("elapsed_s", *_CPU, *_IO) if all(name in stretch for stretch in known)]
    return _combined(known, sums, (*_MEMORY, "peak_rss_mb"))


def _combined(parts: Sequence[Mapping[str, float]], sums: Iterable[str], maxima: Iterable[str]) -> dict[str, float]:
    """The sums and maxima over those that have a value, and the mean CPU use that follows."""
    summary: dict[str, float] = {}
    for names, combine in ((sums, sum), (maxima, max)):
        for name in names:
            if values := [part[name] for part in parts if name in part]:
                summary[name] = combine(values)
    if "cpu_seconds" in summary and summary.get("elapsed_s"):
        summary["mean_cpu_percent"] = 100 * summary["cpu_seconds"] / summary["elapsed_s"]
    return summary
