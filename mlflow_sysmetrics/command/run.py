"""A command that is recorded in MLflow: in a run that it opens itself, or in a new one, or in that of MLFLOW_RUN_ID."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.environment_variables import (
    MLFLOW_EXPERIMENT_ID,
    MLFLOW_EXPERIMENT_NAME,
    MLFLOW_RUN_ID,
    MLFLOW_TRACKING_URI,
)
from mlflow.tracking.context.registry import resolve_tags
from mlflow.tracking.fluent import _get_experiment_id
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME

from mlflow_sysmetrics.command.ask_store import NoAnswerError, ask_store
from mlflow_sysmetrics.command.follow import Follower, Run
from mlflow_sysmetrics.command.passthrough import NOT_EXECUTABLE, NOT_FOUND, Ended, Passthrough
from mlflow_sysmetrics.command.supervisor import Settings, Supervisor
from mlflow_sysmetrics.delivery import named_experiment
from mlflow_sysmetrics.redact import absolute_uri, get_logger, redacted

logger = get_logger(__name__)
_SCRIPTS = {".py", ".sh", ".R", ".jl"}
_FOUND_WITHIN_S = 60.0  # a new SQLite store takes some seconds to make its tables
_SHOWN = ("elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "peak_rss_mb", "peak_gpu_memory_mb")


class NoRunError(Exception):
    """The command has no run; the text says why."""


def run_command(
    command: Sequence[str],
    environment: Mapping[str, str],
    settings: Settings,
    *,
    run_name: str | None = None,
    experiment_name: str | None = None,
) -> Ended:
    """Run a command to its end in this environment, record what its processes use, and print a summary.

    It is ended when it breaks a limit, or when somebody sets the tag ``sysmetrics.stop`` of its run: exit code 124.

    Raises:
        NoRunError: the store does not answer, or the run that was named does not exist. Nothing was started.
    """
    uri = mlflow.get_tracking_uri()
    try:
        own = ask_store(uri, _FOUND_WITHIN_S, lambda: _own_place(uri, experiment_name))
    except NoAnswerError as error:
        raise NoRunError(f"there is no run for the command at {redacted(uri)}: {error}") from error
    source = next((word for word in command if _is_script(word)), command[0])
    follower = Follower(own, name=run_name, tags=resolve_tags({MLFLOW_SOURCE_NAME: source}))
    told = {**environment, MLFLOW_TRACKING_URI.name: absolute_uri(uri), **follower.environment}
    if experiment_name:  # not by its name: a program that sets another one has to win in its children, too
        told.pop(MLFLOW_EXPERIMENT_NAME.name, None)
        told[MLFLOW_EXPERIMENT_ID.name] = own.experiment_id
    with Passthrough() as passthrough:
        supervisor = Supervisor(settings, follower)
        try:
            pid = passthrough.start(command, told)
        except OSError as error:
            logger.error("%s: %s", command[0], error.strerror)
            return Ended(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)
        supervisor.start(pid)
        passthrough.wait()
        supervisor.ended()
        ended = supervisor.finish(passthrough.reap(), ends=not own.run_id)
    _show(follower.run, supervisor.summary)
    return ended


def _own_place(uri: str, experiment_name: str | None) -> Run:
    client = MlflowClient(uri)
    if given := os.environ.get(MLFLOW_RUN_ID.name):
        return Run(uri, client.get_run(given).info.experiment_id, given)
    if experiment_name:
        return Run(uri, named_experiment(client, experiment_name))
    return Run(uri, client.get_experiment(_get_experiment_id() or "0").experiment_id)


def _is_script(word: str) -> bool:
    try:
        return Path(word).suffix in _SCRIPTS and Path(word).is_file()
    except OSError:  # longer than any file's name: a text of commands, which may hold secrets
        return False


def _show(run: Run, summary: Mapping[str, float]) -> None:
    """Print what the command has used, and where to see more, beside its own output."""
    lines = [f"  {name:<18} {summary[name]:>12,.2f}" for name in _SHOWN if name in summary]
    if run.run_id and run.uri.startswith(("http://", "https://")):
        lines.append(f"  {redacted(run.uri).rstrip('/')}/#/experiments/{run.experiment_id}/runs/{run.run_id}")
    elif run.run_id:
        lines.append("  `mlflow-sysmetrics ui` shows the run")
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        print("mlflow-sysmetrics:", *lines, sep="\n", file=sys.stderr, flush=True)
