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
Ended = list[tuple[Mapping[str, str], threading.Thread]]


@pytest.fixture
def ended() -> Ended:
    """Why a brake has ended its process, and in which thread."""
    return []


def brake_of(ended: Ended, criteria: str = "elapsed_s<=1", judged_while: str = "") -> Brake:
    def end(tags: Mapping[str, str]) -> None:
        ended.append((tags, threading.current_thread()))

    return Brake(end, process_criteria(criteria), judged_while=judged_while)


def test_broken_limit_ends_the_process_once(ended: Ended) -> None:
    """In a thread of its own: the one that reads goes on."""
    brake = brake_of(ended, "peak_memory_mb<=100")
    brake.see({"peak_memory_mb": 100.0})
    assert (brake.tags, brake.broken) == ({}, None)
    brake.see({"peak_memory_mb": 101.0})
    brake.see({"peak_memory_mb": 102.0})
    brake.press("x")
    brake.join(LIMIT_S)
    ((tags, thread),) = ended
    told = {STOPPED_BY: BY_CRITERIA, STOP_REASON: "peak_memory_mb 101 > 100", STOP_METRIC: "peak_memory_mb"}
    assert tags == brake.tags == told
    assert thread is not threading.current_thread()
    assert brake.broken is not None
    assert brake.broken.value == 101.0


@pytest.mark.parametrize(("said", "words"), [("too slow", "was set to 'too slow'"), ("", "was set")])
def test_person_ends_the_process(ended: Ended, said: str, words: str) -> None:
    """Without any limit; the reason has their words."""
    brake = Brake(lambda tags: ended.append((tags, threading.current_thread())))
    assert brake.press(said)
    brake.join(LIMIT_S)
    assert [tags for tags, _ in ended] == [{STOPPED_BY: BY_PERSON, STOP_REASON: f"the tag sysmetrics.stop {words}"}]
    assert brake.broken is None


def test_nothing_is_ended_after_its_own_end(ended: Ended) -> None:
    """The last reading comes afterwards, and may be above a limit."""
    brake = brake_of(ended)
    brake.release()
    brake.see({"elapsed_s": 2.0})
    brake.press()
    brake.join(LIMIT_S)
    assert (ended, brake.tags) == ([], {})


def test_process_that_is_gone_is_not_judged(ended: Ended) -> None:
    """Its time goes on; who has its number by now is another."""
    brake = brake_of(ended, judged_while="memory_mb")
    brake.see({"elapsed_s": 2.0})
    assert brake.tags == {}
    brake.see({"elapsed_s": 2.0, "memory_mb": 1.0})
    brake.join(LIMIT_S)
    assert len(ended) == 1


def test_process_is_ended_while_the_log_is_on_a_disk_that_hangs(ended: Ended) -> None:
    """Nothing of the brake is written before."""
    handler, log = logging.Handler(), logging.getLogger("mlflow_sysmetrics")
    handler.emit = lambda record: wait_until(lambda: bool(ended), LIMIT_S, "the end")  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        brake_of(ended).see({"elapsed_s": 2.0})
    finally:
        log.removeHandler(handler)
    assert len(ended) == 1


def test_failure_to_end_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """And not raised into whoever reads."""

    def fail(tags: Mapping[str, str]) -> None:
        raise PermissionError("not yours")

    brake = Brake(fail)
    brake.press()
    brake.join(LIMIT_S)
    assert "has failed" in caplog.text


class Asked:
    """A store that counts its requests, and answers what it was told to, or raises it."""

    def __init__(self) -> None:
        self.answer: Mapping[str, str] | Exception = {}
        self.times: list[float] = []
        self.cleared: list[str] = []

    def __call__(self) -> Mapping[str, str]:
        self.times.append(time.monotonic())
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def wait_for(self, more: int) -> None:
        """Wait for this number of further requests."""
        wanted = len(self.times) + more
        wait_until(lambda: len(self.times) >= wanted, LIMIT_S, "requests")


Make = Callable[..., StopButton]


@pytest.fixture
def make() -> Iterator[Make]:
    """A button that asks all the time, and is stopped with the test."""
    buttons: list[StopButton] = []

    def make_one(ask: Asked, pressed: Callable[[str, str], bool], is_away: Callable[[], bool] = bool) -> StopButton:
        buttons.append(StopButton(ask, pressed, ask.cleared.append, is_away, EVERY_S).start())
        return buttons[-1]

    yield make_one
    for button in buttons:
        button.stop()


def test_each_run_is_told_once(make: Make) -> None:
    """With what its tag was set to, however often the store says so."""
    store, told = Asked(), queue.SimpleQueue[tuple[str, str]]()
    make(store, lambda run_id, said: told.put((run_id, said)) is None)
    store.answer = {"a": "now"}
    assert told.get(timeout=LIMIT_S) == ("a", "now")
    store.answer = {"a": "now", "b": ""}
    assert told.get(timeout=LIMIT_S) == ("b", "")
    store.wait_for(3)
    assert told.empty()
    assert store.cleared == ["a", "b"]


def test_failed_requests_come_later_and_later(make: Make) -> None:
    """And the button works again after them, as fast as before."""
    store, told = Asked(), queue.SimpleQueue[str]()
    store.answer = ConnectionError("away")
    make(store, lambda run_id, said: told.put(run_id) is None)
    store.wait_for(6)
    assert store.times[5] - store.times[0] >= EVERY_S * (2 + 4 + 8 + 16 + 32)
    store.answer = {"a": "1"}
    assert told.get(timeout=LIMIT_S) == "a"
    began = time.monotonic()
    store.wait_for(3)
    assert time.monotonic() - began < 3 * 64 * EVERY_S


def test_run_that_is_not_ended_yet_is_told_again(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """One that is not ours keeps its tag, and may become ours; a failure is logged and leaves other runs alone."""
    store, told, answers = Asked(), queue.SimpleQueue[str](), [RuntimeError("cannot"), False, True]

    def pressed(run_id: str, said: str) -> bool:
        told.put(run_id)
        answer = answers.pop(0) if run_id == "a" else True
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    store.answer = {"a": "1", "b": "1"}
    make(store, pressed)
    assert [told.get(timeout=LIMIT_S) for _ in range(4)] == ["a", "b", "a", "a"]
    wait_until(lambda: store.cleared == ["b", "a"], LIMIT_S, "the end of its tag")
    assert "the request to stop run a could not be followed yet" in caplog.text


def test_no_request_while_the_store_is_away(make: Make) -> None:
    """Who delivers knows; when it is back, the button asks again."""
    store, away, looked = Asked(), threading.Event(), threading.Semaphore(0)
    away.set()
    make(store, lambda run_id, said: True, is_away=lambda: looked.release() is None and away.is_set())
    for _ in range(3):
        assert looked.acquire(timeout=LIMIT_S)
    assert store.times == []
    away.clear()
    store.wait_for(1)


def test_answer_that_comes_after_the_stop_presses_nothing() -> None:
    """A slow request is not waited for, and would end what was begun meanwhile."""
    asking, answering, told = threading.Event(), threading.Event(), list[str]()

    def ask() -> Mapping[str, str]:
        asking.set()
        assert answering.wait(LIMIT_S)
        return {"a": "now"}

    others = set(threading.enumerate())
    button = StopButton(ask, lambda run_id, said: told.append(run_id) is None, told.append, bool, EVERY_S).start()
    assert asking.wait(LIMIT_S)
    button.stop()
    answering.set()
    wait_until(lambda: set(threading.enumerate()) <= others, LIMIT_S, "the end of its thread")
    assert told == []


def test_stop_waits_for_what_is_being_pressed() -> None:
    """So that it happens before whatever follows."""
    pressing, going_on, order = threading.Event(), threading.Event(), list[str]()

    def pressed(run_id: str, said: str) -> bool:
        pressing.set()
        assert going_on.wait(LIMIT_S)
        order.append("pressed")
        return True

    button = StopButton(lambda: {"a": ""}, pressed, lambda run_id: None, bool, EVERY_S).start()
    assert pressing.wait(LIMIT_S)
    stopping = threading.Thread(target=lambda: (button.stop(), order.append("stopped")), daemon=True)
    stopping.start()
    stopping.join(0.1)
    going_on.set()
    stopping.join(LIMIT_S)
    assert order == ["pressed", "stopped"]
