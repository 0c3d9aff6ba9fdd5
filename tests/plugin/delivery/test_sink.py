"""The sink: into a real SQLite store, and against a store that is slow, away or gone, as the test says."""

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
from commands import wait_until
from mlflow import MlflowClient

from mlflow_sysmetrics.delivery.batch import BATCH_METRICS
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.sink import Sink
from mlflow_sysmetrics.delivery.store import RunState, Store

LIMIT_S = 10.0  # what has not come by then fails the test
FAST_S = 0.001  # so often the thread looks


def points(*values: float, name: str = "x", first: int = 0) -> list[Point]:
    """One point per value, at steps that count up."""
    return [Point(name, float(value), 1000 + step, step) for step, value in enumerate(values, start=first)]


def _sinks() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mlflow-sysmetrics-sink"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(_sinks())
    yield
    mine = set(_sinks()) - before
    for thread in mine:
        thread.join(LIMIT_S)
    assert not [thread for thread in mine if thread.is_alive()]


class Ticking:
    """A clock that moves on by so much at every look."""

    def __init__(self, step_s: float = 1.0) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


class ScriptedStore:
    """A store in memory that fails, or holds its callers, as long as the test wants.

    ``fails`` is asked before each request is carried out, with the request's name and the run's. While ``open`` is not
    set, requests wait inside; after the time limit the store gives up waiting. What was carried out is in ``done``.
    """

    def __init__(self, fails: Callable[[str, str], bool] = lambda request, run: False) -> None:
        self.fails = fails
        self.open, self.entered = threading.Event(), threading.Event()
        self.open.set()
        self.done: list[tuple[str, str, Any]] = []
        self.attempts, self.gave_up = 0, False
        self.steps: dict[str, int] = {}
        self._changed = threading.Condition()

    def create_run(self, experiment_id: str, start_ms: int, tags: Any, name: str | None) -> str:
        """The run's id is its name."""
        assert name is not None
        self._carry_out("create", name, (experiment_id, start_ms, dict(tags)))
        return name

    def created_run(self, experiment_id: str, start_ms: int, tags: Any) -> str | None:
        """What was asked for and did not come to be."""
        return None

    def run(self, run_id: str) -> RunState:
        """The last step of each metric of a run that was written before."""
        self._carry_out("read", run_id, None)
        return RunState(run_id, self.steps)

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        """Keep what was given, as plain tuples."""
        batch = (
            [Point(each.key, each.value, each.timestamp, each.step) for each in metrics],
            {each.key: each.value for each in params},
            {each.key: each.value for each in tags},
        )
        self._carry_out("log", run_id, batch)

    def set_status(self, run_id: str, status: str, end_ms: int | None) -> None:
        """Note the end, or that the run goes on."""
        self._carry_out("end" if end_ms is not None else "go on", run_id, (status, end_ms))

    def _carry_out(self, request: str, run: str, what: Any) -> None:
        self.entered.set()
        self.gave_up |= not self.open.wait(LIMIT_S)
        with self._changed:
            self.attempts += 1
            self._changed.notify_all()
            if self.fails(request, run):
                raise ConnectionError("the store is away")
            self.done.append((request, run, what))

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for a state of the store."""
        with self._changed:
            assert self._changed.wait_for(condition, LIMIT_S), self.done

    def of(self, run: str) -> list[str]:
        """What was carried out for a run, in order."""
        return [request for request, name, _ in self.done if name == run]

    def batches(self, run: str) -> list[Any]:
        """The batches that a run has got."""
        return [what for request, name, what in self.done if (request, name) == ("log", run)]

    def points(self, run: str) -> list[Point]:
        """All points of a run in the order in which they came."""
        return [point for batch in self.batches(run) for point in batch[0]]

    def ended(self, run: str) -> bool:
        """Whether the run's end was written."""
        return "end" in self.of(run)


def started(store: Any, **settings: Any) -> Sink:
    """A running sink that looks often."""
    sink = Sink(store, **{"every_s": FAST_S, **settings})
    sink.start()
    return sink


# --- a real store ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """Of a store of this module's own."""
    client = MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")
    client.search_experiments()
    return client


def _history(client: MlflowClient, run_id: str, name: str = "x") -> list[Point]:
    found = [Point(m.key, m.value, m.timestamp, m.step) for m in client.get_metric_history(run_id, name)]
    return sorted(found, key=lambda point: point.step)


@pytest.mark.parametrize("status", ["FINISHED", "KILLED", "FAILED"])
def test_run_in_mlflow_holds_all_that_was_queued(client: MlflowClient, status: str) -> None:
    """More points than one request takes, with their own times and steps, parameters, tags, both times and status."""
    before = int(time.time() * 1000)
    sink = started(Store(client.tracking_uri))
    sink.create("a", experiment_id="0", name="trial a", tags={"mlflow.parentRunId": "p", "number": 7})
    written = points(*range(2 * BATCH_METRICS + 1))
    sink.log("a", written[:1500], params={"alpha": 0.1, "name": "linear"}, tags={"colour": "red"})
    sink.log("a", written[1500:])
    sink.end("a", status, tags={"why": "done"})
    ended = int(time.time() * 1000)
    assert sink.close(LIMIT_S)
    run_id = sink.run_id("a")
    assert run_id is not None
    run = client.get_run(run_id)
    assert _history(client, run_id) == written
    assert run.data.params == {"alpha": "0.1", "name": "linear"}
    tags = {"mlflow.parentRunId": "p", "number": "7", "colour": "red", "why": "done"}
    assert run.data.tags.items() >= tags.items()
    assert (run.info.run_name, run.info.status) == ("trial a", status)
    assert before <= run.info.start_time <= run.info.end_time <= ended
    assert sink.lost == 0


def test_a_database_that_takes_nothing_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk: not in a traceback and a statement of SQL for each run and each attempt."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    MlflowClient(uri).search_experiments()
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON runs BEGIN SELECT no_such_column_is_there; END")
    sink = started(Store(uri))
    for name in ("a", "b"):
        sink.create(name, experiment_id="0", name=name)
    assert not sink.close(0.5)
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
    sink = started(store)
    sink.create("a", experiment_id="0")
    sink.log("a", points(1, 2, 3))
    assert store.logged.wait(LIMIT_S)
    run_id = sink.run_id("a")
    assert run_id is not None
    assert _history(client, run_id) == points(1, 2, 3)
    assert client.get_run(run_id).info.status == "RUNNING"
    sink.end("a", "FINISHED")
    assert sink.close(LIMIT_S)


def test_batch_whose_answer_was_lost_is_repeated_and_not_doubled(client: MlflowClient) -> None:
    """MLflow knows the points that it has already, and the run is found again that was created before."""
    store = Watched(client, silent=3)
    sink = started(store, clock=Ticking())
    sink.create("a", experiment_id="0", tags={"sysmetrics.trial_id": "lost"})
    sink.log("a", points(1, 1, 2), params={"alpha": 0.1}, tags={"colour": "red"})
    assert store.logged.wait(LIMIT_S)
    run_id = sink.run_id("a")
    sink.end("a", "FINISHED")
    assert sink.close(1e6)
    assert run_id is not None
    assert _history(client, run_id) == points(1, 1, 2)
    assert client.get_run(run_id).data.params == {"alpha": "0.1"}
    assert len(client.search_runs(["0"], "tags.`sysmetrics.trial_id` = 'lost'")) == 1


def test_long_parameters_and_tags_are_cut_to_what_mlflow_takes(client: MlflowClient) -> None:
    """One long value must not keep all else out."""
    sink = started(Store(client.tracking_uri))
    sink.create("a", experiment_id="0", tags={"at creation": "x" * 9000})
    sink.log("a", points(1), params={"long": "y" * 9000}, tags={"later": "z" * 9000})
    sink.end("a", "FINISHED")
    assert sink.close(LIMIT_S)
    run_id = sink.run_id("a")
    assert run_id is not None
    data = client.get_run(run_id).data
    for value in (data.params["long"], data.tags["later"], data.tags["at creation"]):
        assert 1000 <= len(value) < 9000
        assert len(set(value)) == 1
    assert data.metrics == {"x": 1.0}


def test_parameters_and_tags_hold_no_password_of_an_address() -> None:
    """Such as those of a trial that was given its store's address, or that failed for it."""
    sink = Sink(ScriptedStore())
    sink.create("r", experiment_id="0", name="r", tags={"of": "http://me:hush42@there"})
    sink.log("r", params={"store": "http://me:hush42@there"}, tags={"error": "at http://me:hush42@there"})
    ((header, _),) = sink.left("sqlite:///x.db")
    assert header.params == {"store": "http://there"}
    assert header.tags | header.new_tags == {"of": "http://there", "error": "at http://there"}


def test_more_parameters_and_tags_than_one_request_takes_are_all_written(client: MlflowClient) -> None:
    """A large search space is no reason to lose a run."""
    many = {f"p{number}": str(number) for number in range(250)}
    sink = started(Store(client.tracking_uri))
    sink.create("a", experiment_id="0")
    sink.log("a", params=many, tags=many)
    sink.end("a", "FINISHED")
    assert sink.close(LIMIT_S)
    run_id = sink.run_id("a")
    assert run_id is not None
    data = client.get_run(run_id).data
    assert data.params == many
    assert data.tags.items() >= many.items()


@pytest.mark.parametrize("bad", [{"points": points(1, name="acc@1")}, {"params": {"a@b": 1}}], ids=["metric", "param"])
def test_name_that_mlflow_refuses_does_not_cost_the_run(client: MlflowClient, bad: dict[str, Any]) -> None:
    """A name with a character that MLflow does not take is lost by itself: the rest is written and the run ends."""
    sink = started(Store(client.tracking_uri))
    sink.create("a", experiment_id="0")
    sink.log("a", **bad)
    sink.log("a", points(1))
    sink.end("a", "FINISHED")
    sink.close(1.0)
    run_id = sink.run_id("a")
    assert run_id is not None
    run = client.get_run(run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"x": 1.0})


# --- an unreliable store -----------------------------------------------------------------------------------


@pytest.mark.parametrize("request_name", ["create", "log", "end"])
def test_nothing_is_lost_or_doubled_when_the_store_recovers(request_name: str) -> None:
    """Each kind of request fails a few times; afterwards all is there, in order, once."""
    left = itertools.count()
    store = ScriptedStore(lambda request, run: request == request_name and next(left) < 4)
    sink = started(store, clock=Ticking())
    written = points(*range(3 * BATCH_METRICS))
    sink.create("a", experiment_id="0", name="a")
    for start in range(0, len(written), 100):
        sink.log("a", written[start : start + 100], params={f"p{start}": start})
    sink.end("a", "FINISHED")
    store.until(lambda: store.ended("a"))
    assert store.points("a") == written
    assert max(len(batch[0]) for batch in store.batches("a")) <= BATCH_METRICS
    params = [name for batch in store.batches("a") for name in batch[1]]
    assert params == [f"p{start}" for start in range(0, len(written), 100)]
    assert (store.of("a")[0], store.of("a").count("create"), store.of("a")[-1]) == ("create", 1, "end")
    assert sink.close(LIMIT_S)


def test_points_that_come_while_a_batch_is_refused_follow_it_in_order() -> None:
    """The queue grows during an outage and is written from its front."""
    store = ScriptedStore(lambda request, run: request == "log" and store.attempts < 5)
    sink = started(store, clock=Ticking())
    sink.create("a", experiment_id="0", name="a")
    sink.log("a", points(1, 2))
    store.until(lambda: store.attempts >= 3)
    sink.log("a", points(3, 4, first=2))
    store.until(lambda: len(store.points("a")) == 4)
    assert store.points("a") == points(1, 2, 3, 4)
    sink.end("a", "FINISHED")
    assert sink.close(1e6)


def test_pause_after_failures_grows_to_half_a_minute() -> None:
    """A store that is down is not pressed, and one that is back is found again."""
    clock, seen = Ticking(0.1), []

    def fails(request: str, run: str) -> bool:
        seen.append(clock.now)
        return len(seen) <= 9

    store = ScriptedStore(fails)
    sink = started(store, clock=clock)
    sink.create("a", experiment_id="0", name="a")
    store.until(lambda: len(seen) >= 10)
    pauses = [after - before for before, after in itertools.pairwise(seen)][:9]
    expected = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert [pause >= least for pause, least in zip(pauses, expected, strict=True)] == [True] * 9
    assert [pause < least + 2 for pause, least in zip(pauses, expected, strict=True)] == [True] * 9
    sink.end("a", "FINISHED")
    assert sink.close(1e6)


def test_time_in_which_the_store_takes_nothing_is_told() -> None:
    """From the first request that failed to the next that did not, and up to now while there is none."""
    clock = SimpleNamespace(now=10.0, away=True)

    def a_second_later() -> bool:
        clock.now += 1.0
        return True

    store = ScriptedStore(lambda request, run: clock.away)
    sink = started(store, clock=lambda: clock.now)
    assert sink.away_s == 0.0
    sink.create("key", experiment_id="0", name="run")
    wait_until(lambda: a_second_later() and sink.away_s >= 3.0, LIMIT_S, "three seconds without an answer")
    clock.away = False
    wait_until(lambda: a_second_later() and store.done, LIMIT_S, "the run in the store")
    assert sink.close()
    away_s = sink.away_s
    assert 3.0 <= away_s < clock.now - 10.0
    clock.now += 5.0
    assert sink.away_s == away_s


def test_caller_never_waits_for_the_store() -> None:
    """While the store holds the thread in a request, every method returns; what they queued is written later."""
    store = ScriptedStore()
    store.open.clear()
    sink = started(store)
    sink.create("a", experiment_id="0", name="a")
    assert store.entered.wait(LIMIT_S)
    sink.log("a", points(*range(5000)), params={"alpha": 1}, tags={"colour": "red"})
    sink.create("b", experiment_id="0", name="b")
    sink.end("b", "KILLED")
    sink.end("a", "FINISHED")
    assert (sink.is_open("a"), sink.open_keys(), sink.run_id("a")) == (False, [], None)
    assert store.done == []
    assert not store.gave_up
    store.open.set()
    assert sink.close(LIMIT_S)
    assert store.points("a") == points(*range(5000))
    assert (store.ended("a"), store.ended("b")) == (True, True)


def test_log_during_a_batch_loses_nothing_and_doubles_nothing() -> None:
    """What is queued while a request is under way is not taken for written by it."""
    store = ScriptedStore()
    sink = started(store)
    sink.create("a", experiment_id="0", name="a")
    store.until(lambda: store.of("a") == ["create"])
    store.open.clear()
    store.entered.clear()
    sink.log("a", points(1, 2), params={"p": 1}, tags={"state": "early", "colour": "red"})
    assert store.entered.wait(LIMIT_S)
    sink.log("a", points(3, first=2), params={"q": 2}, tags={"state": "late"})
    store.open.set()
    sink.end("a", "FINISHED")
    assert sink.close(LIMIT_S)
    assert store.points("a") == points(1, 2, 3)
    assert [name for batch in store.batches("a") for name in batch[1]] == ["p", "q"]
    tags = [(name, value) for batch in store.batches("a") for name, value in batch[2].items()]
    assert tags == [("state", "early"), ("colour", "red"), ("state", "late")]


def test_failure_of_one_run_does_not_hold_up_the_others() -> None:
    """A run that the store refuses waits alone."""
    store = ScriptedStore(lambda request, run: run == "bad")
    sink = started(store)
    for name in ("bad", "good"):
        sink.create(name, experiment_id="0", name=name)
        sink.log(name, points(1))
        sink.end(name, "FINISHED")
    store.until(lambda: store.ended("good"))
    assert store.points("good") == points(1)
    assert not sink.close(0.05)
    assert store.of("bad") == []


# --- closing -----------------------------------------------------------------------------------------------


def test_close_writes_what_is_not_due_yet() -> None:
    """The last points do not wait for their turn."""
    store = ScriptedStore()
    sink = Sink(store, every_s=1e6)
    sink.start()
    sink.create("a", experiment_id="0", name="a")
    sink.log("a", points(1))
    store.until(lambda: "create" in store.of("a"))
    sink.log("a", points(2, first=1))
    assert sink.close(LIMIT_S)
    assert store.points("a") == points(1, 2)


def test_close_ends_while_the_store_hangs_and_says_that_not_all_was_written() -> None:
    """The end of the program does not hang with it."""
    store = ScriptedStore()
    store.open.clear()
    sink = started(store)
    sink.create("a", experiment_id="0", name="a")
    assert store.entered.wait(LIMIT_S)
    assert [sink.close(0.05), sink.close(0.05)] == [False, False]
    assert not store.gave_up
    store.open.set()


def test_close_ends_while_the_store_is_away_and_says_that_not_all_was_written() -> None:
    """No run is given up silently."""
    store = ScriptedStore(lambda request, run: True)
    sink = started(store)
    sink.create("a", experiment_id="0", name="a")
    store.until(lambda: store.attempts)
    assert sink.close(0.05) is False


def test_close_tries_once_more_what_waits_after_a_failure() -> None:
    """A store that is back by then gets the data, however long the pause after its last failure would be."""
    store, clock = ScriptedStore(lambda request, run: store.attempts == 1), SimpleNamespace(now=0.0)
    sink = started(store, clock=lambda: clock.now)
    sink.create("a", experiment_id="0", name="a")
    store.until(lambda: store.attempts == 1)
    sink.log("a", points(1))
    sink.end("a", "FINISHED")
    written = sink.close(1.0)
    clock.now = math.inf  # whatever was written: the thread's time is up
    assert written
    assert store.points("a") == points(1)


@pytest.mark.parametrize("timeout_s", [math.inf, 1e300])
def test_close_waits_as_long_as_it_takes(timeout_s: float) -> None:
    """Infinity is more than a thread can be waited for."""
    store = ScriptedStore()
    sink = started(store)
    sink.create("a", experiment_id="0", name="a")
    assert sink.close(timeout_s)
    assert store.of("a") == ["create"]


def test_close_can_be_called_again() -> None:
    """It says the same, and writes nothing twice."""
    store = ScriptedStore()
    sink = started(store)
    sink.create("a", experiment_id="0", name="a")
    sink.end("a", "FINISHED")
    assert [sink.close(LIMIT_S), sink.close(LIMIT_S)] == [True, True]
    assert store.of("a") == ["create", "end"]


def test_close_of_a_sink_that_was_never_started_says_whether_something_waits() -> None:
    """Nothing can be written without the thread."""
    sink = Sink(ScriptedStore())
    assert sink.close(LIMIT_S) is True
    sink.create("a", experiment_id="0", name="a")
    assert sink.close(LIMIT_S) is False


def test_sink_starts_its_thread_only_when_told_to() -> None:
    """Constructing it has no effect."""
    before = set(_sinks())
    sink = Sink(ScriptedStore())
    assert set(_sinks()) == before
    sink.start()
    assert len(set(_sinks()) - before) == 1
    assert sink.close(LIMIT_S)


# --- runs and points ---------------------------------------------------------------------------------------


def test_run_that_ends_before_it_was_created_is_created_filled_and_ended() -> None:
    """A trial may be shorter than the store's first answer; the run has the trial's own times."""
    store = ScriptedStore()
    store.open.clear()
    sink = started(store)
    before = int(time.time() * 1000)
    sink.create("a", experiment_id="7", name="a", tags={"kind": "trial"})
    sink.log("a", points(1))
    sink.end("a", "KILLED", tags={"why": "limit"})
    ended = int(time.time() * 1000)
    store.open.set()
    assert sink.close(LIMIT_S)
    (_, _, (experiment_id, start, tags)), log, (_, _, (status, end)) = store.done
    assert (experiment_id, tags, status) == ("7", {"kind": "trial"}, "KILLED")
    assert log[2] == (points(1), {}, {"why": "limit"})
    assert before <= start <= end <= ended


def test_sink_knows_its_runs_by_the_keys_of_the_caller() -> None:
    """Open until ended, in the order of creation; the store's id is known from creation on and kept after the end."""
    store = ScriptedStore()
    sink = started(store)
    for key, name in ((("b", 1), "first"), (("a", 2), "second")):
        sink.create(key, experiment_id="0", name=name)
    assert sink.open_keys() == [("b", 1), ("a", 2)]
    assert (sink.is_open(("b", 1)), sink.is_open("unknown"), sink.run_id("unknown")) == (True, False, None)
    sink.end(("b", 1), "FINISHED")
    assert sink.open_keys() == [("a", 2)]
    assert not sink.is_open(("b", 1))
    assert sink.close(LIMIT_S)
    assert (sink.run_id(("b", 1)), sink.run_id(("a", 2))) == ("first", "second")


def test_run_that_is_created_twice_is_one_run() -> None:
    """The first call decides."""
    store = ScriptedStore()
    sink = started(store)
    sink.create("a", experiment_id="0", name="first")
    sink.create("a", experiment_id="0", name="second")
    sink.end("a", "FINISHED")
    assert sink.close(LIMIT_S)
    assert [name for _, name, _ in store.done] == ["first", "first"]


def test_values_that_are_not_finite_are_left_out() -> None:
    """MLflow's charts cannot show them; the finite ones around them are kept."""
    store = ScriptedStore()
    sink = started(store)
    sink.create("a", experiment_id="0", name="a")
    sink.log("a", points(1, math.nan, 2, math.inf, -math.inf, 3))
    sink.end("a", "FINISHED")
    assert sink.close(LIMIT_S)
    assert [(point.value, point.step) for point in store.points("a")] == [(1, 0), (2, 2), (3, 5)]
    assert sink.lost == 0


def test_points_beyond_the_capacity_are_given_up_oldest_first_and_counted() -> None:
    """A long outage costs a bounded amount of memory, and the newest points are worth most."""
    store = ScriptedStore()
    store.open.clear()
    sink = started(store, capacity=5)
    for name in ("a", "b"):
        sink.create(name, experiment_id="0", name=name)
    sink.log("a", points(1, 2))
    sink.log("b", points(*range(8)))
    assert sink.lost == 5
    sink.log("b", points(8, first=8))
    assert sink.lost == 6
    store.open.set()
    for name in ("a", "b"):
        sink.end(name, "FINISHED")
    assert sink.close(LIMIT_S)
    assert store.points("a") == points(1, 2)
    assert store.points("b") == points(6, 7, 8, first=6)


def test_points_that_were_written_make_room_for_others() -> None:
    """The capacity is for what waits, not for all there ever was."""
    store = ScriptedStore()
    sink = started(store, capacity=3)
    sink.create("a", experiment_id="0", name="a")
    for number in range(20):
        sink.log("a", points(number, first=number))
        store.until(lambda number=number: len(store.points("a")) == number + 1)  # type: ignore[misc]
    assert sink.lost == 0
    sink.end("a", "FINISHED")
    assert sink.close(LIMIT_S)


def test_points_given_up_during_a_batch_do_not_drop_newer_ones() -> None:
    """The batch under way is written as it was; behind it, only what was given up is missing."""
    store = ScriptedStore()
    sink = started(store, capacity=3)
    sink.create("a", experiment_id="0", name="a")
    store.until(lambda: store.of("a") == ["create"])
    store.open.clear()
    store.entered.clear()
    sink.log("a", points(0, 1, 2))
    assert store.entered.wait(LIMIT_S)
    sink.log("a", points(3, 4, first=3))
    store.open.set()
    sink.end("a", "FINISHED")
    assert sink.close(LIMIT_S)
    assert store.points("a") == points(0, 1, 2, 3, 4)


def test_live_run_is_written_once_per_interval() -> None:
    """Many small calls become few requests: the store's cost does not grow with how often points come."""
    store, clock = ScriptedStore(), SimpleNamespace(now=100.0)
    sink = Sink(store, every_s=60.0, clock=lambda: clock.now)
    sink.start()

    def look(name: str) -> None:
        """Have the thread look at all runs, in the order of their creation, to the new last one."""
        sink.create(name, experiment_id="0", name=name)
        store.until(lambda: store.of(name) == ["create"])

    look("a")
    look("b")
    for number in range(50):
        sink.log("a", points(number, first=number))
    look("c")
    assert store.batches("a") == []
    clock.now += 60.0
    look("d")
    assert store.batches("a") == [(points(*range(50)), {}, {})]
    assert sink.close(LIMIT_S)


# --- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value"),
    [("every_s", 0), ("every_s", -1.0), ("every_s", math.nan), ("capacity", 0), ("capacity", -5)],
)
def test_wrong_argument_is_refused_at_construction(argument: str, value: float) -> None:
    """The message names the argument and the value."""
    with pytest.raises(ValueError, match=f"{argument}={value!r}"):
        Sink(ScriptedStore(), **{argument: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [lambda sink: sink.log("unknown", points(1)), lambda sink: sink.end("unknown", "FINISHED")],
    ids=["log", "end"],
)
def test_run_that_was_never_created_is_a_mistake(call: Callable[[Sink], None]) -> None:
    """Points without a run would vanish silently."""
    with pytest.raises(KeyError, match="unknown"):
        call(Sink(ScriptedStore()))


# --- runs that go on ---------------------------------------------------------------------------------------


def test_run_of_another_process_goes_on_in_mlflow(client: MlflowClient) -> None:
    """It is RUNNING again, has one point per step, its samples go on counting, and it ends anew."""
    first = started(Store(client.tracking_uri))
    first.create("a", experiment_id="0")
    first.log("a", [*points(1, 2), *points(5, name="system/cpu", first=7)])
    first.end("a", "KILLED")
    assert first.close(LIMIT_S)
    run_id = first.run_id("a")
    assert run_id is not None
    store = Watched(client)
    second = started(store)
    second.create("b", experiment_id="0", tags={"again": "yes"}, run_id=run_id)
    second.log("b", [*points(9, 9, 3), *points(6, name="system/cpu", first=2)])
    assert store.logged.wait(LIMIT_S)
    assert client.get_run(run_id).info.status == "RUNNING"
    second.end("b", "FINISHED")
    assert second.close(LIMIT_S)
    assert second.run_id("b") == run_id
    assert _history(client, run_id) == points(1, 2, 3)
    assert [point.step for point in _history(client, run_id, "system/cpu")] == [7, 9]
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["again"]) == ("FINISHED", "yes")


@pytest.mark.parametrize("written", [True, False], ids=["written", "waiting"])
def test_run_that_has_ended_here_goes_on_under_its_key(written: bool) -> None:
    """Whether its end was written by then or not: one run, no step twice, and the last end counts."""
    store = ScriptedStore()
    sink = started(store)
    sink.create("a", experiment_id="0", name="run a")
    sink.log("a", points(1, 2))
    store.until(lambda: len(store.points("run a")) == 2)
    if not written:
        store.open.clear()
    sink.end("a", "FAILED")
    if written:
        store.until(lambda: store.ended("run a"))
        store.steps = {"x": 1}
    sink.create("a", experiment_id="0", name="run a")
    sink.log("a", points(9, 9, 3))
    sink.end("a", "FINISHED")
    store.open.set()
    assert sink.close(LIMIT_S)
    assert store.points("run a") == points(1, 2, 3)
    assert store.of("run a").count("create") == 1
    assert [what[0] for request, _, what in store.done if request == "end"][-1] == "FINISHED"


def test_repeated_work_of_an_open_run_is_written_once() -> None:
    """As where a crashed trial is tried again."""
    store = ScriptedStore()
    sink = started(store)
    sink.create("a", experiment_id="0", name="run a")
    sink.log("a", points(1, 2))
    sink.repeat("a")
    sink.log("a", points(7, 7, 3))
    assert sink.close(LIMIT_S)
    assert store.points("run a") == points(1, 2, 3)


def test_nested_run_waits_for_its_parent() -> None:
    """Its parent's id is in its tags, however long the store takes to create that one."""
    asked = 0

    def fails(request: str, run: str) -> bool:
        nonlocal asked
        asked += run == "parent"
        return run == "parent" and asked < 3

    store = ScriptedStore(fails)
    sink = started(store, clock=Ticking())
    sink.create("p", experiment_id="0", name="parent")
    sink.create("c", experiment_id="0", name="child", parent="p")
    store.until(lambda: "create" in store.of("child"))
    (created,) = [what for request, run, what in store.done if (request, run) == ("create", "child")]
    assert created[2] == {"mlflow.parentRunId": "parent"}
    assert asked >= 3
    sink.close(1e6)


def test_what_was_not_written_can_be_had_in_the_end() -> None:
    """Of runs that were created and of those that were not; nothing of those that are complete."""
    store = ScriptedStore(lambda request, run: run == "new" or (run == "half" and request == "end"))
    sink = started(store)
    for name in ("whole", "half", "new"):
        sink.create(name, experiment_id="0", name=name, tags={"of": name})
        sink.log(name, points(1), params={"alpha": 1})
        sink.end(name, "FINISHED")
    assert not sink.close(0.5)
    told = {"whole": {"late": "yes"}, "new": {"of": "late"}}
    left = {header.name: (header, waiting) for header, waiting in sink.left("sqlite:///x.db", told)}
    assert set(left) == {"half", "new"}
    half, waiting = left["half"]
    assert (half.run_id, half.status, half.params, waiting) == ("half", "FINISHED", {}, [])
    new, waiting = left["new"]
    assert (new.run_id, new.experiment_id, new.tags, new.params) == ("", "0", {"of": "new"}, {"alpha": "1"})
    assert (new.new_tags, waiting) == ({"of": "late"}, points(1))
