"""`mlflow-sysmetrics ui`: from the terminal to the newest study's page, and nothing is left at its end."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from commands import ROOT, Command, clean_environment, copy_store, executed, hostile_files, store_uri, wait_until
from mlflow import MlflowClient
from server_here import server_here
from tracking_server import free_port

from mlflow_sysmetrics.command.cli import main

LIMIT_S = 120.0


def start(folder: Path, *options: str, **more: str) -> Command:
    """Start the command in a folder, whose store MLflow finds there."""
    env = clean_environment(PYTHONPATH=str(ROOT), **more)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        env.pop(name, None)
    line = [str(Path(sys.executable).with_name("mlflow-sysmetrics")), "ui", *options]
    return Command(line, cwd=folder, output=folder / "output", env=env)


def add_study(folder: Path) -> str:
    """Add a study with a trial to the store of a folder, with an artifact where MLflow puts it; the study's id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        client = MlflowClient(store_uri(folder))
        where = client.create_experiment("night")
        study = str(client.create_run(where, tags={"sysmetrics.kind": "study"}).info.run_id)
        client.create_run(where, tags={"sysmetrics.kind": "trial", "mlflow.parentRunId": study})
        client.log_text(study, "what was found", "found.txt")
        return study


@dataclass(frozen=True)
class Shown:
    """The command while it shows a study. It was told to take a port on which a server of another store listened."""

    command: Command
    folder: Path
    study: str
    other_port: int

    @property
    def port(self) -> int:
        """The one that it has taken."""
        said = re.search(rf"Port {self.other_port} is in use by something else; taking (\d+)\.", self.command.stdout)
        assert said, self.command.stdout
        return int(said[1])

    @property
    def address(self) -> str:
        """What it has printed."""
        (found,) = re.findall(r"http://\S+", self.command.stdout)
        return str(found)


@pytest.fixture(scope="module")
def shown(new_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """The command in a folder with modules of the user's, and a browser that writes down what it is given."""
    folder = copy_store(new_store, tmp_path_factory.mktemp("shown")).resolve()
    study = add_study(folder)
    hostile_files(folder)
    browser = folder / "browser"
    browser.write_text(f"#!/bin/sh\necho \"$1\" > '{folder}/opened'\n")
    browser.chmod(0o755)
    with server_here(store_uri(new_store)) as other:
        port = int(other.rpartition(":")[2])
        command = start(folder, "--port", str(port), BROWSER=f"{browser} %s")
        try:
            wait_until(lambda: "Ctrl-C" in command.stdout or command.process.poll() is not None, LIMIT_S, "the page")
            assert command.process.poll() is None, command.stdout + command.stderr
            yield Shown(command, folder, study, port)
        finally:
            command.kill()


def read(port: int, path: str) -> str:
    """What a server of this machine answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return str(answer.read().decode())


def test_page_of_the_newest_study_is_opened(shown: Shown) -> None:
    """In a browser, and the server has the runs and their artifacts although it is not what wrote them."""
    assert shown.study in shown.address
    assert shown.address.startswith(f"http://127.0.0.1:{shown.port}/#/experiments/")
    assert (shown.folder / "opened").read_text().strip() == shown.address
    assert "<html" in read(shown.port, "/")
    assert read(shown.port, f"/get-artifact?path=found.txt&run_uuid={shown.study}") == "what was found"


def test_server_is_quiet_and_small(shown: Shown) -> None:
    """Three processes; none has the store's address on its command line, or has imported what is in the folder."""
    lines = shown.command.processes().values()
    assert (len(lines), [line for line in lines if "sqlite" in line]) == (3, [])
    assert (shown.command.stderr, executed(shown.folder)) == ("", [])
    assert len(shown.command.stdout.splitlines()) == 4


@pytest.fixture
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command sets in this process is undone. It asks no server twice."""
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


@pytest.mark.usefixtures("own_settings")
def test_running_server_is_used(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be it the store's address, whose login is not printed, or one on the port that has the same store."""
    opened: list[str] = []
    monkeypatch.setenv("BROWSER", "a browser")
    monkeypatch.setattr("webbrowser.open", opened.append)
    for options in (
        ["--tracking-uri", f"http://me:hush42@127.0.0.1:{shown.port}/"],
        ["--tracking-uri", store_uri(shown.folder), "--port", str(shown.port), "--experiment-name", "night"],
    ):
        done = CliRunner().invoke(main, ["ui", "--no-browser", *options])
        assert (done.exit_code, "Starting" in done.output) == (0, False), done.output
        assert done.output.splitlines()[-1].strip() == shown.address
    assert opened == []


def test_ctrl_c_ends_the_server(shown: Shown) -> None:
    """The exit code is 0, and of all processes none is left. The last test of this server."""
    shown.command.signal(signal.SIGINT, group=True)
    assert shown.command.wait(LIMIT_S).exit_code == 0
    assert (shown.command.processes(), shown.command.stderr) == ({}, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.usefixtures("own_settings")
def test_signal_while_the_server_starts_ends_it_too(empty_store: Path, number: signal.Signals, code: int) -> None:
    """The exit code says that there was no page yet."""
    before, others, started = signal.getsignal(number), set(psutil.Process().children()), set[psutil.Process]()

    def has_started() -> bool:
        started.update(set(psutil.Process().children()) - others)
        return bool(started) and signal.getsignal(number) != before

    def send() -> None:
        wait_until(has_started, LIMIT_S, "the server's first process", every_s=0.01)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    done = CliRunner().invoke(main, ["ui", "--tracking-uri", store_uri(empty_store), "--port", str(free_port())])
    sender.join()
    assert (done.exit_code, "Ctrl-C" in done.output) == (code, False)
    assert not any(process.is_running() for process in started)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:///nowhere/mlflow.db", "nowhere/mlflow.db; go to the folder of your runs, or give --tracking-uri"),
        ("ftp://me:hush42@there/runs", "ftp://me@there/runs cannot be shown: unknown kind of store; use the address"),
        ("http://me:hush42@127.0.0.1:1", "http://127.0.0.1:1 cannot be read: "),
        ("sqlite:///{folder}/text.db", "text.db cannot be read: "),
    ],
    ids=["no-file", "unknown", "no-answer", "no-database"],
)
@pytest.mark.usefixtures("own_settings")
def test_store_that_cannot_be_shown_is_said_in_a_line(uri: str, said: str, tmp_path: Path) -> None:
    """Without the password, and without a traceback; nothing is made."""
    (tmp_path / "text.db").write_text("no database" * 1000)
    uri = uri.format(folder=tmp_path)
    done = CliRunner().invoke(main, ["ui", "--no-browser", "--tracking-uri", uri, "--port", str(free_port())])
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    *_, last = done.output.splitlines()
    assert last.startswith("Error: ")
    assert said in last
    assert "hush42" not in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["text.db"]


@pytest.mark.usefixtures("own_settings")
def test_skinny_mlflow_is_told_what_to_install(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the command `mlflow server`, but not what a server needs."""
    monkeypatch.setitem(sys.modules, "flask", None)
    done = CliRunner().invoke(main, ["ui", "--tracking-uri", store_uri(empty_store)])
    assert done.exit_code == 1
    assert done.output.startswith("Error: mlflow-skinny has no server; install mlflow, or ")
