"""MLflow's project backend ``system-metrics``: ``local``, with the project measured from outside.

    mlflow run <project> --backend system-metrics [--backend-config '{"limits": "peak_memory_mb<=8000"}']

MLflow's own ``LocalBackend`` does the work.
"""

from __future__ import annotations

import os
import sys
from typing import Any
from unittest import mock

from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
from mlflow.exceptions import ExecutionException
from mlflow.projects import _wait_for
from mlflow.projects.backend.local import LocalBackend
from mlflow.projects.submitted_run import LocalSubmittedRun, SubmittedRun
from mlflow.projects.utils import PROJECT_SYNCHRONOUS

from mlflow_sysmetrics.command.passthrough import Exit, reap
from mlflow_sysmetrics.command.program import MeasuredProgram
from mlflow_sysmetrics.command.run_tracker import RunTracker
from mlflow_sysmetrics.common.redact import redacted
from mlflow_sysmetrics.delivery import RunRef
from mlflow_sysmetrics.recording.tags import STOP_REASON

NAME = "system-metrics"


class SystemMetricsBackend(LocalBackend):
    """Runs a project as ``local`` does, to its end, and logs what its processes use into its run.

    A project in a container is not a process below this one: of it, only the docker client is seen. Raises
    ExecutionException, one sentence, where the backend configuration is wrong, or the project has failed.
    """

    def run(self, *arguments: Any) -> SubmittedRun:
        """Run the project to its end: see ``AbstractBackend.run``."""
        if sys.platform != "linux":
            raise ExecutionException(f"the backend {NAME} needs Linux; use the backend local")
        *project, given, tracking_uri, experiment_id = arguments
        config = {**given, PROJECT_SYNCHRONOUS: True}
        try:
            program = MeasuredProgram(config.get("limits"))
        except ValueError as error:
            raise ExecutionException(f"backend configuration of {NAME}: {error}") from None
        tracker = RunTracker()
        with mock.patch.dict(os.environ, tracker.environment):  # which MLflow hands on
            submitted = super().run(*project, config, tracking_uri, experiment_id)  # type: ignore[call-arg,no-untyped-call]
        program.start(submitted.command_proc.pid, tracker, RunRef(tracking_uri, experiment_id, submitted.run_id))
        measured = _MeasuredRun(submitted, program)
        if redacted(tracking_uri) != tracking_uri:
            MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)  # type: ignore[no-untyped-call]  # its link has the password
        _wait_for(measured)  # type: ignore[no-untyped-call]
        return measured


class _MeasuredRun(LocalSubmittedRun):
    """A project that runs here, whose system metrics are delivered before its run is marked as ended."""

    def __init__(self, submitted: LocalSubmittedRun, program: MeasuredProgram) -> None:
        super().__init__(submitted.run_id, submitted.command_proc)  # type: ignore[no-untyped-call]
        self._program = program
        self._exit: Exit | None = None

    def wait(self) -> bool:
        """Whether it has succeeded. If this backend ended it, the run is KILLED, and ExecutionException is raised."""
        if self._exit is None:
            os.waitid(os.P_PID, self.command_proc.pid, os.WEXITED | os.WNOWAIT)
            self._program.ended()
            is_ours = self._program.outcome is not None
            self._exit = self._program.finish(reap(self.command_proc), ends=is_ours)
        outcome = self._program.outcome
        if outcome is not None:  # MLflow would mark a run FAILED that is KILLED already
            raise ExecutionException(f"Run (ID '{self.run_id}') was ended: {outcome.tags[STOP_REASON]}")
        return self._exit.code == 0

    def cancel(self) -> None:
        if self._exit is None:
            super().cancel()  # type: ignore[no-untyped-call]
            self._program.ended()
            self._exit = self._program.finish(Exit(1), ends=False)
