"""The defects of Ray's own MLflow callback are not in ours. `benchmarks/stock_defects.py` observes both."""

from __future__ import annotations

from pathlib import Path

import pytest
from defect_table import DEFECTS, OURS, Defect, observe_all
from observations import Observations

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ours(new_store: Path) -> Observations:
    """What ours does."""
    return observe_all(OURS, new_store / "mlflow.db")


@pytest.mark.parametrize("defect", DEFECTS, ids=[f"{each.number}-{each.cases[0]}" for each in DEFECTS])
def test_our_callback_does_not_have_the_defect(defect: Defect, ours: Observations) -> None:
    """In none of its parts."""
    assert defect.shown(ours) == [], defect.words(ours)
