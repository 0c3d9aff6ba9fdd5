"""Objects of this process whose methods its worker processes call, by a proxy."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from multiprocessing.managers import BaseManager
from typing import Any
from weakref import WeakValueDictionary

from mlflow_sysmetrics.common.threads import start_thread

_objects = WeakValueDictionary[int, Any]()  # which have a proxy
_keys = itertools.count()


class _Manager(BaseManager):
    """Answers at a Unix socket, with the secret that this process gives those that it starts."""


def _call(key: int, method: str, *args: Any) -> Any:
    return getattr(_objects[key], method)(*args)


_Manager.register("caller", lambda: _call, exposed=("__call__",))


@functools.cache
def _serve(pid: int) -> Any:
    """The address at which the process with this pid, which is this one, answers."""
    server = _Manager().get_server()
    start_thread(server.serve_forever, "remote")
    return server.address


@functools.cache
def _connect(address: Any) -> Callable[..., Any]:
    manager = _Manager(address)
    manager.connect()
    return manager.caller()  # type: ignore[attr-defined, no-any-return]


class Proxy:
    """To be sent to workers, which call by it the methods of an object of this process, as long as that lives.

    Arguments and answers are pickled.
    """

    def __init__(self, target: Any) -> None:
        self._key = next(_keys)
        self._address = _serve(os.getpid())
        _objects[self._key] = target

    def call(self, method: str, *args: Any) -> Any:
        """What the method of the object returns, or raises."""
        return _connect(self._address)(self._key, method, *args)
