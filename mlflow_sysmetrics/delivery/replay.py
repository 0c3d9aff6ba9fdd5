"""The one loop that brings the operations of a run to a store: for a live process and for `sync`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.delivery.operations import Operation, text
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.delivery.store import Store
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.tags import OF_AN_END, RUN_KEY

logger = get_logger(__name__)
MAX_ENTRIES, MAX_TEXTS = 1000, 100  # in one request: in all, and of params and tags each
_MAX_NAME = 250  # of a run, in MLflow's databases


class NoParentError(Exception):
    """The run around this one does not exist yet."""


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
        kind, data = waiting[0]
        done = waiting[:1]
        if kind == "create":
            _create(outbox, store, parent_id, data)
        elif kind in ("reopen", "repeat"):
            if kind == "reopen" and not outbox.is_superseded:
                drop_end(str(outbox.run_id), store)
                store.set_status(str(outbox.run_id), "RUNNING", None)
            outbox.stored = {}
        elif kind == "end":
            if not outbox.is_superseded:
                status, end_ms, tags = data
                _send(outbox, store, [RunTag(*item) for item in tags.items()])
                store.set_status(str(outbox.run_id), status, end_ms)
        elif kind == "file":
            _write_file(outbox, store, *data)
        else:
            done = _log_first(outbox, store, waiting) or done  # or: a line that is none of ours
        outbox.forget(done)


def _create(outbox: Outbox, store: Store, parent_id: Callable[[str], str | None], wanted: Mapping[str, Any]) -> None:
    if outbox.run_id is not None:  # `sync` has found it
        return
    experiment_id, tags = wanted["experiment_id"], {**wanted["tags"], RUN_KEY: wanted["key"]}
    if wanted["parent"] is not None:
        parent = parent_id(wanted["parent"])
        if parent is None:
            raise NoParentError("the run around it is still to be created")
        tags[MLFLOW_PARENT_RUN_ID] = parent
    found = store.run_with_key(experiment_id, wanted["key"]) if outbox.failures else None  # whose answer was lost
    outbox.start_ms, name = wanted["start_ms"], text(wanted["name"] or "", _MAX_NAME)
    outbox.run_id = found or store.create_run(experiment_id, wanted["start_ms"], tags, name)


def _write_file(outbox: Outbox, store: Store, path: str, content: str) -> None:
    """Write a file, or leave it out: where artifacts go may refuse it for good, and the run's end comes after it."""
    try:
        store.write_file(str(outbox.run_id), path, content)
    except Exception as error:
        logger.warning("%s is missing in run %r: its artifacts cannot be written. %s", path, outbox.title, error)


def drop_end(run_id: str, store: Store) -> None:
    """Delete what a run says of how it ended before."""
    for name in store.run(run_id).tags:
        if name.startswith(OF_AN_END):
            store.delete_tag(run_id, name)


def _log_first(outbox: Outbox, store: Store, operations: list[Operation]) -> list[Operation]:
    """Write the first operations, as many as fit into one request; return them."""
    entries, taken = list[Any](), list[Operation]()
    for operation in operations:
        added = _entries(outbox, store, operation)
        if added is None or (entries and len(entries) + len(added) > MAX_ENTRIES):
            break
        entries += added
        taken.append(operation)
    _send(outbox, store, entries)
    return taken


def _entries(outbox: Outbox, store: Store, operation: Operation) -> list[Any] | None:
    """What an operation adds to the run, as MLflow's entities; None if it does something else."""
    run_id, (kind, data) = str(outbox.run_id), operation
    if kind == "params":
        return [Param(*item) for item in data.items()]
    if kind == "tags":
        there = store.run(run_id).tags if outbox.is_superseded else {}
        return [RunTag(*item) for item in data.items() if item[0] not in there]
    if kind == "summary":
        time_ms, values, own_since_ms = data
        own_ms = {} if own_since_ms is None else store.run(run_id).times_ms
        own = {name for name in values if own_ms.get(name, -1) >= (own_since_ms or 0)}
        return [Metric(name, value, time_ms, 0) for name, value in values.items() if name not in own]
    if kind != "points":
        return None
    time_ms, step, values = data
    if step is None:
        if outbox.start_ms is None:
            outbox.start_ms = store.run(run_id).start_ms or time_ms
        step = (time_ms - outbox.start_ms) // 100
    elif outbox.stored is not None:  # the run went on, or this is late
        for name in values.keys() - outbox.stored.keys():
            outbox.stored[name] = store.points(run_id, name)
        values = {name: value for name, value in values.items() if (step, value) not in outbox.stored[name]}
    return [Metric(name, value, time_ms, step) for name, value in values.items()]


def _send(outbox: Outbox, store: Store, entries: list[Any]) -> None:
    """Write entries. Of refused ones the halves are sent, until the one that MLflow refuses is alone and left out.

    A metric is refused for its name, so what comes under that name later is left out at once.
    """
    number = len(entries)
    entries = [each for each in entries if type(each) is not Metric or each.key not in outbox.refused_names]
    outbox.refused += number - len(entries)
    if not entries:
        return
    metrics, params, tags = parts = [
        [each for each in entries if type(each) is kind] for kind in (Metric, Param, RunTag)
    ]
    middle = len(entries) // 2
    if len(entries) <= MAX_ENTRIES and len(params) <= MAX_TEXTS and len(tags) <= MAX_TEXTS:
        try:
            store.log_batch(str(outbox.run_id), *parts)
            outbox.sent += len(metrics)
            return
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(INVALID_PARAMETER_VALUE):
                raise
            if not middle:
                logger.warning("MLflow refuses %r; it is left out. %s", entries[0].key, error.message)
                outbox.refused += 1
                outbox.refused_names |= {each.key for each in metrics}
                return
    _send(outbox, store, entries[:middle])
    _send(outbox, store, entries[middle:])
