"""Tests of delivery.run_queue, and of `write`, which moves a queue from state to state."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_store import ScriptedStore, points

from mlflow_sysmetrics.delivery.backlog import Backlog
from mlflow_sysmetrics.delivery.run_queue import End, RunQueue, State
from mlflow_sysmetrics.delivery.spool import Header
from mlflow_sysmetrics.delivery.writer import write

NEW = {"experiment_id": "7", "start_ms": 1000, "first_tags": {"kind": "trial"}, "name": "a"}
END = End("FINISHED", 5000)


def in_state(state: State, **more: Any) -> RunQueue:
    """A queue of run "a"."""
    known = state not in (State.TO_CREATE, State.ASKED)
    return RunQueue(Backlog(), state=state, run_id="a" if known else None, **{**NEW, **more})


@pytest.mark.parametrize(
    ("state", "requests"),
    [
        (State.TO_CREATE, ["create", "log", "end"]),
        (State.ASKED, ["look for", "create", "log", "end"]),
        (State.UNREAD, ["read", "go on", "log", "end"]),
        (State.ENDED, ["go on", "log", "end"]),
        (State.RUNNING, ["log", "end"]),
    ],
    ids=lambda value: value.name if isinstance(value, State) else "",
)
def test_write_brings_a_run_from_any_state_to_its_end(state: State, requests: list[str]) -> None:
    """Everything that waits is there before the end, once, though each kind of request fails at first."""
    asked: list[str] = []

    class Finding(ScriptedStore):
        def created_run(self, *arguments: Any) -> None:
            asked.append("look for")

    store = Finding()
    failing = set(requests) - {"look for"}

    def fails(request: str, run: str) -> bool:
        failed = request in failing
        failing.discard(request)
        return failed

    store.fails = fails
    queue = in_state(state, end=END)
    queue.add(points(1, 2), {"alpha": "0.1"}, {"colour": "red"})
    attempts = 0
    while queue.state is not State.DONE:
        attempts += 1
        try:
            write(queue, store)
        except ConnectionError:
            assert queue.state is not State.TO_CREATE
    assert attempts == len(set(requests) - {"look for"}) + 1
    assert list(dict.fromkeys(store.of("a"))) == [name for name in requests if name != "look for"]
    assert bool(asked) == (state in (State.TO_CREATE, State.ASKED))
    assert store.batches("a") == [(points(1, 2), {"alpha": "0.1"}, {"colour": "red"})]
    assert store.done[-1][2] == END
    assert not queue.has_something


def test_run_whose_creation_was_not_told_is_found_and_not_created_again() -> None:
    """The request for it was carried out, and its answer got lost."""
    store = ScriptedStore()
    store.created_run = lambda *arguments: "a"  # type: ignore[method-assign]
    queue = in_state(State.ASKED, end=END)
    write(queue, store)
    assert (queue.run_id, store.of("a")) == ("a", ["end"])


def test_run_is_created_with_its_own_time_and_its_parents_id() -> None:
    """However late the store takes it."""
    store, parent = ScriptedStore(), in_state(State.RUNNING)
    write(in_state(State.TO_CREATE, parent=parent), store)
    assert store.done == [("create", "a", ("7", 1000, {"kind": "trial", "mlflow.parentRunId": "a"}))]


def test_no_request_is_too_large() -> None:
    """2500 points and two tags are three requests of at most 1000 entries, and tags are sent once."""
    store, queue = ScriptedStore(), in_state(State.RUNNING, tags={"a": "1", "b": "2"})
    queue.add(points(*range(2500)))
    write(queue, store)
    assert store.points("a") == points(*range(2500))
    assert [sum(map(len, batch)) for batch in store.batches("a")] == [1000, 1000, 502]
    assert [batch[2] for batch in store.batches("a")] == [{"a": "1", "b": "2"}, {}, {}]
    assert queue.sent == 2500


def test_refused_points_are_counted() -> None:
    """A point with a forbidden name is left out alone."""
    store, queue = ScriptedStore(), in_state(State.RUNNING)
    queue.add([*points(1), *points(2, name="x@", first=1), *points(3, first=2)])
    write(queue, store)
    assert (queue.sent, queue.refused) == (3, 1)
    assert [point.value for point in store.points("a")] == [1, 3]


def test_failed_request_keeps_what_it_held() -> None:
    """What was taken before is forgotten, the rest waits."""
    store, queue = ScriptedStore(lambda request, run: store.attempts == 2), in_state(State.RUNNING)
    queue.add(points(*range(1500)))
    with pytest.raises(ConnectionError):
        write(queue, store)
    assert queue.points.in_memory() == points(*range(1500))[1000:]


def test_run_that_is_opened_again_while_its_end_is_written_goes_on() -> None:
    """It is RUNNING again, and its last end counts."""

    class Opening(ScriptedStore):
        def set_status(self, run_id: str, status: str, end_ms: int | None) -> None:
            super().set_status(run_id, status, end_ms)
            if status == "KILLED":
                assert queue.reopen({"again": "yes"})

    store, queue = Opening(), in_state(State.RUNNING, end=End("KILLED", 1))
    write(queue, store)
    assert (queue.state, queue.is_open, queue.has_something) == (State.ENDED, True, True)
    queue.end = END
    write(queue, store)
    assert store.of("a") == ["end", "go on", "log", "end"]
    assert store.done[-1][2] == END
    assert not queue.reopen({})
    assert not queue.is_open


@pytest.mark.parametrize("created", [True, False])
def test_header_says_how_to_find_or_create_the_run_and_the_run_around_it(created: bool) -> None:
    """Of that one no more than is needed: what else waits for it is in its own spool."""
    parent = in_state(State.RUNNING if created else State.ASKED, end=END, params={"p": "1"}, tags={"late": "yes"})
    queue = in_state(State.ASKED, parent=parent, params={"q": "2"}, tags={"t": "3"})
    known = Header("a", "there")
    asked = Header("", "there", {"kind": "trial"}, {}, "FINISHED", 5000, "7", 1000, "a")
    assert queue.header("there") == Header(
        "", "there", {"kind": "trial"}, {"q": "2"}, None, None, "7", 1000, "a", {"t": "3"}, known if created else asked
    )
    queue.created("b")
    assert (queue.header("there").run_id, queue.header("there").parent) == ("b", None)
