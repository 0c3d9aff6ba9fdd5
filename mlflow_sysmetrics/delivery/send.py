"""The one loop that brings what waits for a run to a store: for a live process and for `sync`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.delivery.operations import Batch, Create, Operation, Point, Status
from mlflow_sysmetrics.delivery.run import Run
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.recording.tags import OF_AN_END, RUN_KEY

logger = get_logger(__name__)
_MAX_BATCHES = 100  # that are forgotten at once, when all of them are written
_MAX_ENTRIES = 1000  # in one request
_MAX_TEXTS = 100  # in one request: params and tags each


def send(run: Run, store: Store) -> None:
    """Write everything that waits for a run, in order.

    Errors of the store pass through: then call this again. What is written is dropped at once. Nothing is lost or
    stored twice: a database ignores points that it has, and a run that was created although the answer was lost is
    found by its key.

    Raises:
        LookupError: the run around this one does not exist yet.
        NoSuchRunError: the run does not exist, or is deleted.
    """
    while waiting := run.peek(_MAX_BATCHES):
        first = waiting[0]
        done = waiting[:1]
        if isinstance(first, Create):
            _create(run, store, first)
        elif isinstance(first, Status):
            _set_status(run, store, first)
        else:
            done = _log_batches(run, store, waiting)
        run.forget(done)


def _create(run: Run, store: Store, create: Create) -> None:
    run.start_ms = create.start_ms
    if run.run_id is not None:  # `sync` has found it
        return
    tags = {RUN_KEY: create.key}
    if create.parent is not None:
        parent_id = store.run_with_key(create.experiment_id, create.parent)
        if parent_id is None:
            raise LookupError("the run around it is still to be created")
        tags[MLFLOW_PARENT_RUN_ID] = parent_id
    if run.failures:  # the answer to an earlier attempt may have been lost
        run.run_id = store.run_with_key(create.experiment_id, create.key)
    if run.run_id is None:
        run.run_id = store.create_run(create.experiment_id, create.start_ms, tags, create.name, create.user)


def _set_status(run: Run, store: Store, status: Status) -> None:
    """End the run, or have it go on, unless it has ended later. The tags of an earlier end are deleted."""
    run_id = str(run.run_id)
    found = store.run(run_id)
    if found.end_ms is not None:
        if found.end_ms >= status.time_ms:
            return
        for name in found.tags:
            if name.startswith(OF_AN_END) and name not in status.tags:
                store.delete_tag(run_id, name)
    _log(run, store, [RunTag(name, value) for name, value in status.tags.items()])
    store.set_status(run_id, status.status, None if status.status == "RUNNING" else status.time_ms)


def _log_batches(run: Run, store: Store, waiting: Iterable[Operation]) -> list[Operation]:
    """Write the batches that come first, together, and return them."""
    batches: list[Operation] = []
    entries: list[Any] = []
    for batch in waiting:
        if not isinstance(batch, Batch):
            break
        batches.append(batch)
        entries += _entries(run, store, batch)
    _log(run, store, entries)
    return batches


def _entries(run: Run, store: Store, batch: Batch) -> Iterable[Any]:
    """What a batch adds to the run."""
    for point in batch.points:
        yield Metric(point.name, point.value, point.time_ms, _step(run, store, point))
    for name, value in batch.params.items():
        yield Param(name, value)
    for name, value in batch.tags.items():
        yield RunTag(name, value)
    since_ms = batch.unless_logged_since_ms
    own: set[str] = set()
    if since_ms is not None:
        own = {name for name, logged_ms in store.run(str(run.run_id)).times_ms.items() if logged_ms >= since_ms}
    for name, number in batch.summary.items():
        if name not in own:
            yield Metric(name, number, batch.time_ms, 0)


def _step(run: Run, store: Store, point: Point) -> int:
    if point.step is not None:
        return point.step
    if run.start_ms is None:
        run.start_ms = store.run(str(run.run_id)).start_ms or point.time_ms
    return (point.time_ms - run.start_ms) // 100


def _log(run: Run, store: Store, entries: list[Any]) -> None:
    """Write entries. Of refused ones the halves are sent, until the one that MLflow refuses is alone and left out.

    A metric is refused for its name, so what comes under that name later is left out at once.
    """
    allowed = [entry for entry in entries if type(entry) is not Metric or entry.key not in run.refused_names]
    if not allowed:
        return
    metrics = [entry for entry in allowed if type(entry) is Metric]
    params = [entry for entry in allowed if type(entry) is Param]
    tags = [entry for entry in allowed if type(entry) is RunTag]
    if len(allowed) <= _MAX_ENTRIES and len(params) <= _MAX_TEXTS and len(tags) <= _MAX_TEXTS:
        try:
            store.log_batch(str(run.run_id), metrics, params, tags)
            run.sent += len(metrics)
            return
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(INVALID_PARAMETER_VALUE):
                raise
            if len(allowed) == 1:
                logger.warning("MLflow refuses %r; it is left out. %s", allowed[0].key, error.message)
                run.refused_names |= {metric.key for metric in metrics}
                return
    middle = len(allowed) // 2
    _log(run, store, allowed[:middle])
    _log(run, store, allowed[middle:])
