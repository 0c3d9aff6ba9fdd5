"""The stop button over a store that fails. Tests of the logger and of the commands hold what it and limits end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping

import pytest

from mlflow_sysmetrics.limits import StopButton

LIMIT_S = 10.0


def test_button_works_once_the_store_is_back(caplog: pytest.LogCaptureFixture) -> None:
    """While that is known to be away, it is not asked; a request that fails is made again, and so is a stop."""
    away, looked, cleared = threading.Event(), threading.Semaphore(0), queue.SimpleQueue[str]()
    answers: list[Mapping[str, str] | Exception] = [ConnectionError("away"), {"a": "now"}, {"a": "now"}]
    fails = [RuntimeError("cannot")]

    def is_away() -> bool:
        looked.release()
        return away.is_set()

    def ask() -> Mapping[str, str]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pressed(run_id: str, said: str) -> bool:
        if fails:
            raise fails.pop()
        return (run_id, said) == ("a", "now")

    away.set()
    button = StopButton(ask, pressed, cleared.put, is_away, every_s=0.005).start()
    for _ in range(3):
        assert looked.acquire(timeout=LIMIT_S)
    assert len(answers) == 3
    away.clear()
    assert cleared.get(timeout=LIMIT_S) == "a"
    button.stop()
    assert not answers
    assert "run a could not be stopped yet" in caplog.text
