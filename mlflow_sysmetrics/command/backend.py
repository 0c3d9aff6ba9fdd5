"""MLflow's project backend ``system-metrics``: ``local`` in every option, with the project watched from outside.

    mlflow run <project> --backend system-metrics [--backend-config '{"groups": "process,gpu", "interval_s": 0.5,
        "criteria": "peak_memory_mb<=8000, mean_cpu_percent>=5 after 10m"}']

MLflow's own ``LocalBackend`` does the work. Two things are added, because MLflow treats the name ``local`` specially.
``mlflow run`` waits for its project and passes ``--run-id`` on only under ``local``: here, both are read from the
command's context. And an asynchronous project is a process ``mlflow run --backend local`` that outlives its caller: it
gets this backend instead, so that it watches its project itself.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import FrameType
from typing import Any

import click
from mlflow import MlflowClient, get_tracking_uri
from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
from mlflow.exceptions import ExecutionException
from mlflow.projects import _wait_for
from mlflow.projects.backend import local
from mlflow.projects.submitted_run import LocalSubmittedRun, SubmittedRun
from mlflow.projects.utils import MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG, PROJECT_SYNCHRONOUS
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_BACKEND, MLFLOW_RUN_NAME

import mlflow_sysmetrics.logger  # noqa: F401 - now, not when the project already runs
from mlflow_sysmetrics.command.outside import Settings, Watcher
from mlflow_sysmetrics.command.phase_marks import PhaseMarks
from mlflow_sysmetrics.command.run import end_run
from mlflow_sysmetrics.environment import with_environment
from mlflow_sysmetrics.redact import redacted
from mlflow_sysmetrics.tags import STOP_REASON

NAME = "system-metrics"
_CONFIG = ("interval_s", "groups", "criteria")  # of ``--backend-config``


class SystemMetricsBackend(local.LocalBackend):
    """Runs a project as ``local`` does, and logs what its processes use into its run.

    A project in a container is not a process below this one: of it, only the docker client is seen. Raises
    ExecutionException, one sentence, where the backend configuration is wrong.
    """

    def run(
        self,
        project_uri: str,
        entry_point: str,
        params: Mapping[str, Any],
        version: str | None,
        backend_config: Mapping[str, Any],
        tracking_uri: str,
        experiment_id: str,
    ) -> SubmittedRun:
        """Start the project: see ``AbstractBackend.run``. From ``mlflow run`` it returns when the project has ended."""
        given = {name: backend_config[name] for name in _CONFIG if name in backend_config}
        settings = _settings(given)
        command = _command_line()
        config = {**backend_config}
        if command is not None:
            config[PROJECT_SYNCHRONOUS] = True
            if command["run_id"]:
                config[MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG] = command["run_id"]
        arguments = (project_uri, entry_point, params, version, config, tracking_uri, experiment_id)
        if not config[PROJECT_SYNCHRONOUS]:
            with _asynchronous_runs_through_this_backend(given):
                return self._run_locally(arguments)
        marks = PhaseMarks()
        try:
            with with_environment(marks.environment):
                submitted = self._run_locally(arguments)
        except BaseException:
            marks.close()
            raise
        watched = _WatchedRun(submitted, Watcher(submitted.run_id, tracking_uri, settings, marks=marks), marks)
        if command is not None:
            _wait_like_local(watched, command["run_name"])
        return watched

    def _run_locally(self, arguments: tuple[object, ...]) -> LocalSubmittedRun:
        submitted: LocalSubmittedRun = super().run(*arguments)  # type: ignore[no-untyped-call]
        return submitted


class _WatchedRun(LocalSubmittedRun):
    """A project that runs here, whose system metrics are delivered before its run is marked as ended."""

    def __init__(self, submitted: LocalSubmittedRun, watcher: Watcher, marks: PhaseMarks) -> None:
        super().__init__(submitted.run_id, submitted.command_proc)  # type: ignore[no-untyped-call]
        self.watcher, self._marks = watcher, marks
        watcher.start(submitted.command_proc.pid)

    def wait(self) -> bool:
        """Whether it has succeeded. If this backend ended it, the run is KILLED, and ExecutionException is raised."""
        self.watcher.wait()
        succeeded: bool = super().wait()  # type: ignore[no-untyped-call]
        self.watcher.stop()
        self._marks.close()
        stopped = self.watcher.stopped
        tags = {**stopped, **self.watcher.died_of(self.command_proc.returncode or 0)}
        end_run(get_tracking_uri(), self.run_id, "KILLED" if stopped else None, tags)
        if stopped:  # if this returned False, MLflow would mark the run FAILED, although it is KILLED already
            raise ExecutionException(f"Run (ID '{self.run_id}') was ended: {stopped[STOP_REASON]}")
        return succeeded

    def cancel(self) -> None:
        super().cancel()  # type: ignore[no-untyped-call]
        self.watcher.stop()
        self._marks.close()
        self.watcher.died_of(0)


def _settings(given: Mapping[str, Any]) -> Settings:
    groups = given.get("groups", "process")
    text = ",".join(map(str, groups)) if isinstance(groups, (list, tuple)) else str(groups)
    try:
        return Settings.of(given.get("interval_s", Settings.interval_s), text, str(given.get("criteria") or ""))
    except ValueError as error:
        raise ExecutionException(f"backend configuration of {NAME}: {error}") from None


def _command_line() -> Mapping[str, Any] | None:
    """The options of the ``mlflow run`` that has called this backend in this thread; None in any other program."""
    context = click.get_current_context(silent=True)
    mlflow_run = getattr(sys.modules.get("mlflow.cli"), "run", None)
    return context.params if context is not None and context.command is mlflow_run else None


def _wait_like_local(watched: _WatchedRun, run_name: str | None) -> None:
    """Do what MLflow does for ``local`` after its return: name the run, wait, mark it; raise where it failed."""
    if redacted(uri := get_tracking_uri()) != uri:
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)  # type: ignore[no-untyped-call]  # its link has the password
    client = MlflowClient()
    client.set_tag(watched.run_id, MLFLOW_PROJECT_BACKEND, NAME)
    if run_name is not None:
        client.set_tag(watched.run_id, MLFLOW_RUN_NAME, run_name)
    with _stopped_by_sigterm(watched.watcher):
        _wait_for(watched)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _stopped_by_sigterm(watcher: Watcher) -> Iterator[None]:
    """SIGTERM ends this process as soon as its measurements are delivered.

    MLflow cancels an asynchronous project, which this process may be, in this way.
    """

    def stop_and_die(number: int, frame: FrameType | None) -> None:
        watcher.stop()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop_and_die)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


_more_arguments: ContextVar[tuple[str, ...]] = ContextVar("more_arguments", default=())
_build_command = local._build_mlflow_run_cmd


def _build_command_with_backend(*args: Any, **kwargs: Any) -> list[str]:
    command: list[str] = _build_command(*args, **kwargs)  # type: ignore[no-untyped-call]
    more = _more_arguments.get()
    # Only this Python's MLflow is sure to have this backend, not the first `mlflow` in the PATH.
    return [sys.executable, "-m", "mlflow", *command[1:], *more] if more else command


local._build_mlflow_run_cmd = _build_command_with_backend  # adds nothing to the commands of others


@contextlib.contextmanager
def _asynchronous_runs_through_this_backend(given: Mapping[str, Any]) -> Iterator[None]:
    token = _more_arguments.set(("--backend", NAME, "--backend-config", json.dumps(given)))
    try:
        yield
    finally:
        _more_arguments.reset(token)
