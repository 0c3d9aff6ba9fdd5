"""From the terminal to the newest study's page of the MLflow UI, with a server of our own where none runs."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import webbrowser
from pathlib import Path
from types import FrameType

import click
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.db.db_types import DATABASE_ENGINES

from mlflow_sysmetrics.command.ask_store import NoAnswerError, ask_store
from mlflow_sysmetrics.command.local_server import HOST, LocalServer, ServerFailedError, has_run, is_free
from mlflow_sysmetrics.command.newest_page import NoExperimentError, newest_run, page_of
from mlflow_sysmetrics.delivery.store import why_unknown
from mlflow_sysmetrics.redact import absolute_uri, redacted

_FOUND_WITHIN_S = 60.0
_PORTS_TRIED = 20
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NoUiError(Exception):
    """There is no page to show. The text says why, with the last lines of a server that failed."""


class _ToldError(BaseException):
    """A signal that ends this command has come."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def show(tracking_uri: str | None, experiment_name: str | None, port: int, *, with_browser: bool) -> int:
    """Show the newest study's page, and return the exit code once the server that was started for it has ended.

    Where the store is a server's, or a server on one of the ports tried has it, no server is started and 0 returned
    at once. Else Ctrl-C ends the server: 0, or 130 if it did not answer yet. Another signal: 128 and its number.

    Raises:
        NoUiError: the store, the experiment or the server is not there, or the server has ended by itself.
    """
    uri = tracking_uri or mlflow.get_tracking_uri()
    is_server = uri.startswith(("http://", "https://"))
    if not is_server:
        _check_is_local(uri)
    run, page = _newest(uri, experiment_name)  # before a server starts: both would make the tables of a new database
    if is_server:
        _open(f"{redacted(uri).rstrip('/')}/{page}", with_browser)
        return 0
    free, port = _choose_port(port, run)
    address = f"http://{HOST}:{port}/{page}"
    if free:
        return _serve(uri, port, address, with_browser)
    _open(address, with_browser)
    return 0


def _newest(uri: str, experiment_name: str | None) -> tuple[Run | None, str]:
    """The newest run at an address and its page, or NoUiError with the reason in a line."""

    def find() -> tuple[Run | None, str]:
        client = MlflowClient(uri)
        run = newest_run(client, experiment_name)
        return run, page_of(client, run)

    try:
        return ask_store(uri, _FOUND_WITHIN_S, find)
    except NoAnswerError as error:
        cannot = "" if isinstance(error.__cause__, NoExperimentError) else " cannot be read"
        raise NoUiError(f"{redacted(uri)}{cannot}: {error}") from error


def _check_is_local(uri: str) -> None:
    """NoUiError if no server can serve this store, or the store does not exist: MLflow would create it."""
    engine = uri.partition(":")[0].partition("+")[0]
    is_path = "://" not in uri and engine != "databricks"
    if not is_path and engine not in {*DATABASE_ENGINES, "file"}:
        raise NoUiError(f"{redacted(uri)} cannot be shown: {why_unknown(uri)}")
    if importlib.util.find_spec("flask") is None:
        raise NoUiError("mlflow-skinny has no server; install mlflow, or give --tracking-uri of a tracking server")
    path = absolute_uri(uri).partition(":///")[2].partition("?")[0]
    if engine == "sqlite" and path and not Path(path).exists():
        raise NoUiError(f"{redacted(uri)}: there is no {path}; go to the folder of your runs, or give --tracking-uri")


def _choose_port(first: int, run: Run | None) -> tuple[bool, int]:
    """The first port that is free or has a server with this run; and whether it is free."""
    for port in range(first, min(first + _PORTS_TRIED, 65536)):
        if is_free(port):
            if port != first:
                click.echo(f"Port {first} is in use by something else; taking {port}.")
            return True, port
        if run is not None and has_run(port, run):
            click.echo(f"A server on port {port} has the newest run of this store already.")
            return False, port
    raise NoUiError(f"--port {first}: it and the {_PORTS_TRIED - 1} after it are in use; choose another")


def _serve(uri: str, port: int, address: str, with_browser: bool) -> int:
    ready = False
    server = LocalServer(uri, port)
    with _Signals() as signals:
        try:
            click.echo(f"Starting mlflow server on {redacted(absolute_uri(uri))} ...")
            server.start()
            signals.interrupt()
            server.wait_until_ready()
            ready = True
            _open(address, with_browser)
            click.echo("Ctrl-C ends the server.")
            server.wait()
        except ServerFailedError as error:
            raise NoUiError(str(error)) from None
        except _ToldError as told:
            return 0 if ready and told.number == signal.SIGINT else 128 + told.number
        finally:
            signals.hold()
            server.stop()


class _Signals:
    """A context in which signals that end this command wait, except after `interrupt`: then they raise `_ToldError`.

    So no signal interrupts the start of the server before it is sure to be ended, nor its end.
    """

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._interrupts = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> _Signals:
        for number in _ENDING:
            handler = signal.getsignal(number)
            if handler is not signal.SIG_IGN:  # as under nohup
                self._before[number] = handler
                signal.signal(number, self._heed)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def interrupt(self) -> None:
        """From now on the next signal raises; one that waits does so now."""
        self._interrupts = True
        if self._waiting:
            self._heed(self._waiting.pop(), None)

    def hold(self) -> None:
        """From now on signals wait."""
        self._interrupts = False

    def _heed(self, number: int, frame: FrameType | None) -> None:
        if not self._interrupts:
            self._waiting.append(number)
            return
        self.hold()
        raise _ToldError(number)


def _open(address: str, with_browser: bool) -> None:
    """Print the address, and open it where there is a browser for it: not a textual one, which takes the terminal."""
    click.echo(f"  {address}")
    graphical = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    )
    if with_browser and graphical:
        webbrowser.open(address)
