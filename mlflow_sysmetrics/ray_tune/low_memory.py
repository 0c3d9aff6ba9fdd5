"""Let Tune treat a trial that Ray's memory monitor kills as failed, and go on with the others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError

SAID = "OutOfMemoryError: Ray has killed the trial's process, since its node was running low on memory"


def outlive_memory_kills() -> None:
    """Make Tune, in this process, go on after Ray has killed a trial because a node was low on memory. Idempotent.

    Tune expects `RayActorError` when a trial's process dies, but Ray's `OutOfMemoryError` is not one: Tune ends the
    whole experiment or, while the process starts, keeps no error. So the methods of Ray that receive a failure are
    wrapped, and get a `RayActorError` instead. No-op if Ray has no such method.
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
