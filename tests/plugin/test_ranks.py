"""Several processes of one job: which one this is, and what all use together."""

from __future__ import annotations

import pytest

from mlflow_sysmetrics.ranks import JOB_SUMMARY, job_summary, rank_here, summary_in_turn


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
        pytest.param({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_STEP_ID": "0"}, None, id="alone in Slurm"),
        pytest.param({"RANK": "x", "WORLD_SIZE": "2"}, None, id="no number"),
        pytest.param({"RANK": "1"}, None, id="no size"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_rank_is_what_started_the_process_says(environ: dict[str, str], rank: tuple[int, int | None] | None) -> None:
    """One process is not a job."""
    assert rank_here(environ) == rank


def test_summary_of_a_job_are_sums_and_maxima_over_its_ranks() -> None:
    """Whatever else the run has; a rank of another machine may have the same number, with its label before it."""
    of_each = {"cpu_seconds": (10, 30, 20), "elapsed_s": (20, 25, 24), "peak_memory_mb": (100, 300, 200)}
    ranks = ("rank_0", "rank_1", "b/rank_0")
    values = {f"{rank}/{name}": each for name, of in of_each.items() for rank, each in zip(ranks, of, strict=True)}
    values |= {"rank_0/read_mb": 1.0, "rank_0/mean_cpu_percent": 50.0, "rank_1/phase/load/elapsed_s": 99.0}
    values |= {"rank_0x/cpu_seconds": 7.0, "loss": 0.5, "system/rank_0/process_memory_mb": 90.0}
    summary = job_summary(values)
    assert set(JOB_SUMMARY) < summary.keys()
    assert job_summary({"cpu_seconds": 1.0, "loss": 2.0}) == {}
    assert summary == {
        "cpu_seconds": 60.0,
        "elapsed_s": 25.0,
        "mean_cpu_percent": 240.0,
        "peak_memory_mb": 600.0,
        "max_rank_peak_memory_mb": 300.0,
        "read_mb": 1.0,
        "ranks": 3.0,
    }
    assert job_summary(values, size=1)["cpu_seconds"] == 30.0  # an earlier job of the run had a second rank


FIRST = {"elapsed_s": 10.0, "cpu_seconds": 10.0, "mean_cpu_percent": 100.0, "peak_memory_mb": 300.0, "read_mb": 1.0}
SECOND = {"elapsed_s": 30.0, "cpu_seconds": 10.0, "mean_cpu_percent": 33.0, "peak_memory_mb": 200.0, "read_mb": 2.0}


@pytest.mark.parametrize(
    ("stretches", "summary"),
    [
        pytest.param([FIRST], FIRST, id="one"),
        pytest.param(
            [FIRST, SECOND],
            {"elapsed_s": 40.0, "cpu_seconds": 20.0, "mean_cpu_percent": 50.0, "peak_memory_mb": 300.0, "read_mb": 3.0},
            id="two",
        ),
        pytest.param(
            [{"elapsed_s": 1.0}, FIRST, {"elapsed_s": 2.0, "peak_gpu_memory_mb": 50.0}],
            {"elapsed_s": 13.0, "peak_memory_mb": 300.0, "peak_gpu_memory_mb": 50.0},
            id="some lack most",
        ),
        pytest.param([FIRST, None], {}, id="one is not known"),
        pytest.param([], {}, id="none"),
    ],
)
def test_summary_of_processes_that_follow_each_other_add_up(
    stretches: list[dict[str, float] | None], summary: dict[str, float]
) -> None:
    """Times and what is read do; memory is that of the largest; the rest would not be of the whole work."""
    assert summary_in_turn(stretches) == summary
