"""The runs that doors make in this process: where they belong, and the thread that writes them."""

from __future__ import annotations

import functools
import os
import threading
import uuid
from collections.abc import Mapping
from multiprocessing.util import Finalize
from typing import NamedTuple

import mlflow
from mlflow.environment_variables import MLFLOW_RUN_ID
from mlflow.tracking._tracking_service.utils import _tracking_store_registry
from mlflow.tracking.context.registry import resolve_tags
from mlflow.tracking.fluent import _get_experiment_id, _get_latest_active_run
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.delivery.operations import Operation, now_ms, texts
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.delivery.store import Store, why_unknown
from mlflow_sysmetrics.delivery.writer import Writer
from mlflow_sysmetrics.redact import redacted

_AT_EXIT_S = 5.0
_writers: dict[tuple[int, str], Writer] = {}  # by process and store
_lock = threading.Lock()
source_tags = functools.cache(resolve_tags)  # user, source, host: the same for all of a process


class Place(NamedTuple):
    """Where this process logs: a store, an experiment there, and the run that is active, if one is."""

    tracking_uri: str
    experiment_id: str
    run_id: str | None = None


def check_store() -> None:
    """Raise ValueError where MLflow has no kind of store for its address. Sends no request."""
    uri = mlflow.get_tracking_uri()
    try:
        _tracking_store_registry.get_store_builder(uri)  # type: ignore[no-untyped-call]
    except UnsupportedModelRegistryStoreURIException:
        raise ValueError(f"tracking_uri={redacted(uri)!r}: {why_unknown(uri)}") from None


def place_here() -> Place:
    """The active run, this thread's or else the latest of any or that of ``mlflow run``, or the experiment in use."""
    uri, run = mlflow.get_tracking_uri(), mlflow.active_run() or _get_latest_active_run()  # type: ignore[no-untyped-call]
    if run is not None:
        return Place(uri, run.info.experiment_id, run.info.run_id)
    return Place(uri, str(_get_experiment_id() or "0"), os.environ.get(MLFLOW_RUN_ID.name))


def write_to(outbox: Outbox, tracking_uri: str) -> Outbox:
    """Have what is added to this outbox delivered within seconds, or at the end of the process, or by `sync`."""
    key = (os.getpid(), tracking_uri)  # a forked child has a thread of its own
    with _lock:
        if key not in _writers:
            _writers[key] = writer = Writer(Store(tracking_uri))
            writer.start()
            Finalize(None, _close, [writer], exitpriority=0)  # also of a forked process, which skips atexit
    _writers[key].attach(outbox)
    return outbox


def child_run(place: Place, name: str, tags: Mapping[str, object]) -> Outbox:
    """Have a run created, below that of the place if there is one; what it is to get is added to the outbox."""
    below = {} if place.run_id is None else {MLFLOW_PARENT_RUN_ID: place.run_id}
    about = {"experiment_id": place.experiment_id, "start_ms": now_ms(), "name": name}
    known = {"key": uuid.uuid4().hex, "parent": None, "tags": texts("tags", {**source_tags(), **below, **tags})}
    outbox = Outbox(title=name)
    outbox.add([Operation("create", {**about, **known})])
    return write_to(outbox, place.tracking_uri)


def _close(writer: Writer) -> None:
    if not writer.close(_AT_EXIT_S):
        writer.keep()
