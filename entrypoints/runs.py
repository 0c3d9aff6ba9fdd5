"""The MLflow run of a command: opened, and ended right whatever ends the command.

FINISHED: it did what it is for. KILLED: a person or the system ended it. FAILED: an error, named in a tag.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import click
import mlflow
import psutil
from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from entrypoints import login
from entrypoints.errors import UserError
from mlflow_sysmetrics.addresses import redacted, redacted_errors, redacted_text

STORE_TIMEOUT_S = 5.0
END_WITHIN_S = 8.0  # from a signal to the end of the last process
KIND, ERROR = "sysmetrics.kind", "sysmetrics.error"
_EXPERIMENT_KIND = ("mlflow.experimentKind", "custom_model_development")
_GENERATED_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")


class Interrupted(BaseException):
    """A signal asked the command to end."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


# Whether a signal came is asked here: Ray turns an exception that passes through it into another one.
_received: list[Interrupted] = []


@dataclass(frozen=True)
class RecordedRun:
    """An open MLflow run and the client that writes to it. ``start`` is when it was created, in unix seconds."""

    client: MlflowClient
    run_id: str
    experiment_id: str
    tags: dict[str, str]
    start: float

    @classmethod
    def of(cls, client: MlflowClient, run: Run) -> RecordedRun:
        """The run, as MLflow describes it."""
        return cls(client, run.info.run_id, run.info.experiment_id, run.data.tags, run.info.start_time / 1000)


@contextlib.contextmanager
def recorded_run(kind: str, name: str, params: dict[str, object]) -> Iterator[RecordedRun]:
    """Open the command's MLflow run and end it with the right status.

    Under ``mlflow run`` it is the run that MLflow has made; the variable that names it is taken out of the
    environment, so that no process started later writes into it. Otherwise a run is created in the experiment in use.

    Args:
        kind: the tag ``sysmetrics.kind``.
        name: the run's name, unless the user has chosen one.
        params: logged as parameters.

    Raises:
        UserError: the tracking store cannot be used.
        SystemExit: the command was interrupted; the exit code is 128 + the signal's number.
    """
    check_store(mlflow.get_tracking_uri())
    started_by = _mlflow_run()
    _end_with(started_by)
    with _signals_raise(), redacted_errors():
        try:
            with store_errors():
                active = mlflow.start_run(run_name=name if "MLFLOW_RUN_ID" not in os.environ else None)
            run = RecordedRun.of(MlflowClient(), active)
            with contextlib.suppress(MlflowException):  # another study that begins now sets the same
                run.client.set_experiment_tag(run.experiment_id, *_EXPERIMENT_KIND)
            if _GENERATED_NAME.fullmatch(active.info.run_name or ""):
                run.client.update_run(run.run_id, name=name)
            run.client.set_tag(run.run_id, KIND, kind)
            mlflow.log_params({key: value for key, value in params.items() if key not in active.data.params})
            yield run
        except BaseException as error:
            if _received:
                opened = mlflow.active_run()
                _end("KILLED")
                if started_by is not None and opened is not None:
                    _repeat_after(started_by, opened.info.run_id)
                click.echo(f"\nStopped by {_received[0]}. What was measured is in MLflow.", err=True)
                raise SystemExit(_received[0].exit_code) from None
            _end("FAILED", error)
            raise
        else:
            _end("FINISHED")


@contextlib.contextmanager
def continued_run(by: RecordedRun, run_id: str) -> Iterator[RecordedRun]:
    """Open an earlier run again for a command that has one of its own, and end it as the command ends.

    Its ``start`` is that of the command.
    """
    with store_errors():
        active = mlflow.start_run(run_id=run_id, nested=True)
    try:
        yield replace(RecordedRun.of(by.client, active), start=by.start)
    except BaseException as error:
        _end("KILLED") if _received else _end("FAILED", error)
        raise
    _end("FINISHED")


@contextlib.contextmanager
def child_run(parent: RecordedRun, kind: str, name: str) -> Iterator[RecordedRun]:
    """Open a run nested under another; FAILED with the error's text if the body raises."""
    tags = {KIND: kind, "mlflow.parentRunId": parent.run_id}
    created = parent.client.create_run(parent.experiment_id, run_name=name, tags=tags)
    run = RecordedRun.of(parent.client, created)
    try:
        yield run
    except BaseException as error:
        if not _received:
            run.client.set_tag(run.run_id, ERROR, _sentence(error))
        run.client.set_terminated(run.run_id, "KILLED" if _received else "FAILED")
        raise
    run.client.set_terminated(run.run_id, "FINISHED")


def record_failure(error: UserError) -> None:
    """Write a mistake that was found before the run was opened into the run that ``mlflow run`` has made."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if run_id:
        with contextlib.suppress(MlflowException):
            client = MlflowClient()
            client.log_batch(run_id, tags=[RunTag(ERROR, _sentence(error))])
            client.set_terminated(run_id, "FAILED")


def check_store(uri: str) -> None:
    """See that a tracking server answers, in seconds: MLflow itself would try for minutes.

    Raises:
        UserError: it does not.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        login.check(uri)
        urllib.request.urlopen(redacted(uri), timeout=STORE_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return  # it answers: whether it lets us in is seen at the first real request
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):  # it answers: MLflow has settings of its own for certificates
            raise UserError(_unusable(uri, reason)) from None


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turn MLflow's refusal to open a store or a run into a sentence for the user."""
    try:
        yield
    except MlflowException as error:
        raise UserError(_unusable(mlflow.get_tracking_uri(), error.message.splitlines()[0])) from error


def _unusable(uri: str, reason: object) -> str:
    return (
        f"MLFLOW_TRACKING_URI={redacted(uri)}: an address where an MLflow server answers, or a database like "
        f"sqlite:///mlflow.db, is needed ({redacted_text(str(reason))}); start the server or correct the address"
    )


def _end(status: str, error: BaseException | None = None) -> None:
    if error is not None and mlflow.active_run() is not None:  # else MLflow would start one for the tag
        with contextlib.suppress(MlflowException):
            mlflow.set_tag(ERROR, _sentence(error))
    mlflow.end_run(status)


def _sentence(error: BaseException) -> str:
    return redacted_text(
        error.message if isinstance(error, click.ClickException) else f"{type(error).__name__}: {error}"
    )


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Raise ``Interrupted`` in the main thread at the first SIGINT or SIGTERM and ignore all that follow.

    Whatever hangs then, this process and its children are gone after ``END_WITHIN_S``.
    """
    _received.clear()

    def handle(signal_number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        timer = threading.Timer(END_WITHIN_S, _kill_everything, [128 + signal_number])
        timer.daemon = True
        timer.start()
        _received.append(Interrupted(signal_number))
        raise _received[0]

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            if signal.getsignal(each) is handle:
                signal.signal(each, handler)


def _kill_everything(exit_code: int) -> None:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    os._exit(exit_code)


def _mlflow_run() -> psutil.Process | None:
    """The ``mlflow run`` process that started this one, if one did."""
    return psutil.Process().parent() if "MLFLOW_RUN_ID" in os.environ else None


def _end_with(parent: psutil.Process | None) -> None:
    """End like after SIGTERM when the ``mlflow run`` that started this process is gone: nobody else would end it."""

    def watch(pid: int) -> None:
        while os.getppid() == pid:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    if parent is not None:
        threading.Thread(target=watch, args=[parent.pid], name="parent-watch", daemon=True).start()


def _repeat_after(parent: psutil.Process, run_id: str) -> None:
    """Say KILLED once more when ``mlflow run`` has ended, which says FAILED of every command that did not succeed."""
    subprocess.Popen(
        [sys.executable, "-m", "entrypoints.killed", run_id, str(parent.pid)],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class RecordedCommand(click.Command):
    """A click command whose usage errors are written into its MLflow run too."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the command line."""
        login.move_to_environment()
        try:
            return super().make_context(*args, **kwargs)
        except UserError as error:
            record_failure(error)
            raise
