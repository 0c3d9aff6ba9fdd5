"""Tests of mlflow_sysmetrics.arguments."""

from __future__ import annotations

import math

import pytest

from mlflow_sysmetrics.arguments import check_seconds


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, "1", True, None, [1.0]], ids=repr)
def test_what_is_not_a_positive_number_of_seconds_is_named(seconds: object) -> None:
    """One sentence has the argument, its value, and what to give."""
    with pytest.raises(ValueError) as error:  # noqa: PT011
        check_seconds(interval_s=1, window_s=seconds)
    assert str(error.value) == f"window_s={seconds!r}: give a positive number of seconds"


@pytest.mark.parametrize("seconds", [1, 0.1, 1e-9, 1e9], ids=repr)
def test_positive_numbers_pass(seconds: float) -> None:
    """Whole numbers too."""
    check_seconds(interval_s=seconds, window_s=seconds)
