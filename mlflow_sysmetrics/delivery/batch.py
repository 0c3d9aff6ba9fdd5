"""One request to MLflow: fill it, send it, and leave out entries that MLflow refuses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode

from mlflow_sysmetrics.delivery.backlog import Backlog
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.redact import get_logger, redacted_text

logger = get_logger(__name__)

MAX_ENTRIES = 1000  # in one request: points, parameters and tags
MAX_PARAMS = MAX_TAGS = 100
MAX_PARAM_LENGTH, MAX_TAG_LENGTH = 6000, 5000


class Batch(NamedTuple):
    """The content of one request."""

    points: list[Point]
    params: dict[str, str]
    tags: dict[str, str]

    @classmethod
    def of(cls, waiting: Backlog, params: Mapping[str, str], tags: Mapping[str, str]) -> Batch:
        """As much of the front of what waits as fits into one request."""
        params = dict(itertools.islice(params.items(), MAX_PARAMS))
        tags = dict(itertools.islice(tags.items(), MAX_TAGS))
        return cls(waiting.peek(MAX_ENTRIES - len(params) - len(tags)), params, tags)


def param_texts(values: Mapping[str, object] | None) -> dict[str, str]:
    """Parameters as MLflow takes them: cut to its limit, without passwords of addresses."""
    return _texts(values, MAX_PARAM_LENGTH)


def tag_texts(values: Mapping[str, object] | None) -> dict[str, str]:
    """Tags as MLflow takes them: cut to its limit, without passwords of addresses."""
    return _texts(values, MAX_TAG_LENGTH)


def send(store: Store, run_id: str, batch: Batch) -> int:
    """Write a batch. Return the number of entries that were left out because MLflow refuses their content.

    A refused batch is halved until the refused entry is alone.

    Raises:
        NoSuchRunError: the run does not exist, or is deleted.
        Exception: any other error.
    """
    return _send(store, run_id, batch, is_there=False)


def _send(store: Store, run_id: str, batch: Batch, *, is_there: bool = True) -> int:
    try:
        store.log_batch(
            run_id,
            [Metric(point.name, point.value, point.time_ms, point.step) for point in batch.points],
            [Param(name, value) for name, value in batch.params.items()],
            [RunTag(name, value) for name, value in batch.tags.items()],
        )
    except MlflowException as error:
        if not is_there:
            store.raise_if_gone(run_id, error)
        if error.error_code != ErrorCode.Name(INVALID_PARAMETER_VALUE):
            raise
        if sum(map(len, batch)) == 1:
            logger.warning("MLflow refuses %s; it is left out. %s", next(filter(None, batch)), error.message)
            return 1
        return sum(_send(store, run_id, half) for half in _halves(batch))
    return 0


def _texts(values: Mapping[str, object] | None, length: int) -> dict[str, str]:
    return {name: redacted_text(str(value))[:length] for name, value in (values or {}).items()}


def _halves(batch: Batch) -> Iterator[Batch]:
    """The two halves of a batch of at least two entries."""
    entries: list[tuple[int, Any]] = [
        (place, entry)
        for place, part in enumerate((batch.points, batch.params.items(), batch.tags.items()))
        for entry in part
    ]
    middle = len(entries) // 2
    for half in (entries[:middle], entries[middle:]):
        points, params, tags = ([entry for place, entry in half if place == part] for part in range(3))
        yield Batch(points, dict(params), dict(tags))
