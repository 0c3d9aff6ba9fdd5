"""Which checks of scikit-learn's a study leaves out, and that nothing else changes by it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import SGDRegressor
from sklearn.utils import check_array

from entrypoints.models import batch_checks

ARRAY = np.zeros((4, 2))
VALUES = {
    "array": ARRAY,
    "array of objects": ARRAY.astype(object),
    "table": pd.DataFrame(ARRAY),
    "column": pd.Series(ARRAY[:, 0]),
    "table of narwhals": nw.from_native(pd.DataFrame(ARRAY)),
    "list": ARRAY.tolist(),
    "nothing": None,
}


def _calls_of_narwhals(work: Callable[[], object]) -> int:
    """How often a function of narwhals was called."""
    calls = 0

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call" and str(frame.f_globals.get("__name__")).startswith("narwhals")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_what_is_a_table_is_answered_alike(value: Any) -> None:
    """For whatever scikit-learn may be given."""

    def answers() -> tuple[bool, bool]:
        return nw.dependencies.is_into_dataframe(value), nw.dependencies.is_into_series(value)

    with batch_checks.made():
        expected = answers()
    with batch_checks.skipped():
        assert answers() == expected


def test_a_step_asks_narwhals_nothing_while_checks_are_left_out() -> None:
    """Outside, it does as often as the installed scikit-learn likes to: before and after."""
    estimator = SGDRegressor().partial_fit(ARRAY, ARRAY[:, 0])

    def step() -> None:
        estimator.partial_fit(ARRAY, ARRAY[:, 0])

    with batch_checks.made():
        usual = _calls_of_narwhals(step)
        with batch_checks.skipped():
            assert _calls_of_narwhals(step) == 0
            with batch_checks.made():
                assert _calls_of_narwhals(step) == usual
            assert _calls_of_narwhals(step) == 0
        assert _calls_of_narwhals(step) == usual


@pytest.mark.parametrize(("checks", "refused"), [(batch_checks.made, True), (batch_checks.skipped, False)])
def test_infinity_is_refused_where_checks_are_made(
    checks: Callable[[], AbstractContextManager[None]], refused: bool
) -> None:
    """It is what loading has looked for already."""
    infinite = np.full((2, 2), np.inf)
    with checks():
        if refused:
            with pytest.raises(ValueError, match="infinity"):
                check_array(infinite)
        else:
            assert check_array(infinite) is infinite
