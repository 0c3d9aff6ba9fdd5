"""What travels in Tune's results, and what of a result goes into a trial's run."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from ray.tune import Trainable
from ray.tune.experiment import Trial
from ray.tune.result import AUTO_RESULT_KEYS, TIMESTEPS_TOTAL, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics.delivery.points import Point, points_now
from mlflow_sysmetrics.redact import redacted_text

PAYLOAD_KEY = "sysmetrics"
STOP_KEY = "sysmetrics_stop"  # in a result that a CriteriaStopper has ended the trial for: tags that say why
MEASURES_ITSELF = "sysmetrics_measures_itself"  # true of a trainable class whose payloads hold its process's series
HAS_FIGURES_SO_FAR = "sysmetrics_has_figures_so_far"  # true of a trainable class that `system_metrics` has made
OWN_KEY = "sysmetrics_own"  # in a result of such a class: the names of figures that are the trainable's own metrics
_GUESSES = " Some common causes include"  # which Ray adds where a process has died
_NOT_METRICS = frozenset(AUTO_RESULT_KEYS) | {
    "done",
    "trial_id",
    "experiment_tag",
    PAYLOAD_KEY,
    STOP_KEY,
    "should_checkpoint",
}


def payload(
    points: Iterable[Point],
    *,
    tags: Mapping[str, str] | None = None,
    status: Literal["FINISHED", "KILLED"] | None = None,
    figures: Mapping[str, float] | None = None,
) -> dict[str, dict[str, Any]]:
    """What a trainable adds to a result so that the callback writes these points, with their own times and steps.

    A trainable class that sends its process's ``system/`` series so has the attribute ``MEASURES_ITSELF``: then it is
    not watched from outside as well.

    Args:
        points: all points since the trial's last result.
        tags: tags for the trial's run.
        status: set it in the last result: FINISHED for a trial that came to its end, KILLED for one that ended itself
            early. A trial that Tune ends without it is recorded as ``KILLED``.
        figures: figures of the whole trial so far. When the trial ends, for any reason, the last ones received are
            written at step 0.
    """
    known = {name: float(value) for name, value in (figures or {}).items()}
    plain = [(name, float(value), int(time_ms), int(step)) for name, value, time_ms, step in points]  # of numpy's, too
    return {PAYLOAD_KEY: {"points": plain, "tags": dict(tags or {}), "status": status, "figures": known}}


def points_of(result: Mapping[str, Any], left_out: Collection[str] = ()) -> list[Point]:
    """Every number of a result that is not Ray's own bookkeeping, finite or not, at its time step or iteration.

    Args:
        result: that a trial has reported.
        left_out: names of figures so far, which `system_metrics` adds: they are of the trial's last process alone.
    """
    step = int(result.get(TIMESTEPS_TOTAL) or result.get(TRAINING_ITERATION) or 0)
    so_far = set(left_out).difference(result.get(OWN_KEY, ()))
    own = {name: value for name, value in result.items() if name not in _NOT_METRICS | so_far}
    figures = {name: float(value) for name, value in flatten_dict(own).items() if isinstance(value, numbers.Real)}
    return points_now(figures, step)


def first_not_finite(points: Iterable[Point]) -> str | None:
    """Describe the first point that is not finite, such as ``loss is nan at step 3``; None if all are finite."""
    return next(
        (f"{each.name} is {each.value} at step {each.step}" for each in points if not math.isfinite(each.value)), None
    )


def error_line(trial: Trial) -> str:
    """Why a trial failed: the last line of its traceback, which is the exception and its message. Never raises."""
    try:
        # The file on this machine: the copy that Trial.get_error() reads is made later.
        line = Path(trial.error_file).read_text().strip().splitlines()[-1]
        return redacted_text(line.partition(_GUESSES)[0])
    except (OSError, TypeError, IndexError, UnicodeError):
        return "unknown error"


def pickled_error(trial: Trial) -> bytes:
    """The exception that a trial failed with, as Tune has pickled it; b"" where it has not. Never raises.

    To look for the names of classes in it, and not to be unpickled: that would run code.
    """
    try:
        return Path(trial.pickled_error_file).read_bytes()
    except (OSError, TypeError, AttributeError):
        return b""


def last_result(trial: Trial) -> dict[str, Any]:
    """The trial's last result; {} before the first. `Trial.last_result` would then wait for the trial's process."""
    result: dict[str, Any] = trial.run_metadata.last_result
    return result


def trainable_class(trial: Trial) -> type[Trainable]:
    """The class of the trainable, into which Tune has wrapped a function."""
    found: type[Trainable] | None = trial.get_trainable_cls()
    return found or Trainable
