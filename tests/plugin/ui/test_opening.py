"""`mlflow-sysmetrics ui`: the page of the newest run is found or made, and shown on a server."""

import re
import signal
import socket
import urllib.request

import mlflow
import pytest
from cases import cases
from click.testing import CliRunner
from commands import Command, clean_environment, copy_store, executed, hostile_files, store_uri, wait_until
from mlflow import MlflowClient
from reference import fragment
from saved_views import listed
from server_here import server_here

from mlflow_sysmetrics.command.cli import main

LIMIT_S = 120.0
NIGHT = "viewStateShareKey=sysmetrics-runs-costs&"


@pytest.fixture(autouse=True)
def own_settings(monkeypatch):
    """What the commands set in this process, and the store in use, are as before. No server is asked twice."""
    for name, value in (("LOGGING_LEVEL", "WARNING"), ("HTTP_REQUEST_MAX_RETRIES", "0")):
        monkeypatch.setenv(f"MLFLOW_{name}", value)
    before = mlflow.get_tracking_uri()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    mlflow.set_tracking_uri(before)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def address(module_store):
    """A server on the store of a module: commands show its pages at once, and start nothing."""
    with server_here(store_uri(module_store)) as uri:
        yield uri


def add(client, where, **tags):
    """A run that knows what it has cost; its id."""
    run = client.create_run(where, tags={name.replace("_", ".", 1): value for name, value in tags.items()})
    client.log_metric(run.info.run_id, "elapsed_s", 2.0, step=0)
    return str(run.info.run_id)


def invoke(*line):
    """The lines that a command prints, which succeeds."""
    done = CliRunner().invoke(main, list(line))
    assert done.exit_code == 0, done.output
    return [each.strip() for each in done.output.splitlines()]


def refusal(*line):
    """The sentence with which a command is refused, without a traceback and without a password."""
    done = CliRunner().invoke(main, list(line))
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)
    assert "hush" not in done.output
    (said,) = done.output.splitlines()
    return said


def test_page_is_that_of_the_newest_run(address, module_store):
    """Its study's first view. A study that goes on has none: what its trials have cost so far, flat as a plain page.

    Of a run without a study it is what runs have cost, however many studies are older.
    """
    client = MlflowClient(store_uri(module_store))
    shown = ["ui", "--tracking-uri", address.replace("//", "//me:hush42@")]
    assert invoke(*shown) == [f"{address}/#/experiments"]
    where = client.create_experiment("night")
    client.create_run(where)
    assert invoke(*shown) == [f"{address}/#/experiments/{where}/runs?workflowType=machine_learning"]
    add(client, where)
    assert NIGHT in invoke(*shown)[0]
    study = add(client, where, sysmetrics_kind="study")
    _, query = fragment(invoke(*shown)[0].removeprefix(f"{address}/"))
    assert query["orderByKey"] == ["metrics.`elapsed_s`"]  # else trials are folded under the study, which has no charts
    add(client, where, sysmetrics_kind="trial", mlflow_parentRunId=study)
    assert f"viewStateShareKey=sysmetrics-{study}-costs&compareRunsMode=CHART" in invoke(*shown)[0]
    view = next(view for name, view in listed(client, where).items() if name.startswith("What trials cost, "))
    assert len(client.search_runs([where], view.state["searchFilter"])) == 1
    client.set_experiment_tag(where, f"mlflow.sharedViewState.sysmetrics-{study}-first", "{}")  # as at its end
    (page,) = invoke(*shown)
    assert f"viewStateShareKey=sysmetrics-{study}-first&" in page
    client.create_run(where, tags={"sysmetrics.kind": "report"})
    failed = client.create_run("0", tags={"sysmetrics.kind": "study"})
    client.set_terminated(failed.info.run_id, "FAILED")
    assert invoke(*shown) == [page]  # what was not measured has no page
    add(client, "0")
    (later,) = invoke(*shown)
    assert (NIGHT in later, "/experiments/0/" in later) == (True, True)
    assert invoke(*shown, "--experiment-name", "night") == [page]
    assert refusal(*shown, "--experiment-name", "nigth").endswith("no experiment 'nigth'; there are night, Default")


@cases(
    "uri, says",
    {
        "another folder": ("sqlite:///{folder}/x.db", "x.db; go to the folder of your runs, or give"),
        "not a database": ("sqlite:///{folder}/text.db", "file is not a database"),
        "nobody answers": ("http://me:hush42@127.0.0.1:9", "http://127.0.0.1:9: "),
        "kind": ("ftp://me:hush42@there/x", "ftp://me@there/x: unknown kind of store; use the address"),
        "no driver": ("postgresql+nodriver://me:hush42@127.0.0.1/x", "nodriver"),
        "odd password": ("http://me:hush#42@here", "write special characters of the password as %XX"),
    },
)
def test_store_that_cannot_be_read_is_refused_in_a_sentence(tmp_path, uri, says):
    """Nothing is made, and no server is started."""
    (tmp_path / "text.db").write_text("no database" * 1000)
    mlflow.set_tracking_uri(uri.format(folder=tmp_path))
    assert says in refusal("ui")
    assert [path.name for path in tmp_path.iterdir()] == ["text.db"]


@cases("held_by", ["a server", "a connection"])
def test_command_becomes_a_server_for_a_store_without_one(new_store, tmp_path, address, held_by):
    """On the next free port, with the artifacts, small, without the store's address or modules from the folder."""
    folder = copy_store(new_store, tmp_path).resolve()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        client = MlflowClient(store_uri(folder))
        run = add(client, client.create_experiment("night"))
        client.log_text(run, "what was found", "found.txt")
    hostile_files(folder)
    taken = int(address.rpartition(":")[2])
    connection = socket.create_connection(("127.0.0.1", taken))
    if held_by == "a connection":
        taken = connection.getsockname()[1]
    line = ["mlflow-sysmetrics", "ui", "--port", str(taken)]  # of the store that MLflow finds there
    command = Command(line, cwd=folder, output=folder / "output", env=clean_environment(), warm=True)
    try:
        wait_until(lambda: "/#/" in command.stdout or command.process.poll() is not None, LIMIT_S, "the page")
        (page,) = re.findall(r"http://\S+", command.stdout)
        server = page.partition("/#/")[0]
        assert taken < int(server.rpartition(":")[2]) < taken + 100
        wait_until(lambda: answers(server) or command.process.poll() is not None, LIMIT_S, "the server")
        for path, holds in (("/", "<html"), (f"/get-artifact?path=found.txt&run_uuid={run}", "what was found")):
            with urllib.request.urlopen(server + path, timeout=30) as answer:
                assert holds in answer.read().decode()
        lines = command.processes().values()
        assert (len(lines), [line for line in lines if "sqlite" in line]) == (2, [])
        command.signal(signal.SIGINT, group=True)
        command.wait(LIMIT_S)
        assert (command.processes(), executed(folder)) == ({}, [])
    finally:
        command.kill()
        connection.close()


def answers(server):
    """Whether a server takes requests."""
    try:
        urllib.request.urlopen(server, timeout=30).close()
    except OSError:
        return False
    return True
