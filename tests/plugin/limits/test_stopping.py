"""The brake and the stop button: what they end, when, and that nothing in them raises. The store is a function here."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from commands import wait_until

from mlflow_sysmetrics.limits import Brake, StopButton, process_criteria
from mlflow_sysmetrics.tags import BY_CRITERIA, BY_PERSON, STOP_METRIC, STOP_REASON, STOPPED_BY

LIMIT_S = 10.0
EVERY_S = 0.005
Tags = Mapping[str, str]


def brake_of(criteria: str = "elapsed_s<=1", judged_while: str = "") -> tuple[Brake, list[Tags]]:
    """One, and why it has ended its process, each time."""
    ended = list[Tags]()

    def end(tags: Tags) -> None:
        assert threading.current_thread() is not threading.main_thread()  # the one that reads goes on
        ended.append(tags)

    return Brake(end, process_criteria(criteria), judged_while=judged_while), ended


def test_broken_limit_ends_the_process_once() -> None:
    """In a thread of its own: the one that reads goes on."""
    brake, ended = brake_of("peak_memory_mb<=100")
    brake.see({"peak_memory_mb": 100.0})
    assert (brake.tags, brake.broken) == ({}, None)
    brake.see({"peak_memory_mb": 101.0})
    brake.see({"peak_memory_mb": 102.0})
    brake.press("x")
    brake.join(LIMIT_S)
    told = {STOPPED_BY: BY_CRITERIA, STOP_REASON: "peak_memory_mb 101 > 100", STOP_METRIC: "peak_memory_mb"}
    assert (ended, brake.tags) == ([told], told)
    assert brake.broken is not None
    assert brake.broken.value == 101.0


def test_nothing_is_ended_after_its_own_end() -> None:
    """The last reading comes afterwards, and may be above a limit."""
    brake, ended = brake_of()
    brake.release()
    brake.see({"elapsed_s": 2.0})
    brake.press()
    brake.join(LIMIT_S)
    assert (ended, brake.tags) == ([], {})


def test_process_that_is_gone_is_not_judged() -> None:
    """Its time goes on; who has its number by now is another."""
    brake, ended = brake_of(judged_while="memory_mb")
    brake.see({"elapsed_s": 2.0})
    assert brake.tags == {}
    brake.see({"elapsed_s": 2.0, "memory_mb": 1.0})
    brake.join(LIMIT_S)
    assert len(ended) == 1


def test_process_is_ended_while_the_log_is_on_a_disk_that_hangs() -> None:
    """Nothing of the brake is written before."""
    brake, ended = brake_of()
    handler, log = logging.Handler(), logging.getLogger("mlflow_sysmetrics")
    handler.emit = lambda record: wait_until(lambda: bool(ended), LIMIT_S, "the end")  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        brake.see({"elapsed_s": 2.0})
    finally:
        log.removeHandler(handler)
    assert len(ended) == 1


def test_failure_to_end_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """And not raised into the thread of the button, by which a person asks for it without any limit or word."""

    def fail(tags: Tags) -> None:
        raise PermissionError("not yours")

    brake = Brake(fail)
    assert brake.press()
    brake.join(LIMIT_S)
    assert brake.tags == {STOPPED_BY: BY_PERSON, STOP_REASON: "the tag sysmetrics.stop was set"}
    assert "has failed" in caplog.text


class Store:
    """Counts the requests of a button, and answers what it was told to, or raises it."""

    button: StopButton

    def __init__(self) -> None:
        self.answer: Tags | Exception = {}
        self.times, self.cleared = list[float](), list[str]()

    def start(self, pressed: Callable[[str, str], bool], is_away: Callable[[], bool] = bool) -> None:
        self.button = StopButton(self.ask, pressed, self.cleared.append, is_away, EVERY_S).start()

    def ask(self) -> Tags:
        self.times.append(time.monotonic())
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def wait_for(self, more: int) -> None:
        """Wait for this number of further requests."""
        wanted = len(self.times) + more
        wait_until(lambda: len(self.times) >= wanted, LIMIT_S, "requests")


@pytest.fixture
def store() -> Iterator[Store]:
    """One whose button is stopped with the test."""
    store = Store()
    yield store
    store.button.stop()


def test_failed_requests_come_later_and_later(store: Store) -> None:
    """And the button works again after them, as fast as before."""
    told = queue.SimpleQueue[str]()
    store.answer = ConnectionError("away")
    store.start(lambda run_id, said: told.put(run_id) is None)
    store.wait_for(6)
    assert store.times[5] - store.times[0] >= EVERY_S * (2 + 4 + 8 + 16 + 32)
    store.answer = {"a": "1"}
    assert told.get(timeout=LIMIT_S) == "a"
    began = time.monotonic()
    store.wait_for(3)
    assert time.monotonic() - began < 3 * 64 * EVERY_S


def test_each_run_is_told_until_it_is_ended(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """One that is not ours keeps its tag, and may become ours; a failure is logged and leaves other runs alone."""
    told, answers = queue.SimpleQueue[tuple[str, str]](), [RuntimeError("cannot"), False, True]

    def pressed(run_id: str, said: str) -> bool:
        told.put((run_id, said))
        answer = answers.pop(0) if run_id == "a" else True
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    store.answer = {"a": "now", "b": ""}
    store.start(pressed)
    a, b = store.answer.items()
    assert [told.get(timeout=LIMIT_S) for _ in range(4)] == [a, b, a, a]
    store.wait_for(3)
    assert told.empty(), "however often the store says so"
    assert store.cleared == ["b", "a"]
    assert "run a could not be stopped yet" in caplog.text


def test_no_request_while_the_store_is_away(store: Store) -> None:
    """Who delivers knows; when it is back, the button asks again."""
    away, looked = threading.Event(), threading.Semaphore(0)
    away.set()
    store.start(lambda run_id, said: True, is_away=lambda: looked.release() is None and away.is_set())
    for _ in range(3):
        assert looked.acquire(timeout=LIMIT_S)
    assert store.times == []
    away.clear()
    store.wait_for(1)


def test_answer_that_comes_after_the_stop_presses_nothing(store: Store) -> None:
    """A slow request is not waited for, and would end what was begun meanwhile."""
    asking, answering, told = threading.Event(), threading.Event(), list[str]()

    def ask() -> Tags:
        asking.set()
        assert answering.wait(LIMIT_S)
        return {"a": "now"}

    others = set(threading.enumerate())
    store.ask = ask  # type: ignore[method-assign]
    store.start(lambda run_id, said: told.append(run_id) is None)
    assert asking.wait(LIMIT_S)
    store.button.stop()
    answering.set()
    wait_until(lambda: set(threading.enumerate()) <= others, LIMIT_S, "the end of its thread")
    assert told == store.cleared == []


def test_stop_waits_for_what_is_being_pressed(store: Store) -> None:
    """So that it happens before whatever follows."""
    pressing, going_on, order = threading.Event(), threading.Event(), list[str]()

    def pressed(run_id: str, said: str) -> bool:
        pressing.set()
        assert going_on.wait(LIMIT_S)
        order.append("pressed")
        return True

    store.answer = {"a": ""}
    store.start(pressed)
    assert pressing.wait(LIMIT_S)
    stopping = threading.Thread(target=lambda: (store.button.stop(), order.append("stopped")), daemon=True)
    stopping.start()
    stopping.join(0.1)
    going_on.set()
    stopping.join(LIMIT_S)
    assert order == ["pressed", "stopped"]
