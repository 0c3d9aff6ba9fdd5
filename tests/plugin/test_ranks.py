"""Several processes of one job: which one this is, and what all use together."""

from __future__ import annotations

import pytest

from mlflow_sysmetrics.ranks import job_summary, rank_here


@pytest.mark.parametrize(
    ("environ", "rank"),
    [
        pytest.param({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}, (3, 4), id="torchrun"),
        pytest.param({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, (0, 2), id="Open MPI"),
        pytest.param({"PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 2), id="MPICH"),
        pytest.param({"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_STEP_ID": "0"}, (5, 8), id="Slurm"),
        pytest.param({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, None, id="a batch script"),
        pytest.param({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, (1, None), id="of one machine"),
        pytest.param({"RANK": "0", "WORLD_SIZE": "1"}, None, id="alone"),
        pytest.param({"RANK": "x", "WORLD_SIZE": "2"}, None, id="no number"),
    ],
)
def test_rank_is_what_started_the_process_says(environ: dict[str, str], rank: tuple[int, int | None] | None) -> None:
    """One process is not a job."""
    assert rank_here(environ) == rank


def test_summary_of_a_job_are_sums_and_maxima_over_its_ranks() -> None:
    """Whatever else the run has; a rank of another machine may have the same number, with its label before it.

    A sum that lacks a rank is absent, as it would be too small; a rank without a GPU has no memory of one.
    """
    of_each = {"cpu_seconds": (10, 30, 20), "elapsed_s": (20, 25, 24), "peak_memory_mb": (100, 300, 200)}
    ranks = ("rank_0", "rank_1", "b/rank_0")
    values = {f"{rank}/{name}": each for name, of in of_each.items() for rank, each in zip(ranks, of, strict=True)}
    values |= {"rank_0/read_mb": 1.0, "rank_0/mean_cpu_percent": 50.0, "rank_1/phase/load/elapsed_s": 99.0}
    values |= {
        "rank_1/peak_gpu_memory_mb": 500.0,
        "rank_7/loss": 0.5,
        "rank_0x/cpu_seconds": 7.0,
        "loss": 0.5,
        "system/rank_0/process_memory_mb": 90.0,
    }
    summary = job_summary(values)
    assert job_summary({"cpu_seconds": 1.0, "loss": 2.0}) == {}
    assert summary == {
        "cpu_seconds": 60.0,
        "elapsed_s": 25.0,
        "mean_cpu_percent": 240.0,
        "peak_memory_mb": 600.0,
        "max_rank_peak_memory_mb": 300.0,
        "peak_gpu_memory_mb": 500.0,
        "ranks": 3.0,
    }
    assert job_summary(values, size=1)["cpu_seconds"] == 30.0  # an earlier job of the run had a second rank
