"""What `mlflow-sysmetrics ui` does: find or make the page of the newest runs, and open it on a server."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from contextlib import suppress
from pathlib import Path

import click
from mlflow import MlflowClient

from mlflow_sysmetrics.redact import absolute_uri, redacted, redacted_text
from mlflow_sysmetrics.tags import KIND
from mlflow_sysmetrics.ui.page import FIRST, Page, address, runs_page, trials_of
from mlflow_sysmetrics.ui.saved import OF_RUNS, save_costs, saved_link

_HOST, _NAME, _NEWEST = "127.0.0.1", "What runs cost", ["attributes.start_time DESC"]


def newest_page(uri: str, experiment_name: str | None) -> str:
    """The newest study's first view, or what its trials have cost so far; without a study that of the newest runs.

    ValueError where there is no such store or experiment.
    """
    file = re.match(r"sqlite[^:]*:///([^?]+)", absolute_uri(uri))
    if file and not Path(file[1]).exists():  # MLflow would make it
        raise ValueError(f"there is no {file[1]}; go to the folder of your runs, or give --tracking-uri")
    client = MlflowClient(uri)
    experiments = {each.name: each.experiment_id for each in client.search_experiments(max_results=10_000)}
    if experiment_name not in (None, *experiments):
        raise ValueError(f"there is no experiment {experiment_name!r}; there are {', '.join(list(experiments)[:10])}")
    ids = [experiments[experiment_name]] if experiment_name else list(experiments.values())
    studies = client.search_runs(ids, f"tags.`{KIND}` = 'study'", max_results=1, order_by=_NEWEST)
    if not (runs := studies or client.search_runs(ids, max_results=1, order_by=_NEWEST)):
        return "#/experiments"
    study, where, began = runs[0].info.run_id, runs[0].info.experiment_id, runs[0].info.start_time / 1000
    if not studies:
        return save_costs(client, where, _NAME, "", OF_RUNS) or runs_page(where)
    first = saved_link(client.get_experiment(where).tags, where, study, FIRST)
    name = f"What trials cost, {time.strftime('%d %b %H:%M', time.localtime(began))}"
    plain = Page(name, trials_of(study), "TABLE", sort_by="elapsed_s")
    return first or save_costs(client, where, name, plain.wanted, study) or plain.plain_link(where)


def show(uri: str, page: str, port: int, *, with_browser: bool) -> None:
    """Open a page of the store: on its server, or on one that is started and that Ctrl-C ends; else ClickException."""
    if uri.startswith(("http://", "https://")):
        return _open(address(page, uri), with_browser)
    port = next((each for each in range(port, 65536) if not _listens(each)), port)
    line = [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1"]
    line += ["--uvicorn-opts", "--log-level warning --timeout-graceful-shutdown 1"]
    env = {"MLFLOW_BACKEND_STORE_URI": absolute_uri(uri)}  # its password is not in the list of processes
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # else there are eight more processes, and three times the wait
    env |= {"PYTHONSAFEPATH": "1", "UVICORN_APP_DIR": os.devnull}  # else modules of the current folder come first
    click.echo(f"Starting mlflow server on port {port} for {redacted(absolute_uri(uri))} ...")
    for number in (signal.SIGTERM, signal.SIGHUP):  # then the server is ended, too
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(line, env=os.environ | env, stdout=log, stderr=log, start_new_session=True)
        try:
            while server.poll() is None and not _listens(port):
                time.sleep(0.1)
            if server.poll() is None:
                _open(f"http://{_HOST}:{port}/{page}", with_browser)
                click.echo("Ctrl-C ends the server.")
            server.wait()
            log.seek(0)
            last = redacted_text(log.read().decode(errors="replace")).strip().splitlines()[-12:]
            raise click.ClickException("\n  ".join(["mlflow server has ended:", *last]))
        except KeyboardInterrupt:
            return None
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):  # the second for all that the first has left
                with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(server.pid, number)
                    server.wait(3)


def _listens(port: int) -> bool:
    with socket.socket() as own:
        # Of a port of the kernel's own range, where nobody listens, this socket may reach itself.
        return own.connect_ex((_HOST, port)) == 0 and own.getsockname() != own.getpeername()


def _open(address: str, with_browser: bool) -> None:
    click.echo(f"  {address}")
    if with_browser and any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")):
        webbrowser.open(address)  # not a textual one, which takes the terminal
