"""The folder that relative paths of the user are meant from."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

OF_STEPS = "MLFLOW_SYSMETRICS_USER_FOLDER"  # that of main, for the commands that it starts


def user_folder() -> Path:
    """The folder of ``mlflow run``, which starts commands in the project's folder instead, or else of this process."""
    if OF_STEPS in os.environ:
        return Path(os.environ[OF_STEPS])
    process = psutil.Process()
    try:
        parent = process.parent() if "MLFLOW_RUN_ID" in os.environ else None
        return Path((parent or process).cwd())
    except psutil.Error:
        return Path.cwd()
