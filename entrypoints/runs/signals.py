"""Signals that ask a command to end. They are noted from its first line on, and heeded once it can end its runs.

The modules of a command take seconds to import, and a signal may arrive meanwhile. This one imports almost nothing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], None]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STARTED_BY = os.getppid()  # the process of ``mlflow run``, as long as it lives
noted: list[int] = []  # those that arrived before ``runs.recorded_command``, which ends the run for them


def heed(handler: Handler) -> dict[signal.Signals, Handler | int | None]:
    """Set a handler for each signal and return the former ones. SIGHUP stays ignored if it was, as under ``nohup``."""
    heeded = [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
    return {each: signal.signal(each, handler) for each in heeded}


def ignore() -> None:
    """Ignore further signals."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def note() -> None:
    """Note signals, or end the process at one if no run of ``mlflow run`` would be left open."""

    def end_or_note(signal_number: int, frame: FrameType | None) -> None:
        if "MLFLOW_RUN_ID" not in os.environ:
            os._exit(128 + signal_number)
        noted.append(signal_number)

    heed(end_or_note)
