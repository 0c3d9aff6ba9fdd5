"""Which runs a program has in the end, whatever it does with MLflow: real programs, from one line to a loop."""

import os
import re
import subprocess
import sys
from functools import partial

import mlflow
import psutil
import pytest
from cases import cases
from commands import wait_until
from faults import FaultProxy
from machines import Clock, meanwhile, start_fork
from mlflow import MlflowClient
from servers import server_here

from mlflow_sysmetrics.command.passthrough import Exit
from mlflow_sysmetrics.command.run_tracker import RunTracker
from mlflow_sysmetrics.common.time_limits import FIRST_RUN_S, IMPORT_S
from mlflow_sysmetrics.delivery import RunRef
from mlflow_sysmetrics.delivery.sync import deliver
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.recording.outcome import FINISHED

LIMIT_S = 300.0
SUMMARY = {"elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "memory_growth_mb"}
WORK = """
import os, sys, time, mlflow
def work(seconds=0.3):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
"""
LOOP = """
time.sleep(1.5)  # a window of its series ends before its first run begins
mlflow.set_experiment("models")
for n in range(3):
    with mlflow.start_run(run_name=f"rf-{n}"): work()
"""
NESTED = """
with mlflow.start_run(run_name="search"):
    for n in range(2):
        with mlflow.start_run(run_name=f"trial-{n}", nested=True): work()
"""
THREADS = """
from concurrent.futures import ThreadPoolExecutor
def train(name):
    with mlflow.start_run(run_name=name): time.sleep(0.5)
mlflow.get_tracking_uri()
with ThreadPoolExecutor(2) as pool: list(pool.map(train, ["one", "two"]))
"""
FORK = """
with mlflow.start_run(run_name="mine"):
    if os.fork() == 0:
        mlflow.end_run()
        os._exit(0)
    os.wait()
    work()
"""
AUTOLOG = """
from sklearn.linear_model import Ridge
mlflow.autolog(log_models=False)
for alpha in (1, 2): Ridge(alpha).fit([[1], [2], [3]], [1, 2, 3])
"""
ONE = 'with mlflow.start_run(run_name="mine"): work(); mlflow.log_metric("loss", 0.5)'
NOT_ENDED = """
from mlflow.tracking._tracking_service.client import TrackingServiceClient
TrackingServiceClient.set_terminated = None
try: mlflow.end_run()
except TypeError: pass
"""
OWN_EXPERIMENT = f'mlflow.set_experiment("own"); from mlflow_sysmetrics import autolog; autolog()\n{ONE}'
slow = partial(pytest.param, marks=pytest.mark.slow)  # each imports MLflow


@pytest.fixture(autouse=True)
def server_store(store_in_use, tmp_path, monkeypatch):
    """The store of nothing, behind a server: a program that opens its file imports for two seconds more."""
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", tmp_path.as_uri())
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with server_here(store_in_use.tracking_uri) as uri:
        MlflowClient(uri).search_experiments()  # the first request to MLflow's server sets the address for its process
        mlflow.set_tracking_uri(uri)
        yield store_in_use


@pytest.fixture
def runs_of_program(record, all_runs):
    """Run a program to its end; its runs, that of the whole program first."""

    def recorded(program):
        assert record(sys.executable, "-c", WORK + program) == Exit(0)
        runs = all_runs()
        for run in runs:
            assert run.info.status == "FINISHED"
            assert run.data.metrics.keys() >= SUMMARY
        return sorted(runs, key=lambda run: -run.data.metrics["elapsed_s"])

    return recorded


def tree(client, runs):
    """Of each run the experiment, the parent and the name, with "*" for a name that MLflow has made up."""
    names = {run.info.run_id: re.sub(r"[a-z]+-[a-z]+-\d+", "*", run.info.run_name) for run in runs}
    names[None] = ""
    places = []
    for run in runs:
        experiment = client.get_experiment(run.info.experiment_id).name
        places.append(f"{experiment}/{names[run.data.tags.get('mlflow.parentRunId')]}/{names[run.info.run_id]}")
    return sorted(places)


@cases(
    "program, wanted",
    {
        "one run": (ONE, "Default//mine"),
        "set_experiment and our autolog": slow(OWN_EXPERIMENT, "own//mine"),
        "nested": slow(NESTED, "Default//search Default/search/trial-0 Default/search/trial-1"),
        "fork": slow(FORK, "Default//mine"),
        "threads": slow(THREADS, "Default//* Default//one Default//two"),
        "MLflow's autolog": slow(AUTOLOG, "Default//* Default//* Default//*"),
    },
)
def test_program_that_opens_several_runs_has_one_for_the_whole(runs_of_program, server_store, program, wanted):
    """In the experiment that it uses. The whole program's costs are in that run, and each other one has its own.

    Parents are untouched; one tag leads from each run at the top to the others.
    """
    whole, *others = runs = runs_of_program(program)
    assert tree(server_store, runs) == wanted.split()
    assert whole.data.metrics["cpu_seconds"] > 1  # to import mlflow
    assert {run.data.tags.get("sysmetrics.program") for run in runs} == {whole.data.tags.get("sysmetrics.run_key")}
    for run in others:  # each is read by a thread of its own, at other moments
        assert run.data.metrics["peak_memory_mb"] <= 1.02 * whole.data.metrics["peak_memory_mb"]
        assert run.data.metrics["elapsed_s"] < whole.data.metrics["elapsed_s"] / 2


def test_run_below_somebody_elses_is_the_programs(record, all_runs, server_store):
    """With its series and the costs of the whole program, as one at the top; the run around it stays as it is."""
    around = server_store.get_run(server_store.create_run("0", run_name="pipeline").info.run_id)
    opens = f"mlflow.start_run(run_name='mine', parent_run_id={around.info.run_id!r})"
    assert record(sys.executable, "-c", f"{WORK}\nwith {opens}: work(1)") == Exit(0)
    assert tree(server_store, all_runs()) == ["Default//pipeline", "Default/pipeline/mine"]
    (mine,) = (run for run in all_runs() if run.info.run_name == "mine")
    assert mine.data.metrics.keys() >= SUMMARY | {"system/process_memory_mb"}
    assert server_store.get_run(around.info.run_id).to_dictionary() == around.to_dictionary()


def test_series_of_the_whole_program_is_in_the_run_that_is_made_for_it(runs_of_program, server_store):
    """From its start on, although that is made when the second run is opened."""
    whole, *others = runs = runs_of_program(LOOP)
    assert tree(server_store, runs) == ["models//*", "models//rf-0", "models//rf-1", "models//rf-2"]
    assert {run.data.tags["sysmetrics.program"] for run in runs} == {whole.data.tags["sysmetrics.run_key"]}
    points = server_store.get_metric_history(whole.info.run_id, "system/process_memory_mb")
    times_ms = {point.timestamp for point in points}
    assert len(times_ms) == len(points)
    assert min(times_ms) < min(run.info.start_time for run in others)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_run_is_ended_by_sync_where_this_command_was_killed(record, all_runs):
    """That of the whole program, which was made here: with the summary so far, and why. The others keep theirs."""
    program = f"""{WORK}
with mlflow.start_run(run_name="one"): work()
mlflow.start_run(run_name="two"); time.sleep(600)
"""
    command = psutil.Process(start_fork(lambda: record(sys.executable, "-c", program, run_name="whole")))

    def is_recorded():
        metrics = {run.info.run_name: run.data.metrics for run in all_runs()}
        return "system/process_memory_mb" in metrics.get("whole", ())

    try:
        wait_until(is_recorded, LIMIT_S, "the series of the whole program")
    finally:
        for process in (command, *command.children()):
            process.kill()
        os.waitpid(command.pid, 0)
    assert not deliver().left
    runs = {run.info.run_name: run for run in all_runs()}
    whole = runs["whole"]
    assert whole.info.status == "KILLED"
    assert whole.data.tags["sysmetrics.cause_of_death"].startswith("mlflow-sysmetrics was killed")
    assert whole.data.metrics["elapsed_s"] > runs["one"].data.metrics["elapsed_s"]
    assert runs["one"].info.status == "FINISHED"


@cases("end, status", [("os._exit(3)", "FAILED"), slow("os.kill(os.getpid(), 9)", "KILLED")])
def test_runs_that_a_dying_program_leaves_open_end_with_it(record, all_runs, end, status):
    """As the program's own run does; one that has ended before keeps its status, and what it has logged by a name."""
    program = f"""{WORK}
with mlflow.start_run(run_name="done"): mlflow.log_metric("elapsed_s", 12345.0)
mlflow.start_run(run_name="open")
mlflow.start_run(run_name="inner", nested=True)
{end}
"""
    record(sys.executable, "-c", program, run_name="whole")
    runs = {run.info.run_name: run for run in all_runs()}
    assert runs["inner"].data.tags["mlflow.parentRunId"] == runs["open"].info.run_id
    statuses = {name: run.info.status for name, run in runs.items()}
    assert statuses == {"whole": status, "open": status, "inner": status, "done": "FINISHED"}
    assert runs["done"].data.metrics["elapsed_s"] == 12345.0 > 10 * runs["whole"].data.metrics["elapsed_s"]


@cases(
    "end, status",
    {
        "success keeps it": ("mlflow.end_run('KILLED')", "KILLED"),
        "error does not": ("mlflow.end_run('KILLED'); sys.exit(3)", "FAILED"),
        "the store was away": (NOT_ENDED, "FINISHED"),
    },
)
def test_end_that_the_program_gave_its_run(record, all_runs, end, status):
    """A program that ends its run by itself knows best, unless it has failed afterwards, or the store did not do it."""
    record(sys.executable, "-c", f"{WORK}\nmlflow.start_run()\n{end}")
    assert [run.info.status for run in all_runs()] == [status]


def test_run_of_the_environment_is_the_programs_and_left_open(record, all_runs, server_store, monkeypatch):
    """What the program opens without an id is that run; what it opens besides has its own costs.

    The status of the given run is not ours, nor are the metrics that the program has logged there.
    """
    run_id = server_store.create_run("0", run_name="given").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    program = f"""{WORK}
with mlflow.start_run(): mlflow.log_metric("elapsed_s", 12345.0)
mlflow.MlflowClient().update_run({run_id!r}, status="RUNNING")
with mlflow.start_run(run_name="other"): work()
sys.exit(4)
"""
    assert record(sys.executable, "-c", program) == Exit(4)
    assert tree(server_store, all_runs()) == ["Default//given", "Default//other"]
    assert {run.data.tags["sysmetrics.program"] for run in all_runs()} == {run_id}
    given = server_store.get_run(run_id)
    assert given.info.status == "RUNNING"
    assert given.data.metrics["elapsed_s"] == 12345.0
    assert given.data.metrics["cpu_seconds"] > 1


@cases("program, after_s", {"without MLflow": ("pass", IMPORT_S), "with it": ("import mlflow", FIRST_RUN_S)})
def test_run_is_made_for_a_program_that_opens_none(all_runs, program, after_s):
    """Soon, unless the program has imported MLflow: then it may open a run that will be its own."""
    clock, tracker = Clock(), RunTracker()
    subprocess.run([sys.executable, "-c", program], env=os.environ | tracker.environment, check=True)
    measurement = Measurement(sample=dict, clock=clock).start()
    tracker.start(RunRef(mlflow.get_tracking_uri(), "0"), measurement)
    clock.now = after_s - 1
    tracker.look()
    assert all_runs() == []
    clock.now = after_s + 1
    tracker.look()
    wait_until(all_runs, LIMIT_S, "the run")
    measurement.stop()
    tracker.finish(FINISHED, ends=True)
    (run,) = all_runs()
    assert run.data.metrics["elapsed_s"] == after_s + 1


def test_run_that_cannot_be_made_while_the_store_is_away_is_made_by_sync(record, all_runs, server_store, tmp_path):
    """With its series, its summary and its end: a program that ends during an outage loses nothing."""
    with FaultProxy(int(mlflow.get_tracking_uri().rpartition(":")[2])) as proxy:
        mlflow.set_tracking_uri(proxy.uri)

        def go_away():
            wait_until((tmp_path / "up").exists, LIMIT_S, "the program", every_s=0.01)
            proxy.fault = "refuse"
            (tmp_path / "gone").touch()

        script = f"touch {tmp_path}/up; until [ -e {tmp_path}/gone ]; do sleep 0.05; done; sleep 1; exit 3"
        with meanwhile(go_away):
            assert record("sh", "-c", script, run_name="night") == Exit(3)
    assert all_runs() == []
    assert not deliver(tracking_uri=server_store.tracking_uri).left
    (run,) = all_runs()
    assert run.info.run_name == "night"
    assert run.info.status == "FAILED"
    assert run.data.metrics.keys() >= SUMMARY | {"system/process_memory_mb"}
