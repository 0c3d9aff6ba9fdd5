"""The local Ray: started with the settings that a study of short trials needs, and stopped for good."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

# Ray and Tune read these when they are imported or when their processes start.
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow is the record; CSV, JSON and TensorBoard files are not
    "TUNE_GLOBAL_CHECKPOINT_S": "60",
    "TUNE_MAX_PENDING_TRIALS_PG": "8",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the study has its own, which also ends its runs
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the older output is the one that can be silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AUTH_MODE": "disabled",  # this Ray listens to one user's processes and ends with the study
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "OMP_NUM_THREADS": "1",  # one CPU core a trial
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
os.environ.update({name: os.environ.get(name, value) for name, value in SETTINGS.items()})

import ray  # noqa: E402
from ray.actor import ActorHandle  # noqa: E402

BARRIER_TIMEOUT_S = 60.0

logger = logging.getLogger(__name__)


def usable_cpus() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(cpus: int) -> None:
    """Start Ray on this machine with so many CPU cores; 0 means all that are usable."""
    ray.init(
        address="local",
        num_cpus=cpus or usable_cpus(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    # Tune prints a traceback per failed trial; the trial's run holds its error, and progress counts it.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def stop() -> None:
    """End Ray and every process that it started. Idempotent."""
    with contextlib.suppress(Exception):
        ray.shutdown()


@ray.remote(num_cpus=0)
class Barrier:
    """Holds the first trial of each worker until all workers are up.

    Tune gives a finished trial's process to the next trial and drops the process that was starting for it. With
    trials shorter than a process's start, one process would end up with all the work.
    """

    def __init__(self, parties: int) -> None:
        self._parties = parties
        self._all_here = asyncio.Event()

    async def wait(self) -> None:
        """Arrive, and wait for the others; later arrivals pass at once."""
        self._parties -= 1
        if self._parties <= 0:
            self._all_here.set()
        await self._all_here.wait()


def barrier(parties: int) -> ActorHandle:
    """A barrier for so many workers. Ray must be running."""
    return Barrier.remote(parties)  # type: ignore[attr-defined]


def wait_for_all(barrier: ActorHandle | None) -> None:
    """Wait at the barrier, but never for longer than a minute: a late worker costs time, not the study."""
    if barrier is None:
        return
    try:
        ray.get(barrier.wait.remote(), timeout=BARRIER_TIMEOUT_S)
    except ray.exceptions.RayError as error:
        logger.warning("The study starts without waiting for all of its processes: %s", error)
