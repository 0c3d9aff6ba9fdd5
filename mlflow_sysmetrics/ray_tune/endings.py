"""How a trial ended: by itself, by Tune, by its limits, by a person, or by an error."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.experiment import Trial
from ray.tune.result import DONE, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics import tags
from mlflow_sysmetrics.guard import never_raises
from mlflow_sysmetrics.outcome import FINISHED, Outcome, failed, killed
from mlflow_sysmetrics.ray_tune.results import PAYLOAD_KEY, STOP_KEY
from mlflow_sysmetrics.redact import redacted_text

UNFINISHED = killed(tags.BY_EXPERIMENT_END, "the experiment ended before the trial did")
_KILLED_BY_RAY = "OutOfMemoryError: Ray has killed the trial's process, since its node was running low on memory"
_RAISED = b"RayTaskError"  # the class, or the cause, of an error that a trial's own code raised
_LOW_ON_MEMORY = b"running low on memory"  # in Ray's message, the only sign of a kill by its memory monitor
_GUESSES = " Some common causes include"  # which Ray adds where a process has died


def error_line(trial: Trial) -> str:
    """Why a trial failed: the last line of its traceback, which is the exception and its message. Never raises."""
    try:
        # The file on this machine: the copy that Trial.get_error() reads is made later.
        lines = Path(trial.error_file).read_text().strip().splitlines()
        own = [line for line in lines if not line.startswith("\t")]  # not Ray's details of a process
        return redacted_text(own[-1].partition(_GUESSES)[0])
    except Exception:
        return "unknown error"


def process_died(trial: Trial) -> bool:
    """Whether a failed trial's process has died; else its own code has raised."""
    error = _kept_error(trial)
    return bool(error) and _RAISED not in error


def failure(trial: Trial) -> Outcome:
    """The outcome of a trial that raised, or whose process died."""
    outcome = failed(error_line(trial))
    if process_died(trial) and _LOW_ON_MEMORY in _kept_error(trial):
        by_ray = {tags.CAUSE_OF_DEATH: "killed by Ray's memory monitor", tags.KILLED_FOR_MEMORY: "true"}
        return Outcome(outcome.status, {**outcome.tags, **by_ray})
    return outcome


def known_outcome(trial: Trial, result: Mapping[str, Any]) -> Outcome | None:
    """The outcome of a trial that did not fail, after this result; None if only the trainable knows it.

    Tune sets DONE in a result when it ends a trial, and a trainable sets it at its own end: only the trainable knows
    which it was. Where it is not set at all, another trial's result has ended this one.
    """
    if STOP_KEY in result:
        return Outcome("KILLED", result[STOP_KEY])
    carried = result.get(PAYLOAD_KEY)
    if carried is not None:
        return _by_tune(result) if carried["status"] is None else Outcome(carried["status"], carried["tags"])
    if trial.status == Trial.PAUSED or (TRAINING_ITERATION in result and not result.get(DONE)):
        return _by_tune(result)  # its scheduler has dropped it, which may be while it was still saving for a pause
    # For Tune, DONE in a result would be one of the user's stop conditions, hence False.
    return FINISHED if trial.should_stop({**flatten_dict(result), DONE: False}) else None


def outcome_by_state(state: Future[Any] | None, result: Mapping[str, Any]) -> Outcome:
    """The outcome of a trial after this result, by the state of its trainable: see ``Trainable.get_state``.

    It was not asked for its state where a function has simply returned; it does not answer if its process is gone.
    """
    is_done = True
    if state is not None:
        with suppress(Exception):
            is_done = state.result()["last_result"][DONE]
    return FINISHED if is_done else _by_tune(result)


@never_raises("preparing Tune for trials that Ray kills for memory")  # what is wrapped is no public part of Ray
def outlive_memory_kills() -> None:
    """Make Tune, in this process, go on after Ray has killed a trial because a node was low on memory. Idempotent.

    Tune expects `RayActorError` when a trial's process dies, which Ray's `OutOfMemoryError` is not: it would end the
    experiment or, while the process starts, keep no error. So the methods of Ray that receive a failure are wrapped.
    """
    from ray.air.execution._internal.actor_manager import RayActorManager

    for name in ("_actor_start_failed", "_actor_task_failed"):
        method = getattr(RayActorManager, name)
        if not hasattr(method, "__wrapped__"):  # by this
            setattr(RayActorManager, name, _with_actor_error(method))


def _with_actor_error(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def failed(*arguments: Any, **named: Any) -> Any:
        error = named.get("exception")
        if isinstance(error, OutOfMemoryError):
            named["exception"] = RayActorError(error_msg=f"{error}\n{_KILLED_BY_RAY}")
        return method(*arguments, **named)

    return failed


def _kept_error(trial: Trial) -> bytes:
    """The pickled error that Tune keeps of a trial: names of classes are looked for. Unpickled, it would run code."""
    try:
        return Path(trial.pickled_error_file).read_bytes()
    except Exception:
        return b""


def _by_tune(result: Mapping[str, Any]) -> Outcome:
    return killed(tags.BY_TUNE, f"Tune ended it at iteration {result.get(TRAINING_ITERATION)}")
