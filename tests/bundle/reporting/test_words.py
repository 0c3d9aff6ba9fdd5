"""How numbers are written."""

import pytest

from entrypoints.reporting.words import within


@pytest.mark.parametrize(
    ("number", "reach", "written"),
    [
        pytest.param(0.6588, 0.05, ("0.66", "0.61 to 0.71"), id="hundredths"),
        pytest.param(0.6588, 0.02, ("0.659", "0.639 to 0.679"), id="one more of a 2"),
        pytest.param(0.6, 0.1, ("0.60", "0.50 to 0.70"), id="zeros stay"),
        pytest.param(45_321.0, 1300.0, ("45300", "44000 to 46600"), id="hundreds"),
    ],
)
def test_interval_is_written_with_the_digits_that_it_leaves(number, reach, written):
    """No four digits of a number whose second one is not known."""
    assert within(number, number - reach, number + reach) == written
