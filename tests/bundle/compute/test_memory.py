"""How far a call raises the memory of this process, by the kernel's own high-water mark."""

from __future__ import annotations

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

    assert memory.raised_mb(call) == pytest.approx(80, abs=2)
    assert memory.raised_mb(lambda: None) == pytest.approx(0, abs=1)


def test_earlier_peak_does_not_count() -> None:
    """Nor does memory that was taken before, and freed."""
    np.ones(200 * MB)
    assert memory.raised_mb(lambda: np.ones(10 * MB).sum()) == pytest.approx(10, abs=1)


def test_what_the_call_raises_is_raised() -> None:
    """A diverging model says so."""

    def call() -> None:
        raise FloatingPointError("overflow")

    with pytest.raises(FloatingPointError, match="overflow"):
        memory.raised_mb(call)
