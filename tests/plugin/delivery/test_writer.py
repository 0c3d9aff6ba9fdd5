"""The writer's thread: nobody waits for the store, an outage is told once, and the end is bounded."""

import gc
import math
import signal
import threading
import time
import weakref

import pytest
from cases import cases
from commands import wait_until
from faults import LIMIT_S, Kept, ScriptedStore

from mlflow_sysmetrics.common.time_limits import MAX_ANSWER_S
from mlflow_sysmetrics.delivery.operations import Point
from mlflow_sysmetrics.delivery.sync import deliver
from mlflow_sysmetrics.delivery.writer import Writer, writer_for
from mlflow_sysmetrics.recording.outcome import FINISHED


@pytest.fixture
def scripted():
    """A store in memory."""
    return ScriptedStore()


@pytest.fixture
def writer(scripted):
    """A writer that repeats what failed after milliseconds."""
    writer = Writer(scripted, ask_every_s=0.01, max_pause_s=0.01)
    yield writer
    scripted.open.set()
    writer.close_all(0.5)


def points(*values, first=0):
    """One for each value, at steps that count up."""
    return [Point("loss", value, 1000 + step, step) for step, value in enumerate(values, first)]


def test_run_in_mlflow_holds_all_that_was_logged(client):
    """More than one request takes, texts as its databases can hold them, and all around a name that it refuses."""
    writer = writer_for(client.tracking_uri)
    tags = {"long": "x" * 9000, "b@d": "no", "mlflow.runName": "trial\0" * 100}
    run = writer.create("0", name="another", tags=tags, start_ms=4_000)
    params = {number: number for number in range(250)}
    params |= {"url": "http://me:hush42@there", "odd@": 1, "file": "a\udc80b\0c"}
    run.log(points(*range(1500), math.nan, math.inf), params=params, summary={"elapsed_s": 2.0})
    run.end(FINISHED)
    assert run.close(LIMIT_S)
    stored = client.get_run(run.run_id)
    assert len(client.get_metric_history(run.run_id, "loss")) == 1500
    assert stored.data.metrics["elapsed_s"] == 2.0
    assert len(stored.data.params) == 252
    assert stored.data.params.items() >= {"url": "http://there", "file": "a?bc"}.items()
    assert stored.info.run_name == "trial" * 50
    assert len(stored.data.tags["long"]) == 5000
    assert stored.info.status == "FINISHED"
    assert stored.info.start_time == 4_000


def test_caller_never_waits_for_the_store(writer, scripted):
    """While the store holds the thread in a request, every method returns; what they queued is written later."""
    scripted.open.clear()
    run = writer.create("0", name="a")
    assert scripted.entered.wait(LIMIT_S)
    assert scripted.timeout_s == MAX_ANSWER_S  # a creation that is given up may be made twice
    run.log(points(1.0, 2.0))
    assert (run.run_id, run.is_open) == (None, True)
    run.end(FINISHED)
    run.log(points(3.0))  # which comes after the end, and so is dropped
    assert not run.is_open
    scripted.open.set()
    scripted.until(lambda: scripted.runs and scripted.named("a").status == "FINISHED")
    run.reopen()
    run.log([Point("loss", 9.0, 9_001, 1)])
    scripted.until(lambda: len(scripted.named("a").points) == 3)
    assert [point[1] for point in scripted.named("a").points] == [1.0, 2.0, 9.0]


def test_ended_runs_are_forgotten_and_the_thread_ends_with_the_last(writer, scripted):
    """A process that lives for months writes many runs."""
    before = set(threading.enumerate())
    for name in "abc":
        run = writer.create("0", name=name)
        run.end(FINISHED)
        wait_until(lambda: {*threading.enumerate()} <= before, LIMIT_S, "the end of the thread")
    assert [kept.status for kept in scripted.runs.values()] == ["FINISHED"] * 3
    known = weakref.ref(run)
    del run
    gc.collect()
    assert known() is None


def test_outage_is_two_lines_of_log(writer, scripted, caplog):
    """However many attempts fail, of however many runs. Meanwhile runs that the store takes go on."""
    scripted.away = lambda request, run: run in ("a", "b")
    for key in "abc":
        writer.create("0", name=key, key=key).end(FINISHED)
    scripted.until(lambda: scripted.asked.count(("find", "b")) > 3)
    assert scripted.named("c").status == "FINISHED"
    scripted.until(lambda: writer.is_unreachable)
    scripted.away = lambda request, run: False
    wait_until(lambda: len(caplog.messages) > 1, LIMIT_S, "the end of the outage")
    first = "MLflow does not take the data of run 'a'; it waits. the store is away"
    assert caplog.messages == [first, "MLflow takes the data of run 'a' again"]


def test_outage_that_a_closed_run_began_is_told_of_the_next(writer, scripted, caplog):
    """Who opens it does not know of the other."""
    scripted.away = lambda request, run: True
    for name in ("a", "b"):
        run = writer.create("0", name=name)
        wait_until(lambda text=f"data of run '{name}'; it waits": text in caplog.text, LIMIT_S, "the warning")
        run.close(0.0)


def test_name_of_a_metric_that_mlflow_refuses_is_told_once(writer, scripted, caplog):
    """It is found by halves the first time; later it costs no request, and what is logged with it arrives."""
    run = writer.create("0", name="a")
    scripted.until(lambda: scripted.runs)
    for step in range(3):
        run.log([*points(1.0, first=step), Point("acc@1", 0.5, 1000, step)])
        scripted.until(lambda number=step + 1: len(scripted.named("a").points) == number)
    assert run.close(LIMIT_S)
    assert len(scripted.asked) == 1 + 3 + 1 + 1
    (told,) = caplog.messages
    assert "'acc@1'" in told


@cases("has_journal", [True, False])
def test_oldest_points_are_given_up_where_too_much_waits(has_journal, scripted, writer, journals, monkeypatch, caplog):
    """In memory; a journal has them for `sync`."""
    monkeypatch.setattr("mlflow_sysmetrics.delivery.run.MAX_VALUES", 4)
    scripted.away = lambda request, run: True
    run = writer.create("0", name="a")
    if has_journal:
        run.keep_journal("system/")
    for step in range(6):
        run.log(points(float(step), first=step))
    scripted.away = lambda request, run: False
    assert run.close(LIMIT_S)
    kept = [point[1] for point in scripted.named("a").points]
    assert kept == [4.0, 5.0]  # beside the creation and the tags, which are never given up
    assert ("its oldest points are given up" in caplog.text) is not has_journal
    monkeypatch.setattr("mlflow_sysmetrics.delivery.sync.Store", lambda *_: scripted)
    deliver()
    assert len(scripted.named("a").points) == (6 if has_journal else 2)


@cases("hangs", [True, False])
def test_close_is_bounded_and_what_is_left_is_kept(hangs, scripted, writer, journals, caplog):
    """The end of the program does not wait for the store."""
    scripted.away = lambda request, run: not hangs
    if hangs:
        scripted.open.clear()
    for name in "ab":
        writer.create("0", name=name)
    began = time.monotonic()
    assert not writer.close_all(0.3)
    assert time.monotonic() - began < LIMIT_S / 2
    assert "MLflow has not taken all of 2 runs yet: `mlflow-sysmetrics sync` delivers the rest" in caplog.text
    assert len(list(journals.iterdir())) == 2


def test_interrupt_ends_the_wait_for_the_store(scripted, writer, journals):
    """Ctrl-C leaves what waits on disk, and goes no further."""
    scripted.open.clear()
    writer.create("0")
    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    began = time.monotonic()
    assert not writer.close_all(LIMIT_S)
    assert time.monotonic() - began < LIMIT_S / 2
    assert any(journals.iterdir())


def test_close_does_not_wait_out_a_pause(scripted):
    """A store that is back soon gets the data, however long the pause was, and though an attempt fails meanwhile."""
    scripted.runs["known"] = Kept(0, {})
    scripted.fates.extend(["before", "before"])
    run = Writer(scripted, ask_every_s=0.0, max_pause_s=3600.0).open("known")
    run.failures = 10
    run.log(points(1.0))
    wait_until(lambda: run.due_at > time.monotonic() + LIMIT_S, LIMIT_S, "a pause")
    assert run.close(LIMIT_S)


def test_close_does_not_wait_for_a_run_that_the_store_does_not_know(writer, journals):
    """What waits for it is kept on disk."""
    run = writer.open("unknown")
    run.log(points(1.0))
    began = time.monotonic()
    assert not run.close(LIMIT_S)
    assert time.monotonic() - began < LIMIT_S / 2
    assert any(journals.iterdir())


def test_disk_that_keeps_nothing_is_said(scripted, writer, journals, caplog):
    """With what is lost."""
    journals.touch()
    scripted.away = lambda request, run: True
    run = writer.create("0", name="a")
    assert not run.close(0.0)
    assert "data of run 'a' that MLflow did not take is lost" in caplog.text
