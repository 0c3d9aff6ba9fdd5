"""The brake and the stop button: what they end, when, and that nothing in them raises. The store is a function here."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest
from commands import wait_until

from mlflow_sysmetrics.limits import Brake, StopButton, process_criteria
from mlflow_sysmetrics.tags import BY_CRITERIA, BY_PERSON, STOP_METRIC, STOP_REASON, STOPPED_BY

LIMIT_S = 10.0
Ended = list[tuple[Mapping[str, str], threading.Thread]]


@pytest.fixture
def ended() -> Ended:
    """Why a brake has ended its process, and in which thread."""
    return []


def brake_of(ended: Ended, criteria: str = "", judged_while: str = "") -> Brake:
    limits = process_criteria(criteria) if criteria else None
    return Brake(lambda tags: ended.append((tags, threading.current_thread())), limits, judged_while=judged_while)


def test_broken_limit_ends_the_process_once(ended: Ended) -> None:
    """In a thread of its own: the one that reads goes on."""
    brake = brake_of(ended, "peak_memory_mb<=100")
    brake.see({"peak_memory_mb": 100.0, "elapsed_s": 1.0})
    assert (brake.tags, brake.broken) == ({}, None)
    brake.see({"peak_memory_mb": 101.0, "elapsed_s": 2.0})
    brake.see({"peak_memory_mb": 102.0, "elapsed_s": 3.0})
    brake.press("x")
    brake.join(LIMIT_S)
    told = {STOPPED_BY: BY_CRITERIA, STOP_REASON: "peak_memory_mb 101 > 100", STOP_METRIC: "peak_memory_mb"}
    ((tags, thread),) = ended
    assert tags == brake.tags == told
    assert thread is not threading.current_thread()
    assert brake.broken is not None
    assert brake.broken.value == 101.0


@pytest.mark.parametrize(
    ("said", "reason"),
    [("too slow", "the tag sysmetrics.stop was set to 'too slow'"), ("", "the tag sysmetrics.stop was set")],
)
def test_person_ends_the_process(ended: Ended, said: str, reason: str) -> None:
    """Without any limit; the reason has their words."""
    brake = brake_of(ended)
    assert brake.press(said)
    brake.join(LIMIT_S)
    assert [tags for tags, _ in ended] == [{STOPPED_BY: BY_PERSON, STOP_REASON: reason}]
    assert brake.broken is None


def test_nothing_is_ended_after_its_own_end(ended: Ended) -> None:
    """The last reading comes afterwards, and may be above a limit."""
    brake = brake_of(ended, "cpu_seconds<=1")
    brake.release()
    brake.see({"cpu_seconds": 2.0})
    brake.press()
    brake.join(LIMIT_S)
    assert (ended, brake.tags) == ([], {})


def test_process_that_is_gone_is_not_judged(ended: Ended) -> None:
    """Its time goes on; who has its number by now is another."""
    brake = brake_of(ended, "elapsed_s<=1", "memory_mb")
    brake.see({"elapsed_s": 2.0})
    assert brake.tags == {}
    brake.see({"elapsed_s": 2.0, "memory_mb": 1.0})
    brake.join(LIMIT_S)
    assert len(ended) == 1


def test_brake_works_while_the_log_is_on_a_disk_that_hangs(ended: Ended) -> None:
    """The process has ended by the time at which the log is written."""
    brake, seen, handler = brake_of(ended, "elapsed_s<=1"), queue.SimpleQueue[int](), logging.Handler()

    def hang(record: logging.LogRecord) -> None:
        wait_until(lambda: bool(ended), LIMIT_S, "the end of the process")
        seen.put(len(ended))

    handler.emit = hang  # type: ignore[method-assign]
    log = logging.getLogger("mlflow_sysmetrics")
    log.addHandler(handler)
    try:
        brake.see({"elapsed_s": 2.0})
    finally:
        log.removeHandler(handler)
    assert seen.get(timeout=LIMIT_S) == 1


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


Make = Callable[..., StopButton]


@pytest.fixture
def make() -> Iterator[Make]:
    """A button that asks all the time, and is stopped with the test."""
    buttons: list[StopButton] = []

    def make_one(ask: Asked, pressed: Callable[[str, str], bool], is_away: Callable[[], bool] = bool) -> StopButton:
        buttons.append(StopButton(ask, pressed, ask.cleared.append, is_away=is_away, every_s=0.005).start())
        return buttons[-1]

    yield make_one
    for button in buttons:
        button.stop()


def test_each_run_is_told_once(make: Make) -> None:
    """With what its tag was set to, however often the store says so; and also after failed requests."""
    store, told = Asked(), queue.SimpleQueue[tuple[str, str]]()
    make(store, lambda run_id, said: told.put((run_id, said)) is None)
    store.wait_for(2)
    store.answer = {"a": "now"}
    assert told.get(timeout=LIMIT_S) == ("a", "now")
    store.answer = ConnectionError("away")
    store.wait_for(3)
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


def test_no_request_while_the_store_is_away(make: Make) -> None:
    """Who delivers knows; when it is back, the button asks again."""
    store, away, looked = Asked(), threading.Event(), threading.Semaphore(0)
    away.set()

    def is_away() -> bool:
        looked.release()
        return away.is_set()

    make(store, lambda run_id, said: True, is_away=is_away)
    for _ in range(3):
        assert looked.acquire(timeout=LIMIT_S)
    assert store.requests == 0
    away.clear()
    store.wait_for(1)


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
    assert "the request to stop run a could not be followed yet" in caplog.text


def test_answer_that_comes_after_the_end_presses_nothing() -> None:
    """Of a slow request, which is not waited for: the work has ended, and it would end what was begun meanwhile."""
    asking, answering, told = threading.Event(), threading.Event(), list[str]()

    def ask() -> Mapping[str, str]:
        asking.set()
        assert answering.wait(LIMIT_S)
        return {"a": "now"}

    others = set(threading.enumerate())
    button = StopButton(
        ask, lambda run_id, said: told.append(run_id) is None, told.append, lambda: False, 0.005
    ).start()
    assert asking.wait(LIMIT_S)
    button.stop()
    answering.set()
    wait_until(lambda: set(threading.enumerate()) <= others, LIMIT_S, "the end of its thread")
    assert told == []


def test_end_waits_for_what_is_being_pressed() -> None:
    """So that it happens before whatever follows."""
    pressing, going_on, order = threading.Event(), threading.Event(), list[str]()

    def pressed(run_id: str, said: str) -> bool:
        pressing.set()
        assert going_on.wait(LIMIT_S)
        order.append("pressed")
        return True

    button = StopButton(lambda: {"a": ""}, pressed, lambda run_id: None, lambda: False, 0.005).start()
    assert pressing.wait(LIMIT_S)
    stopping = threading.Thread(target=lambda: (button.stop(), order.append("stopped")), daemon=True)
    stopping.start()
    going_on.set()
    stopping.join(LIMIT_S)
    assert order == ["pressed", "stopped"]
