"""A trial that Ray's memory monitor kills: Tune is to take it for one that failed, and go on with the others."""

from __future__ import annotations

import functools
from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError

SAID = "OutOfMemoryError: Ray has killed the trial's process, since its node was running low on memory"


def outlive_memory_kills() -> None:
    """Have Tune, in this process, go on when Ray has killed a trial because a node was low on memory. Idempotent.

    Tune knows the death of a trial's process by `RayActorError`, which Ray's `OutOfMemoryError` is not: it ends the
    whole experiment. So that method of Ray's which is told of a failure is wrapped, and gets the one for the other.
    No-op where Ray has no such method.
    """
    try:
        from ray.air.execution._internal.actor_manager import RayActorManager

        told: Any = RayActorManager._actor_task_failed
    except (ImportError, AttributeError):
        return
    if hasattr(told, "__wrapped__"):  # by this
        return

    @functools.wraps(told)
    def failed(*arguments: Any, **named: Any) -> Any:
        return told(*map(_died, arguments), **{name: _died(value) for name, value in named.items()})

    RayActorManager._actor_task_failed = failed


def _died(argument: Any) -> Any:
    return RayActorError(error_msg=f"{argument}\n{SAID}") if isinstance(argument, OutOfMemoryError) else argument
