"""Which runs a program has in the end, whatever it does with MLflow: real programs, from one line to a loop."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import psutil
import pytest
from commands import wait_until
from fault_proxy import FaultProxy
from forks import start_fork
from meanwhile import meanwhile
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from server_here import server_here

from mlflow_sysmetrics.command.passthrough import Exit
from mlflow_sysmetrics.command.run_tracker import RunTracker
from mlflow_sysmetrics.delivery import RunRef
from mlflow_sysmetrics.delivery.sync import deliver
from mlflow_sysmetrics.events import EVENT_FILE
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.outcome import FINISHED

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
SLOW = pytest.mark.slow  # each imports MLflow
Record = Callable[..., Exit]
Runs = Callable[[], list[Run]]


@pytest.fixture(autouse=True)
def store(store_in_use: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """The store of nothing, behind a server: a program that opens its file imports for two seconds more."""
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", tmp_path.as_uri())
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with server_here(store_in_use.tracking_uri) as uri:
        MlflowClient(uri).search_experiments()  # the first request to MLflow's server sets the address for its process
        mlflow.set_tracking_uri(uri)
        yield store_in_use


def tree(client: MlflowClient, runs: list[Run]) -> set[tuple[str, str, str]]:
    """Of each run its experiment, its name and its parent's name, with "*" for a name that MLflow has made up."""
    names = {run.info.run_id: re.sub(r"[a-z]+-[a-z]+-\d+", "*", str(run.info.run_name)) for run in runs}
    experiments = {each.experiment_id: each.name for each in client.search_experiments()}
    return {
        (
            experiments[run.info.experiment_id],
            names[run.info.run_id],
            names.get(run.data.tags.get("mlflow.parentRunId", ""), ""),
        )
        for run in runs
    }


@pytest.mark.parametrize(
    ("program", "wanted"),
    [
        pytest.param(ONE, {("Default", "mine", "")}, id="one run"),
        pytest.param(
            f'mlflow.set_experiment("own"); from mlflow_sysmetrics import autolog; autolog()\n{ONE}',
            {("own", "mine", "")},
            id="set_experiment and our autolog",
            marks=SLOW,
        ),
        pytest.param(LOOP, {("models", "*", ""), *(("models", f"rf-{n}", "*") for n in range(3))}, id="loop"),
        pytest.param(
            NESTED,
            {("Default", "search", ""), *(("Default", f"trial-{n}", "search") for n in range(2))},
            id="nested",
            marks=SLOW,
        ),
        pytest.param(FORK, {("Default", "mine", "")}, id="fork", marks=SLOW),
        pytest.param(
            THREADS,
            {("Default", "*", ""), ("Default", "one", "*"), ("Default", "two", "*")},
            id="threads",
            marks=SLOW,
        ),
        pytest.param(AUTOLOG, {("Default", "*", ""), ("Default", "*", "*")}, id="MLflow's autolog", marks=SLOW),
    ],
)
def test_program_has_one_run_around_those_that_it_opens(
    record: Record, all_runs: Runs, store: MlflowClient, program: str, wanted: set[tuple[str, str, str]]
) -> None:
    """In the experiment that it uses. The whole program's costs are in that run, and each other one has its own.

    So is its series, from the program's start on, although a run was made for it when the second one was opened.
    """
    assert record(sys.executable, "-c", WORK + program) == Exit(0)
    runs = all_runs()
    assert tree(store, runs) == wanted
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert [run.info.run_name for run in runs if SUMMARY - run.data.metrics.keys()] == []
    (whole,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert whole.data.metrics["cpu_seconds"] > 1  # to import mlflow
    times_ms = [point.timestamp for point in store.get_metric_history(whole.info.run_id, "system/process_memory_mb")]
    assert len(times_ms) == len(set(times_ms)) > 1
    assert program != LOOP or min(times_ms) < runs[1].info.start_time
    for run in runs:  # each is read by a thread of its own, at other moments
        assert run.data.metrics["peak_memory_mb"] <= 1.02 * whole.data.metrics["peak_memory_mb"]
        if run is not whole:
            assert run.data.metrics["elapsed_s"] < whole.data.metrics["elapsed_s"] / 2


def test_program_that_deletes_its_only_run_has_another_one(
    record: Record, all_runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the summary and the series of all its time; the link leads there. Nothing is left for the deleted one."""
    program = f"{WORK}\nwith mlflow.start_run() as run: work()\nmlflow.delete_run(run.info.run_id); work()"
    assert record(sys.executable, "-c", program, run_name="whole") == Exit(0)
    assert not deliver().left
    (run,) = all_runs()
    assert (run.info.run_name, run.info.status) == ("whole", "FINISHED")
    assert run.data.metrics.keys() >= SUMMARY | {"system/process_memory_mb"}
    assert run.data.metrics["cpu_seconds"] > 1  # to import mlflow, before that
    assert capfd.readouterr().err.rstrip().endswith(f"/runs/{run.info.run_id}")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_run_is_ended_by_sync_where_this_command_was_killed(
    record: Record, all_runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was made here, for a program that opens none: with the summary so far, and why."""
    monkeypatch.setattr("mlflow_sysmetrics.command.run_tracker.WITHOUT_MLFLOW_S", 0.5)
    command = psutil.Process(start_fork(lambda: record("sleep", "600")))
    try:
        wait_until(lambda: all_runs() and "system/process_memory_mb" in all_runs()[0].data.metrics, LIMIT_S, "the run")
    finally:
        programs = command.children()
        for process in (command, *programs):
            process.kill()
        os.waitpid(command.pid, 0)
    assert not deliver().left
    (run,) = all_runs()
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.cause_of_death"].startswith("mlflow-sysmetrics was killed")
    assert run.data.metrics["elapsed_s"] > 0


def test_program_that_begins_with_mlflow_late_has_one_run_all_the_same(
    record: Record, all_runs: Runs, store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that it had until then is gone, and its series are in the new one."""
    monkeypatch.setattr("mlflow_sysmetrics.command.run_tracker.WITHOUT_MLFLOW_S", 0.5)
    early: list[str] = []

    def look() -> None:
        wait_until(lambda: early.extend(run.info.run_id for run in all_runs()) or early, LIMIT_S, "the first run")
        (tmp_path / "begun").touch()

    with meanwhile(look):
        record(
            "sh", "-c", f"until [ -e begun ]; do sleep 0.05; done; {sys.executable} -c '{WORK}{ONE}'", run_name="night"
        )
    (run,) = all_runs()
    assert (run.info.run_name, run.data.metrics["loss"]) == ("night", 0.5)
    (deleted,) = store.search_runs(["0"], run_view_type=ViewType.DELETED_ONLY)
    assert [deleted.info.run_id] == early[:1]
    points = store.get_metric_history(run.info.run_id, "system/process_memory_mb")
    assert min(point.timestamp for point in points) < run.info.start_time
    assert len({point.step for point in points}) == len(points)


@pytest.mark.parametrize(
    ("end", "status"),
    [("os._exit(3)", "FAILED"), pytest.param("os.kill(os.getpid(), 9)", "KILLED", marks=SLOW)],
)
def test_runs_that_a_dying_program_leaves_open_end_with_it(
    record: Record, all_runs: Runs, end: str, status: str
) -> None:
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


@pytest.mark.parametrize(
    ("code", "status"),
    [
        pytest.param(0, "KILLED", id="success keeps it"),
        pytest.param(3, "FAILED", id="error does not"),
    ],
)
def test_end_that_the_program_gave_its_run(record: Record, all_runs: Runs, code: int, status: str) -> None:
    """A program that ends its run by itself knows best, unless it has failed afterwards."""
    record(sys.executable, "-c", f"{WORK}\nmlflow.start_run(); mlflow.end_run('KILLED'); sys.exit({code})")
    assert [run.info.status for run in all_runs()] == [status]


def test_run_of_the_environment_is_the_programs_and_left_open(
    record: Record, all_runs: Runs, store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the program opens without an id is that run; what it opens besides is below it. Its status is not ours.

    Nor are the metrics that the program has logged there.
    """
    run_id = store.create_run("0", run_name="given").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    program = f"""{WORK}
with mlflow.start_run(): mlflow.log_metrics({{"loss": 0.5, "elapsed_s": 12345.0}})
mlflow.MlflowClient().update_run({run_id!r}, status="RUNNING")
with mlflow.start_run(run_name="other"): work()
sys.exit(4)
"""
    assert record(sys.executable, "-c", program) == Exit(4)
    assert tree(store, all_runs()) == {("Default", "given", ""), ("Default", "other", "given")}
    given = store.get_run(run_id)
    assert (given.info.status, given.data.metrics["loss"]) == ("RUNNING", 0.5)
    assert given.data.metrics["elapsed_s"] == 12345.0
    assert given.data.metrics["cpu_seconds"] > 1


def test_program_that_has_imported_mlflow_is_given_more_time_to_open_a_run(store: MlflowClient) -> None:
    seconds = [0.0]
    measurement = Measurement(sample=dict, clock=lambda: seconds[0]).start()
    tracker = RunTracker()
    tracker.start(RunRef(mlflow.get_tracking_uri(), "0"), measurement, os.getpid())
    Path(tracker.environment[EVENT_FILE]).write_text('{"event": "imported"}\n')
    seconds[0] = 59.0
    tracker.look()
    assert tracker.handle is None
    seconds[0] = 61.0
    tracker.look()
    assert tracker.handle is not None
    measurement.stop()
    tracker.finish(FINISHED, ends=True)


def test_run_that_cannot_be_made_while_the_store_is_away_is_made_by_sync(
    record: Record, all_runs: Runs, store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its series, its summary and its end: a program that ends during an outage loses nothing."""
    monkeypatch.setattr("mlflow_sysmetrics.command.run_tracker._CLOSE_S", 0.5)
    with FaultProxy(int(mlflow.get_tracking_uri().rpartition(":")[2])) as proxy:
        mlflow.set_tracking_uri(proxy.uri)

        def go_away() -> None:
            wait_until((tmp_path / "up").exists, LIMIT_S, "the program", every_s=0.01)
            proxy.fault = "refuse"
            (tmp_path / "gone").touch()

        script = f"touch {tmp_path}/up; until [ -e {tmp_path}/gone ]; do sleep 0.05; done; sleep 1; exit 3"
        with meanwhile(go_away):
            assert record("sh", "-c", script, run_name="night") == Exit(3)
    assert all_runs() == []
    assert not deliver(tracking_uri=store.tracking_uri).left
    (run,) = all_runs()
    assert (run.info.run_name, run.info.status) == ("night", "FAILED")
    assert run.data.metrics.keys() >= SUMMARY | {"system/process_memory_mb"}
    assert run.info.end_time - run.info.start_time > 1000


def test_peak_before_a_reset_of_the_kernels_mark_is_kept(record: Record, all_runs: Runs) -> None:
    """Integrations reset it, so that each trial has a peak of its own; from outside nobody sees what it was."""
    code = "from mlflow_sysmetrics.sampling import reset_peak_rss\nkept = bytearray(b'x') * 100_000_000\ndel kept\n"
    assert record(sys.executable, "-c", f"{code}assert reset_peak_rss()") == Exit(0)
    (run,) = all_runs()
    assert run.data.metrics["peak_rss_mb"] > 100
