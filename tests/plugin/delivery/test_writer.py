"""The writer: into a real SQLite store, and against a store that is slow, away or gone, as the test says."""

from __future__ import annotations

import itertools
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import store_uri, wait_until
from mlflow import MlflowClient
from scripted_store import LIMIT_S, ScriptedStore, Ticking, points

from mlflow_sysmetrics.delivery.backlog import Backlog
from mlflow_sysmetrics.delivery.batch import MAX_ENTRIES
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.run_queue import RunQueue
from mlflow_sysmetrics.delivery.store import DeletedRunError, NoSuchRunError, Store
from mlflow_sysmetrics.delivery.writer import Writer

FAST_S = 0.001  # so often the thread looks


def _writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mlflow-sysmetrics-writer"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(_writers())
    yield
    mine = set(_writers()) - before
    for thread in mine:
        thread.join(LIMIT_S)
    assert not [thread for thread in mine if thread.is_alive()]


def started(store: Any, **settings: Any) -> Writer:
    """A running writer that looks often."""
    writer = Writer(store, **{"every_s": FAST_S, **settings})
    writer.start()
    return writer


KINDS = ["created", "attached"]


def live(writer: Writer, kind: str) -> Callable[[list[Point]], None]:
    """Begin run "a": one that the writer creates, or one that exists and has a backlog. Returns what adds points."""
    if kind == "created":
        writer.create("a", experiment_id="0", name="a")
        return lambda points: writer.log("a", points)
    backlog = Backlog()
    writer.attach(RunQueue(backlog, run_id="a"))
    return backlog.append


# --- a real store ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(module_store: Path) -> MlflowClient:
    """Of a store of this module's own."""
    return MlflowClient(store_uri(module_store))


def _history(client: MlflowClient, run_id: str, name: str = "x") -> list[Point]:
    found = [Point(m.key, m.value, m.timestamp, m.step) for m in client.get_metric_history(run_id, name)]
    return sorted(found, key=lambda point: point.step)


@pytest.mark.parametrize("status", ["FINISHED", "KILLED", "FAILED"])
def test_run_in_mlflow_holds_all_that_was_queued(client: MlflowClient, status: str) -> None:
    """More points than one request takes, with their own times and steps, parameters, tags, both times and status."""
    before = int(time.time() * 1000)
    writer = started(Store(client.tracking_uri))
    writer.create("a", experiment_id="0", name="trial a", tags={"mlflow.parentRunId": "p", "number": 7})
    written = points(*range(2 * MAX_ENTRIES + 1))
    writer.log("a", written[:1500], params={"alpha": 0.1, "name": "linear"}, tags={"colour": "red"})
    writer.log("a", written[1500:])
    writer.end("a", status, tags={"why": "done"})
    ended = int(time.time() * 1000)
    assert writer.close(LIMIT_S)
    run_id = writer.run_id("a")
    assert run_id is not None
    run = client.get_run(run_id)
    assert _history(client, run_id) == written
    assert run.data.params == {"alpha": "0.1", "name": "linear"}
    tags = {"mlflow.parentRunId": "p", "number": "7", "colour": "red", "why": "done"}
    assert run.data.tags.items() >= tags.items()
    assert (run.info.run_name, run.info.status) == ("trial a", status)
    assert before <= run.info.start_time <= run.info.end_time <= ended
    assert writer.lost == 0


def test_a_database_that_takes_nothing_is_told_in_one_line(
    empty_store: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk: not in a traceback and a statement of SQL for each run and each attempt."""
    uri = store_uri(empty_store)
    with sqlite3.connect(empty_store / "mlflow.db") as database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON runs BEGIN SELECT no_such_column_is_there; END")
    writer = started(Store(uri))
    for name in ("a", "b"):
        writer.create(name, experiment_id="0", name=name)
    assert not writer.close(0.5)
    (told,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "no_such_column_is_there" in told
    assert "\n" not in told
    assert "Traceback" not in capfd.readouterr().err


class Watched(Store):
    """A real store whose batches are counted, and which may forget to say that it has done what was asked."""

    def __init__(self, client: MlflowClient, silent: int = 0) -> None:
        super().__init__(client.tracking_uri)
        self.silent = silent
        self.logged = threading.Event()

    def log_batch(self, *args: Any) -> None:
        """Log, and fail afterwards as long as it is to be silent."""
        super().log_batch(*args)
        self._forget()
        self.logged.set()

    def create_run(self, *args: Any) -> str:
        """Create, and fail afterwards as long as it is to be silent."""
        created = super().create_run(*args)
        self._forget()
        return created

    def _forget(self) -> None:
        if self.silent:
            self.silent -= 1
            raise ConnectionError("the answer was lost")


def test_points_of_a_live_run_are_in_mlflow_before_its_end(client: MlflowClient) -> None:
    """A trial can be watched while it runs."""
    store = Watched(client)
    writer = started(store)
    writer.create("a", experiment_id="0")
    writer.log("a", points(1, 2, 3))
    assert store.logged.wait(LIMIT_S)
    run_id = writer.run_id("a")
    assert run_id is not None
    assert _history(client, run_id) == points(1, 2, 3)
    assert client.get_run(run_id).info.status == "RUNNING"
    writer.end("a", "FINISHED")
    assert writer.close(LIMIT_S)


def test_batch_whose_answer_was_lost_is_repeated_and_not_doubled(client: MlflowClient) -> None:
    """MLflow knows the points that it has already, and the run is found again that was created before."""
    store = Watched(client, silent=3)
    writer = started(store, clock=Ticking())
    writer.create("a", experiment_id="0", tags={"sysmetrics.trial_id": "lost"})
    writer.log("a", points(1, 1, 2), params={"alpha": 0.1}, tags={"colour": "red"})
    assert store.logged.wait(LIMIT_S)
    run_id = writer.run_id("a")
    writer.end("a", "FINISHED")
    assert writer.close(1e6)
    assert run_id is not None
    assert _history(client, run_id) == points(1, 1, 2)
    assert client.get_run(run_id).data.params == {"alpha": "0.1"}
    assert len(client.search_runs(["0"], "tags.`sysmetrics.trial_id` = 'lost'")) == 1


def test_long_parameters_and_tags_are_cut_to_what_mlflow_takes(client: MlflowClient) -> None:
    """One long value must not keep all else out."""
    writer = started(Store(client.tracking_uri))
    writer.create("a", experiment_id="0", tags={"at creation": "x" * 9000})
    writer.log("a", points(1), params={"long": "y" * 9000}, tags={"later": "z" * 9000})
    writer.end("a", "FINISHED")
    assert writer.close(LIMIT_S)
    run_id = writer.run_id("a")
    assert run_id is not None
    data = client.get_run(run_id).data
    for value in (data.params["long"], data.tags["later"], data.tags["at creation"]):
        assert 1000 <= len(value) < 9000
        assert len(set(value)) == 1
    assert data.metrics == {"x": 1.0}


def test_parameters_and_tags_hold_no_password_of_an_address() -> None:
    """Such as those of a trial that was given its store's address, or that failed for it."""
    writer = Writer(ScriptedStore())
    writer.create("r", experiment_id="0", name="r", tags={"of": "http://me:hush42@there"})
    writer.log("r", params={"store": "http://me:hush42@there"}, tags={"error": "at http://me:hush42@there"})
    ((header, _),) = writer.left("sqlite:///x.db")
    assert header.params == {"store": "http://there"}
    assert header.tags | header.new_tags == {"of": "http://there", "error": "at http://there"}


def test_more_parameters_and_tags_than_one_request_takes_are_all_written(client: MlflowClient) -> None:
    """A large search space does not lose a run."""
    many = {f"p{number}": str(number) for number in range(250)}
    writer = started(Store(client.tracking_uri))
    writer.create("a", experiment_id="0")
    writer.log("a", params=many, tags=many)
    writer.end("a", "FINISHED")
    assert writer.close(LIMIT_S)
    run_id = writer.run_id("a")
    assert run_id is not None
    data = client.get_run(run_id).data
    assert data.params == many
    assert data.tags.items() >= many.items()


@pytest.mark.parametrize("bad", [{"points": points(1, name="acc@1")}, {"params": {"a@b": 1}}], ids=["metric", "param"])
def test_name_that_mlflow_refuses_does_not_cost_the_run(client: MlflowClient, bad: dict[str, Any]) -> None:
    """A name with a character that MLflow does not take is lost by itself: the rest is written and the run ends.

    Later batches do not count it again.
    """
    writer = started(Store(client.tracking_uri))
    writer.create("a", experiment_id="0")
    writer.log("a", **bad)
    wait_until(lambda: writer.refused, LIMIT_S, "the refusal")
    writer.log("a", points(1))
    writer.end("a", "FINISHED")
    writer.close(1.0)
    run_id = writer.run_id("a")
    assert run_id is not None
    run = client.get_run(run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"x": 1.0})
    assert writer.refused == 1


# --- an unreliable store -----------------------------------------------------------------------------------


@pytest.mark.parametrize("request_name", ["create", "log", "end"])
def test_nothing_is_lost_or_doubled_when_the_store_recovers(request_name: str) -> None:
    """Each kind of request fails a few times; afterwards all is there, in order, once."""
    left = itertools.count()
    store = ScriptedStore(lambda request, run: request == request_name and next(left) < 4)
    writer = started(store, clock=Ticking())
    written = points(*range(3 * MAX_ENTRIES))
    writer.create("a", experiment_id="0", name="a")
    for start in range(0, len(written), 100):
        writer.log("a", written[start : start + 100], params={f"p{start}": start})
    writer.end("a", "FINISHED")
    store.until(lambda: store.ended("a"))
    assert store.points("a") == written
    assert max(len(batch[0]) for batch in store.batches("a")) <= MAX_ENTRIES
    params = [name for batch in store.batches("a") for name in batch[1]]
    assert params == [f"p{start}" for start in range(0, len(written), 100)]
    assert (store.of("a")[0], store.of("a").count("create"), store.of("a")[-1]) == ("create", 1, "end")
    assert writer.close(LIMIT_S)


def test_points_that_come_while_a_batch_is_refused_follow_it_in_order() -> None:
    """The queue grows during an outage and is written from its front."""
    store = ScriptedStore(lambda request, run: request == "log" and store.attempts < 5)
    writer = started(store, clock=Ticking())
    writer.create("a", experiment_id="0", name="a")
    writer.log("a", points(1, 2))
    store.until(lambda: store.attempts >= 3)
    writer.log("a", points(3, 4, first=2))
    store.until(lambda: len(store.points("a")) == 4)
    assert store.points("a") == points(1, 2, 3, 4)
    writer.end("a", "FINISHED")
    assert writer.close(1e6)


@pytest.mark.parametrize("kind", KINDS)
def test_pause_after_failures_grows_to_half_a_minute(kind: str) -> None:
    """A store that is down is not pressed, and one that is back is found again."""
    clock, seen = Ticking(0.1), []

    def fails(request: str, run: str) -> bool:
        seen.append(clock.now)
        return len(seen) <= 9

    store = ScriptedStore(fails)
    writer = started(store, clock=clock, jitter=lambda low, high: high)
    live(writer, kind)(points(1))
    store.until(lambda: len(seen) >= 10)
    pauses = [after - before for before, after in itertools.pairwise(seen)][:9]
    expected = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert [pause >= least for pause, least in zip(pauses, expected, strict=True)] == [True] * 9
    assert [pause < least + 2 for pause, least in zip(pauses, expected, strict=True)] == [True] * 9
    assert store.timeouts[:5] == [5.0, 10.0, 20.0, 30.0, 30.0]
    assert writer.close(1e6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_outage_is_two_lines_of_log(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """However many attempts fail: one line at its beginning, one when it is over. The same of the next outage."""
    store = ScriptedStore(lambda request, run: store.attempts <= 3)
    writer = started(store, clock=Ticking())
    log = live(writer, kind)
    log(points(1))
    store.until(lambda: store.points("a"))
    succeeded = len(store.timeouts)
    log(points(2, first=1))
    store.until(lambda: len(store.points("a")) == 2)
    assert writer.close(1e6)
    assert store.timeouts[:3] == [5.0, 10.0, 20.0]
    assert store.timeouts[succeeded] == 5.0
    assert [record.getMessage() for record in caplog.records] == [
        "MLflow does not take the data of run 'a'; it waits. the store is away",
        "MLflow takes the data of run 'a' again",
    ]


def test_points_of_an_attached_queue_are_written_while_they_come() -> None:
    """With its tags, and for the first time after the interval."""
    store, clock, backlog = ScriptedStore(), SimpleNamespace(now=0.0), Backlog()
    writer = started(store, every_s=2.0, clock=lambda: clock.now)
    writer.attach(RunQueue(backlog, run_id="a", tags={"t": "1"}))
    backlog.append(points(1))
    writer.create("b", experiment_id="0", name="b")
    store.until(lambda: store.of("b") == ["create"])
    assert store.of("a") == []
    for step in (0, 1):
        clock.now += 2.0
        writer.create(step, experiment_id="0", name=str(step))  # which wakes the thread
        store.until(lambda step=step: len(store.points("a")) == step + 1)  # type: ignore[misc]
        backlog.append(points(step + 2, first=step + 1))
    assert writer.close(LIMIT_S)
    assert store.batches("a") == [
        (points(1), {}, {"t": "1"}),
        (points(2, first=1), {}, {}),
        (points(3, first=2), {}, {}),
    ]


def test_time_in_which_the_store_takes_nothing_is_told() -> None:
    """From the first request that failed to the next that did not, and up to now while there is none."""
    clock = SimpleNamespace(now=10.0, away=True)

    def a_second_later() -> bool:
        clock.now += 1.0
        return True

    store = ScriptedStore(lambda request, run: clock.away)
    writer = started(store, clock=lambda: clock.now)
    assert writer.away_s == 0.0
    writer.create("key", experiment_id="0", name="run")
    wait_until(lambda: a_second_later() and writer.away_s >= 3.0, LIMIT_S, "three seconds without an answer")
    clock.away = False
    wait_until(lambda: a_second_later() and store.done, LIMIT_S, "the run in the store")
    assert writer.close()
    away_s = writer.away_s
    assert 3.0 <= away_s < clock.now - 10.0
    clock.now += 5.0
    assert writer.away_s == away_s


def test_caller_never_waits_for_the_store() -> None:
    """While the store holds the thread in a request, every method returns; what they queued is written later."""
    store = ScriptedStore()
    store.open.clear()
    writer = started(store)
    writer.create("a", experiment_id="0", name="a")
    assert store.entered.wait(LIMIT_S)
    writer.log("a", points(*range(5000)), params={"alpha": 1}, tags={"colour": "red"})
    writer.create("b", experiment_id="0", name="b")
    writer.end("b", "KILLED")
    writer.end("a", "FINISHED")
    assert (writer.is_open("a"), writer.open_keys(), writer.run_id("a")) == (False, [], None)
    assert store.done == []
    assert not store.gave_up
    store.open.set()
    assert writer.close(LIMIT_S)
    assert store.points("a") == points(*range(5000))
    assert (store.ended("a"), store.ended("b")) == (True, True)


def test_log_during_a_batch_loses_nothing_and_doubles_nothing() -> None:
    """What is queued while a request is under way is not taken for written by it."""
    store = ScriptedStore()
    writer = started(store)
    writer.create("a", experiment_id="0", name="a")
    store.until(lambda: store.of("a") == ["create"])
    store.open.clear()
    store.entered.clear()
    writer.log("a", points(1, 2), params={"p": 1}, tags={"state": "early", "colour": "red"})
    assert store.entered.wait(LIMIT_S)
    writer.log("a", points(3, first=2), params={"q": 2}, tags={"state": "late"})
    store.open.set()
    writer.end("a", "FINISHED")
    assert writer.close(LIMIT_S)
    assert store.points("a") == points(1, 2, 3)
    assert [name for batch in store.batches("a") for name in batch[1]] == ["p", "q"]
    tags = [(name, value) for batch in store.batches("a") for name, value in batch[2].items()]
    assert tags == [("state", "early"), ("colour", "red"), ("state", "late")]


def test_failure_of_one_run_does_not_hold_up_the_others() -> None:
    """A run that the store refuses waits alone."""
    store = ScriptedStore(lambda request, run: run == "bad")
    writer = started(store)
    for name in ("bad", "good"):
        writer.create(name, experiment_id="0", name=name)
        writer.log(name, points(1))
        writer.end(name, "FINISHED")
    store.until(lambda: store.ended("good"))
    assert store.points("good") == points(1)
    assert not writer.close(0.05)
    assert store.of("bad") == []


DELETED = DeletedRunError("somebody has deleted it")


def test_run_that_was_deleted_is_no_outage_and_goes_on_when_it_is_restored(caplog: pytest.LogCaptureFixture) -> None:
    """The store is there for all others; what came meanwhile is written. It is told once."""
    store = ScriptedStore()
    writer = started(store, clock=Ticking())
    for name in ("a", "b"):
        writer.create(name, experiment_id="0", name=name)
    store.until(lambda: len(store.done) == 2)
    store.gone["a"] = DELETED
    writer.log("a", points(1))
    attempts = store.attempts
    store.until(lambda: store.attempts >= attempts + 3)
    writer.log("b", points(1))
    store.until(lambda: store.points("b"))
    assert (writer.is_away, writer.away_s) == (False, 0.0)
    assert [record.getMessage() for record in caplog.records] == [
        "nothing more is written to run 'a', unless it is restored: somebody has deleted it"
    ]
    del store.gone["a"]
    store.until(lambda: store.points("a") == points(1))
    assert writer.close(1e6)


@pytest.mark.parametrize(
    ("gone", "left"),
    [pytest.param(DELETED, [], id="deleted"), pytest.param(NoSuchRunError("no such run"), ["a"], id="not there")],
)
def test_close_does_not_wait_for_a_run_that_is_gone(gone: NoSuchRunError, left: list[str]) -> None:
    """One that was deleted is given up; what waits for one that the store does not know goes to disk."""
    store = ScriptedStore()
    writer = started(store)
    for name in ("a", "b"):
        writer.create(name, experiment_id="0", name=name)
    store.until(lambda: len(store.done) == 2)
    store.gone["a"] = gone
    for name in ("a", "b"):
        writer.end(name, "FINISHED")
    began = time.monotonic()
    assert writer.close(60.0) is not bool(left)
    assert time.monotonic() - began < LIMIT_S
    assert store.ended("b")
    assert [header.name for header, _ in writer.left("sqlite:///x.db")] == left


# --- closing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_close_writes_what_is_not_due_yet(kind: str) -> None:
    """The last points do not wait for their turn."""
    store = ScriptedStore()
    writer = started(store, every_s=1e6)
    log = live(writer, kind)
    if kind == "created":
        store.until(lambda: "create" in store.of("a"))
    log(points(1, 2))
    assert writer.close(LIMIT_S)
    assert store.points("a") == points(1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_close_ends_while_the_store_hangs_and_says_that_not_all_was_written(kind: str) -> None:
    """The end of the program does not hang with it."""
    store = ScriptedStore()
    store.open.clear()
    writer = started(store)
    live(writer, kind)(points(1))
    assert store.entered.wait(LIMIT_S)
    began = time.monotonic()
    assert [writer.close(0.05), writer.close(0.05)] == [False, False]
    assert time.monotonic() - began < LIMIT_S
    assert not store.gave_up
    store.open.set()


@pytest.mark.parametrize("kind", KINDS)
def test_close_tries_again_until_its_time_is_up_while_the_store_is_away(kind: str) -> None:
    """Every half second, and with as little patience each time. It says that not all was written."""
    clock, seen = Ticking(0.1), list[float]()

    def fails(request: str, run: str) -> bool:
        seen.append(clock.now)
        return True

    store = ScriptedStore(fails)
    writer = started(store, clock=clock, jitter=lambda low, high: high)
    live(writer, kind)(points(1))
    store.until(lambda: seen)
    began = clock.now
    assert not writer.close(20.0)
    pauses = [after - before for before, after in itertools.pairwise(seen) if before > began + 1]
    assert len(pauses) >= 10
    assert max(pauses) < 1.5
    assert set(store.timeouts) == {5.0}


def test_close_writes_what_comes_while_it_writes() -> None:
    """However long the interval is, and even if it comes just after the last batch."""
    store, late = ScriptedStore(), [points(2, first=1)]

    def clock() -> float:
        if late and store.points("a"):
            writer.log("a", late.pop())
        return time.monotonic()

    writer = started(store, every_s=1e6, clock=clock)
    writer.create("a", experiment_id="0", name="a")
    store.until(lambda: store.of("a") == ["create"])
    writer.log("a", points(1))
    assert writer.close(LIMIT_S)
    assert store.points("a") == points(1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_close_does_not_wait_out_a_pause(kind: str) -> None:
    """A store that is back by then gets the data, however long the pause after its last failure would be."""
    store = ScriptedStore(lambda request, run: store.attempts == 1)
    writer = started(store, jitter=lambda low, high: 7200.0)
    log = live(writer, kind)
    log(points(1))
    store.until(lambda: store.attempts == 1)
    log(points(2, first=1))
    assert writer.close(LIMIT_S)
    assert store.points("a") == points(1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_close_of_a_writer_that_was_never_started_says_whether_something_waits(kind: str) -> None:
    """Nothing can be written without the thread."""
    writer = Writer(ScriptedStore())
    assert writer.close(LIMIT_S) is True
    live(writer, kind)(points(1))
    assert writer.close(LIMIT_S) is False


def test_a_machine_without_threads_costs_training_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start does not raise, and what waits stays."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    backlog = Backlog()
    writer = Writer(ScriptedStore())
    writer.attach(RunQueue(backlog, run_id="a"))
    backlog.append(points(1))
    writer.start()
    assert not writer.close(LIMIT_S)
    assert backlog.in_memory() == points(1)


@pytest.mark.parametrize("timeout_s", [math.inf, 1e300])
def test_close_waits_as_long_as_it_takes(timeout_s: float) -> None:
    """Infinity is more than a thread can be waited for."""
    store = ScriptedStore()
    writer = started(store)
    writer.create("a", experiment_id="0", name="a")
    assert writer.close(timeout_s)
    assert store.of("a") == ["create"]


def test_close_can_be_called_again() -> None:
    """It says the same, and writes nothing twice."""
    store = ScriptedStore()
    writer = started(store)
    writer.create("a", experiment_id="0", name="a")
    writer.end("a", "FINISHED")
    assert [writer.close(LIMIT_S), writer.close(LIMIT_S)] == [True, True]
    assert store.of("a") == ["create", "end"]


def test_writer_starts_its_thread_only_when_told_to() -> None:
    """Constructing it has no effect."""
    before = set(_writers())
    writer = Writer(ScriptedStore())
    assert set(_writers()) == before
    writer.start()
    assert len(set(_writers()) - before) == 1
    assert writer.close(LIMIT_S)


# --- runs and points ---------------------------------------------------------------------------------------


def test_run_that_ends_before_it_was_created_is_created_filled_and_ended() -> None:
    """A trial may be shorter than the store's first answer; the run has the trial's own times."""
    store = ScriptedStore()
    store.open.clear()
    writer = started(store)
    before = int(time.time() * 1000)
    writer.create("a", experiment_id="7", name="a", tags={"kind": "trial"})
    writer.log("a", points(1))
    writer.end("a", "KILLED", tags={"why": "limit"})
    ended = int(time.time() * 1000)
    store.open.set()
    assert writer.close(LIMIT_S)
    (_, _, (experiment_id, start, tags)), log, (_, _, (status, end)) = store.done
    assert (experiment_id, tags, status) == ("7", {"kind": "trial"}, "KILLED")
    assert log[2] == (points(1), {}, {"why": "limit"})
    assert before <= start <= end <= ended


def test_writer_knows_its_runs_by_the_keys_of_the_caller() -> None:
    """Open until ended, in the order of creation; the store's id is known from creation on and kept after the end."""
    store = ScriptedStore()
    writer = started(store)
    for key, name in ((("b", 1), "first"), (("a", 2), "second")):
        writer.create(key, experiment_id="0", name=name)
    assert writer.open_keys() == [("b", 1), ("a", 2)]
    assert (writer.is_open(("b", 1)), writer.is_open("unknown"), writer.run_id("unknown")) == (True, False, None)
    writer.end(("b", 1), "FINISHED")
    assert writer.open_keys() == [("a", 2)]
    assert not writer.is_open(("b", 1))
    assert writer.close(LIMIT_S)
    assert (writer.run_id(("b", 1)), writer.run_id(("a", 2))) == ("first", "second")


def test_run_that_is_created_twice_is_one_run() -> None:
    """The first call decides."""
    store = ScriptedStore()
    writer = started(store)
    writer.create("a", experiment_id="0", name="first")
    writer.create("a", experiment_id="0", name="second")
    writer.end("a", "FINISHED")
    assert writer.close(LIMIT_S)
    assert [name for _, name, _ in store.done] == ["first", "first"]


def test_values_that_are_not_finite_are_left_out() -> None:
    """MLflow's charts cannot show them; the finite ones around them are kept."""
    store = ScriptedStore()
    writer = started(store)
    writer.create("a", experiment_id="0", name="a")
    writer.log("a", points(1, math.nan, 2, math.inf, -math.inf, 3))
    writer.end("a", "FINISHED")
    assert writer.close(LIMIT_S)
    assert [(point.value, point.step) for point in store.points("a")] == [(1, 0), (2, 2), (3, 5)]
    assert writer.lost == 0


def test_points_beyond_the_capacity_are_given_up_oldest_first_and_counted() -> None:
    """A long outage costs a bounded amount of memory, and the newest points are worth most."""
    store = ScriptedStore()
    store.open.clear()
    writer = started(store, capacity=5)
    for name in ("a", "b"):
        writer.create(name, experiment_id="0", name=name)
    writer.log("a", points(1, 2))
    writer.log("b", points(*range(8)))
    assert writer.lost == 5
    writer.log("b", points(8, first=8))
    assert writer.lost == 6
    store.open.set()
    for name in ("a", "b"):
        writer.end(name, "FINISHED")
    assert writer.close(LIMIT_S)
    assert store.points("a") == points(1, 2)
    assert store.points("b") == points(6, 7, 8, first=6)


def test_points_that_were_written_make_room_for_others() -> None:
    """The capacity is for what waits, not for all there ever was."""
    store = ScriptedStore()
    writer = started(store, capacity=3)
    writer.create("a", experiment_id="0", name="a")
    for number in range(20):
        writer.log("a", points(number, first=number))
        store.until(lambda number=number: len(store.points("a")) == number + 1)  # type: ignore[misc]
    assert writer.lost == 0
    writer.end("a", "FINISHED")
    assert writer.close(LIMIT_S)


def test_points_given_up_during_a_batch_do_not_drop_newer_ones() -> None:
    """The batch under way is written as it was; behind it, only what was given up is missing."""
    store = ScriptedStore()
    writer = started(store, capacity=3)
    writer.create("a", experiment_id="0", name="a")
    store.until(lambda: store.of("a") == ["create"])
    store.open.clear()
    store.entered.clear()
    writer.log("a", points(0, 1, 2))
    assert store.entered.wait(LIMIT_S)
    writer.log("a", points(3, 4, first=3))
    store.open.set()
    writer.end("a", "FINISHED")
    assert writer.close(LIMIT_S)
    assert store.points("a") == points(0, 1, 2, 3, 4)


def test_live_run_is_written_once_per_interval() -> None:
    """Many small calls become few requests: the store's cost does not grow with how often points come."""
    store, clock = ScriptedStore(), SimpleNamespace(now=100.0)
    writer = Writer(store, every_s=60.0, clock=lambda: clock.now)
    writer.start()

    def look(name: str) -> None:
        """Have the thread look at all runs, in the order of their creation, to the new last one."""
        writer.create(name, experiment_id="0", name=name)
        store.until(lambda: store.of(name) == ["create"])

    look("a")
    look("b")
    for number in range(50):
        writer.log("a", points(number, first=number))
    look("c")
    assert store.batches("a") == []
    clock.now += 60.0
    look("d")
    assert store.batches("a") == [(points(*range(50)), {}, {})]
    assert writer.close(LIMIT_S)


# --- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every_s", [0, -1.0, math.nan])
def test_wrong_interval_is_refused_at_construction(every_s: float) -> None:
    """The message names the argument and the value."""
    with pytest.raises(ValueError, match=f"every_s={every_s!r}"):
        Writer(ScriptedStore(), every_s=every_s)


@pytest.mark.parametrize(
    "call",
    [
        lambda writer: writer.log("unknown", points(1)),
        lambda writer: writer.end("unknown", "FINISHED"),
        lambda writer: writer.repeat("unknown"),
        lambda writer: writer.create("child", experiment_id="0", parent="unknown"),
    ],
    ids=["log", "end", "repeat", "parent"],
)
def test_run_that_was_never_created_is_a_mistake(call: Callable[[Writer], None]) -> None:
    """Points without a run would vanish silently."""
    with pytest.raises(KeyError, match="unknown"):
        call(Writer(ScriptedStore()))


# --- runs that go on ---------------------------------------------------------------------------------------


def test_run_of_another_process_goes_on_in_mlflow(client: MlflowClient) -> None:
    """It is RUNNING again, has one point per step, its samples go on, and it ends again: no tag says how before."""
    first = started(Store(client.tracking_uri))
    first.create("a", experiment_id="0")
    first.log("a", [*points(1, 2), *points(5, name="system/cpu", first=7)])
    end = ("error", "cause_of_death", "killed_for_memory", "stopped_by", "stop_reason", "stop_value")
    first.end("a", "KILLED", tags={f"sysmetrics.{name}": "before" for name in (*end, "not_finite", "stop")})
    assert first.close(LIMIT_S)
    run_id = first.run_id("a")
    assert run_id is not None
    store = Watched(client)
    second = started(store)
    second.create("b", experiment_id="0", tags={"again": "yes"}, run_id=run_id)
    second.log("b", [*points(9, 9, 3), *points(6, name="system/cpu", first=2)])
    assert store.logged.wait(LIMIT_S)
    assert client.get_run(run_id).info.status == "RUNNING"
    second.end("b", "FINISHED", tags={"sysmetrics.stop_value": "now"})
    assert second.close(LIMIT_S)
    assert second.run_id("b") == run_id
    assert _history(client, run_id) == points(1, 2, 3)
    assert [point.step for point in _history(client, run_id, "system/cpu")] == [7, 9]
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["again"]) == ("FINISHED", "yes")
    said = {name.removeprefix("sysmetrics."): text for name, text in run.data.tags.items() if "sysmetrics." in name}
    assert said == {"not_finite": "before", "stop": "before", "stop_value": "now"}  # a person may still wait for `stop`


def test_newest_figures_of_a_run_are_those_that_mlflow_shows(client: MlflowClient) -> None:
    """Also if they are smaller, and of another process."""
    run_id = None
    for time_ms, value in ((1000, 9.0), (2000, 3.0)):
        writer = started(Store(client.tracking_uri))
        writer.create("a", experiment_id="0", run_id=run_id)
        writer.log("a", figures=[Point("elapsed_s", value, time_ms, 0), Point("lost", math.nan, time_ms, 0)])
        writer.end("a", "KILLED")
        assert writer.close(LIMIT_S)
        run_id = writer.run_id("a")
        assert run_id is not None
        assert client.get_run(run_id).data.metrics == {"elapsed_s": value}


@pytest.mark.parametrize("written", [True, False], ids=["written", "waiting"])
def test_run_that_has_ended_here_goes_on_under_its_key(written: bool) -> None:
    """Whether its end was written by then or not: one run, no step twice, and the last end counts."""
    store = ScriptedStore()
    writer = started(store)
    writer.create("a", experiment_id="0", name="run a")
    writer.log("a", points(1, 2))
    store.until(lambda: len(store.points("run a")) == 2)
    if not written:
        store.open.clear()
    writer.end("a", "FAILED")
    if written:
        store.until(lambda: store.ended("run a"))
        store.steps = {"x": 1}
    writer.create("a", experiment_id="0", name="run a")
    writer.log("a", points(9, 9, 3))
    writer.end("a", "FINISHED")
    store.open.set()
    assert writer.close(LIMIT_S)
    assert store.points("run a") == points(1, 2, 3)
    assert store.of("run a").count("create") == 1
    assert [what[0] for request, _, what in store.done if request == "end"][-1] == "FINISHED"


def test_repeated_work_of_an_open_run_is_written_once() -> None:
    """As where a crashed trial is tried again."""
    store = ScriptedStore()
    writer = started(store)
    writer.create("a", experiment_id="0", name="run a")
    writer.log("a", points(1, 2))
    writer.repeat("a")
    writer.log("a", points(7, 7, 3))
    assert writer.close(LIMIT_S)
    assert store.points("run a") == points(1, 2, 3)


def test_nested_run_waits_for_its_parent() -> None:
    """Its parent's id is in its tags, however long the store takes to create that one."""
    asked = 0

    def fails(request: str, run: str) -> bool:
        nonlocal asked
        asked += run == "parent"
        return run == "parent" and asked < 3

    store = ScriptedStore(fails)
    writer = started(store, clock=Ticking())
    writer.create("p", experiment_id="0", name="parent")
    writer.create("c", experiment_id="0", name="child", parent="p")
    store.until(lambda: "create" in store.of("child"))
    (created,) = [what for request, run, what in store.done if (request, run) == ("create", "child")]
    assert created[2] == {"mlflow.parentRunId": "parent"}
    assert asked >= 3
    writer.close(1e6)


def test_what_was_not_written_can_be_had_in_the_end() -> None:
    """Of runs that were created and of those that were not; nothing of those that are complete."""
    store = ScriptedStore(lambda request, run: run == "new" or (run == "half" and request == "end"))
    writer = started(store)
    for name in ("whole", "half", "new"):
        writer.create(name, experiment_id="0", name=name, tags={"of": name})
        writer.log(name, points(1), params={"alpha": 1})
        writer.end(name, "FINISHED")
    assert not writer.close(0.5)
    told = {"whole": {"late": "yes"}, "new": {"of": "late"}}
    left = {header.name: (header, waiting) for header, waiting in writer.left("sqlite:///x.db", told)}
    assert set(left) == {"half", "new"}
    half, waiting = left["half"]
    assert (half.run_id, half.status, half.params, waiting) == ("half", "FINISHED", {}, [])
    new, waiting = left["new"]
    assert (new.run_id, new.experiment_id, new.tags, new.params) == ("", "0", {"of": "new"}, {"alpha": "1"})
    assert (new.new_tags, waiting) == ({"of": "late"}, points(1))
