"""A call in a new process, which there has a stand-in for an object of this one. The only module that imports loky."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from loky import ProcessPoolExecutor
from loky.process_executor import TerminatedWorkerError

from mlflow_sysmetrics.remote import StandIn, lend

_function: Callable[[Any], Any]  # of the new process
_argument: StandIn


class Isolated:
    """A call in a new process, which is ready inside this context manager.

    What the function uses of its argument is used here. All that passes between the two is pickled.
    """

    def __init__(self, function: Callable[[Any], Any], argument: Any) -> None:
        self._function = function
        self._argument = argument
        self._executor = ProcessPoolExecutor(max_workers=1)
        self.pid: int | None = None

    def __enter__(self) -> Isolated:
        try:
            self.pid = self._executor.submit(_prepare, self._function, lend(self._argument)).result()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is KeyboardInterrupt:
            self.kill()
        self._executor.shutdown()

    def call(self) -> Any:
        """The answer of the function, or what it raises. RuntimeError: the process has died."""
        try:
            return self._executor.submit(_answer).result()
        except TerminatedWorkerError as error:
            raise RuntimeError(" ".join(str(error).split())) from None  # in one line, for a tag

    def kill(self) -> None:
        """End the process, and what it has started. Waits for that."""
        self._executor.shutdown(kill_workers=True)


def _prepare(function: Callable[[Any], Any], argument: StandIn) -> int:
    """In the new process, which has imported by now what the function needs: get ready."""
    global _function, _argument
    os.setsid()  # Ctrl-C is for the starter alone
    threading.Thread(target=_end_with_starter, daemon=True).start()
    _function, _argument = function, argument
    return os.getpid()


def _answer() -> Any:
    return _function(_argument)


def _end_with_starter() -> None:
    starter = os.getppid()
    while os.getppid() == starter:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)
