"""A trial that Ray's memory monitor kills: Tune is to take it for one that failed, and go on with the others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError

SAID = "OutOfMemoryError: Ray has killed the trial's process, since its node was running low on memory"


def outlive_memory_kills() -> None:
    """Have Tune, in this process, go on when Ray has killed a trial because a node was low on memory. Idempotent.

    Tune knows the death of a trial's process by `RayActorError`, which Ray's `OutOfMemoryError` is not: it ends the
    whole experiment or, while the process starts, keeps no error. So those methods of Ray's which are told of a failure
    are wrapped, and get the one for the other. No-op where Ray has no such method.
    """
    try:
        from ray.air.execution._internal.actor_manager import RayActorManager
    except ImportError:
        return
    for name in ("_actor_start_failed", "_actor_task_failed"):
        told = getattr(RayActorManager, name, None)
        if told is not None and not hasattr(told, "__wrapped__"):  # by this
            setattr(RayActorManager, name, _translated(told))


def _translated(told: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(told)
    def failed(*arguments: Any, **named: Any) -> Any:
        return told(*map(_died, arguments), **{name: _died(value) for name, value in named.items()})

    return failed


def _died(argument: Any) -> Any:
    return RayActorError(error_msg=f"{argument}\n{SAID}") if isinstance(argument, OutOfMemoryError) else argument
