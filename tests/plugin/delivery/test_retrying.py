"""Tests of delivery.retrying: what reaches a store that is away, slow or hanging, as the test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from mlflow_sysmetrics.delivery.backlog import Backlog
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.retrying import Delivery, send_all

LIMIT_S = 10.0
FAST_S = 0.001


def points(*steps: int, name: str = "x") -> list[Point]:
    """One point per step."""
    return [Point(name, float(step), 1000 + step, step) for step in steps]


class ScriptedStore:
    """A store in memory; `fails` says of the n-th request whether it fails, and while `open` is clear they all hang."""

    def __init__(self, fails: Callable[[int], bool] = lambda request: False) -> None:
        self.timeout_s, self.fails = 0.0, fails
        self.open, self.entered = threading.Event(), threading.Event()
        self.open.set()
        self.points: list[Point] = []
        self.batches: list[int] = []
        self.tags: dict[str, str] = {}
        self.timeouts: list[float] = []
        self._changed = threading.Condition()

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        self.entered.set()
        self.open.wait(LIMIT_S)
        with self._changed:
            self.timeouts.append(self.timeout_s)
            self._changed.notify_all()
            if self.fails(len(self.timeouts)):
                raise ConnectionError("the store is away")
            if any("@" in metric.key for metric in metrics):
                raise MlflowException("odd name", INVALID_PARAMETER_VALUE)
            self.points += [Point(each.key, each.value, each.timestamp, each.step) for each in metrics]
            self.batches.append(len(metrics) + len(tags))
            self.tags |= {each.key: each.value for each in tags}

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for a state of the store."""
        with self._changed:
            assert self._changed.wait_for(condition, LIMIT_S), self.points


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def started(store: ScriptedStore, waiting: Backlog, every_s: float = FAST_S) -> Delivery:
    """A delivery that runs."""
    delivery = Delivery(waiting, store, "abc", {"t": "1"}, every_s=every_s)
    delivery.start()
    return delivery


def filled(*steps: int) -> Backlog:
    """A backlog in memory with a moment per step."""
    backlog = Backlog(None)
    for step in steps:
        backlog.append(points(step))
    return backlog


def test_send_all_sends_tags_once_and_no_request_is_too_large() -> None:
    """2500 points and two tags are three requests of at most 1000 entries, and all is forgotten."""
    store, waiting = ScriptedStore(), filled(*range(2500))
    sent = send_all(waiting, store, "abc", {"a": "1", "b": "2"})
    assert (sent.points, sent.refused) == (2500, 0)
    assert store.points == points(*range(2500))
    assert store.batches == [1000, 1000, 502]
    assert store.tags == {"a": "1", "b": "2"}
    assert waiting.is_empty


def test_send_all_counts_what_the_store_refuses() -> None:
    """A point with a forbidden name is left out alone."""
    store, waiting = ScriptedStore(), filled(1)
    waiting.append(points(2, name="x@") + points(3))
    sent = send_all(waiting, store, "abc", {})
    assert (sent.points, sent.refused) == (2, 1)
    assert store.points == points(1, 3)


def test_send_all_keeps_what_a_failed_request_held() -> None:
    """What was taken before is forgotten, the rest waits."""
    store, waiting = ScriptedStore(lambda request: request == 2), filled(*range(1500))
    with pytest.raises(ConnectionError):
        send_all(waiting, store, "abc", {})
    assert waiting.peek(1000) == points(*range(1000, 1500))


def test_points_are_delivered_while_they_come() -> None:
    """And what comes last is delivered by stop."""
    store, waiting = ScriptedStore(), filled(1)
    delivery = started(store, waiting)
    store.until(lambda: store.points == points(1))
    waiting.append(points(2))
    store.until(lambda: store.points == points(1, 2))
    waiting.append(points(3))
    assert delivery.stop(LIMIT_S)
    assert store.points == points(1, 2, 3)
    assert store.tags == {"t": "1"}


def test_failed_requests_are_repeated_and_given_more_time(caplog: pytest.LogCaptureFixture) -> None:
    """Until the store takes them; two lines of log, however many failures."""
    store, waiting = ScriptedStore(lambda request: request <= 2), filled(1, 2)
    delivery = started(store, waiting)
    store.until(lambda: store.points)
    assert delivery.stop(LIMIT_S)
    assert store.points == points(1, 2)
    assert store.timeouts[:3] == [5.0, 10.0, 20.0]
    assert delivery.failures == 0
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_stop_does_not_wait_out_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long interval, or the pause after a failure, does not delay the last delivery."""
    for name in ("_FIRST_RETRY_S", "_LAST_RETRY_S"):
        monkeypatch.setattr(f"mlflow_sysmetrics.delivery.retrying.{name}", 3600.0)
    store = ScriptedStore(lambda request: request == 1)
    waiting = filled(1)
    delivery = Delivery(waiting, store, "abc", {}, every_s=FAST_S)
    delivery.start()
    store.until(lambda: len(store.timeouts) == 1)
    assert delivery.stop(LIMIT_S)
    patient = started(store, waiting, every_s=3600)
    waiting.append(points(2))
    assert patient.stop(LIMIT_S)
    assert store.points == points(1, 2)


def test_stop_is_bounded_while_the_store_hangs() -> None:
    """It says that something is left; the request that goes on touches nothing that was closed."""
    store, waiting = ScriptedStore(), filled(1)
    store.open.clear()
    delivery = started(store, waiting)
    assert store.entered.wait(LIMIT_S)
    began = time.monotonic()
    assert not delivery.stop(0.2)
    assert time.monotonic() - began < LIMIT_S
    waiting.close()
    store.open.set()


def test_stop_is_bounded_while_the_store_is_away() -> None:
    """It tries again until its time is up."""
    store, waiting = ScriptedStore(lambda request: True), filled(1)
    delivery = started(store, waiting)
    began = time.monotonic()
    assert not delivery.stop(0.8)
    assert 0.7 < time.monotonic() - began < LIMIT_S
    assert len(store.timeouts) >= 2


def test_stop_without_start_leaves_everything() -> None:
    """There is no thread to wait for."""
    waiting = filled(1)
    assert not Delivery(waiting, ScriptedStore(), "abc", {}, every_s=1).stop(LIMIT_S)


def test_a_machine_without_threads_costs_training_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start does not raise, and what waits stays."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    waiting = filled(1)
    assert not started(ScriptedStore(), waiting).stop(LIMIT_S)
    assert waiting.peek(1) == points(1)
