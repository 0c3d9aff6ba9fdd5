"""The bundle: an MLflow Project that tunes a model and records what each trial costs.

Ray reads its settings when it is imported or when its processes start, so they are set before any module can import it.
"""

import os

RAY_SETTINGS = {
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
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # no stack dump of Ray's own at SIGTERM
    "RAY_DEDUP_LOGS": "0",
    "OMP_NUM_THREADS": "1",  # one CPU core a trial
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
# What workers need of it. Those on this machine inherit it, those of a cluster are sent it.
WORKER_SETTINGS = ("RAY_CHDIR_TO_TRIAL_DIR", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MLFLOW_SETTINGS = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}  # each artifact here is read in an instant
SET_HERE = {name for name in (*RAY_SETTINGS, *MLFLOW_SETTINGS) if name not in os.environ}
for _name, _value in {**RAY_SETTINGS, **MLFLOW_SETTINGS}.items():
    os.environ.setdefault(_name, _value)
