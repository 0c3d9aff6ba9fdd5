"""Tests of mlflow_sysmetrics.delivery.backlog: what waits, where the disk takes it and where it does not."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from mlflow_sysmetrics.delivery.backlog import Backlog, Memory
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.spool import Header, SpoolFile


def points(*steps: int) -> list[Point]:
    """One point per step."""
    return [Point("x", float(step), 1000 + step, step) for step in steps]


class FullDisk(SpoolFile):
    """A spool that takes nothing while it is full."""

    full = False

    def append(self, points: Iterable[Point]) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().append(points)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.jsonl"


@pytest.fixture
def disk(path: Path) -> FullDisk:
    return FullDisk.create(path, Header("abc", "there"))  # type: ignore[return-value]


def drained(backlog: Backlog, limit: int = 1000) -> list[int]:
    """The steps of all that waits, delivered batch by batch."""
    steps: list[int] = []
    while found := backlog.peek(limit):
        steps += [point.step for point in found]
        backlog.forget()
    return steps


def test_what_does_not_fit_on_the_disk_waits_in_memory_in_order(
    disk: FullDisk, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before, during and after a full disk, everything is delivered in the order in which it came; one warning."""
    backlog = Backlog(disk)
    for step in range(9):
        disk.full = 3 <= step < 6
        backlog.append(points(step))
    assert drained(backlog, 2) == list(range(9))
    assert backlog.is_empty
    assert backlog.lost == 0
    assert len(caplog.records) == 1
    backlog.close()
    assert not path.exists()


def test_delivery_goes_on_while_the_disk_is_full(disk: FullDisk) -> None:
    """What is on disk comes first, then what is in memory, several moments at once."""
    backlog = Backlog(disk)
    backlog.append(points(1))
    disk.full = True
    for step in (2, 3, 4):
        backlog.append(points(step))
    assert not backlog.is_empty
    assert [backlog.peek(2), backlog.forget(), backlog.peek(2)] == [points(1), None, points(2, 3)]
    assert drained(backlog) == [2, 3, 4]
    backlog.close()


@pytest.mark.parametrize("place", ["disk", None])
def test_memory_is_bounded_and_what_is_given_up_is_counted(place: str | None, disk: FullDisk) -> None:
    """The oldest go first."""
    disk.full = True
    backlog = Backlog(disk if place else None, Memory(3))
    for step in range(10):
        backlog.append(points(step))
    assert backlog.lost == 7
    assert drained(backlog) == [7, 8, 9]
    backlog.close()
    disk.close()


def test_points_given_up_while_they_are_delivered_take_no_others_along() -> None:
    """What was peeked and is gone by the time it is forgotten does not cost what came after."""
    backlog = Backlog(memory=Memory(2))
    backlog.append(points(1))
    assert backlog.peek(1000) == points(1)
    for step in (2, 3):
        backlog.append(points(step))
    backlog.forget()
    assert drained(backlog) == [2, 3]


def test_points_that_are_changed_away_make_room() -> None:
    """As those that turn out to be repeated."""
    backlog = Backlog(memory=Memory(3))
    backlog.append(points(1, 2, 3))
    backlog.change(lambda waiting: list(waiting)[2:])
    backlog.append(points(4, 5))
    assert (drained(backlog), backlog.lost) == ([3, 4, 5], 0)


def test_a_disk_that_cannot_be_read_is_raised_if_asked_for(path: Path) -> None:
    """So that `sync` does not take a spool for delivered. A logger goes on without it."""

    class Unreadable(SpoolFile):
        def peek(self, limit: int) -> list[Point]:
            raise OSError(5, "Input/output error")

    spool = Unreadable.create(path, Header("abc", "there"))
    assert Backlog(spool).peek(1000) == []
    with pytest.raises(OSError, match="Input/output error"):
        Backlog(spool, raises=True).peek(1000)
    spool.close()


def test_close_keeps_what_is_on_disk_and_counts_what_is_not(disk: FullDisk, path: Path) -> None:
    """Afterwards nothing is given out, nothing is taken, and nothing raises."""
    backlog = Backlog(disk)
    backlog.append(points(1))
    disk.full = True
    backlog.append(points(2, 3))
    backlog.peek(1000)
    backlog.close()
    backlog.close()
    backlog.forget()
    backlog.append(points(4))
    assert backlog.peek(1000) == []
    assert backlog.lost == 3
    left = SpoolFile.open(path)
    assert left.peek(1000) == points(1)
    left.close()


def test_close_makes_room_for_other_backlogs() -> None:
    """What it loses does not keep the memory that others share with it."""
    memory = Memory(3)
    closed, other = Backlog(memory=memory), Backlog(memory=memory)
    closed.append(points(1, 2))
    closed.close()
    other.append(points(3, 4, 5))
    assert (drained(other), other.lost) == ([3, 4, 5], 2)


def test_close_puts_into_the_file_what_waits_in_memory(disk: FullDisk, path: Path) -> None:
    """A disk that has room again gets it in the last moment."""
    backlog = Backlog(disk)
    disk.full = True
    backlog.append(points(1))
    disk.full = False
    backlog.close()
    left = SpoolFile.open(path)
    assert left.peek(1000) == points(1)
    left.close()


def test_threads_may_append_and_deliver_at_once(disk: FullDisk) -> None:
    """Every point comes out once."""
    backlog, done, found = Backlog(disk), threading.Event(), []

    def deliver() -> None:
        while not done.is_set() or not backlog.is_empty:
            found.extend(drained(backlog, 5))

    thread = threading.Thread(target=deliver)
    thread.start()
    for step in range(2000):
        backlog.append(points(step))
    done.set()
    thread.join(10)
    assert found == list(range(2000))
    backlog.close()
