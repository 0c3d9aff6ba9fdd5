"""Run a command in place of this process: same input and output, same signals, same end."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from mlflow_sysmetrics.common.threads import start_thread
from mlflow_sysmetrics.recording.outcome import FINISHED, Outcome
from mlflow_sysmetrics.sampling import KB_MB

_TYPED = (signal.SIGINT, signal.SIGQUIT)  # what keys send, to every process in the terminal's foreground
_STOPPING = (*_TYPED, signal.SIGTERM, signal.SIGHUP)
_HANDED_ON = (*_STOPPING, signal.SIGUSR1, signal.SIGUSR2)
_KILLED = (*_STOPPING, signal.SIGKILL)
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # a shell's exit codes
STOPPED = 124  # that of timeout(1): the command was ended, since it broke a limit or somebody asked for it


@dataclass(frozen=True)
class Exit:
    """How a command ended: its exit code, or minus the signal that killed it; and whether it was asked to end."""

    code: int
    was_asked: bool = False
    peak_rss_mb: float | None = field(default=None, compare=False)  # see `reap`

    @property
    def outcome(self) -> Outcome:
        """That of its run: FINISHED, FAILED (an error), or KILLED (stopped from outside)."""
        if self.code == 0:
            return FINISHED
        # A shell says 128 + the signal when the command that it ran died of one.
        was_killed = self.was_asked or -self.code in _KILLED or self.code - 128 in _KILLED
        return Outcome("KILLED" if was_killed else "FAILED")


class Passthrough:
    """Starts one command, and while it is entered hands the signals that this process gets on to that command.

    The command also ignores the signals that this process ignores, as under ``nohup``. A signal that arrives before the
    command has started is passed on once it has. Only the main thread may enter.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._was_asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Passthrough:
        for number in _HANDED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._hand_on)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the command. OSError if it is not there or cannot be executed."""
        # Python's own files close by themselves; what this process was given, such as <(...) of a shell, is handed on.
        self._process = process = subprocess.Popen(list(command), env=dict(environment), close_fds=False)
        for number in self._early:
            os.kill(process.pid, number)
        return process

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the command has ended. The system knows it until `reap`."""
        waiting = start_thread(lambda: os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT), "command")
        while waiting.is_alive():
            waiting.join(1.0)  # a signal that comes just before this is handed on after it

    def reap(self, process: subprocess.Popen[bytes]) -> Exit:
        return replace(reap(process), was_asked=self._was_asked)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self._was_asked = self._was_asked or number in _STOPPING
        if self._process is None:
            self._early.append(number)
        elif self._process.returncode is None and not (number in _TYPED and _has_terminal()):
            os.kill(self._process.pid, number)  # not `send_signal`, which takes the exit status of one that has ended


def reap(process: subprocess.Popen[Any]) -> Exit:
    """How a child of this process ended, with the most memory in MB that one of its processes had, if that is known.

    Until it became the command it was a copy of this process, whose memory the kernel counts as well.
    """
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    is_its_own = used.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Exit(process.returncode, peak_rss_mb=used.ru_maxrss * KB_MB if is_its_own else None)


def _has_terminal() -> bool:
    """Whether the terminal sends the signals of keys to this process's group, so that the command gets them itself."""
    with contextlib.suppress(OSError), Path(os.ctermid()).open("rb", buffering=0) as terminal:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False


def end_as(program_exit: Exit) -> NoReturn:
    """End this process the way the command ended: with its exit code, or by the signal that it died of."""
    if program_exit.code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command has left its own core
        if -program_exit.code != signal.SIGKILL:
            signal.signal(-program_exit.code, signal.SIG_DFL)
        os.kill(os.getpid(), -program_exit.code)
    # The first process of a container does not die of its own signals.
    raise SystemExit(program_exit.code if program_exit.code >= 0 else 128 - program_exit.code)
