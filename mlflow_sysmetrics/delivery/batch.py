"""One request to MLflow: what fits into it, and what to do when MLflow refuses a part of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode

from mlflow_sysmetrics.addresses import get_logger
from mlflow_sysmetrics.delivery.points import Point

logger = get_logger(__name__)

BATCH_METRICS = 1000  # the most that MLflow takes in one log_batch
BATCH_PARAMS = BATCH_TAGS = 100


class BatchStore(Protocol):
    """The part of ``mlflow.MlflowClient`` that takes batches."""

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> Any: ...


class Batch(NamedTuple):
    """What goes into one request."""

    points: list[Point]
    params: dict[str, str]
    tags: dict[str, str]

    @classmethod
    def of(cls, points: Iterable[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> Batch:
        """As much of the front of what waits as fits into one request."""
        return cls(
            list(itertools.islice(points, BATCH_METRICS)),
            dict(itertools.islice(params.items(), BATCH_PARAMS)),
            dict(itertools.islice(tags.items(), BATCH_TAGS)),
        )


def send(store: BatchStore, run_id: str, batch: Batch) -> int:
    """Write a batch; return how many of its entries were left out because MLflow refuses them for what they are.

    A batch that is refused is halved until the culprit is alone. Raises whatever else goes wrong.
    """
    try:
        store.log_batch(
            run_id,
            [Metric(point.name, point.value, point.time_ms, point.step) for point in batch.points],
            [Param(name, value) for name, value in batch.params.items()],
            [RunTag(name, value) for name, value in batch.tags.items()],
        )
    except MlflowException as error:
        # The same code says that the run was deleted: no part of the batch is at fault then, and it may be restored.
        if error.error_code != ErrorCode.Name(INVALID_PARAMETER_VALUE) or "'active' state" in error.message:
            raise
        if sum(map(len, batch)) == 1:
            logger.warning("MLflow refuses %s; it is left out. %s", next(filter(None, batch)), error.message)
            return 1
        return sum(send(store, run_id, half) for half in _halves(batch))
    return 0


def _halves(batch: Batch) -> Iterator[Batch]:
    """Two batches that together hold what one of at least two entries did."""
    entries: list[tuple[int, Any]] = [
        (place, entry)
        for place, part in enumerate((batch.points, batch.params.items(), batch.tags.items()))
        for entry in part
    ]
    middle = len(entries) // 2
    for half in (entries[:middle], entries[middle:]):
        points, params, tags = ([entry for place, entry in half if place == part] for part in range(3))
        yield Batch(points, dict(params), dict(tags))
