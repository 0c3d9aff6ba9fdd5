"""The writer's thread: nobody waits for the store, an outage is told once, and the end is bounded."""

import gc
import threading
import time
import weakref
from collections import deque

import pytest
from commands import wait_until
from meanwhile import meanwhile
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from scripted_store import LIMIT_S, Kept, ScriptedStore

from mlflow_sysmetrics.delivery import writer as writers
from mlflow_sysmetrics.delivery.journal import journal_folder
from mlflow_sysmetrics.delivery.operations import Point
from mlflow_sysmetrics.delivery.sync import deliver
from mlflow_sysmetrics.delivery.writer import Writer, writer_for
from mlflow_sysmetrics.outcome import FINISHED, killed


@pytest.fixture
def store():
    """A store in memory."""
    return ScriptedStore()


@pytest.fixture
def writer(store, monkeypatch):
    """A writer that repeats what failed after milliseconds."""
    monkeypatch.setattr(writers, "MAX_PAUSE_S", 0.01)
    monkeypatch.setattr(writers, "ASK_EVERY_S", 0.01)
    writer = Writer(store)
    yield writer
    store.open.set()
    writer.close_all(0.5)


def points(*values, first=0):
    """One for each value, at steps that count up."""
    return [Point("loss", value, 1000 + step, step) for step, value in enumerate(values, first)]


def test_run_in_mlflow_holds_all_that_was_logged(client):
    """More than one request takes, texts as its databases can hold them, and all around a name that it refuses."""
    writer = writer_for(client.tracking_uri)
    study = writer.create("0", name="study", start_ms=4_000)
    tags = {"long": "x" * 9000, "b@d": "no", "mlflow.runName": "trial\0" * 100}
    trial = writer.create("0", name="another", tags=tags, parent=study)
    params = {number: number for number in range(250)}
    params |= {"url": "http://me:hush42@there", "odd@": 1, "file": "a\udc80b\0c"}
    trial.log([*points(*range(1500)), *points(float("nan"), float("inf"), first=2000)], params=params)
    trial.log([Point("system/x", 1.0, 0)], summary={"elapsed_s": 2.0}, tags={"b@d": "no", "c": "yes"})
    trial.end(killed("limits", "limit"))
    study.end(FINISHED)
    assert writer.close([study, trial], 60)
    assert writer.close([study, trial], 60)
    run, around = client.get_run(str(trial.run_id)), client.get_run(str(study.run_id))
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == list(range(1500))
    assert len(run.data.params) == 252
    assert (run.data.params["url"], run.data.params["file"]) == ("http://there", "a?bc")
    assert run.info.run_name == "trial" * 50
    assert (len(run.data.tags["long"]), run.data.tags["mlflow.parentRunId"]) == (5000, around.info.run_id)
    assert client.get_metric_history(run.info.run_id, "system/x")[0].step == -run.info.start_time // 100
    assert run.data.metrics.items() >= {"elapsed_s": 2.0}.items()
    assert (run.info.status, run.data.tags["sysmetrics.stop_reason"]) == ("KILLED", "limit")
    assert (around.info.status, around.info.start_time) == ("FINISHED", 4_000)


def test_caller_never_waits_for_the_store(writer, store):
    """While the store holds the thread in a request, every method returns; what they queued is written later."""
    store.open.clear()
    began = time.monotonic()
    first = writer.create("0", name="a")
    assert store.entered.wait(LIMIT_S)
    assert store.timeout_s == writers.MAX_ANSWER_S  # a creation that is given up may be made twice
    second = writer.create("0", name="b", parent=first)
    for run in (first, second):
        run.log(points(1.0, 2.0))
        run.repeat()
    assert (first.run_id, first.is_open) == (None, True)
    first.end(FINISHED)
    first.log(points(3.0))  # which comes after the end, and so is dropped
    assert (first.is_open, second.is_open) == (False, True)
    assert time.monotonic() - began < LIMIT_S / 2
    store.open.set()
    store.until(lambda: len(store.runs) == 2 and len(store.named("b").points) == 2)
    assert (store.named("a").status, len(store.named("a").points)) == ("FINISHED", 2)
    assert store.named("b").tags["mlflow.parentRunId"] == first.run_id
    first.reopen({"again": "yes"})
    first.log([Point("loss", 2.0 + 1e-14, 9_000, 1)])  # computed again, by a machine that rounds otherwise
    first.log([Point("loss", 9.0, 9_001, 1)])
    store.until(lambda: len(store.named("a").points) == 3)
    assert (store.named("a").status, [point[1] for point in store.named("a").points]) == ("RUNNING", [1.0, 2.0, 9.0])


def test_ended_runs_are_forgotten_and_the_thread_ends_with_the_last(writer, store):
    """A process that lives for months writes many runs."""
    before = set(threading.enumerate())
    for number in range(30):
        run = writer.create("0", name=str(number))
        run.log(points(1.0))
        run.end(FINISHED)
    store.until(lambda: len(store.runs) == 30 and all(run.status == "FINISHED" for run in store.runs.values()))
    known = weakref.ref(run)
    del run
    wait_until(lambda: {*threading.enumerate()} <= before, LIMIT_S, "the end of the thread")
    gc.collect()
    assert known() is None
    writer.create("0", name="later").end(FINISHED)
    store.until(lambda: len(store.runs) == 31)


def test_outage_is_two_lines_of_log(writer, store, caplog):
    """However many attempts fail, of however many runs. Meanwhile runs that the store takes go on."""
    store.away = lambda request, run: run in ("a", "b")
    for key in "abc":
        writer.create("0", name=key, key=key).end(FINISHED)
    store.until(lambda: store.asked.count(("find", "b")) > 3)
    assert store.named("c").status == "FINISHED"
    store.until(lambda: writer.is_unreachable)
    store.away = lambda request, run: False
    wait_until(lambda: len(caplog.records) == 2, LIMIT_S, "the end of the outage")
    assert writer.close_all(LIMIT_S)
    logged = [record.getMessage() for record in caplog.records]
    first = "MLflow does not take the data of run 'a'; it waits. the store is away"
    assert logged == [first, "MLflow takes the data of run 'a' again"]


def test_outage_that_a_closed_run_began_is_told_of_the_next(writer, store, caplog):
    """Who opens it does not know of the other."""
    store.away = lambda request, run: True
    for name in ("a", "b"):
        run = writer.create("0", name=name)
        wait_until(lambda text=f"data of run '{name}'; it waits": text in caplog.text, LIMIT_S, "the warning")
        run.close(0.0)


def test_name_of_a_metric_that_mlflow_refuses_is_told_once(writer, store, caplog):
    """It is found by halves the first time; later it costs no request, and what is logged with it arrives."""
    run = writer.create("0", name="a")
    store.until(lambda: store.runs)
    for step in range(3):
        run.log([*points(1.0, first=step), Point("acc@1", 0.5, 1000, step)])
        store.until(lambda number=step + 1: len(store.named("a").points) == number)
    assert run.close(LIMIT_S)
    assert [request for request, _ in store.asked] == ["create", *["log"] * (3 + 1 + 1)]
    assert ["'acc@1'" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("answer", "waits"),
    [
        (TimeoutError("no answer within 5 s"), True),
        (MlflowException("503"), True),
        (MlflowException("forbidden", PERMISSION_DENIED), False),
        (PermissionError("a folder"), False),
    ],
    ids=str,
)
def test_file_waits_unless_it_is_refused(answer, waits, store, writer, caplog):
    """Points and the end of the run do not wait for it."""
    written = list[str]()
    answers = deque([answer, answer])

    def write_file(run_id, path, text):
        if answers:
            raise answers.popleft()
        written.append(path)

    store.write_file = write_file  # type: ignore[method-assign]
    run = writer.create("0", name="a")
    for path in ("a.json", "b.json", "c.json"):
        run.write(path, "{}")
    run.end(FINISHED)
    assert run.close(LIMIT_S)
    assert store.named("a").status == "FINISHED"
    assert written == (["a.json", "b.json", "c.json"] if waits else ["c.json"])
    assert ("a.json is missing in run 'a': MLflow refuses it" in caplog.text) == (not waits)


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "fails"])
def test_close_is_bounded_and_what_is_left_is_kept(hangs, store, writer, client, caplog):
    """The end of the program does not wait for the store; `sync` finds trials below the run around them."""
    store.away = lambda request, run: not hangs
    if hangs:
        store.open.clear()
    study = writer.create("0", name="study")
    for name in ("x", "y"):
        trial = writer.create("0", name=name, parent=study)
        trial.log(points(1.0, 2.0))
        trial.end(FINISHED)
    began = time.monotonic()
    assert not writer.close_all(0.3)
    assert 0.2 < time.monotonic() - began < LIMIT_S / 2
    assert "MLflow has not taken all of 3 runs yet: `mlflow-sysmetrics sync` delivers the rest" in caplog.text
    delivered = deliver(tracking_uri=client.tracking_uri)
    assert (delivered.left, delivered.points, len(delivered.runs)) == ([], 4, 3)
    runs = {run.info.run_name: run for run in client.search_runs(["0"])}
    assert runs["x"].data.tags["mlflow.parentRunId"] == runs["study"].info.run_id
    assert [runs[name].info.status for name in ("study", "x", "y")] == ["RUNNING", "FINISHED", "FINISHED"]


@pytest.mark.parametrize(("failures", "at_least_s", "at_most_s"), [(0, 0.25, 10.0), (10, 15.0, 30.0)])
def test_pauses_after_failures_become_longer(store, monkeypatch, failures, at_least_s, at_most_s):
    monkeypatch.setattr(writers, "ASK_EVERY_S", 0.0)
    store.away = lambda request, run: True
    run = Writer(store).open("known")
    run.failures = failures
    run.reopen()
    wait_until(lambda: run.due_at > time.monotonic() + at_least_s / 2, LIMIT_S, "a pause")
    assert run.due_at < time.monotonic() + at_most_s
    run.close(0.0)


def test_close_does_not_wait_out_a_pause(store, monkeypatch):
    """A store that is back by then gets the data, however long the pause is after an attempt that fails meanwhile."""
    monkeypatch.setattr(writers, "MAX_PAUSE_S", 3600.0)
    monkeypatch.setattr(writers, "ASK_EVERY_S", 0.0)
    writer = Writer(store)
    store.runs["known"] = Kept(0, {}, "a")
    run = writer.open("known")
    run.failures = 10
    store.open.clear()
    store.fates.append("before")
    run.reopen()
    run.log(points(1.0))
    assert store.entered.wait(LIMIT_S)
    with meanwhile(lambda: run.close(LIMIT_S)):
        wait_until(lambda: run.is_closing, LIMIT_S, "whoever closes the run")
        store.open.set()
    assert len(store.named("a").points) == 1


def test_close_does_not_wait_for_a_run_that_the_store_does_not_know(store, writer):
    """What waits for it is kept on disk."""
    run = writer.open("unknown")
    run.log(points(1.0))
    began = time.monotonic()
    assert not run.close(LIMIT_S)
    assert time.monotonic() - began < LIMIT_S / 2
    assert len(list(journal_folder().iterdir())) == 1


def test_disk_that_keeps_nothing_is_said(
    store,
    writer,
    tmp_path,
    monkeypatch,
    caplog,
):
    """With what is lost."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(tmp_path / "file/journals"))
    store.away = lambda request, run: True
    run = writer.create("0", name="a")
    assert not run.close(0.0)
    assert "data of run 'a' that MLflow did not take is lost" in caplog.text
    assert "sync" not in caplog.text
