"""Which MLflow run this process writes, and where: the one way to find it."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import NamedTuple

import mlflow
from mlflow.environment_variables import MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME, MLFLOW_RUN_ID
from mlflow.tracking import fluent
from mlflow.tracking._tracking_service.utils import _tracking_store_registry
from mlflow.tracking.context.registry import resolve_tags
from mlflow.tracking.fluent import _get_experiment_id, _get_latest_active_run
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

from mlflow_sysmetrics.common.redact import get_logger, redacted
from mlflow_sysmetrics.common.threads import within
from mlflow_sysmetrics.common.time_limits import ANSWER_S
from mlflow_sysmetrics.delivery.store import NoSuchRunError, Store, StoredRun, one_line, why_unknown

logger = get_logger(__name__)
source_tags = functools.cache(resolve_tags)  # user, source, host: the same for all of a process


class RunRef(NamedTuple):
    """Where a run is: its store, its experiment, and its id; None for a run that is still to be created."""

    tracking_uri: str
    experiment_id: str
    run_id: str | None = None


def current_run() -> RunRef:
    """The run that is active here, or else only the experiment in use. Sends no request.

    It is that of this thread, or else the latest of any thread, or else the one that MLFLOW_RUN_ID names, as `mlflow
    run` does.
    """
    uri = mlflow.get_tracking_uri()
    run = _active_run()
    if run is not None:
        return RunRef(uri, run.info.experiment_id, run.info.run_id)
    return RunRef(uri, _experiment_in_use(), os.environ.get(MLFLOW_RUN_ID.name))


def open_store() -> None:
    """Open MLflow's store before anything is measured: a database may be created, which takes seconds of both cores.

    Sends no request to a server. Raises ValueError where MLflow has no kind of store for its address.
    """
    uri = mlflow.get_tracking_uri()
    try:
        _tracking_store_registry.get_store_builder(uri)  # type: ignore[no-untyped-call]
    except UnsupportedModelRegistryStoreURIException:
        raise ValueError(f"tracking_uri={redacted(uri)!r}: {why_unknown(uri)}") from None
    with contextlib.suppress(Exception):  # the writer tells of an outage
        within(ANSWER_S, Store(uri).open)


def find_run(run_id: str | None, store: Store) -> StoredRun:
    """The run with this id, or else the current one.

    A run that is active here is known without asking the store. For any other the store is asked, for some seconds. If
    it does not answer, the run is assumed to exist.

    Raises:
        ValueError: there is no such run, or no such kind of store.
    """
    if run_id is not None and not (isinstance(run_id, str) and run_id):
        raise ValueError(f"run_id={run_id!r}: give a run's id")
    active = _active_run() if store.tracking_uri == mlflow.get_tracking_uri() else None
    if active is not None and run_id in (None, active.info.run_id):
        return StoredRun.of(active)
    wanted = run_id or current_run().run_id
    if not wanted:
        raise ValueError("run_id=None: no run is active; call mlflow.start_run() first, or give a run's id")
    try:
        return within(ANSWER_S, lambda: store.run(wanted))
    except NoSuchRunError as error:
        raise ValueError(f"run_id={wanted!r}: {error}") from None
    except UnsupportedModelRegistryStoreURIException:
        raise ValueError(f"tracking_uri={redacted(store.tracking_uri)!r}: {why_unknown(store.tracking_uri)}") from None
    except Exception as error:  # a database or a network raises anything, and the training has to begin
        logger.warning("MLflow has not said yet whether it has run %s. %s", wanted, one_line(error))
        return StoredRun(wanted)


def _experiment_in_use() -> str:
    """Its id. That in MLFLOW_EXPERIMENT_ID is believed: MLflow would ask the store, for minutes where that is away."""
    named = os.environ.get(MLFLOW_EXPERIMENT_ID.name)
    if named and MLFLOW_EXPERIMENT_NAME.name not in os.environ and fluent._active_experiment_id is None:
        return named
    return str(_get_experiment_id() or "0")


def _active_run() -> mlflow.entities.Run | None:
    return mlflow.active_run() or _get_latest_active_run()  # type: ignore[no-untyped-call]
