"""How numbers are written."""

from cases import cases

from entrypoints.reporting.words import within


@cases(
    "number, reach, written",
    {
        "hundredths": (0.6588, 0.05, ("0.66", "0.61 to 0.71")),
        "one more of a 2": (0.6588, 0.02, ("0.659", "0.639 to 0.679")),
        "zeros stay": (0.6, 0.1, ("0.60", "0.50 to 0.70")),
        "hundreds": (45_321.0, 1300.0, ("45300", "44000 to 46600")),
    },
)
def test_interval_is_written_with_the_digits_that_it_leaves(number, reach, written):
    """No four digits of a number whose second one is not known."""
    assert within(number, number - reach, number + reach) == written
