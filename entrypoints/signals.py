"""Signals that ask a command to end: they work from its first line on, and its runs are always marked KILLED.

The modules of a command take seconds to import, and a signal may arrive meanwhile. This one imports almost nothing.
``python -m entrypoints.signals PID PID_OF_MLFLOW_RUN RUN_ID...`` marks runs after a command has ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

Handler = Callable[[int, FrameType | None], None]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
END_WITHIN_S = 8.0  # from a signal to the end of a command's last process
PATIENCE_S = 6.0  # with ``mlflow run``
STARTED_BY = os.getppid()  # the process of ``mlflow run``, as long as it lives


def heed(handler: Handler) -> dict[signal.Signals, Handler | int | None]:
    """Set a handler for each signal and return the former ones. SIGHUP stays ignored if it was, as under ``nohup``."""
    heeded = [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
    return {each: signal.signal(each, handler) for each in heeded}


def ignore() -> None:
    """Ignore further signals."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def end_at_once() -> None:
    """End the process at a signal and mark the run of ``mlflow run``, until ``recorded_command`` takes over."""

    def end(signal_number: int, frame: FrameType | None) -> None:
        ignore()
        if "MLFLOW_RUN_ID" in os.environ:
            mark_killed([os.environ["MLFLOW_RUN_ID"]])
        os.write(2, f"\nStopped by {signal.Signals(signal_number).name}.\n".encode())
        os._exit(128 + signal_number)

    heed(end)


def mark_killed(run_ids: Iterable[str]) -> None:
    """Start a process that marks these runs once this one and ``mlflow run`` have ended, however they end."""
    command = [sys.executable, "-m", "entrypoints.signals", str(os.getpid()), str(STARTED_BY), *run_ids]
    nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    os.posix_spawn(sys.executable, command, os.environ, file_actions=nowhere, setsid=True)


def mark(command: int, mlflow_run: int, run_ids: Iterable[str], client: MlflowClient | None = None) -> None:
    """Wait for both processes, then mark the runs and what is still RUNNING below them.

    The command marks them itself, unless a signal arrives while it imports its modules, or something hangs as it ends.
    But ``mlflow run`` then marks the run of every unsuccessful command FAILED, although it tries to keep a final status
    that the project has set (seen up to MLflow 3.17). That would hide that a person stopped the study.
    """
    from mlflow import MlflowClient

    from mlflow_sysmetrics.tags import PID

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
    import psutil

    deadline = time.monotonic() + patience_s
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        # It is not a child of this process: a zombie counts as ended.
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.05)


if __name__ == "__main__":
    mark(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
