"""A call in a new process, which there has a stand-in for an object of this one. The only module that imports loky."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.managers import BaseManager
from typing import Any
from weakref import WeakValueDictionary

from loky import ProcessPoolExecutor
from loky.process_executor import TerminatedWorkerError

_lent = WeakValueDictionary[int, Any]()  # what has a stand-in, by its id
_call: Callable[[], Any]  # of the new process


class Isolated:
    """A call in a new process, which is ready inside this context manager.

    What the function uses of its argument is used here. All that passes between the two is pickled. RuntimeError: the
    process has died.
    """

    def __init__(self, function: Callable[[Any], Any], argument: Any) -> None:
        self._function = function
        self._argument = argument
        self._executor = ProcessPoolExecutor(max_workers=1)
        self.pid: int | None = None

    def __enter__(self) -> Isolated:
        key = id(self._argument)
        _lent[key] = self._argument
        try:
            kind, address = type(self._argument), _address(os.getpid())
            self.pid = self._executor.submit(_prepare, self._function, kind, key, address).result()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is KeyboardInterrupt:
            self.kill()
        self._executor.shutdown()

    def call(self) -> Any:
        """The answer of the call, or what it raises."""
        try:
            return self._executor.submit(_answer).result()
        except TerminatedWorkerError as error:
            raise RuntimeError(" ".join(str(error).split())) from None  # in one line, for a tag

    def kill(self) -> None:
        """End the process, and what it has started. Waits for that."""
        self._executor.shutdown(kill_workers=True)


class _Manager(BaseManager):
    """Answers stand-ins at a Unix socket, with the secret that this process gives those that it starts."""


@functools.cache
def _address(pid: int) -> Any:
    """Where the process with this pid, which is this one, answers."""
    server = _Manager().get_server()
    threading.Thread(target=server.serve_forever, name="mlflow-sysmetrics-isolated", daemon=True).start()
    return server.address


def _use(key: int, name: str, *args: Any, **named: Any) -> Any:
    found = getattr(_lent[key], name)
    return found(*args, **named) if callable(found) else found


_Manager.register("use", lambda: _use, exposed=("__call__",))


class _StandIn:
    def __init__(self, kind: type, use: Callable[..., Any]) -> None:
        self._kind, self._use = kind, use

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return functools.partial(self._use, name) if callable(getattr(self._kind, name, None)) else self._use(name)


def _prepare(function: Callable[[Any], Any], kind: type, key: int, address: Any) -> int:
    """In the new process, which has imported by now what the function needs: get ready."""
    global _call
    os.setsid()  # Ctrl-C is for the starter alone
    threading.Thread(target=_end_with_starter, daemon=True).start()
    manager = _Manager(address)
    manager.connect()
    use = functools.partial(manager.use(), key)  # type: ignore[attr-defined]
    _call = functools.partial(function, _StandIn(kind, use))
    return os.getpid()


def _answer() -> Any:
    return _call()


def _end_with_starter() -> None:
    starter = os.getppid()
    while os.getppid() == starter:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)
