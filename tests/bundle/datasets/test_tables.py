"""Tables with missing values and categories: their arrays and their digest."""

import numpy as np
import pandas as pd
from cases import cases
from reference import table_of_frame


def _mixed():
    """A number and a category, each with a missing value, and labels; the first four rows three times."""
    frame = pd.DataFrame(
        {"size": [1.5, np.nan, 3.0, 4.0], "kind": ["b", "a", None, "b"], "label": ["5", "7", "5", "7"]}
    )
    return pd.concat([frame] * 3, ignore_index=True)


def test_features_with_categories_are_places_and_nan():
    """X is float64: numbers as they are, a category's position, NaN for what is missing."""
    X = table_of_frame(_mixed()).X
    assert (X.dtype, X.flags.c_contiguous) == (np.float64, True)
    np.testing.assert_array_equal(X[:4], [[1.5, 1], [np.nan, 0], [3, np.nan], [4, 1]])


@cases(
    "stored",
    {
        "category": {"kind": pd.Categorical(["b", "a", None, "b"] * 3, ["never", "b", "a"])},
        "nullable numbers": {"size": pd.array([1.5, None, 3, 4] * 3, dtype="Float64")},
        "negative NaN": {"size": [1.5, -np.nan, 3, 4] * 3},
    },
)
def test_digest_ignores_how_values_are_stored(stored):
    """The same content under other dtypes has the same digest."""
    assert table_of_frame(_mixed().assign(**stored)).digest == table_of_frame(_mixed()).digest


def test_digest_ignores_the_sign_of_zero():
    """A zero that became a byte has lost its sign."""
    frame = pd.DataFrame({"a": [0.0, 1.0] * 6, "y": ["1", "2"] * 6})
    assert table_of_frame(frame.assign(a=[-0.0, 1.0] * 6)).digest == table_of_frame(frame.astype({"a": "uint8"})).digest


@cases(
    "change",
    {
        "missing number": lambda frame: frame.assign(size=frame["size"].fillna(0.0)),
        "positions of the categories": lambda frame: frame.replace({"kind": {"a": "b", "b": "a"}}),
        "name of a category": lambda frame: frame.replace({"kind": {"b": "c"}}),
        "numbers for categories": lambda frame: frame.assign(kind=[1.0, 0.0, np.nan, 1.0] * 3),
        "last bit of a cell": lambda frame: frame.replace({"size": {1.5: np.nextafter(1.5, 2)}}),
        "name of a feature": lambda frame: frame.rename(columns={"size": "length"}),
        "order of rows": lambda frame: frame.iloc[[1, 0, *range(2, 12)]],
        "order of columns": lambda frame: frame[["kind", "size", "label"]],
    },
)
def test_digest_changes_with_the_content(change):
    """What is missing, and what a category is called, is content."""
    assert table_of_frame(change(_mixed())).digest != table_of_frame(_mixed()).digest


def test_duplicate_rows_are_those_equal_to_an_earlier_one():
    """Missing values are equal to each other, and the target counts."""
    assert table_of_frame(_mixed()).duplicate_rows == 8
    assert table_of_frame(_mixed().assign(label=["5", "7", "5", "7"] * 2 + ["5", "7", "7", "7"])).duplicate_rows == 7
