"""A call in a new process, which there has a stand-in for an object of this one. The only module that imports loky."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.managers import BaseManager
from typing import Any
from weakref import WeakValueDictionary

from loky import ProcessPoolExecutor

_lent = WeakValueDictionary[int, Any]()  # what has a stand-in, by its id
_call: Callable[[], Any]  # what the new process is to do


@contextlib.contextmanager
def own_process(call: Callable[[Any], Any], it: Any) -> Iterator[tuple[int, Callable[[], Any], Callable[[], None]]]:
    """A new process that is ready for ``call(it)``: its pid, what calls and returns the answer, and what kills it.

    What the call uses of `it` is used here. All that passes between the two is pickled. RuntimeError: it has died.
    """
    _lent[id(it)] = it
    with ProcessPoolExecutor(max_workers=1) as executor:
        kill = functools.partial(executor.shutdown, kill_workers=True)  # and what it has started
        try:
            pid = executor.submit(_prepare, call, type(it), id(it), _address(os.getpid())).result()
            yield pid, lambda: executor.submit(_answer).result(), kill
        except KeyboardInterrupt:
            kill()
            raise


class _Manager(BaseManager):
    """Answers stand-ins at a Unix socket, with the secret that this process gives those that it starts."""


@functools.cache
def _address(pid: int) -> Any:
    """Where the process with this pid, which is this one, answers."""
    server = _Manager().get_server()
    threading.Thread(target=server.serve_forever, name="mlflow-sysmetrics-apart", daemon=True).start()
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


def _prepare(call: Callable[[Any], Any], kind: type, key: int, address: Any) -> int:
    """In the new process, which has imported by now what the call needs: get ready."""
    global _call
    os.setsid()  # Ctrl-C is for the starter alone
    threading.Thread(target=_end_with_starter, daemon=True).start()
    manager = _Manager(address)
    manager.connect()
    _call = functools.partial(call, _StandIn(kind, functools.partial(manager.use(), key)))  # type: ignore[attr-defined]
    return os.getpid()


def _answer() -> Any:
    return _call()


def _end_with_starter() -> None:
    starter = os.getppid()
    while os.getppid() == starter:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)
