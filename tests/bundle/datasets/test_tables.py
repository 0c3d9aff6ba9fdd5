"""Tables with missing values and categories: their arrays and their digest."""

import numpy as np
import pandas as pd
from cases import cases, tables
from reference import table_of_frame

CONTENTS = tables(__file__, "contents.yaml")
USUAL = CONTENTS.pop("usual")


def _table(columns):
    """With each row three times."""
    frame = pd.DataFrame(columns)
    return table_of_frame(pd.concat([frame] * 3, ignore_index=True))


def test_features_with_categories_are_places_and_nan():
    """X is float64: numbers as they are, a category's position, NaN for what is missing."""
    X = _table(USUAL).X
    assert X.dtype == np.float64
    assert X.flags.c_contiguous is True
    np.testing.assert_array_equal(X[:4], [[1.5, 1], [np.nan, 0], [3, np.nan], [4, 1]])


@cases(
    "stored",
    {
        "category": {"kind": pd.Categorical(USUAL["kind"], ["never", "b", "a"])},
        "nullable numbers": {"size": pd.array([1.5, None, 3, 4], dtype="Float64")},
        "negative NaN": {"size": [1.5, -np.nan, 3, 4]},
    },
)
def test_digest_ignores_how_values_are_stored(stored):
    """The same content under other dtypes has the same digest."""
    assert _table(USUAL | stored).digest == _table(USUAL).digest


def test_digest_ignores_the_sign_of_zero():
    """A zero that became a byte has lost its sign."""
    labels = USUAL["label"]
    negative = _table({"a": [-0.0, 1.0, 0.0, 1.0], "y": labels})
    byte = _table({"a": np.array([0, 1, 0, 1], "u1"), "y": labels})
    assert negative.digest == byte.digest


@cases("other", CONTENTS)
def test_digest_changes_with_the_content(other):
    """What is missing, and what a category is called, is content."""
    assert _table(other).digest != _table(USUAL).digest


def test_duplicate_rows_are_those_equal_to_an_earlier_one():
    """Missing values are equal to each other, and the target counts: the last row differs by it from the first."""
    assert _table(USUAL | {"size": [1.5, np.nan, 3, 1.5]}).duplicate_rows == 8
