"""The one loop that brings the operations of a run to a store: for a live process and for `sync`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.delivery.operations import (
    Create,
    Delete,
    DeleteTag,
    End,
    File,
    Operation,
    Params,
    Points,
    Reopen,
    Repeat,
    Summary,
    Tags,
    text,
)
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.delivery.store import NoSuchRunError, Store
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.tags import OF_AN_END, RUN_KEY

logger = get_logger(__name__)
MAX_ENTRIES = 1000  # in one request
_MAX_TEXTS = 100  # in one request: params and tags each
_MAX_NAME = 250  # of a run, in MLflow's databases


class NoParentError(Exception):
    """The run around this one does not exist yet. `key` is that run's."""

    def __init__(self, key: str) -> None:
        super().__init__("the run around it is still to be created")
        self.key = key


def replay(outbox: Outbox, store: Store, parent_id: Callable[[str], str | None]) -> None:
    """Write everything that waits for a run, in order. Errors of the store pass through: then call this again.

    What is written is dropped at once. Nothing is lost or stored twice: the store ignores points that it has, and a run
    that was created although the answer was lost is found by its key. What is superseded never changes the end of the
    run, and only adds what that lacks. `parent_id` gives the id of a run by its key, or None while it does not exist.

    Raises:
        NoParentError: the run around this one does not exist yet.
        NoSuchRunError: the run does not exist, or is deleted.
    """
    while waiting := outbox.peek(MAX_ENTRIES):
        done = _write_batch(outbox, store, waiting)
        if not done:
            _apply(outbox, store, waiting[0], parent_id)
            done = waiting[:1]
        outbox.forget(done)


def drop_end(run_id: str, store: Store) -> None:
    """Delete what a run says of how it ended before."""
    for name in store.run(run_id).tags:
        if name.startswith(OF_AN_END):
            store.delete_tag(run_id, name)


def _create(outbox: Outbox, store: Store, create: Create, parent_id: Callable[[str], str | None]) -> None:
    if outbox.run_id is not None:  # `sync` has found it
        return
    tags = {**create.tags, RUN_KEY: create.key}
    if create.parent is not None:
        parent = parent_id(create.parent)
        if parent is None:
            raise NoParentError(create.parent)
        tags[MLFLOW_PARENT_RUN_ID] = parent
    if outbox.failures:  # the answer to an earlier attempt may have been lost
        outbox.run_id = store.run_with_key(create.experiment_id, create.key)
    if outbox.run_id is None:
        name = text(create.name or "", _MAX_NAME)
        try:
            outbox.run_id = store.create_run(create.experiment_id, create.start_ms, tags, name)
        except NoSuchRunError:
            if not store.has_experiment(create.experiment_id):
                raise
            # A tag is refused, which is to cost itself alone.
            first = {tag: value for tag, value in tags.items() if tag == RUN_KEY or tag.startswith("mlflow.")}
            outbox.run_id = store.create_run(create.experiment_id, create.start_ms, first, name)
            _send(outbox, store, [RunTag(*tag) for tag in tags.items() if tag[0] not in first])
    outbox.start_ms = create.start_ms


def _apply(outbox: Outbox, store: Store, operation: Operation, parent_id: Callable[[str], str | None]) -> None:
    """Do what needs a request of its own."""
    run_id = str(outbox.run_id)
    match operation:
        case Create():
            _create(outbox, store, operation, parent_id)
        case Reopen():
            if not outbox.is_superseded:
                drop_end(run_id, store)
                store.set_status(run_id, "RUNNING", None)
            outbox.stored = {}
        case Repeat():
            outbox.stored = {}
        case DeleteTag(name):
            if name in store.run(run_id).tags:
                store.delete_tag(run_id, name)
        case File(path, content):
            try:
                store.write_file(run_id, path, content)
            except Exception as error:  # where artifacts go may refuse it for good, and the run's end comes after it
                logger.warning("%s is missing in run %r: it cannot be written. %s", path, outbox.title, error)
        case End(status, time_ms, tags):
            if not outbox.is_superseded:
                _send(outbox, store, [RunTag(name, value) for name, value in tags.items()])
                store.set_status(run_id, status, time_ms)
        case Delete():
            store.delete_run(run_id)


def _write_batch(outbox: Outbox, store: Store, operations: list[Operation]) -> list[Operation]:
    """Write the first operations, as many as fit into one request; return them."""
    entries: list[Any] = []
    taken: list[Operation] = []
    for operation in operations:
        added = _entries(outbox, store, operation)
        if added is None or (entries and len(entries) + len(added) > MAX_ENTRIES):
            break
        entries += added
        taken.append(operation)
    _send(outbox, store, entries)
    return taken


def _entries(outbox: Outbox, store: Store, operation: Operation) -> list[Any] | None:
    """What an operation adds to a batch; None for one that needs a request of its own."""
    run_id = str(outbox.run_id)
    match operation:
        case Params(values):
            return [Param(name, value) for name, value in values.items()]
        case Tags(values):
            there = store.run(run_id).tags if outbox.is_superseded else {}
            return [RunTag(name, value) for name, value in values.items() if name not in there]
        case Summary(time_ms, numbers, own_since_ms):
            own: set[str] = set()
            if own_since_ms is not None:
                own = {name for name, logged_ms in store.run(run_id).times_ms.items() if logged_ms >= own_since_ms}
            return [Metric(name, value, time_ms, 0) for name, value in numbers.items() if name not in own]
        case Points():
            return _point_entries(outbox, store, operation)
    return None


def _point_entries(outbox: Outbox, store: Store, points: Points) -> list[Any]:
    run_id = str(outbox.run_id)
    step = points.step
    values = points.values
    if step is None:
        if outbox.start_ms is None:
            outbox.start_ms = store.run(run_id).start_ms or points.time_ms
        step = (points.time_ms - outbox.start_ms) // 100
    elif outbox.stored is not None:  # the run went on, or this is late
        for name in values.keys() - outbox.stored.keys():
            outbox.stored[name] = {(at, _rounded(there)) for at, there in store.points(run_id, name)}
        values = {name: value for name, value in values.items() if (step, _rounded(value)) not in outbox.stored[name]}
    return [Metric(name, value, points.time_ms, step) for name, value in values.items()]


def _rounded(value: float) -> float:
    """To ten digits: what is computed again, on another machine, may differ in the last one."""
    return float(f"{value:.9e}")


def _send(outbox: Outbox, store: Store, entries: list[Any]) -> None:
    """Write entries. Of refused ones the halves are sent, until the one that MLflow refuses is alone and left out.

    A metric is refused for its name, so what comes under that name later is left out at once.
    """
    allowed = [entry for entry in entries if type(entry) is not Metric or entry.key not in outbox.refused_names]
    outbox.refused += len(entries) - len(allowed)
    if not allowed:
        return
    metrics = [entry for entry in allowed if type(entry) is Metric]
    params = [entry for entry in allowed if type(entry) is Param]
    tags = [entry for entry in allowed if type(entry) is RunTag]
    if len(allowed) <= MAX_ENTRIES and len(params) <= _MAX_TEXTS and len(tags) <= _MAX_TEXTS:
        try:
            store.log_batch(str(outbox.run_id), metrics, params, tags)
            outbox.sent += len(metrics)
            return
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(INVALID_PARAMETER_VALUE):
                raise
            if len(allowed) == 1:
                logger.warning("MLflow refuses %r; it is left out. %s", allowed[0].key, error.message)
                outbox.refused += 1
                outbox.refused_names |= {metric.key for metric in metrics}
                return
    middle = len(allowed) // 2
    _send(outbox, store, allowed[:middle])
    _send(outbox, store, allowed[middle:])
