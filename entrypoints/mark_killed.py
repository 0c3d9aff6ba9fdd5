"""Mark runs KILLED after a command has ended: ``python -m entrypoints.mark_killed PID PID_OF_MLFLOW_RUN RUN_ID...``.

The command does so itself, unless a signal arrives while it imports its modules, or something hangs as it ends. But
``mlflow run`` then marks the run of every unsuccessful command FAILED, although it tries to keep a final status that
the project has set (seen up to MLflow 3.17). That would hide that a person stopped the study.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable

import psutil
from mlflow import MlflowClient

from entrypoints.runs import END_WITHIN_S
from mlflow_sysmetrics.tags import PID

PATIENCE_S = 6.0  # with ``mlflow run``


def main(command: int, mlflow_run: int, run_ids: Iterable[str], client: MlflowClient | None = None) -> None:
    """Wait for both processes, then mark the runs and what is still RUNNING below them."""
    _wait_for(command, END_WITHIN_S + 1)
    _wait_for(mlflow_run, PATIENCE_S)
    client = client or MlflowClient()
    for run_id in run_ids:
        run = client.get_run(run_id)
        continued_by_another = run.data.tags.get(PID, str(command)) != str(command)
        if continued_by_another or run.info.status == "FINISHED":
            continue
        client.set_terminated(run_id, "KILLED")
        below = f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = 'RUNNING'"
        for child in client.search_runs([run.info.experiment_id], below):
            client.set_terminated(child.info.run_id, "KILLED")


def _wait_for(pid: int, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        # It is not a child of this process: a zombie counts as ended.
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
