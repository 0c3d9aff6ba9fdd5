"""Each defect of Ray's own MLflow callback is there in the stock one and not in ours, observed by the same code."""

from __future__ import annotations

from pathlib import Path

import pytest
from defect_table import DEFECTS, OURS, STOCK, Defect, observe_all
from observations import Observations

pytestmark = pytest.mark.slow
each_defect = pytest.mark.parametrize("defect", DEFECTS, ids=[f"{each.number}-{each.cases[0]}" for each in DEFECTS])


@pytest.fixture(scope="module")
def stock(new_store: Path) -> Observations:
    """What the stock callback does."""
    return observe_all(STOCK, new_store / "mlflow.db")


@pytest.fixture(scope="module")
def ours(new_store: Path) -> Observations:
    """What ours does."""
    return observe_all(OURS, new_store / "mlflow.db")


@each_defect
def test_stock_callback_has_the_defect_in_all_its_parts(defect: Defect, stock: Observations) -> None:
    """So that the table keeps saying what is true of the Ray that is installed."""
    assert not any("broken" in stock[case] for case in defect.cases), defect.words(stock)
    assert len(defect.shown(stock)) == defect.parts(stock), defect.words(stock)


@each_defect
def test_our_callback_does_not_have_the_defect(defect: Defect, ours: Observations) -> None:
    """In none of its parts."""
    assert defect.shown(ours) == [], defect.words(ours)


def test_there_are_thirteen() -> None:
    """None has been dropped from the table."""
    assert [defect.number for defect in DEFECTS] == list(range(1, 14))
