"""The stop button: when it asks, what it tells, and that nothing in it raises. The store is a function here."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest
from commands import wait_until

from mlflow_sysmetrics.limits import StopButton, stop_button

LIMIT_S = 10.0
Make = Callable[..., StopButton]


class Asked:
    """A store that counts its requests, and answers what it was told to, or raises it."""

    def __init__(self) -> None:
        self.answer: Mapping[str, str] | Exception = {}
        self.requests = 0
        self.cleared: list[str] = []
        self._came = threading.Condition()

    def __call__(self) -> Mapping[str, str]:
        with self._came:
            self.requests += 1
            self._came.notify_all()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def wait_for(self, more: int) -> None:
        """Wait for this number of further requests."""
        with self._came:
            wanted = self.requests + more
            assert self._came.wait_for(lambda: self.requests >= wanted, LIMIT_S)


@pytest.fixture
def make() -> Iterator[Make]:
    """A button that asks all the time, and is stopped with the test."""
    buttons: list[StopButton] = []

    def make_one(
        ask: Asked, pressed: Callable[[str, str], bool], is_away: Callable[[], bool] = lambda: False
    ) -> StopButton:
        buttons.append(StopButton(ask, pressed, ask.cleared.append, is_away=is_away, every_s=0.005).start())
        return buttons[-1]

    yield make_one
    for button in buttons:
        button.stop()


def test_each_run_is_told_once(make: Make) -> None:
    """With what its tag was set to, however often the store says so."""
    store, told = Asked(), queue.SimpleQueue[tuple[str, str]]()
    make(store, lambda run_id, said: told.put((run_id, said)) is None)
    store.wait_for(2)
    store.answer = {"a": "now"}
    assert told.get(timeout=LIMIT_S) == ("a", "now")
    store.answer = {"a": "now", "b": ""}
    assert told.get(timeout=LIMIT_S) == ("b", "")
    store.wait_for(3)
    assert told.empty()
    assert store.cleared == ["a", "b"]


def test_tag_of_a_run_of_others_is_left_to_them(make: Make) -> None:
    """And asked about again: the run may become ours, and is told then."""
    store, ours, told = Asked(), set[str](), queue.SimpleQueue[str]()

    def pressed(run_id: str, said: str) -> bool:
        told.put(run_id)
        return run_id in ours

    store.answer = {"a": "now"}
    make(store, pressed)
    for _ in range(3):
        assert told.get(timeout=LIMIT_S) == "a"
    assert store.cleared == []
    ours.add("a")
    wait_until(lambda: store.cleared == ["a"], LIMIT_S, "the end of the tag")
    store.wait_for(2)
    assert store.cleared == ["a"]


def test_no_request_while_the_store_is_away(make: Make) -> None:
    """Who delivers knows; when it is back, the button asks again."""
    store, away = Asked(), threading.Event()
    away.set()
    looked = threading.Semaphore(0)

    def is_away() -> bool:
        looked.release()
        return away.is_set()

    make(store, lambda run_id, said: True, is_away=is_away)
    for _ in range(3):
        assert looked.acquire(timeout=LIMIT_S)
    assert store.requests == 0
    away.clear()
    store.wait_for(1)


def test_failed_requests_come_later_and_later(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the button works again after them."""
    pauses: list[int] = []

    def pause_after(failures: int) -> float:
        pauses.append(failures)
        return 0.0

    monkeypatch.setattr(stop_button, "pause_after", pause_after)
    store, told = Asked(), queue.SimpleQueue[str]()
    store.answer = ConnectionError("away")
    make(store, lambda run_id, said: told.put(run_id) is None)
    store.wait_for(3)
    store.answer = {"a": "1"}
    assert told.get(timeout=LIMIT_S) == "a"
    assert pauses[:3] == [1, 2, 3]


def test_failure_of_one_run_leaves_the_others_and_is_repeated(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged."""
    store, told, failures = Asked(), queue.SimpleQueue[str](), iter([RuntimeError("cannot")])

    def pressed(run_id: str, said: str) -> bool:
        if run_id == "a":
            for failure in failures:
                raise failure
        told.put(run_id)
        return True

    store.answer = {"a": "1", "b": "1"}
    make(store, pressed)
    assert told.get(timeout=LIMIT_S) == "b"
    assert told.get(timeout=LIMIT_S) == "a"
    assert "run a could not be stopped yet" in caplog.text


def test_stopped_button_asks_no_more(make: Make) -> None:
    """Its thread ends."""
    store, others = Asked(), set(threading.enumerate())
    button = make(store, lambda run_id, said: True)
    store.wait_for(1)
    button.stop()
    wait_until(
        lambda: all(each.name != "mlflow-sysmetrics-button" for each in set(threading.enumerate()) - others),
        LIMIT_S,
        "its thread's end",
    )
