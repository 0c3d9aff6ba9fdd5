"""`mlflow-sysmetrics ui`: the page of the newest run is found or made, and shown on a server."""

import re
import signal
import urllib.request

import pytest
from click.testing import CliRunner
from commands import Command, clean_environment, copy_store, executed, hostile_files, in_use, store_uri, wait_until
from mlflow import MlflowClient
from pages import fragment, listed
from servers import answers, server_here

from mlflow_sysmetrics.command.cli import main

LIMIT_S = 120.0
NIGHT = "viewStateShareKey=sysmetrics-runs-costs&"


@pytest.fixture(scope="module")
def address(module_store):
    """A server on the store of a module: commands show its pages at once, and start nothing."""
    with server_here(store_uri(module_store)) as uri:
        yield uri


def add(client, where, **tags):
    """A run that knows what it has cost; its id."""
    run = client.create_run(where, tags={name.replace("_", ".", 1): value for name, value in tags.items()})
    client.log_metric(run.info.run_id, "elapsed_s", 2.0, step=0)
    return run.info.run_id


def test_page_is_that_of_the_newest_run(address, module_store):
    """Its study's first view. A study that goes on has none: what its trials have cost so far, flat as a plain page.

    Of a run without a study it is what runs have cost, however many studies are older.
    """
    client = MlflowClient(store_uri(module_store))

    def page(*options):
        line = ["ui", "--tracking-uri", address.replace("//", "//me:hush42@"), *options]
        done = CliRunner().invoke(main, line)
        assert done.exit_code == 0, done.output
        return done.output.strip().removeprefix(f"{address}/")

    assert page() == "#/experiments"
    where = client.create_experiment("night")
    client.create_run(where)
    assert page() == f"#/experiments/{where}/runs?workflowType=machine_learning"
    add(client, where)
    assert NIGHT in page()
    study = add(client, where, sysmetrics_kind="study")
    _, query = fragment(page())
    assert query["orderByKey"] == ["metrics.`elapsed_s`"]  # else trials are folded under the study, which has no charts
    add(client, where, sysmetrics_kind="trial", mlflow_parentRunId=study)
    assert f"viewStateShareKey=sysmetrics-{study}-costs&compareRunsMode=CHART" in page()
    view = next(view for name, view in listed(client, where).items() if name.startswith("What trials cost, "))
    assert len(client.search_runs([where], view.state["searchFilter"])) == 1
    client.set_experiment_tag(where, f"mlflow.sharedViewState.sysmetrics-{study}-first", "{}")  # as at its end
    first = page()
    assert f"viewStateShareKey=sysmetrics-{study}-first&" in first
    client.create_run("0", tags={"sysmetrics.kind": "report"})
    assert page() == first  # what was not measured has no page
    add(client, "0")
    assert page().startswith("#/experiments/0/")
    assert page("--experiment-name", "night") == first


def test_command_becomes_a_server_for_a_store_without_one(new_store, tmp_path, address):
    """On the next free port, with the artifacts, small, without the store's address or modules from the folder."""
    folder = copy_store(new_store, tmp_path).resolve()
    with in_use(folder) as client:
        run = add(client, client.create_experiment("night"))
        client.log_text(run, "what was found", "found.txt")
    hostile_files(folder)
    taken = address.rpartition(":")[2]
    line = ["mlflow-sysmetrics", "ui", "--port", taken]  # of the store that MLflow finds there
    command = Command(line, cwd=folder, output=folder / "output", env=clean_environment(), warm=True)
    try:
        wait_until(lambda: "/#/" in command.stdout or command.process.poll() is not None, LIMIT_S, "the page")
        server, port = re.search(r"(http://\S+:(\d+))/#/", command.stdout).groups()
        assert int(taken) < int(port) < int(taken) + 100
        wait_until(lambda: answers(port) or command.process.poll() is not None, LIMIT_S, "the server")
        for path, holds in (("/", "<html"), (f"/get-artifact?path=found.txt&run_uuid={run}", "what was found")):
            with urllib.request.urlopen(server + path, timeout=30) as answer:
                assert holds in answer.read().decode()
        lines = command.processes().values()
        assert len(lines) == 2
        assert "sqlite" not in "".join(lines)
        command.signal(signal.SIGINT, group=True)
        command.wait(LIMIT_S)
        assert (command.processes(), executed(folder)) == ({}, [])
    finally:
        command.kill()
