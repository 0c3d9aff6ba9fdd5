"""A command with an MLflow run around it: a new one, or the one that is named in MLFLOW_RUN_ID."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import RunStatus, RunTag
from mlflow.environment_variables import (
    MLFLOW_EXPERIMENT_ID,
    MLFLOW_EXPERIMENT_NAME,
    MLFLOW_RUN_ID,
    MLFLOW_TRACKING_URI,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.tracking.fluent import _get_experiment_id
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME

from mlflow_sysmetrics.command.ask_store import NoAnswerError, ask_store
from mlflow_sysmetrics.command.outside import Settings, Watcher
from mlflow_sysmetrics.command.passthrough import NOT_EXECUTABLE, NOT_FOUND, STOPPED, Ended, Passthrough
from mlflow_sysmetrics.command.phase_marks import PhaseMarks
from mlflow_sysmetrics.delivery.leftovers import keep
from mlflow_sysmetrics.delivery.points import now_ms
from mlflow_sysmetrics.delivery.spool import Header
from mlflow_sysmetrics.delivery.store import named_experiment
from mlflow_sysmetrics.delivery.time_limit import within
from mlflow_sysmetrics.redact import absolute_uri, get_logger, lasting_uri, redacted

logger = get_logger(__name__)
_SCRIPTS = {".py", ".sh", ".R", ".jl"}
_FOUND_WITHIN_S = 60.0  # a new SQLite store takes some seconds to make its tables
_ENDED_WITHIN_S = 5.0


class NoRunError(Exception):
    """The command has no run; the text says why."""


@dataclass(frozen=True)
class _Target:
    """The run, its variables for the command's environment, and whether it was created, and so must be ended, here."""

    run_id: str
    environment: Mapping[str, str]
    made_here: bool


def run_command(
    command: Sequence[str],
    environment: Mapping[str, str],
    settings: Settings,
    *,
    run_name: str | None = None,
    experiment_name: str | None = None,
) -> Ended:
    """Run a command to its end in this environment, and log what its processes use into its run.

    It is ended when it breaks a limit, or when somebody sets the tag ``sysmetrics.stop`` of its run: exit code 124.
    The run's id goes on to the command in MLFLOW_RUN_ID, so that what it logs with ``mlflow`` is in the same run. A
    run that was made here is ended here.

    Raises:
        NoRunError: the run that was named does not exist, or none could be made. Nothing was started.
    """
    uri = mlflow.get_tracking_uri()
    try:
        target = ask_store(uri, _FOUND_WITHIN_S, lambda: _target(uri, command, run_name, experiment_name))
    except NoAnswerError as error:
        raise NoRunError(f"there is no run for the command at {redacted(uri)}: {error}") from error
    with Passthrough() as passthrough:
        marks = PhaseMarks()
        watcher = Watcher(target.run_id, uri, settings, marks=marks)
        try:
            pid = passthrough.start(command, {**environment, **target.environment, **marks.environment})
        except OSError as error:
            logger.error("%s: %s", command[0], error.strerror)
            ended = Ended(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)
        else:
            watcher.start(pid)
            watcher.wait()
            ended = passthrough.wait()
            watcher.stop()
        finally:
            marks.close()
        tags = {**watcher.stopped, **watcher.died_of(ended.code)}
        if watcher.stopped:
            ended = Ended(STOPPED, told=True)
        end_run(uri, target.run_id, ended.status if target.made_here else None, tags)
    return ended


def _target(uri: str, command: Sequence[str], run_name: str | None, experiment_name: str | None) -> _Target:
    client = MlflowClient(uri)
    given = os.environ.get(MLFLOW_RUN_ID.name)
    if given:
        client.get_run(given)
        return _Target(given, {}, made_here=False)
    experiment_id = _experiment_id(client, experiment_name)
    source = next((word for word in command if _is_script(word)), command[0])
    tags = resolve_tags({MLFLOW_SOURCE_NAME: source})
    run = client.create_run(experiment_id, tags=tags, run_name=run_name)
    environment = {
        MLFLOW_RUN_ID.name: run.info.run_id,
        MLFLOW_TRACKING_URI.name: absolute_uri(uri),  # wherever in the file system the command goes
        MLFLOW_EXPERIMENT_ID.name: experiment_id,
    }
    if experiment_name:  # MLflow raises where a name in the environment is not that of the id
        environment[MLFLOW_EXPERIMENT_NAME.name] = experiment_name
    return _Target(run.info.run_id, environment, made_here=True)


def _is_script(word: str) -> bool:
    try:
        return Path(word).suffix in _SCRIPTS and Path(word).is_file()
    except OSError:  # longer than any file's name: a text of commands, which may hold secrets
        return False


def _experiment_id(client: MlflowClient, name: str | None) -> str:
    return named_experiment(client, name) if name else _get_experiment_id() or "0"


def end_run(uri: str, run_id: str, status: str | None, tags: Mapping[str, str]) -> None:
    """Set tags of the run, and its status, unless the command succeeded and has already ended the run itself.

    Takes at most some seconds. If the store does not accept it, `sync` does it later.
    """

    def end() -> None:
        client = MlflowClient(uri)
        if tags:
            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        if status is None:
            return
        now = RunStatus.from_string(client.get_run(run_id).info.status)
        if status != "FINISHED" or not RunStatus.is_terminated(now):
            client.set_terminated(run_id, status)

    if status is None and not tags:
        return
    try:
        within(_ENDED_WITHIN_S, end)
    except (MlflowException, TimeoutError) as error:
        logger.warning(
            "run %s could not be marked as %s; `mlflow-sysmetrics sync` will do so. %s",
            run_id,
            status or "stopped",
            error,
        )
        keep([(Header(run_id, lasting_uri(uri), new_tags=dict(tags), status=status, end_ms=now_ms()), [])])
