"""One tracking store, asked within a time limit. The only module that knows how MLflow makes its requests.

MLflow's client waits two minutes for an answer and repeats a request seven times with growing pauses. Behind a queue
that repeats by itself, that only delays the news that a server is back, and a thread that hangs cannot be stopped.
"""

from __future__ import annotations

import contextvars
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.environment_variables import MLFLOW_RUN_ID
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._tracking_service.utils import _get_store
from mlflow.tracking.fluent import _get_latest_active_run
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from mlflow.utils.mlflow_tags import MLFLOW_USER
from mlflow.utils.rest_utils import http_request_safe

from mlflow_sysmetrics.addresses import get_logger, redacted

logger = get_logger(__name__)
T = TypeVar("T")

_QUESTION_S = 5.0

_NOT_THERE = {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)}


class NoSuchRunError(Exception):
    """The store answered that it has no such run, or that the run was deleted."""


@dataclass(frozen=True)
class RunState:
    """A run as the store has it: the last step of each metric."""

    run_id: str
    steps: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> RunState:
        """The state that MLflow's own object holds, which is that of the moment when it was fetched."""
        return cls(run.info.run_id, {metric.key: metric.step for metric in run.data.to_proto().metrics})


def one_line(error: BaseException) -> str:
    """What went wrong: the first line, and of a database what it said, without the statement and its values."""
    return str(getattr(error.__cause__, "orig", None) or error).strip().partition("\n")[0]


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Leave out the traceback that MLflow logs of each failed request to a database: ours are repeated and told."""
    return not (record.threadName or "").startswith("mlflow-sysmetrics-")


class Store:
    """The store at an address. Making one asks nothing of it; a server is given `timeout_s` for each answer.

    Other stores than servers, such as SQLite files, are used through MLflow's client as it is.
    """

    def __init__(self, tracking_uri: str, timeout_s: float = 5.0) -> None:
        self.tracking_uri, self.timeout_s = tracking_uri, timeout_s
        self._connected: tuple[MlflowClient, RestStore | None] | None = None

    def log_batch(self, run_id: str, metrics: Iterable[Any], params: Iterable[Any], tags: Iterable[Any]) -> None:
        """Write a batch. MlflowException if the store does not take it."""
        client, server = self._connect()
        if server is None:
            client.log_batch(run_id, list(metrics), list(params), list(tags))
        else:
            body = {
                "run_id": run_id,
                "metrics": [
                    {"key": each.key, "value": each.value, "timestamp": each.timestamp, "step": each.step}
                    for each in metrics
                ],
                "params": [{"key": each.key, "value": each.value} for each in params],
                "tags": [{"key": each.key, "value": each.value} for each in tags],
            }
            self._request(server, "runs/log-batch", "POST", json=body)

    def run(self, run_id: str) -> RunState:
        """A run's state. NoSuchRunError if it is not there; MlflowException if the store does not say."""
        client, server = self._connect()
        try:
            if server is None:
                run = client.get_run(run_id)
                stage, state = run.info.lifecycle_stage, RunState.of(run)
            else:
                found = self._request(server, "runs/get", "GET", params={"run_id": run_id}).json()["run"]
                metrics = found.get("data", {}).get("metrics", ())
                steps = {metric["key"]: int(metric.get("step", 0)) for metric in metrics}
                stage, state = found["info"].get("lifecycle_stage"), RunState(run_id, steps)
        except MlflowException as error:
            if error.error_code in _NOT_THERE:
                raise NoSuchRunError(error.message) from None
            raise
        if stage == "deleted":
            raise NoSuchRunError(f"run {run_id} was deleted")
        return state

    def create_run(self, experiment_id: str, start_ms: int, tags: Mapping[str, str], name: str | None) -> str:
        """Create a run that started at this unix time in milliseconds, and return its id."""
        client, server = self._connect()
        if server is None:
            return str(client.create_run(experiment_id, start_ms, dict(tags), name).info.run_id)
        listed = [{"key": key, "value": value} for key, value in tags.items()]
        body = {"experiment_id": experiment_id, "start_time": start_ms, "tags": listed, "run_name": name}
        body["user_id"] = tags.get(MLFLOW_USER, "unknown")  # as MLflow's client says it
        answer = self._request(server, "runs/create", "POST", json=body)
        return str(answer.json()["run"]["info"]["run_id"])

    def created_run(self, experiment_id: str, start_ms: int, tags: Mapping[str, str]) -> str | None:
        """The id of a run that an earlier request created, whose answer was lost; None if there is none."""
        conditions = [f"attributes.start_time = {start_ms}"]
        own = {key: value for key, value in tags.items() if key.startswith("sysmetrics.") and "'" not in value}
        conditions += [f"tags.`{key}` = '{value}'" for key, value in own.items()]
        return self._search(experiment_id, " and ".join(conditions))

    def set_status(self, run_id: str, status: str, end_ms: int | None) -> None:
        """End a run at this unix time in milliseconds, or, with ``RUNNING`` and None, have it go on."""
        client, server = self._connect()
        if server is not None:
            body = {"run_id": run_id, "status": status} | ({} if end_ms is None else {"end_time": end_ms})
            self._request(server, "runs/update", "POST", json=body)
        elif end_ms is None:
            client.update_run(run_id, status)
        else:
            client.set_terminated(run_id, status, end_ms)

    def _search(self, experiment_id: str, conditions: str) -> str | None:
        client, server = self._connect()
        if server is None:
            return next(
                (run.info.run_id for run in client.search_runs([experiment_id], conditions, max_results=1)), None
            )
        body = {"experiment_ids": [experiment_id], "filter": conditions, "max_results": 1}
        found = self._request(server, "runs/search", "POST", json=body).json().get("runs", ())
        return next((run["info"]["run_id"] for run in found), None)

    def _connect(self) -> tuple[MlflowClient, RestStore | None]:
        if self._connected is None:
            store = _get_store(self.tracking_uri)  # type: ignore[no-untyped-call]
            client = MlflowClient(self.tracking_uri)
            logging.getLogger("mlflow.store.db.utils").addFilter(_is_not_ours)
            self._connected = client, store if isinstance(store, RestStore) else None
        return self._connected

    def _request(self, server: RestStore, endpoint: str, method: str, **how: Any) -> Any:
        path = f"/api/2.0/mlflow/{endpoint}"
        how |= {"timeout": self.timeout_s, "retry_timeout_seconds": self.timeout_s, "max_retries": 0}
        return http_request_safe(server.get_host_creds(), path, method, **how)  # type: ignore[no-untyped-call]


def find_run(run_id: str | None, store: Store) -> RunState:
    """The run with this id, or else the active one, or that in MLFLOW_RUN_ID.

    The active run of this thread, or else the latest of any thread, is known without asking the store. About any other
    the store is asked, for some seconds; one that does not answer is believed to have it.

    Raises:
        ValueError: there is no such run, or no such kind of store.
    """
    if run_id is not None and not (isinstance(run_id, str) and run_id):
        raise ValueError(f"run_id={run_id!r}: give a run's id")
    active = mlflow.active_run() or _get_latest_active_run()  # type: ignore[no-untyped-call]
    if active is not None and run_id in (None, active.info.run_id) and store.tracking_uri == mlflow.get_tracking_uri():
        return RunState.of(active)
    named = run_id or (active.info.run_id if active is not None else os.environ.get(MLFLOW_RUN_ID.name))
    if not named:
        raise ValueError("run_id=None: no run is active; call mlflow.start_run() first, or give a run's id")
    try:
        return within(_QUESTION_S, lambda: store.run(named))
    except NoSuchRunError as error:
        raise ValueError(f"run_id={named!r}: {error}") from None
    except UnsupportedModelRegistryStoreURIException:
        raise ValueError(f"tracking_uri={redacted(store.tracking_uri)!r}: MLflow knows no such kind of store") from None
    except Exception as error:  # a database or a network raises anything, and the training has to begin
        logger.warning("it is not known yet whether MLflow has run %s. %s", named, error)
        return RunState(named)


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return or raise what the call does, or TimeoutError: then its thread goes on alone.

    Where no thread can be started, as at the end of the interpreter, it takes as long as it takes.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def answer() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    run = contextvars.copy_context().run  # MLflow keeps its workspace there
    try:
        threading.Thread(target=run, args=(answer,), name="mlflow-sysmetrics-question", daemon=True).start()
    except RuntimeError:
        return call()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]
