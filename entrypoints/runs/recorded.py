"""The MLflow run of a command: open it, and end it with the right status however the command ends.

FINISHED: the command succeeded. KILLED: a person or the system ended it. FAILED: an error, named in a tag.

MLflow is imported when the run is opened: that takes more than a second, in which a study's Ray starts.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import signal
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import click
import psutil

from entrypoints.errors import UserError
from entrypoints.runs import signals
from entrypoints.text import closest, listed
from mlflow_sysmetrics.common.redact import check_address, is_server, redacted, redacted_errors, redacted_text
from mlflow_sysmetrics.recording import FINISHED, Outcome, killed
from mlflow_sysmetrics.recording.tags import BY_PERSON, ERROR, KIND, STOP_REASON

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STORE_TIMEOUT_S = 5.0
END_WITHIN_S = 15.0  # from a signal to the end of a command's last process
_EXPERIMENT_KIND = ("mlflow.experimentKind", "custom_model_development")
_GENERATED_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end; whichever it was, others see Ctrl-C."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


# Whether a signal came is asked here: Ray turns an exception that passes through it into another one.
_received: list[Interrupted] = []
_held = threading.Event()  # while it is set, a signal raises nothing
_open: list[str] = []  # ids of runs that this process is to end


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

    def rename(self, before: str, after: str) -> None:
        """Rename the run once more is known, unless it no longer has the name ``before``: the user has chosen one."""
        if self.client.get_run(self.run_id).info.run_name == before:
            self.client.update_run(self.run_id, name=after)


@dataclass
class CommandRun:
    """The MLflow run of a command, which a study opens after it has begun to start Ray.

    Attributes:
        kind: the tag ``sysmetrics.kind``.
        name: the run's name, unless the user has chosen one.
        params: logged as parameters.
        given: the id of the run that ``mlflow run`` has made; None: there is none, and one is created.
        tried: whether MLflow has been asked for it.
        best_so_far: says what it has found by then if it is interrupted; empty: nothing yet.
        continued_by: what to type to go on if it is interrupted; empty if that is not possible.
    """

    kind: str
    name: str
    params: Mapping[str, object]
    given: str | None
    tried: bool = field(default=False, init=False)
    best_so_far: Callable[[], str] = field(default=str, init=False)
    continued_by: str = field(default="", init=False)
    _opened: RecordedRun | None = field(default=None, init=False)

    def open(self) -> RecordedRun:
        """Open it, or return it if it is open.

        Raises:
            UserError: the tracking store cannot be used.
        """
        if self._opened:
            return self._opened
        with _signals_held():
            import mlflow
            from mlflow.exceptions import MlflowException

            self.tried = True
            with store_errors():
                active = mlflow.start_run(self.given, run_name=None if self.given else self.name)
        _open[:] = [active.info.run_id]
        self._opened = run = RecordedRun.of(mlflow.MlflowClient(), active)
        with contextlib.suppress(MlflowException):  # another study that begins now sets the same
            run.client.set_experiment_tag(run.experiment_id, *_EXPERIMENT_KIND)
        if _GENERATED_NAME.fullmatch(active.info.run_name or ""):
            run.client.update_run(run.run_id, name=self.name)
        run.client.set_tag(run.run_id, KIND, self.kind)
        mlflow.log_params({key: value for key, value in self.params.items() if key not in active.data.params})
        _raise_received()
        return run


@contextlib.contextmanager
def recorded_command(kind: str, name: str, params: Mapping[str, object]) -> Iterator[CommandRun]:
    """Give a command an MLflow run to open, and end that run with the right status.

    It is opened for a command that fails or is interrupted before, too. Under ``mlflow run`` it is the run that MLflow
    has made; the variable that names it is taken out of the environment, so that no process started later writes into
    it. Otherwise a run is created in the experiment in use.

    Args:
        kind: the tag ``sysmetrics.kind``.
        name: the run's name, unless the user has chosen one.
        params: logged as parameters.

    Raises:
        UserError: the tracking store cannot be used.
        SystemExit: the command was interrupted; the exit code is 128 + the signal's number.
    """
    check_store(os.environ.get("MLFLOW_TRACKING_URI", ""))
    command = CommandRun(kind, name, params, given=os.environ.get("MLFLOW_RUN_ID"))
    if command.given:
        _end_with_mlflow_run()
    _open[:] = [command.given] if command.given else []
    # It logs a traceback of what it raises, too: here that becomes a sentence.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    with _signals_raise(), redacted_errors():
        os.environ.pop("MLFLOW_RUN_ID", None)
        try:
            with _ended_as_the_body():
                try:
                    if signals.noted:
                        command.open()  # which imports MLflow: the time to end begins after that
                        signal.raise_signal(signals.noted[0])
                    yield command
                finally:
                    if not command.tried:
                        with contextlib.suppress(Exception, Interrupted):
                            command.open()
        except BaseException:
            if not _received:
                raise
            click.echo(f"\nStopped by {_received[0]}. What was measured is in MLflow.", err=True)
            if best := command.best_so_far():
                click.echo(f"Best so far: {best}", err=True)
            if command.continued_by:
                click.echo(f"Continue with: {command.continued_by}", err=True)
            raise SystemExit(_received[0].exit_code) from None


@contextlib.contextmanager
def recorded_run(kind: str, name: str, params: Mapping[str, object]) -> Iterator[RecordedRun]:
    """The same for a command that opens its run at once; see ``recorded_command``."""
    with recorded_command(kind, name, params) as command:
        yield command.open()


@contextlib.contextmanager
def continued_run(by: RecordedRun, run_id: str) -> Iterator[RecordedRun]:
    """Open an earlier run again for a command that has one of its own, and end it as the command ends.

    Its ``start`` is that of the command.
    """
    import mlflow

    _open.append(run_id)
    with store_errors(), _signals_held():
        active = mlflow.start_run(run_id=run_id, nested=True)
    with _ended_as_the_body():
        _raise_received()
        yield replace(RecordedRun.of(by.client, active), start=by.start)


def record_failure(error: UserError) -> None:
    """Write a mistake that was found before the run was opened into the run that ``mlflow run`` has made."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if run_id:
        from mlflow import MlflowClient
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        with contextlib.suppress(MlflowException):
            client = MlflowClient()
            client.log_batch(run_id, tags=[RunTag(ERROR, _sentence(error))])
            client.set_terminated(run_id, "FAILED")


def check_store(uri: str) -> None:
    """Check within seconds that the address is valid and its server answers; MLflow itself would try for minutes.

    Raises:
        UserError: the address is wrong, or no server answers.
    """
    try:
        check_address(uri)
        if is_server(uri):
            urllib.request.urlopen(redacted(uri), timeout=STORE_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return  # it answers: whether it lets us in is seen at the first real request
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):  # it answers: MLflow has settings of its own for certificates
            raise UserError(_unusable(uri, reason)) from None


def move_login_to_environment() -> None:
    """Have MLflow read the login in an address like ``http://me:secret@host:5000`` from the environment.

    MLflow's links, messages and artifact addresses repeat the tracking address as it is.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not is_server(address):
        return
    with contextlib.suppress(ValueError):  # an address that is wrong: said where the store is checked
        check_address(address)
        parts = urlsplit(address)
        if parts.username and parts.password:
            import mlflow

            os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
            os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
            mlflow.set_tracking_uri(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turn MLflow's refusal to open a store or a run into a sentence for the user."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise UserError(_unusable(mlflow.get_tracking_uri(), error.message.splitlines()[0])) from error


def _unusable(uri: str, reason: object) -> str:
    return (
        f"MLFLOW_TRACKING_URI={redacted(uri)}: an address where an MLflow server answers, or a database like "
        f"sqlite:///mlflow.db, is needed ({redacted_text(str(reason))}); start the server or correct the address"
    )


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Signals raise nothing inside this context: MLflow would lose track of a run that it is opening or ending."""
    _held.set()
    try:
        yield
    finally:
        _held.clear()


@contextlib.contextmanager
def _ended_as_the_body() -> Iterator[None]:
    """End the active run: FINISHED, KILLED after a signal, or FAILED with the error."""
    try:
        yield
    except BaseException as error:
        _end(_killed() if _received else Outcome("FAILED", {ERROR: _sentence(error)}))
        raise
    _end(FINISHED)


def _killed() -> Outcome:
    """How a run has ended after a signal. ``mlflow run`` may say FAILED in the end: the tags stay."""
    return killed(BY_PERSON, f"ended by {_received[0]}")


@_signals_held()
def _end(outcome: Outcome) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    active = mlflow.active_run()
    if active is None:
        return
    try:
        if outcome.tags:
            with contextlib.suppress(MlflowException):
                mlflow.set_tags(dict(outcome.tags))
        mlflow.end_run(outcome.status)
    except MlflowException as refused:
        from mlflow_sysmetrics.delivery import one_line, writer_for

        run = writer_for(mlflow.get_tracking_uri()).open(active.info.run_id)
        run.end(outcome)
        run.close(0.0)  # it goes to disk
        told = UserError(
            f"run {active.info.run_id} cannot be marked as {outcome.status}: MLflow refuses it ({one_line(refused)}); "
            "make room or start the server, then run `mlflow-sysmetrics sync`"
        )
        if outcome.status != "KILLED":  # else the signal says how the command ends
            raise told from refused
        told.show()


def _sentence(error: BaseException) -> str:
    return redacted_text(
        error.message if isinstance(error, click.ClickException) else f"{type(error).__name__}: {error}"
    )


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Raise ``Interrupted`` in the main thread at the first signal that asks to end, and ignore later signals.

    Even if something hangs, this process and its children are gone some seconds after ``END_WITHIN_S``.
    """
    _received.clear()

    def handle(signal_number: int, frame: FrameType | None) -> None:
        signals.ignore()
        timer = threading.Timer(END_WITHIN_S, _kill_everything)
        timer.daemon = True
        timer.start()
        _received.append(Interrupted(signal_number))
        if not _held.is_set():
            _raise_received()

    before = signals.heed(handle)
    try:
        yield
    finally:
        for each, handler in before.items():
            if signal.getsignal(each) is handle:
                signal.signal(each, handler)


def is_interrupted() -> bool:
    """Whether a signal has asked the command to end."""
    return bool(_received)


def _raise_received() -> None:
    if _received:
        raise _received[0]


def _kill_everything() -> None:
    threading.excepthook = lambda _: None  # threads of Ray's that miss its processes
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    marking = threading.Thread(target=_mark_killed, daemon=True)
    marking.start()
    marking.join(STORE_TIMEOUT_S)
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(2, f"\nStopped by {_received[0]}.\n".encode())
    os._exit(_received[0].exit_code)


def _mark_killed() -> None:
    """Mark the open runs of this command, and what is still RUNNING below them."""
    from mlflow import MlflowClient

    client = MlflowClient()
    for run_id in _open:
        experiment_id = client.get_run(run_id).info.experiment_id
        below = f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = 'RUNNING'"
        children = [run.info.run_id for run in client.search_runs([experiment_id], below)]
        for each in (run_id, *children):
            client.set_tag(each, STOP_REASON, _killed().tags[STOP_REASON])
            client.set_terminated(each, "KILLED")


def _end_with_mlflow_run() -> None:
    """End this process as SIGTERM would once the ``mlflow run`` that started it is gone: nobody else would end it."""

    def watch() -> None:
        while os.getppid() == signals.STARTED_BY:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


class RecordedCommand(click.Command):
    """A click command whose usage errors are sentences, which are written into its MLflow run too."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the command line."""
        move_login_to_environment()
        try:
            return super().make_context(*args, **kwargs)
        except click.ClickException as error:
            mistake = UserError(self._sentence(error))
            record_failure(mistake)
            raise mistake from None

    def _sentence(self, error: click.ClickException) -> str:
        if not isinstance(error, click.NoSuchOption):
            return error.format_message()
        name = error.option_name.lstrip("-")
        names = [str(option.name) for option in self.params]
        return f"{name}: no such parameter; {closest(name, names, f'use one of {listed(names)}')}"
