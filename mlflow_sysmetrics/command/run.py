"""A command that is recorded in MLflow: in a run that it opens, or in a new one, or in that of MLFLOW_RUN_ID."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.tracking.context.registry import resolve_tags
from mlflow.tracking.fluent import _get_experiment_id
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME

from mlflow_sysmetrics.command.ask_store import ask_store
from mlflow_sysmetrics.command.follow import Follower, Run
from mlflow_sysmetrics.command.passthrough import NOT_EXECUTABLE, NOT_FOUND, Ended, Passthrough
from mlflow_sysmetrics.command.supervisor import Settings, Supervisor
from mlflow_sysmetrics.delivery.store import named_experiment
from mlflow_sysmetrics.metrics import SUMMARY
from mlflow_sysmetrics.redact import absolute_uri, get_logger
from mlflow_sysmetrics.ui import address

logger = get_logger(__name__)
_SCRIPTS = {".py", ".sh", ".R", ".jl"}


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
        click.ClickException: the store does not answer, or has no run with the id that was named. Nothing was started.
    """
    uri = mlflow.get_tracking_uri()
    run = ask_store(uri, lambda: named_run(uri, experiment_name))
    follower = Follower(run, name=run_name, tags=resolve_tags({MLFLOW_SOURCE_NAME: script_of(command)}))
    told = {**environment, "MLFLOW_TRACKING_URI": absolute_uri(uri), **follower.environment}
    if experiment_name:  # not by its name: one that the program sets has to win in its children, too
        told.pop("MLFLOW_EXPERIMENT_NAME", None)
        told["MLFLOW_EXPERIMENT_ID"] = run.experiment_id
    supervisor = Supervisor(settings, follower)
    with Passthrough() as passthrough:
        try:
            process = passthrough.start(command, told)
        except OSError as error:
            follower.close()
            logger.error("%s: %s", command[0], error.strerror)
            return Ended(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)
        supervisor.start(process.pid)
        passthrough.wait(process)
        supervisor.ended()
        ended = supervisor.finish(passthrough.reap(process), ends=not run.run_id)
    _show(follower.run, supervisor.summary)
    return ended


def named_run(uri: str, experiment_name: str | None) -> Run:
    """The run that MLFLOW_RUN_ID names, or the experiment of one that may have to be made."""
    client, given = MlflowClient(uri), os.environ.get("MLFLOW_RUN_ID")
    if given:
        return Run(uri, client.get_run(given).info.experiment_id, given)
    if experiment_name:
        return Run(uri, named_experiment(client, experiment_name))
    return Run(uri, client.get_experiment(_get_experiment_id() or "0").experiment_id)


def script_of(command: Sequence[str]) -> str:
    """The script that a command runs, or else its program."""
    return next((word for word in command if _is_script(word)), command[0])


def _is_script(word: str) -> bool:
    try:
        return Path(word).suffix in _SCRIPTS and Path(word).is_file()
    except OSError:  # longer than any file's name: a text of commands, which may hold secrets
        return False


def _show(run: Run, summary: Mapping[str, float]) -> None:
    """Print what the command has used, and where to see more, after its own output."""
    lines = [f"  {name:<18}{summary[name]:>12,.2f}" for name in SUMMARY if name in summary]
    if not (run.run_id and run.uri.startswith(("http://", "https://"))):
        lines.append("  see it with: mlflow-sysmetrics ui")
    if run.run_id:
        lines.append(f"  {address(f'#/experiments/{run.experiment_id}/runs/{run.run_id}', run.uri)}")
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        print("mlflow-sysmetrics:", *lines, sep="\n", file=sys.stderr, flush=True)
