"""What `mlflow-sysmetrics ui` does: find or make the page of the newest run, and show it on a server."""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterable
from typing import NoReturn

import click
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.common.redact import absolute_uri, is_server, redacted
from mlflow_sysmetrics.delivery.store import missing_database
from mlflow_sysmetrics.recording.tags import KIND
from mlflow_sysmetrics.ui.page import FIRST, PORT, Page, address, runs_page, tag, trials_of
from mlflow_sysmetrics.ui.saved import MEASURED, OF_RUNS, save_costs, saved_link

_HOST = "127.0.0.1"


def newest_page(uri: str, experiment_name: str | None) -> str:
    """The page of the newest run's study: its first view, or what its trials have cost so far.

    Where that run is of no study, the page of what runs have cost. ValueError where there is no such store or
    experiment.
    """
    missing = missing_database(uri)
    if missing is not None:
        raise ValueError(f"there is no {missing}; go to the folder of your runs, or give --tracking-uri")
    client = MlflowClient(uri)
    experiments = {each.name: each.experiment_id for each in client.search_experiments(max_results=10_000)}
    if experiment_name is not None:
        if experiment_name not in experiments:
            known = ", ".join(list(experiments)[:10])
            raise ValueError(f"there is no experiment {experiment_name!r}; there are {known}")
        experiments = {experiment_name: experiments[experiment_name]}
    run = _newest(client, experiments.values())
    if run is None:
        return "#/experiments"
    study = _study_of(client, run)
    if study is not None:
        return _page_of_study(client, study)
    experiment_id = run.info.experiment_id
    return save_costs(client, experiment_id, "What runs cost", "", OF_RUNS) or runs_page(experiment_id)


def _newest(client: MlflowClient, experiment_ids: Iterable[str]) -> Run | None:
    """The newest run that is a study or was measured, or else the newest of all."""
    found: list[Run] = []
    for condition in (f"{tag(KIND)} = 'study' and attributes.status != 'FAILED'", *MEASURED):
        found += _search(client, experiment_ids, condition)
    found = found or _search(client, experiment_ids, "")
    return max(found, key=lambda run: run.info.start_time, default=None)


def _search(client: MlflowClient, experiment_ids: Iterable[str], condition: str) -> list[Run]:
    order = ["attributes.start_time DESC"]
    return list(client.search_runs(list(experiment_ids), condition, max_results=1, order_by=order))


def _study_of(client: MlflowClient, run: Run) -> Run | None:
    """The study that a run is, or is below."""
    while run.data.tags.get(KIND) != "study":
        parent_id = run.data.tags.get(MLFLOW_PARENT_RUN_ID)
        if parent_id is None:
            return None
        run = client.get_run(parent_id)
    return run


def _page_of_study(client: MlflowClient, study: Run) -> str:
    experiment_id = study.info.experiment_id
    study_id = study.info.run_id
    saved = saved_link(client.get_experiment(experiment_id).tags, experiment_id, study_id, FIRST)
    if saved is not None:
        return saved
    began = time.localtime(study.info.start_time / 1000)
    page = Page(f"What trials cost, {time.strftime('%d %b %H:%M', began)}", trials_of(study_id), "TABLE", "elapsed_s")
    return save_costs(client, experiment_id, page.name, page.wanted, study_id) or page.plain_link(experiment_id)


def show(uri: str, page: str, port: int | None) -> None:
    """Print the address of a page of the store: on its server, or on one that this process becomes."""
    if is_server(uri):
        click.echo(f"  {address(page, uri)}")
    else:
        _serve(uri, page, port or PORT)


def _serve(uri: str, page: str, port: int) -> NoReturn:
    while not _is_free(port):
        port += 1
    click.echo(f"Starting mlflow server for {redacted(absolute_uri(uri))}; Ctrl-C ends it.")
    click.echo(f"  http://{_HOST}:{port}/{page}")
    sys.stdout.flush()  # what replaces this process does not
    line = [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1"]
    line += ["--uvicorn-opts", "--log-level warning --timeout-graceful-shutdown 1"]
    environment = {
        "MLFLOW_BACKEND_STORE_URI": absolute_uri(uri),  # its password is not in the list of processes
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # else there are eight more processes, and three times the wait
        "PYTHONWARNINGS": "ignore",
        "PYTHONSAFEPATH": "1",  # else modules of the current folder come first
        "UVICORN_APP_DIR": os.devnull,
    }
    os.execve(sys.executable, line, os.environ | environment)


def _is_free(port: int) -> bool:
    """Whether a server can have this port: an open connection of another program takes one, too."""
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        with contextlib.suppress(OSError):
            own.bind((_HOST, port))
            return True
    return False
