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
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import click
from mlflow import MlflowClient
from mlflow.entities import Run

from mlflow_sysmetrics.redact import absolute_uri, redacted, redacted_text
from mlflow_sysmetrics.tags import KIND
from mlflow_sysmetrics.ui.page import FIRST, Page, address, runs_page, trials_of
from mlflow_sysmetrics.ui.saved import OF_RUNS, save_costs, saved_link

_HOST = "127.0.0.1"


def newest_page(uri: str, experiment_name: str | None) -> str:
    """The newest study's first view, or what its trials have cost so far; without a study that of the newest runs.

    ValueError where there is no such store or experiment.
    """
    file = re.match(r"sqlite[^:]*:///([^?]+)", absolute_uri(uri))
    if file and not Path(file[1]).exists():  # MLflow would make it
        raise ValueError(f"there is no {file[1]}; go to the folder of your runs, or give --tracking-uri")
    client = MlflowClient(uri)
    experiments = {each.name: each.experiment_id for each in client.search_experiments(max_results=10_000)}
    if experiment_name is not None:
        if experiment_name not in experiments:
            known = ", ".join(list(experiments)[:10])
            raise ValueError(f"there is no experiment {experiment_name!r}; there are {known}")
        experiments = {experiment_name: experiments[experiment_name]}
    study = _newest(client, experiments.values(), f"tags.`{KIND}` = 'study' and attributes.status != 'FAILED'")
    if study is not None:
        return _page_of_study(client, study)
    run = _newest(client, experiments.values(), "")
    if run is None:
        return "#/experiments"
    where = run.info.experiment_id
    return save_costs(client, where, "What runs cost", "", OF_RUNS) or runs_page(where)


def _newest(client: MlflowClient, experiment_ids: Iterable[str], wanted: str) -> Run | None:
    found = client.search_runs(list(experiment_ids), wanted, max_results=1, order_by=["attributes.start_time DESC"])
    return found[0] if found else None


def _page_of_study(client: MlflowClient, study: Run) -> str:
    where = study.info.experiment_id
    study_id = study.info.run_id
    saved = saved_link(client.get_experiment(where).tags, where, study_id, FIRST)
    if saved is not None:
        return saved
    began = time.localtime(study.info.start_time / 1000)
    page = Page(f"What trials cost, {time.strftime('%d %b %H:%M', began)}", trials_of(study_id), "TABLE", "elapsed_s")
    return save_costs(client, where, page.name, page.wanted, study_id) or page.plain_link(where)


def show(uri: str, page: str, port: int, *, with_browser: bool) -> None:
    """Open a page of the store: on its server, or on one that is started and that Ctrl-C ends; else ClickException."""
    if uri.startswith(("http://", "https://")):
        return _open(address(page, uri), with_browser)
    port = next((each for each in range(port, 65536) if not _listens(each)), port)
    line = [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1"]
    line += ["--uvicorn-opts", "--log-level warning --timeout-graceful-shutdown 1"]
    env = {
        "MLFLOW_BACKEND_STORE_URI": absolute_uri(uri),  # its password is not in the list of processes
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # else there are eight more processes, and three times the wait
        "PYTHONSAFEPATH": "1",  # else modules of the current folder come first
        "UVICORN_APP_DIR": os.devnull,
    }
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
