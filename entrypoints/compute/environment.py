"""Settings that libraries read from the environment when they are imported, or when their processes start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, MutableMapping

RAY_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow is the record; CSV, JSON and TensorBoard files are not
    "TUNE_GLOBAL_CHECKPOINT_S": "60",
    "TUNE_MAX_PENDING_TRIALS_PG": "8",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the study has its own, which also ends its runs
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the older output is the one that can be silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # no stack dump of Ray's own at SIGTERM
    "RAY_DEDUP_LOGS": "0",
    # A process of Ray's that connects to a socket before it is open would wait for a second, at every other start.
    "RAY_raylet_client_connect_timeout_milliseconds": "50",
    "RAY_raylet_client_num_connect_attempts": "200",
    # Ray's own default, 15, leaves trials the time that no other process wants: beside busy programs they hardly train.
    "RAY_worker_niceness": "0",
    # The processes that start with Ray wait for the first trials. After a second Ray would end them, and start others.
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    # Short of memory, the kernel kills a trial, which fails. Ray's own monitor would end the whole experiment with it.
    "RAY_memory_monitor_refresh_ms": "0",
}
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # one CPU core a trial
# numpy asks for pages of 2 MB for arrays of 4 MB and more. They stay marked after an array is freed, so that a small
# allocation of a later trial would take 2 MB there.
SMALL_PAGES = {"NUMPY_MADVISE_HUGEPAGE": "0"}
MLFLOW_SETTINGS = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}  # each artifact here is read in an instant

_set: set[str] = set()  # by this process, for itself and its workers


def set_defaults(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what the user has not set. Call it before numpy, mlflow or ray is imported."""
    for name, value in {**RAY_SETTINGS, **THREADS, **SMALL_PAGES, **MLFLOW_SETTINGS}.items():
        if name in environment:
            continue
        environment[name] = value
        if environment is os.environ:
            _set.add(name)


@contextlib.contextmanager
def users_own() -> Iterator[None]:
    """Start processes in this context with as many threads, and pages as large, as the user's own would have."""
    ours = {name: os.environ.pop(name) for name in _set & {*THREADS, *SMALL_PAGES}}
    try:
        yield
    finally:
        os.environ.update(ours)


def of_workers(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What workers need of it. Those on this machine inherit it, those of a cluster are sent it."""
    usual = {"RAY_CHDIR_TO_TRIAL_DIR": RAY_SETTINGS["RAY_CHDIR_TO_TRIAL_DIR"], **THREADS, **SMALL_PAGES}
    return {name: environment.get(name, value) for name, value in usual.items()}
