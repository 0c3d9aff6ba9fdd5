"""Tests of delivery.time_limit: a call that may hang is given up."""

from __future__ import annotations

import threading

import pytest

from mlflow_sysmetrics.delivery.time_limit import within


def test_within_returns_raises_or_gives_up() -> None:
    """What the call does, or TimeoutError when its time is up."""
    release = threading.Event()
    assert within(5, lambda: 7) == 7
    with pytest.raises(KeyError):
        within(5, lambda: {}["x"])
    with pytest.raises(TimeoutError, match=r"0\.05 s"):
        within(0.05, lambda: release.wait(10))
    release.set()
