"""How a trial ended: by itself, by Tune, by its limits, by a person, or by an error."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.result import DONE, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics.common.redact import redacted_text
from mlflow_sysmetrics.ray_tune.results import PAYLOAD_KEY
from mlflow_sysmetrics.recording import tags
from mlflow_sysmetrics.recording.outcome import FINISHED, Outcome, failed, killed

UNFINISHED = killed(tags.BY_EXPERIMENT_END, "the experiment ended before the trial did")
_RAISED = b"RayTaskError"  # the class, or the cause, of an error that a trial's own code raised
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
    try:  # Pickled, by names of classes in it: unpickled, it would run code.
        error = Path(trial.pickled_error_file).read_bytes()
    except Exception:
        return False
    return _RAISED not in error


def error_outcome(trial: Trial) -> Outcome:
    """The outcome of a trial that raised, or whose process died."""
    return failed(error_line(trial))


def known_outcome(trial: Trial, result: Mapping[str, Any]) -> Outcome | None:
    """The outcome of a trial that did not fail, after this result; None if only the trainable knows it.

    Tune sets DONE in a result when it ends a trial, and a trainable sets it at its own end: only the trainable knows
    which it was. Where it is not set at all, another trial's result has ended this one.
    """
    carried = result.get(PAYLOAD_KEY)
    if carried is not None:
        return _by_tune(result) if carried["status"] is None else Outcome(carried["status"], carried["tags"])
    if trial.status == Trial.PAUSED or (TRAINING_ITERATION in result and not result.get(DONE)):
        return _by_tune(result)  # its scheduler has dropped it, which may be while it was still saving for a pause
    # For Tune, DONE in a result would be one of the user's stop conditions, hence False.
    return FINISHED if trial.should_stop({**flatten_dict(result), DONE: False}) else None


def outcome_by_state(state: Future[Any] | None, result: Mapping[str, Any]) -> Outcome:
    """The outcome of a trial after this result, by the state of its trainable: see ``Trainable.get_state``.

    `state` is None if a function returned. If its process is gone, or does not answer, the trial counts as done.
    """
    is_done = True
    if state is not None:
        with suppress(Exception):
            is_done = state.result(timeout=0)["last_result"][DONE]
    return FINISHED if is_done else _by_tune(result)


def _by_tune(result: Mapping[str, Any]) -> Outcome:
    return killed(tags.BY_TUNE, f"Tune ended it at iteration {result.get(TRAINING_ITERATION)}")
