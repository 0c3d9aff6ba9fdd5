"""`mlflow-sysmetrics served`: MLflow's own server, what it costs, and that nothing of it is left."""

import re
import shlex
import signal
import subprocess
import sys

import psutil
import pytest
from cases import cases, rows
from click.testing import CliRunner
from commands import ROOT, clean_environment, in_use, store_uri, wait_until
from machines import has_ended

from mlflow_gate.metrics import SERVED
from mlflow_gate.served import ServedCosts
from mlflow_gate.served.contention import Contention
from mlflow_sysmetrics.command.cli import main

LIMIT_S = 300.0


@pytest.fixture
def served(logged):
    """Run the command to its end; no process of it is left."""

    def served(line, code):
        result = CliRunner().invoke(main, shlex.split(f"served {line}"))
        assert result.exit_code == code, result.output
        assert not isinstance(result.exception, Exception)
        assert not _servers(psutil.Process())
        return result.output

    with in_use(logged.folder):
        yield served


def _servers(command):
    below = command.children(recursive=True)
    return [each for each in below if "mlflow.pyfunc.scoring_server.app:app" in each.cmdline()]


@pytest.mark.slow
def test_figures_are_printed_judged_and_logged_on_the_model(served, logged):
    """Of a version of a registered model: it is the logged model that has them, in a run of kind `served`."""
    said = served("models:/sum@champion --limits served_memory_mb<=1", code=1)
    printed = dict(re.findall(r"^  (served_\w+) +([\d.]+)$", said, re.MULTILINE))
    assert tuple(printed) == SERVED
    assert re.search(r"^served_memory_mb \d+(\.\d)? > 1$", said, re.MULTILINE)
    model = logged.client.get_logged_model(logged.uris["sum"].removeprefix("models:/"))
    (run,) = logged.client.search_runs(["0"], "tags.`sysmetrics.kind` = 'served'")
    found = {metric.key: metric.value for metric in model.metrics or []}
    assert found == run.data.metrics
    assert 100 < found["served_memory_mb"] < 400
    assert 0.1 < found["served_cpu_ms"] < 100
    assert ("The machine was busy" in said) == ("served_p50_ms" not in found)
    assert "sysmetrics.host_cpu_model" in run.data.tags


@pytest.mark.slow
def test_figures_at_rates_are_curves_over_the_rate(served, logged):
    """Under names of their own: those of a stream stay comparable."""
    said = served("models:/sum/1 --rate 10,20 --limits served_memory_mb<=9999", code=0)
    assert re.search(r"^ +20 +20 ", said, re.MULTILINE)
    (run,) = logged.client.search_runs(["0"], "params.rate = '10,20'")
    assert "served_p50_ms" not in run.data.metrics
    points = logged.client.get_metric_history(run.info.run_id, "served_cpu_ms_at_rate")
    assert [point.step for point in points] == [10, 20]
    if "The machine was busy" not in said:
        assert run.data.metrics["served_answered_per_s_at_rate"] == 20
        assert "served_p50_ms_at_rate" in run.data.metrics


def test_run_of_the_project_around_the_command_stays_as_it_is(store_in_use, monkeypatch):
    around = store_in_use.create_run("0", run_name="around").info
    monkeypatch.setenv("MLFLOW_RUN_ID", around.run_id)
    costs = ServedCosts({"served_memory_mb": 200.0}, 30, Contention(0.02, 0.01))
    monkeypatch.setattr("mlflow_gate.served.command.served_at_rates", lambda *_: [costs])
    assert CliRunner().invoke(main, ["served", "models:/m/1"]).exit_code == 0
    runs = {run.info.run_name: run for run in store_in_use.search_runs(["0"])}
    assert runs.keys() == {"around", "served models:/m/1"}
    assert runs["around"].info.status == "RUNNING"
    assert not runs["around"].data.metrics


@pytest.mark.slow
@cases(
    "name, why",
    {
        "lacks": ("lacks package", "cannot be served here: ModuleNotFoundError: No module named 'no_such"),
        "hangs": ("hangs", "did not answer within 2 s"),
    },
)
def test_model_that_cannot_be_served_says_why_in_one_sentence(served, logged, tmp_path, monkeypatch, name, why):
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "2")
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b,y\n1,2,3\n")
    said = served(f"{logged.uris[name]} --data {rows}", code=1)
    assert said.startswith(f"Error: {logged.uris[name]} {why}")
    assert said.count("\n") == 1


@cases("line, why", rows(__file__, "refused.txt"))
def test_mistake_is_a_sentence(served, logged, tmp_path, line, why):
    """Before any server has started."""
    (tmp_path / "rows.csv").write_text("a,c\n1,2\n")
    said = served(line.format(rows=tmp_path / "rows.csv", **logged.uris), code=2)
    assert why in said.splitlines()[-1]


@pytest.mark.slow
@cases(
    "number, code",
    {"Ctrl-C": (signal.SIGINT, 130), "SIGTERM": (signal.SIGTERM, 130), "SIGKILL": (signal.SIGKILL, -9)},
)
def test_server_ends_with_the_command(logged, tmp_path, number, code):
    """Also one whose model is at work and does not listen; its port is closed then."""
    (tmp_path / "rows.csv").write_text("a;b\n1,5;2\n")
    line = [sys.executable, "-m", "mlflow_sysmetrics.command.cli", "served", logged.uris["hangs"], "--data", "rows.csv"]
    environment = clean_environment(PYTHONPATH=str(ROOT), MLFLOW_TRACKING_URI=store_uri(logged.folder))
    with subprocess.Popen(line, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as running:
        ours = psutil.Process(running.pid)
        wait_until(lambda: _is_asked(ours), LIMIT_S, "the server has been asked")
        below = ours.children(recursive=True)
        running.send_signal(number)
        said = running.communicate(timeout=LIMIT_S)[1]
    assert running.returncode == code
    assert "Traceback" not in said
    wait_until(lambda: all(has_ended(process.pid) for process in below), 10.0, "the server's end")


def _is_asked(command):
    """Whether the server has answered that it is there, and the client is connected."""
    try:
        ends = [end.status for process in command.children(recursive=True) for end in process.net_connections("tcp")]
    except psutil.NoSuchProcess:  # one of the launcher's
        return False
    return ends.count(psutil.CONN_ESTABLISHED) == 1


@cases(
    "limits, code",
    {
        "met": ("served_memory_mb<=200", 0),
        "broken": ("served_p95_ms<=4, served_memory_mb<=100", 1),
        "not measured": ("served_p95_ms<=4, served_memory_mb<=200", 3),
    },
)
def test_exit_code_is_that_of_the_worst_limit(store_in_use, monkeypatch, limits, code):
    costs = ServedCosts({"served_memory_mb": 200.0}, 30, Contention(0.02, 0.01))
    monkeypatch.setattr("mlflow_gate.served.command.served_at_rates", lambda *_: [costs])
    assert CliRunner().invoke(main, ["served", "models:/m/1", "--limits", limits]).exit_code == code
