"""The barrier at which the first trials of a study wait for each other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from entrypoints.compute import barrier as barriers
from entrypoints.compute.barrier import Barrier

SHORT_S = 0.3
LONG_S = 300.0

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def other() -> Iterator[ThreadPoolExecutor]:
    """Does what another process would."""
    with ThreadPoolExecutor() as other:
        yield other


def _still_waits(waiting: Future[Any]) -> bool:
    return not wait([waiting], timeout=SHORT_S).done


def _arrived(parties: int, other: ThreadPoolExecutor) -> Barrier:
    """A barrier at which all have arrived."""
    barrier = Barrier(parties)
    assert list(other.map(lambda _: barrier.wait(), range(parties), timeout=LONG_S)) == [True] * parties
    return barrier


def test_barrier_holds_all_until_the_last_has_arrived(other: ThreadPoolExecutor) -> None:
    """Two of three wait; when the third arrives all three pass."""
    barrier = Barrier(3)
    waiting = [other.submit(barrier.wait) for _ in range(2)]
    assert all(_still_waits(each) for each in waiting)
    assert barrier.wait()
    assert [each.result(LONG_S) for each in waiting] == [True, True]


@pytest.mark.parametrize(("step", "given"), [("bring", ({"step_s": 0.5},)), ("begin", ())])
def test_first_processes_wait_again(step: str, given: tuple[Any, ...], other: ThreadPoolExecutor) -> None:
    """Until the last has left what it found, then until Tune knows of all, before a trial can end that is skipped."""
    barrier = _arrived(2, other)
    first = other.submit(getattr(barrier, step), *given)
    assert _still_waits(first)
    getattr(barrier, step)(*given)
    first.result(LONG_S)
    assert barrier.brought() == [*given] * 2


@pytest.mark.parametrize(
    ("step", "given", "limit"),
    [("wait", (), "WAIT_TIMEOUT_S"), ("bring", (0,), "WAIT_TIMEOUT_S"), ("begin", (), "BEGIN_TIMEOUT_S")],
)
def test_the_others_go_on_without_one_that_does_not_come(
    step: str,
    given: tuple[int, ...],
    limit: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    other: ThreadPoolExecutor,
) -> None:
    """Its process is late, or has died: the first that gives up warns, and lets the others go."""
    barrier = Barrier(3) if step == "wait" else _arrived(3, other)
    patient = other.submit(getattr(barrier, step), *given)
    assert _still_waits(patient)
    monkeypatch.setattr(barriers, limit, 0.0)
    with caplog.at_level(logging.WARNING, barriers.logger.name):
        getattr(barrier, step)(*given)
        patient.result(LONG_S)
    assert [record.getMessage() for record in caplog.records] == [
        "The study starts without waiting for all of its processes: not within 0 s"
    ]


def test_barriers_are_independent_and_can_be_removed(other: ThreadPoolExecutor) -> None:
    """Studies on one cluster do not wait at each other's; nothing is left of one that is removed.

    A process that replaces another one arrives late: it is not held, and is told to find nothing.
    """
    ended, begun = _arrived(1, other), _arrived(1, other)
    ended.bring("found")
    begun.bring("found later")
    assert (ended.brought(), begun.brought()) == (["found"], ["found later"])
    ended.remove()
    assert (ended.brought(), begun.brought()) == ([], ["found later"])
    assert (ended.wait(), begun.wait()) == (True, False)
