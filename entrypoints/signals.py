"""Signals that ask a command to end: they work from its first line on, and its runs are always marked KILLED.

The modules of a command take seconds to import, and a signal may arrive meanwhile. This one imports almost nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType

Handler = Callable[[int, FrameType | None], None]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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
    command = [sys.executable, "-m", "entrypoints.mark_killed", str(os.getpid()), str(STARTED_BY), *run_ids]
    nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    os.posix_spawn(sys.executable, command, os.environ, file_actions=nowhere, setsid=True)
