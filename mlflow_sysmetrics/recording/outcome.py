"""How a run ended, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mlflow_sysmetrics.recording.tags import BY_PERSON, ERROR, STOP_REASON, STOPPED_BY


class Outcome(NamedTuple):
    """The status of an ended run: FINISHED, KILLED (stopped early) or FAILED (an error), and tags that say why."""

    status: str
    tags: Mapping[str, str] = {}


FINISHED = Outcome("FINISHED")


def killed(by: str, reason: str) -> Outcome:
    """Of a run that was stopped early. `by` is one of the words in `tags`; the reason is for people."""
    return Outcome("KILLED", {STOPPED_BY: by, STOP_REASON: reason})


def failed(error: BaseException | str) -> Outcome:
    """Of a run that ended with an error. Only the first line of its message is kept."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return Outcome("FAILED", {ERROR: text.partition("\n")[0]})


def ended_by(error: BaseException | None) -> Outcome:
    """Of a run around which this was raised; None: nothing."""
    if error is None:
        return FINISHED
    if isinstance(error, KeyboardInterrupt):
        return killed(BY_PERSON, "interrupted")
    return failed(error)
