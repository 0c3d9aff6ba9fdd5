"""The brake: pulled once, by whichever comes first, and never after the process's own end."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from mlflow_sysmetrics.limits import Brake, process_criteria
from mlflow_sysmetrics.tags import BY_CRITERIA, BY_PERSON, STOP_METRIC, STOP_REASON, STOPPED_BY

LIMIT_S = 10.0


class Ended:
    """Notes why something was ended."""

    def __init__(self) -> None:
        self.reasons: list[Mapping[str, str]] = []
        self.thread: threading.Thread | None = None

    def __call__(self, tags: Mapping[str, str]) -> None:
        self.reasons.append(tags)
        self.thread = threading.current_thread()


def test_broken_limit_ends_the_process_once() -> None:
    """In a thread of its own: the one that reads goes on."""
    ended = Ended()
    brake = Brake(ended, process_criteria("peak_memory_mb<=100"))
    brake.see({"peak_memory_mb": 100.0, "elapsed_s": 1.0})
    assert not brake.pulled
    brake.see({"peak_memory_mb": 101.0, "elapsed_s": 2.0})
    brake.see({"peak_memory_mb": 102.0, "elapsed_s": 3.0})
    brake.press("x")
    brake.join(LIMIT_S)
    told = {STOPPED_BY: BY_CRITERIA, STOP_REASON: "peak_memory_mb 101 > 100", STOP_METRIC: "peak_memory_mb"}
    assert ended.reasons == [told] == [brake.tags]
    assert ended.thread is not threading.current_thread()
    assert brake.broken is not None
    assert brake.broken.value == 101.0


@pytest.mark.parametrize(
    ("said", "reason"),
    [("too slow", "the tag sysmetrics.stop was set to 'too slow'"), ("", "the tag sysmetrics.stop was set")],
)
def test_person_ends_the_process(said: str, reason: str) -> None:
    """Without any limit; the reason has their words."""
    ended = Ended()
    brake = Brake(ended)
    brake.press(said)
    brake.join(LIMIT_S)
    assert ended.reasons == [{STOPPED_BY: BY_PERSON, STOP_REASON: reason}]
    assert brake.broken is None


def test_nothing_is_ended_after_its_own_end() -> None:
    """The last reading comes afterwards, and may be above a limit."""
    ended = Ended()
    brake = Brake(ended, process_criteria("cpu_seconds<=1"))
    brake.release()
    brake.see({"cpu_seconds": 2.0})
    brake.press()
    brake.join(LIMIT_S)
    assert (ended.reasons, brake.pulled, brake.tags) == ([], False, {})


def test_process_that_is_gone_is_not_judged() -> None:
    """Its time goes on; who has its number by now is another."""
    ended = Ended()
    brake = Brake(ended, process_criteria("elapsed_s<=1"), judged_while="memory_mb")
    brake.see({"elapsed_s": 2.0})
    assert not brake.pulled
    brake.see({"elapsed_s": 2.0, "memory_mb": 1.0})
    brake.join(LIMIT_S)
    assert brake.pulled


def test_failure_to_end_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """And not raised into whoever reads."""

    def fail(tags: Mapping[str, str]) -> None:
        raise PermissionError("not yours")

    brake = Brake(fail)
    brake.press()
    brake.join(LIMIT_S)
    assert "has failed" in caplog.text
