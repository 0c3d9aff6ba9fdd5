"""What travels in Tune's results, and what of a result goes into a trial's run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal

from ray.tune.result import AUTO_RESULT_KEYS, TIMESTEPS_TOTAL, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics.delivery.operations import Point, points_now

PAYLOAD_KEY = "sysmetrics"
MEASURES_ITSELF = "sysmetrics_measures_itself"  # true of a trainable class whose payloads hold its process's series
_NOT_METRICS = {*AUTO_RESULT_KEYS, "done", "trial_id", "experiment_tag", PAYLOAD_KEY, "should_checkpoint"}


def payload(
    points: Iterable[Point],
    *,
    tags: Mapping[str, str] | None = None,
    status: Literal["FINISHED", "KILLED"] | None = None,
    summary: Mapping[str, float] | None = None,
) -> dict[str, dict[str, Any]]:
    """What a trainable adds to a result so that the callback writes these points, with their own times and steps.

    A trainable class that sends its process's ``system/`` series so has the attribute that ``MEASURES_ITSELF`` names:
    then it is not measured from outside as well.

    Args:
        points: all points since the trial's last result.
        tags: tags for the trial's run.
        status: set it in the last result: FINISHED for a trial that came to its end, KILLED for one that ended itself
            early. A trial that Tune ends without it is recorded as ``KILLED``.
        summary: of the whole trial so far. When the trial ends, for any reason, the last one received is written as it
            is. So a trainable that goes on from a checkpoint keeps its sums there; one that begins again, after a
            failure or ``Tuner.restore``, tells what its last attempt cost.
    """
    plain = [(name, float(value), int(ms), step if step is None else int(step)) for name, value, ms, step in points]
    known = {name: float(value) for name, value in (summary or {}).items()}  # plain values, where numpy's are given
    return {PAYLOAD_KEY: {"points": plain, "tags": dict(tags or {}), "status": status, "summary": known}}


def points_of(result: Mapping[str, Any]) -> list[Point]:
    """Every number of a result that is not Ray's own bookkeeping, finite or not, at its time step or iteration.

    A number is what `float` takes, such as a 0-d array or tensor, but no text.
    """
    step = int(result.get(TIMESTEPS_TOTAL) or result.get(TRAINING_ITERATION) or 0)
    own = flatten_dict({str(name): value for name, value in result.items() if name not in _NOT_METRICS})
    numbers = dict[str, float]()
    for name, value in own.items():
        with suppress(Exception):  # what a type of the user's raises, as torch does for a tensor of several values
            if not isinstance(value, (str, bytes)):
                numbers[name] = float(value)
    return points_now(numbers, step)
