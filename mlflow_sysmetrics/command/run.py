"""A command that is recorded in MLflow: in a run that it opens, or in a new one, or in that of MLFLOW_RUN_ID."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import mlflow
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME

from mlflow_sysmetrics.command.ask_store import ask_store
from mlflow_sysmetrics.command.passthrough import NOT_EXECUTABLE, NOT_FOUND, Exit, Passthrough
from mlflow_sysmetrics.command.program import MeasuredProgram
from mlflow_sysmetrics.command.run_tracker import RunTracker
from mlflow_sysmetrics.common.redact import absolute_uri, get_logger, is_server, sqlite_file
from mlflow_sysmetrics.common.time_limits import COMMAND_ANSWER_S
from mlflow_sysmetrics.delivery import RunRef, current_run
from mlflow_sysmetrics.delivery.store import Store, no_experiment
from mlflow_sysmetrics.metrics import SUMMARY
from mlflow_sysmetrics.ui import address

logger = get_logger(__name__)
_SCRIPTS = {".py", ".sh", ".R", ".jl"}


def run_command(
    command: Sequence[str],
    environment: Mapping[str, str],
    program: MeasuredProgram,
    *,
    run_name: str | None = None,
    experiment_name: str | None = None,
) -> Exit:
    """Run a command to its end in this environment, record what its processes use, and print a summary.

    It is ended when it breaks a limit, or when somebody sets the tag ``sysmetrics.stop`` of its run: exit code 124.

    Raises:
        click.ClickException: the store does not answer, or has no such run or experiment. Nothing was started.
    """
    uri = mlflow.get_tracking_uri()
    run = ask_store(uri, lambda: checked_run(experiment_name))
    tracker = RunTracker(name=run_name, tags=resolve_tags({MLFLOW_SOURCE_NAME: script_of(command)}))
    given = {**environment, "MLFLOW_TRACKING_URI": absolute_uri(uri), **tracker.environment}
    if experiment_name:  # not by its name: one that the program sets has to win in its children, too
        given.pop("MLFLOW_EXPERIMENT_NAME", None)
        given["MLFLOW_EXPERIMENT_ID"] = run.experiment_id
    with Passthrough() as passthrough:
        try:
            process = passthrough.start(command, given)
        except OSError as error:
            tracker.close()
            logger.error("%s: %s", command[0], error.strerror)
            return Exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)
        program.start(process.pid, tracker, run)
        passthrough.wait(process)
        program.ended()
        program_exit = program.finish(passthrough.reap(process), ends=run.run_id is None)
    _show(tracker.run, program.summary)
    return program_exit


def checked_run(experiment_name: str | None = None) -> RunRef:
    """The run that MLFLOW_RUN_ID names, or the experiment of one that may have to be made.

    Raises ValueError, or what the store raises, where one of them is not there.
    """
    uri = mlflow.get_tracking_uri()
    store = Store(uri, timeout_s=COMMAND_ANSWER_S)  # nothing runs yet that would wait
    with _alone_with(uri):
        store.open()
    ref = current_run()
    if ref.run_id is not None:
        return ref._replace(experiment_id=store.run(ref.run_id).experiment_id)
    if experiment_name:
        ref = ref._replace(experiment_id=store.experiment_named(experiment_name))
    if not store.has_experiment(ref.experiment_id):
        name = experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or ref.experiment_id
        raise ValueError(no_experiment(name))
    return ref


@contextlib.contextmanager
def _alone_with(uri: str) -> Iterator[None]:
    """Hold a lock on the folder of a SQLite file: where two processes make its tables at once, MLflow breaks it."""
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def script_of(command: Sequence[str]) -> str:
    """The script that a command runs, or else its program."""
    for word in command:
        if Path(word).suffix in _SCRIPTS and os.path.isfile(word):  # noqa: PTH113, raises nothing for long texts
            return word
    return command[0]


def _own_cpu_seconds(run: RunRef) -> float | None:
    """What a run has; None without a run, or where the store does not answer."""
    if run.run_id is None:
        return None
    with contextlib.suppress(Exception):
        return Store(run.tracking_uri, timeout_s=COMMAND_ANSWER_S).run(run.run_id).values.get("cpu_seconds")
    return None


def _show(run: RunRef, summary: Mapping[str, float]) -> None:
    """Print what the command has used, and where to see more, after its own output."""
    lines = [f"  {name:<18}{summary[name]:>12,.2f}" for name in SUMMARY if name in summary]
    own = _own_cpu_seconds(run)
    if own is not None and not math.isclose(own, summary.get("cpu_seconds", own), rel_tol=0.01):
        lines.append(f"  its run has {own:.2f} cpu_seconds, which the program has measured of a part of itself")
    if not (run.run_id and is_server(run.tracking_uri)):
        lines.append("  see it with: mlflow-sysmetrics ui")
    if run.run_id:
        lines.append(f"  {address(f'#/experiments/{run.experiment_id}/runs/{run.run_id}', run.tracking_uri)}")
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        print("mlflow-sysmetrics:", *lines, sep="\n", file=sys.stderr, flush=True)
