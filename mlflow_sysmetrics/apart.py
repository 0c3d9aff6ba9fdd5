"""A call in a process of its own, which there has a stand-in for an object of this process."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

_EXIT_S = 10.0  # for the process to end once it has answered
# Unlike multiprocessing's it does not import the user's script, which may have no `if __name__ == "__main__"`.
_PROGRAM = (
    "import sys; from multiprocessing.connection import Connection; starter = Connection(int(sys.argv[1])); "
    "sys.path[:] = starter.recv(); starter.recv()(starter)"
)


class Apart:
    """``with Apart(call, it) as process: process.answer()`` is ``call(it)``, in a process that is forked from none.

    What it uses of `it` is used here. The call and all that goes between the two are pickled.
    """

    def __init__(self, call: Callable[[Any], Any], it: object) -> None:
        self._call, self._it, self._answered = call, it, False
        self._connection, theirs = Pipe()
        with theirs:
            line, fds = [sys.executable, "-c", _PROGRAM, str(theirs.fileno())], [theirs.fileno()]
            self._process = subprocess.Popen(line, stdin=subprocess.DEVNULL, pass_fds=fds, start_new_session=True)
        self.pid = self._process.pid

    def __enter__(self) -> Apart:
        """Wait until it is about to call."""
        methods = {name for name in dir(type(self._it)) if callable(getattr(type(self._it), name))}
        try:
            self._connection.send(sys.path)
            _send(self._connection, functools.partial(_serve, self._call, methods, os.getpid()))
            self._receive()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_S if self._answered else 0)
        self.kill()
        self._process.wait()
        self._connection.close()

    def kill(self) -> None:
        """Kill it, and what it has started."""
        with contextlib.suppress(OSError):  # gone by now
            os.killpg(self.pid, signal.SIGKILL)

    def answer(self) -> Any:
        """What the call returns or raises. RuntimeError: the process has ended without an answer."""
        while (said := self._receive())[0] == "uses":
            _send(self._connection, _outcome(functools.partial(self._use, *said[1:])))
        self._answered = True
        return _heard(*said)

    def _use(self, name: str, args: Any, named: Any) -> Any:
        found = getattr(self._it, name)
        return found(*args, **named) if callable(found) else found

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            raise RuntimeError(f"its own process has ended with status {self._process.wait()}") from None


class _StandIn:
    def __init__(self, connection: Connection, methods: Collection[str]) -> None:
        self._connection, self._methods = connection, methods

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def use(*args: Any, **named: Any) -> Any:
            _send(self._connection, ("uses", name, args, named))
            return _heard(*self._connection.recv())

        return use if name in self._methods else use()


def _serve(call: Callable[[Any], Any], methods: Collection[str], starter: int, connection: Connection) -> None:
    """What the process does."""

    def end_with_starter() -> None:
        while os.getppid() == starter:
            time.sleep(1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=end_with_starter, daemon=True).start()
    connection.send("ready")
    _send(connection, _outcome(lambda: call(_StandIn(connection, methods))))


def _outcome(call: Callable[[], Any]) -> tuple[str, Any, str]:
    """What a call returns or raises, for another process."""
    try:
        return "returned", call(), ""
    except BaseException as error:
        return "raised", error, traceback.format_exc()


def _heard(kind: str, what: Any, trace: str) -> Any:
    """Return or raise what a call in another process has."""
    if kind == "raised":
        raise what from RuntimeError(trace)
    return what


def _send(connection: Connection, said: Any) -> None:
    connection.send_bytes(cloudpickle.dumps(said))
