"""MLflow's project backend ``system-metrics``: ``local`` in every option, with the project measured from outside.

    mlflow run <project> --backend system-metrics [--backend-config '{"limits": "peak_memory_mb<=8000"}']

MLflow's own ``LocalBackend`` does the work. ``mlflow run`` waits for its project and passes ``--run-id`` on only under
the name ``local``: here, both are read from the command's context.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any
from unittest import mock

import click
from mlflow import get_tracking_uri
from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
from mlflow.exceptions import ExecutionException
from mlflow.projects import _wait_for
from mlflow.projects.backend.local import LocalBackend
from mlflow.projects.submitted_run import LocalSubmittedRun, SubmittedRun
from mlflow.projects.utils import MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG, PROJECT_SYNCHRONOUS
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_BACKEND, MLFLOW_RUN_NAME

from mlflow_sysmetrics.command.passthrough import Exit, reap
from mlflow_sysmetrics.command.run_tracker import RunTracker
from mlflow_sysmetrics.command.supervisor import Supervisor
from mlflow_sysmetrics.delivery import RunRef, writer_for
from mlflow_sysmetrics.redact import redacted
from mlflow_sysmetrics.tags import STOP_REASON

NAME = "system-metrics"
_CLOSE_S = 5.0


class SystemMetricsBackend(LocalBackend):
    """Runs a project as ``local`` does, and logs what its processes use into its run.

    A project in a container is not a process below this one: of it, only the docker client is seen. Raises
    ExecutionException, one sentence, where the backend configuration is wrong, and for ``synchronous=False``.
    """

    def run(self, *arguments: Any) -> SubmittedRun:
        """Start the project: see ``AbstractBackend.run``. From ``mlflow run`` it returns when the project has ended."""
        if sys.platform != "linux":
            raise ExecutionException(f"the backend {NAME} needs Linux; use the backend local")
        *project, given, tracking_uri, experiment_id = arguments
        config = {**given}
        supervisor = _supervisor(config)
        command = _command_line()
        if command is not None:
            config[PROJECT_SYNCHRONOUS] = True
            if command["run_id"]:
                config[MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG] = command["run_id"]
        if not config[PROJECT_SYNCHRONOUS]:
            wrong = f"synchronous=False: {NAME} waits for its project; use a thread, or the backend local"
            raise ExecutionException(wrong)
        tracker = RunTracker()
        with mock.patch.dict(os.environ, tracker.environment):  # which MLflow hands on
            submitted = super().run(*project, config, tracking_uri, experiment_id)  # type: ignore[call-arg,no-untyped-call]
        supervisor.start(submitted.command_proc.pid, tracker, RunRef(tracking_uri, experiment_id, submitted.run_id))
        measured = _MeasuredRun(submitted, supervisor)
        if command is not None:
            _wait_like_local(measured, command["run_name"])
        return measured


class _MeasuredRun(LocalSubmittedRun):
    """A project that runs here, whose system metrics are delivered before its run is marked as ended."""

    def __init__(self, submitted: LocalSubmittedRun, supervisor: Supervisor) -> None:
        super().__init__(submitted.run_id, submitted.command_proc)  # type: ignore[no-untyped-call]
        self._supervisor = supervisor
        self._exit: Exit | None = None

    def wait(self) -> bool:
        """Whether it has succeeded. If this backend ended it, the run is KILLED, and ExecutionException is raised."""
        if self._exit is None:
            os.waitid(os.P_PID, self.command_proc.pid, os.WEXITED | os.WNOWAIT)
            self._supervisor.ended()
            is_ours = self._supervisor.outcome is not None
            self._exit = self._supervisor.finish(reap(self.command_proc), ends=is_ours)
        outcome = self._supervisor.outcome
        if outcome is not None:  # MLflow would mark a run FAILED that is KILLED already
            raise ExecutionException(f"Run (ID '{self.run_id}') was ended: {outcome.tags[STOP_REASON]}")
        return self._exit.code == 0

    def cancel(self) -> None:
        if self._exit is None:
            super().cancel()  # type: ignore[no-untyped-call]
            self._supervisor.ended()
            self._exit = self._supervisor.finish(Exit(1), ends=False)


def _supervisor(config: Mapping[str, Any]) -> Supervisor:
    try:
        return Supervisor(str(config.get("limits") or ""))
    except ValueError as error:
        raise ExecutionException(f"backend configuration of {NAME}: {error}") from None


def _command_line() -> Mapping[str, Any] | None:
    """The options of the ``mlflow run`` that has called this backend in this thread; None in any other program."""
    context = click.get_current_context(silent=True)
    mlflow_run = getattr(sys.modules.get("mlflow.cli"), "run", None)
    return context.params if context is not None and context.command is mlflow_run else None


def _wait_like_local(measured: _MeasuredRun, run_name: str | None) -> None:
    """Do what MLflow does for ``local`` after its return: name the run, wait, mark it; raise where it failed."""
    uri = get_tracking_uri()
    if redacted(uri) != uri:
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)  # type: ignore[no-untyped-call]  # its link has the password
    tags = {MLFLOW_PROJECT_BACKEND: NAME}
    if run_name is not None:
        tags[MLFLOW_RUN_NAME] = run_name
    handle = writer_for(uri).open(measured.run_id)
    handle.log(tags=tags)
    handle.close(_CLOSE_S)
    _wait_for(measured)  # type: ignore[no-untyped-call]
