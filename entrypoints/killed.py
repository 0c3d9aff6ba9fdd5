"""Mark a run KILLED after the ``mlflow run`` that started it has ended: ``python -m entrypoints.killed RUN_ID PID``.

``mlflow run`` means to keep a final status that the project has set, but marks every run of a command that did not
succeed FAILED as it ends (seen up to MLflow 3.17). Its last word would hide that a person stopped the study.
"""

from __future__ import annotations

import contextlib
import sys
import time

import psutil
from mlflow import MlflowClient

PATIENCE_S = 6.0


def main(run_id: str, pid: int) -> None:
    """Wait for the process, for a few seconds at most, then write the status."""
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        # It is not our child: one that has ended and is not yet waited for counts as ended.
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.05)
    client = MlflowClient()
    if client.get_run(run_id).info.status != "RUNNING":  # else another command continues the study already
        client.set_terminated(run_id, "KILLED")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
