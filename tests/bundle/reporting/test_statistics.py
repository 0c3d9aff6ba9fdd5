"""The tests that several questions share: by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from entrypoints.reporting.statistics import by_chance, holm


def _table(*rows: tuple[float, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list("abcdefg")[: len(rows[0])])


@pytest.mark.parametrize(
    ("scores", "p"),
    [
        pytest.param(_table((1, 2, 3), (4, 5, 6), (2, 1, 3)), 7 / 36, id="counted by hand"),
        pytest.param(_table(*[(1, 2, 3, 4)] * 3, (2, 1, 3, 4)), 13 / 24**3, id="neighbours swapped in one block"),
        pytest.param(_table(*[(1, 1, 1, 2)] * 3), 1 / 16, id="ties that all blocks have"),
        pytest.param(_table(*[(1, 2, 3)] * 4), 1 / 216, id="all alike"),
    ],
)
def test_permutation_gives_the_share_of_rankings_that_agree_as_much(scores: pd.DataFrame, p: float) -> None:
    """Within what this number of draws may differ from it; F alone would say 2e-5 of the second, where it is 9e-4."""
    error = math.sqrt(p * (1 - p) / 9999)
    assert by_chance(scores) == pytest.approx(p, abs=3.5 * error)


def test_adjusted_p_values_by_hand() -> None:
    """Holm multiplies the smallest by their number, the next by one less; NaN does not count."""
    assert holm([0.01, np.nan, 0.04, 0.03]).tolist() == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert np.isnan(holm([np.nan])).all()
    assert len(holm([])) == 0
