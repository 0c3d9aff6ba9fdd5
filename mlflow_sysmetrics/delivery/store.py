"""One tracking store, asked within a time limit: which of MLflow's requests are sent to it, and what they answer.

MLflow's client waits two minutes for an answer and repeats a request seven times with growing pauses. The writer
repeats requests itself, and has to notice soon when a server is back; and a thread that hangs cannot be stopped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run, RunStatus, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.protos.service_pb2 import LogBatch
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._tracking_service.utils import _get_store
from mlflow.utils.proto_json_utils import parse_dict
from mlflow.utils.rest_utils import http_request, verify_rest_response

from mlflow_sysmetrics.common.redact import sqlite_file
from mlflow_sysmetrics.common.time_limits import ANSWER_S
from mlflow_sysmetrics.recording.tags import RUN_KEY

_NOT_THERE = {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)}


def no_experiment(name: str) -> str:
    """The error where an experiment is not there, for the user."""
    return f"experiment {name!r} does not exist, or was deleted; restore it, or name another one"


class NoSuchRunError(Exception):
    """The store answered that it has no such run, or that somebody has deleted it."""


@dataclass(frozen=True)
class StoredRun:
    """A run as the store has it: its tags, and of each metric the last value and its unix time in ms.

    `start_ms` and `end_ms` are in unix ms; the latter is None while the run goes on.
    """

    run_id: str
    experiment_id: str = ""
    start_ms: int | None = None
    status: str = "RUNNING"
    end_ms: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    times_ms: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> StoredRun:
        """What MLflow's own object holds, which is as old as the object."""
        info = run.info
        has_ended = RunStatus.is_terminated(RunStatus.from_string(info.status))
        values: dict[str, float] = {}
        times_ms: dict[str, int] = {}
        for metric in run.data.to_proto().metrics:
            values[metric.key] = metric.value
            times_ms[metric.key] = metric.timestamp
        return cls(
            info.run_id,
            info.experiment_id,
            info.start_time,
            info.status,
            info.end_time if has_ended else None,
            values,
            times_ms,
            dict(run.data.tags),
        )


def one_line(error: BaseException) -> str:
    """The first line of an error; of a database error its own message, without the statement and its values."""
    return str(getattr(error.__cause__, "orig", None) or error).strip().partition("\n")[0]


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Drop the traceback that MLflow logs for each failed request of ours to a database: the writer tells the user."""
    return not (record.threadName or "").startswith("mlflow-sysmetrics-")


class _TimedRestStore(RestStore):
    """MLflow's client of a server, with one attempt for each request and a time limit for its answer."""

    def __init__(self, get_host_creds: Callable[[], Any], timeout_s: Callable[[], float]) -> None:
        super().__init__(get_host_creds)  # type: ignore[no-untyped-call]
        self._timeout_s = timeout_s

    def log_batch(self, run_id: str, metrics: Iterable[Any], params: Iterable[Any], tags: Iterable[Any]) -> None:
        """Write a batch. MLflow's own way takes 11 ms of the training's processor for 1000 points, this one 1 ms."""
        batch = {
            "run_id": run_id,
            "metrics": [
                {"key": it.key, "value": it.value, "timestamp": it.timestamp, "step": it.step} for it in metrics
            ],
            "params": [dict(param) for param in params],
            "tags": [dict(tag) for tag in tags],
        }
        self._call_endpoint(LogBatch, json.dumps(batch))

    def _call_endpoint(self, api: Any, json_body: Any = None, *others: Any, **more: Any) -> Any:
        path, method = self._METHOD_TO_INFO[api]
        seconds = self._timeout_s()
        arguments = {
            "timeout": seconds,
            "retry_timeout_seconds": seconds,
            "max_retries": 0,
            "params" if method == "GET" else "json": json.loads(json_body),
        }
        answer = http_request(self.get_host_creds(), path, method, **arguments)  # type: ignore[no-untyped-call]
        if not answer.content:  # cut off before its first byte: MLflow would take it for a success
            raise MlflowException(f"the answer with status {answer.status_code} is empty")
        verify_rest_response(answer, path)
        response = api.Response()
        parse_dict(answer.json(), response)  # type: ignore[no-untyped-call]
        return response


class Store:
    """The store at an address. Making one sends no request. A server has `timeout_s` for each answer.

    Other stores than servers, such as SQLite files, have no time limit. Each method raises NoSuchRunError if the run is
    not there, or deleted; MlflowException, or what a database raises, if the store does not do it.
    """

    def __init__(self, tracking_uri: str, timeout_s: float = ANSWER_S) -> None:
        self.tracking_uri = tracking_uri
        self.timeout_s = timeout_s
        self._connected: Any = None

    def run(self, run_id: str) -> StoredRun:
        run = self._ask("get_run", run_id)
        if run.info.lifecycle_stage == LifecycleStage.DELETED:
            raise NoSuchRunError(f"run {run_id} was deleted")
        return StoredRun.of(run)

    def create_run(
        self, experiment_id: str, start_ms: int, tags: Mapping[str, str], name: str | None, user: str = ""
    ) -> str:
        """Create a run that started at this unix time in milliseconds, and return its id.

        NoSuchRunError where the experiment does not exist, or was deleted.
        """
        listed = [RunTag(key, value) for key, value in tags.items()]
        return str(self._ask("create_run", experiment_id, user or "unknown", start_ms, listed, name).info.run_id)

    def has_experiment(self, experiment_id: str) -> bool:
        """Whether there is this experiment, and it is not deleted."""
        try:
            found = self._ask("get_experiment", experiment_id)
        except NoSuchRunError:
            return False
        return bool(found.lifecycle_stage == LifecycleStage.ACTIVE)

    def run_with_key(self, experiment_id: str, key: str) -> str | None:
        """The id of the run that was created with this key, and perhaps deleted since; None while there is none."""
        quote = '"' if "'" in key else "'"  # of MLflow's language, which has no way to write both
        found = self._search(experiment_id, f"tags.`{RUN_KEY}` = {quote}{key}{quote}", 1, ViewType.ALL)
        return str(found[0].info.run_id) if found else None

    def experiment_named(self, name: str) -> str:
        """The id of the experiment with this name, which is made if it is not there."""
        store = self.open()
        found = store.get_experiment_by_name(name)
        if found is None:
            try:
                return str(store.create_experiment(name))
            except MlflowException:
                found = store.get_experiment_by_name(name)  # another process may have been faster
                if found is None:
                    raise
        return str(found.experiment_id)

    def runs_with(self, experiment_id: str, tag: str, value: str) -> list[StoredRun]:
        """The runs of an experiment with this value of a tag. At most 50,000, as many as MLflow gives in one answer."""
        return [StoredRun.of(run) for run in self._search(experiment_id, f"tags.`{tag}` = '{value}'", 50_000)]

    def running_with(self, experiment_id: str, tag: str) -> dict[str, str]:
        """The ids of the runs of an experiment that are RUNNING and have this tag, and its value. At most 1000."""
        found = self._search(experiment_id, f"tags.`{tag}` LIKE '%' and attributes.status = 'RUNNING'", 1000)
        return {run.info.run_id: run.data.tags[tag] for run in found}

    def log_batch(self, run_id: str, metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
        self._change("log_batch", run_id, metrics, params, tags)

    def write_files(self, run_id: str, folder: str) -> None:
        """Write the files of a folder among the artifacts of a run. They may be large: there is no time limit."""
        MlflowClient(self.tracking_uri).log_artifacts(run_id, folder)

    def set_status(self, run_id: str, status: str, end_ms: int | None) -> None:
        """End a run at this unix time in milliseconds, or, with ``RUNNING`` and None, have it go on."""
        self._change("update_run_info", run_id, RunStatus.from_string(status), end_ms, None)

    def delete_tag(self, run_id: str, name: str) -> None:
        self._change("delete_tag", run_id, name)

    def _search(self, experiment_id: str, wanted: str, limit: int, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
        return list(self._ask("search_runs", [experiment_id], wanted, view, limit))

    def _ask(self, request: str, *arguments: Any) -> Any:
        store = self.open()
        try:
            return getattr(store, request)(*arguments)
        except MlflowException as error:
            if error.error_code in _NOT_THERE:
                raise NoSuchRunError(error.message) from None
            raise

    def _change(self, request: str, run_id: str, *arguments: Any) -> None:
        try:
            getattr(self.open(), request)(run_id, *arguments)
        except MlflowException as error:
            if error.error_code in _NOT_THERE:  # or else the store refuses what it was given, with the same code
                self.run(run_id)
            raise

    def open(self) -> Any:
        """MLflow's own object for the store, which it makes once for each process. A database is created if need be."""
        if self._connected is None:
            store = _get_store(self.tracking_uri)  # type: ignore[no-untyped-call]
            if isinstance(store, RestStore):
                store = _TimedRestStore(store.get_host_creds, lambda: self.timeout_s)
            logging.getLogger("mlflow.store.db.utils").addFilter(_is_not_ours)
            self._connected = store
        return self._connected


def missing_database(tracking_uri: str) -> str | None:
    """The SQLite file of this address if it is not there: asked, MLflow would make it."""
    file = sqlite_file(tracking_uri)
    return str(file) if file and not file.exists() else None


def why_unknown(tracking_uri: str) -> str:
    """Why MLflow has no store for an address, and what to do."""
    if tracking_uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES:
        return "mlflow-skinny has no database stores; install mlflow, or use a tracking server"
    return "unknown kind of store; use the address of a tracking server, or a database such as sqlite:///mlflow.db"
