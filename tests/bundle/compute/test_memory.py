"""How far a call raises the memory of this process, by the kernel's own high-water mark."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from entrypoints.compute import memory

MB = 125_000  # numbers of 8 bytes


def test_peak_of_a_call_is_measured_however_short_it_is() -> None:
    """80 MB that are freed at once, and 20 MB that stay."""
    kept = []

    def call() -> None:
        np.ones(80 * MB)
        kept.append(np.ones(20 * MB))

    assert memory.raised(call) == pytest.approx((80, 20), abs=2)
    assert memory.raised(lambda: None) == pytest.approx((0, 0), abs=1)


def test_earlier_peak_does_not_count() -> None:
    """Nor does memory that was taken before, and freed."""
    np.ones(200 * MB)
    raised = memory.raised(lambda: np.ones(10 * MB).sum())
    assert raised is not None
    assert raised.peak_mb == pytest.approx(10, abs=1)


def test_garbage_that_was_there_before_does_not_count() -> None:
    """Nor does it make room for the call: what an earlier trial has left in cycles is collected first."""
    left: list[object] = [np.ones(50 * MB)]
    left.append(left)
    del left

    def call() -> None:
        gc.collect()
        np.ones(20 * MB)

    assert memory.raised(call) == pytest.approx((20, 0), abs=2)
