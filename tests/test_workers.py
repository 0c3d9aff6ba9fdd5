"""The local Ray, and the barrier at which the first trials wait for each other."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import ray
from ray.actor import ActorHandle

from entrypoints import workers

SHORT_S = 2.0
LONG_S = 30.0

pytestmark = pytest.mark.usefixtures("local_ray")


def _waiting(barrier: ActorHandle, parties: int) -> list[Any]:
    return [barrier.wait.remote() for _ in range(parties)]


def test_barrier_holds_all_until_the_last_has_arrived() -> None:
    """Two of three wait; when the third arrives all three pass."""
    barrier = workers.barrier(3)
    waiting = _waiting(barrier, 2)
    assert ray.wait(waiting, num_returns=1, timeout=SHORT_S)[0] == []
    waiting += _waiting(barrier, 1)
    assert len(ray.wait(waiting, num_returns=3, timeout=LONG_S)[0]) == 3


def test_barrier_lets_late_arrivals_pass() -> None:
    """A process that replaces another one arrives after all and is not held."""
    barrier = workers.barrier(1)
    ray.get(_waiting(barrier, 1), timeout=LONG_S)
    ray.get(_waiting(barrier, 2), timeout=LONG_S)


def test_wait_for_all_returns_when_all_have_arrived() -> None:
    """The trial's side of the barrier: it comes back, here as the last of two."""
    barrier = workers.barrier(2)
    other = _waiting(barrier, 1)
    workers.wait_for_all(barrier)
    ray.get(other, timeout=LONG_S)


def test_wait_for_all_goes_on_without_those_who_do_not_come(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After the time limit the trial starts all the same, with a warning: a late worker is no error."""
    monkeypatch.setattr(workers, "BARRIER_TIMEOUT_S", 0.2)
    with caplog.at_level(logging.WARNING, workers.logger.name):
        workers.wait_for_all(workers.barrier(2))
    assert "without waiting" in caplog.text


def test_wait_for_all_lets_the_others_go_when_it_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy cluster processes come late, one after the other; only the first of them waits to the end."""
    barrier = workers.barrier(3)
    other = _waiting(barrier, 1)
    monkeypatch.setattr(workers, "BARRIER_TIMEOUT_S", 0.2)
    workers.wait_for_all(barrier)
    ray.get(other, timeout=LONG_S)


def test_wait_for_all_survives_the_barriers_death(caplog: pytest.LogCaptureFixture) -> None:
    """Also a barrier that is gone does not fail the trial that wants to wait there."""
    barrier = workers.barrier(2)
    ray.kill(barrier)
    with caplog.at_level(logging.WARNING, workers.logger.name):
        workers.wait_for_all(barrier)
    assert "without waiting" in caplog.text


def test_wait_for_all_needs_no_barrier() -> None:
    """A trial that runs alone, as in a test, has none."""
    workers.wait_for_all(None)


def test_stop_can_be_called_twice() -> None:
    """Stopping is idempotent, and Ray can be started again with the same settings."""
    workers.stop()
    workers.stop()
    assert not ray.is_initialized()
    workers.start(1)
    assert ray.cluster_resources()["CPU"] == 1
