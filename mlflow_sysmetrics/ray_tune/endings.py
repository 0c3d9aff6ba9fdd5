"""How a trial ended: by itself, by Tune, by its limits, or by an error."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import Run, RunStatus
from ray.tune.experiment import Trial
from ray.tune.result import DONE, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics.limits import reason_of_a_person
from mlflow_sysmetrics.ray_tune.results import PAYLOAD_KEY, STOP_KEY, error_line, last_result, pickled_error
from mlflow_sysmetrics.tags import (
    BY_EXPERIMENT_END,
    BY_PERSON,
    BY_TUNE,
    CAUSE_OF_DEATH,
    ERROR,
    KILLED_FOR_MEMORY,
    STOP_REASON,
    STOPPED_BY,
)

_RAISED = b"RayTaskError"  # the class, or the cause, of an error that a trial's own code raised
_LOW_ON_MEMORY = b"running low on memory"  # in Ray's message, the only sign of a kill by its memory monitor


@dataclass(frozen=True)
class Ending:
    """The status of an ended trial's run, tags that say why, and whether it was its process that ended."""

    status: str
    tags: Mapping[str, str] = field(default_factory=dict)
    process_died: bool = False


FINISHED = Ending("FINISHED")
SWEPT = Ending("KILLED", {STOPPED_BY: BY_EXPERIMENT_END, STOP_REASON: "the experiment ended before the trial did"})


def failure(trial: Trial) -> Ending:
    """Of a trial that raised, or whose process died."""
    error = pickled_error(trial)
    died = bool(error) and _RAISED not in error
    by_ray = {CAUSE_OF_DEATH: "killed by Ray's memory monitor", KILLED_FOR_MEMORY: "true"}
    tags = {ERROR: error_line(trial), **(by_ray if died and _LOW_ON_MEMORY in error else {})}
    return Ending("FAILED", tags, process_died=died)


def by_person(said: str) -> Ending:
    """Of a trial whose run somebody has given the tag ``sysmetrics.stop``, with this value."""
    return Ending("KILLED", {STOPPED_BY: BY_PERSON, STOP_REASON: reason_of_a_person(said)})


def stop(result: Mapping[str, Any]) -> Ending:
    """Of a trial that its scheduler or a stopper ended, after this result."""
    reason = f"Tune ended it at iteration {result.get(TRAINING_ITERATION)}"
    return Ending("KILLED", {STOPPED_BY: BY_TUNE, STOP_REASON: reason})


def recorded_ending(run: Run) -> Ending | None:
    """The ending of the trial of this run, as its status and error show it; None while the run has not ended."""
    if not RunStatus.is_terminated(RunStatus.from_string(run.info.status)):
        return None
    return Ending(run.info.status, {name: value for name, value in run.data.tags.items() if name == ERROR})


def known_ending(trial: Trial, result: Mapping[str, Any], *, told: bool) -> Ending | None:
    """The ending of a trial that did not fail, after this result; None if only the trainable knows it.

    ``told`` means that the result said that the trial is done. Tune sets this when it ends a trial, and a trainable
    sets it at its own end: only the trainable knows which it was (see `ending_by`). Where a function simply returns,
    Tune sets it afterwards. Where it is not set at all, another trial's result has ended this one.
    """
    if (reason := result.get(STOP_KEY)) is not None:
        return Ending("KILLED", reason)
    carried = result.get(PAYLOAD_KEY)
    if carried is not None:
        return stop(result) if carried["status"] is None else Ending(carried["status"])
    if trial.status == Trial.PAUSED or (TRAINING_ITERATION in result and not result.get(DONE)):
        return stop(result)  # its scheduler has dropped it, which may be while it was still saving for a pause
    # It returned, or met the user's stop condition. For Tune, DONE in a result would be one, hence False.
    if not told or trial.should_stop({**flatten_dict(result), DONE: False}):
        return FINISHED
    return None


def ending_by(trial: Trial, state: Future[Any]) -> Ending:
    """The ending of a trial whose trainable was asked for its state: see ``Trainable.get_state``."""
    if state.exception() is not None:
        return FINISHED
    own = state.result().get("last_result") or {}
    return FINISHED if own.get(DONE) else stop(last_result(trial))
