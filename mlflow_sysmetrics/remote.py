"""Objects of this process that its worker processes use: each has a stand-in there, which asks this process."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Callable
from multiprocessing.managers import BaseManager
from typing import Any
from weakref import WeakValueDictionary

_lent = WeakValueDictionary[int, Any]()
_keys = itertools.count()


class _Manager(BaseManager):
    """Answers at a Unix socket, with the secret that this process gives those that it starts."""


def _use(key: int, name: str, *args: Any, **named: Any) -> Any:
    found = getattr(_lent[key], name)
    return found(*args, **named) if callable(found) else found


_Manager.register("use", lambda: _use, exposed=("__call__",))


@functools.cache
def _serve(pid: int) -> Any:
    """The address at which the process with this pid, which is this one, answers."""
    server = _Manager().get_server()
    threading.Thread(target=server.serve_forever, name="mlflow-sysmetrics-remote", daemon=True).start()
    return server.address


@functools.cache
def _connect(address: Any) -> Callable[..., Any]:
    manager = _Manager(address)
    manager.connect()
    return manager.use()  # type: ignore[attr-defined, no-any-return]


class StandIn:
    """Has the methods and attributes of an object of another process. What passes between the two is pickled."""

    def __init__(self, kind: type, key: int, address: Any) -> None:
        self._kind = kind
        self._key = key
        self._address = address

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        use = functools.partial(_connect(self._address), self._key, name)
        is_method = callable(getattr(self._kind, name, None))
        return use if is_method else use()


def lend(lent: Any) -> StandIn:
    """A stand-in for an object of this process, to be sent to workers. It is of use as long as the object lives."""
    key = next(_keys)
    _lent[key] = lent
    return StandIn(type(lent), key, _serve(os.getpid()))
