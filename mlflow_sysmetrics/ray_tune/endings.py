"""How a trial ended: by itself, by Tune, by its limits, by a person, or by an error."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.experiment import Trial
from ray.tune.result import DONE, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics import tags
from mlflow_sysmetrics.limits import reason_of_a_person
from mlflow_sysmetrics.ray_tune.results import PAYLOAD_KEY, STOP_KEY
from mlflow_sysmetrics.redact import redacted_text

SAID = "OutOfMemoryError: Ray has killed the trial's process, since its node was running low on memory"
_RAISED = b"RayTaskError"  # the class, or the cause, of an error that a trial's own code raised
_LOW_ON_MEMORY = b"running low on memory"  # in Ray's message, the only sign of a kill by its memory monitor
_GUESSES = " Some common causes include"  # which Ray adds where a process has died


class End(NamedTuple):
    """The status of an ended trial's run, tags that say why, and whether it was its process that ended."""

    status: str
    tags: Mapping[str, str] = {}
    process_died: bool = False


def _killed(by: str, why: str) -> End:
    return End("KILLED", {tags.STOPPED_BY: by, tags.STOP_REASON: why})


FINISHED, SWEPT = End("FINISHED"), _killed(tags.BY_EXPERIMENT_END, "the experiment ended before the trial did")


def error_line(trial: Trial) -> str:
    """Why a trial failed: the last line of its traceback, which is the exception and its message. Never raises."""
    try:
        # The file on this machine: the copy that Trial.get_error() reads is made later.
        lines = Path(trial.error_file).read_text().strip().splitlines()
        line = [line for line in lines if not line.startswith("\t")][-1]  # not Ray's details of a process
        return redacted_text(line.partition(_GUESSES)[0])
    except (OSError, TypeError, IndexError, UnicodeError):
        return "unknown error"


def failure(trial: Trial) -> End:
    """Of a trial that raised, or whose process died."""
    try:  # names of classes are looked for in it; it is not unpickled, which would run code
        error = Path(trial.pickled_error_file).read_bytes()
    except (OSError, TypeError, AttributeError):
        error = b""
    died = bool(error) and _RAISED not in error
    by_ray = {tags.CAUSE_OF_DEATH: "killed by Ray's memory monitor", tags.KILLED_FOR_MEMORY: "true"}
    why = {tags.ERROR: error_line(trial), **(by_ray if died and _LOW_ON_MEMORY in error else {})}
    return End("FAILED", why, process_died=died)


def by_person(said: str) -> End:
    """Of a trial whose run somebody has given the tag ``sysmetrics.stop``, with this value."""
    return _killed(tags.BY_PERSON, reason_of_a_person(said))


def known_end(trial: Trial, result: Mapping[str, Any]) -> End | None:
    """The end of a trial that did not fail, after this result; None if only the trainable knows it.

    Tune sets DONE in a result when it ends a trial, and a trainable sets it at its own end: only the trainable knows
    which it was. Where it is not set at all, another trial's result has ended this one.
    """
    if (reason := result.get(STOP_KEY)) is not None:
        return End("KILLED", reason)
    if (carried := result.get(PAYLOAD_KEY)) is not None:
        return _by_tune(result) if carried["status"] is None else End(carried["status"], carried["tags"])
    if trial.status == Trial.PAUSED or (TRAINING_ITERATION in result and not result.get(DONE)):
        return _by_tune(result)  # its scheduler has dropped it, which may be while it was still saving for a pause
    # For Tune, DONE in a result would be one of the user's stop conditions, hence False.
    return FINISHED if trial.should_stop({**flatten_dict(result), DONE: False}) else None


def end_by(state: Mapping[str, Any] | None, result: Mapping[str, Any]) -> End:
    """The end of a trial after this result, by the state of its trainable: see ``Trainable.get_state``.

    None: it was not asked, since a function has simply returned, or its process is gone.
    """
    return FINISHED if state is None or (state.get("last_result") or {}).get(DONE) else _by_tune(result)


def _by_tune(result: Mapping[str, Any]) -> End:
    return _killed(tags.BY_TUNE, f"Tune ended it at iteration {result.get(TRAINING_ITERATION)}")


def outlive_memory_kills() -> None:
    """Make Tune, in this process, go on after Ray has killed a trial because a node was low on memory. Idempotent.

    Tune expects `RayActorError` when a trial's process dies, which Ray's `OutOfMemoryError` is not: it would end the
    experiment or, while the process starts, keep no error. So the methods of Ray that receive a failure are wrapped.
    """
    try:
        from ray.air.execution._internal.actor_manager import RayActorManager
    except ImportError:
        return

    def translated(told: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(told)
        def failed(*tracked: Any, **named: Any) -> Any:
            if isinstance(error := named.get("exception"), OutOfMemoryError):
                named["exception"] = RayActorError(error_msg=f"{error}\n{SAID}")
            return told(*tracked, **named)

        return failed

    for name in ("_actor_start_failed", "_actor_task_failed"):
        told = getattr(RayActorManager, name, None)
        if told is not None and not hasattr(told, "__wrapped__"):  # by this
            setattr(RayActorManager, name, translated(told))
