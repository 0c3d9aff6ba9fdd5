"""From a frame as it came to the columns of a table: dtypes, the task, and what is left out with a line."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from entrypoints.datasets.cleaning import canonical, clean, task_of
from entrypoints.datasets.tables import Task
from entrypoints.errors import UserError
from entrypoints.text import closest, listed

ROWS = 24


def _frame(**columns: Any) -> pd.DataFrame:
    """Two good columns, and those given; the target is y."""
    good = {"a": np.linspace(0, 1, ROWS), "b": [0.5, 1.5] * (ROWS // 2), "y": ["no", "yes"] * (ROWS // 2)}
    return pd.DataFrame(good | columns)


def _clean(frame: pd.DataFrame, **options: Any) -> tuple[pd.DataFrame, Task, list[str]]:
    lines: list[str] = []
    cleaned, task, _ = clean(frame, options.pop("target", "y"), what="dataset=t.csv", echo=lines.append, **options)
    return cleaned, task, lines[:-1]  # the last one says what all are read as


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        pytest.param([0, 255, 1], "uint8", id="bytes"),
        pytest.param([0.0, 255.0, 1.0], "uint8", id="whole floats"),
        pytest.param(pd.array([0, 255, 1], dtype="Int16"), "uint8", id="nullable integers"),
        pytest.param([0, 256, 1], "float64", id="larger than a byte"),
        pytest.param([0, -1, 1], "float64", id="negative"),
        pytest.param([0, 0.5, 1], "float64", id="fractions"),
        pytest.param([0, np.inf, 1], "float64", id="infinite"),
        pytest.param(pd.array([0, None, 1], dtype="Int64"), "float64", id="missing integer"),
        pytest.param(pd.Series([1, None, 2.5], dtype=object), "float64", id="objects that are numbers"),
        pytest.param([decimal.Decimal("0.5"), None, decimal.Decimal(2)], "float64", id="decimals"),
        pytest.param([None, None, None], "float64", id="nothing"),
        pytest.param(pd.Categorical([None, None, None], categories=["x"]), "float64", id="empty category"),
        pytest.param(["x", None, "y"], "category", id="text"),
        pytest.param([True, False, True], "category", id="booleans"),
        pytest.param([True, None, False], "category", id="missing boolean"),
        pytest.param(pd.Categorical([1, 2, 1]), "category", id="categories that are numbers"),
        pytest.param([1, "x", 2], "category", id="numbers and text"),
        pytest.param([["x"], ["y"], None], "category", id="lists"),
        pytest.param(pd.to_datetime(["2020-01-01", "2020-01-02", None]), "float64", id="times"),
        pytest.param([datetime.date(2020, 1, 1), None, None], "float64", id="dates"),
        pytest.param(["2020-01-31", None, "2020-01-31T08:30:00Z"], "float64", id="dates as text"),
        pytest.param(["2020-02-31", "2020-01-31"], "category", id="a date that cannot be"),
        pytest.param(["1.702,41", None, "-12,5"], "float64", id="decimal commas"),
        pytest.param(["01067", "10115"], "category", id="text of digits"),
    ],
)
def test_dtype_depends_on_the_content_alone(values: Any, dtype: str) -> None:
    """Each column is bytes, numbers or text categories, and keeps its missing values."""
    column = canonical(pd.DataFrame({"c": values}))["c"]
    assert column.dtype.name == dtype
    assert column.isna().tolist() == pd.Series(values).isna().tolist()
    if dtype == "category":
        assert all(isinstance(category, str) for category in column.cat.categories)


@pytest.mark.parametrize(
    ("target", "task"),
    [
        pytest.param(["no", "yes"] * 12, "classification", id="text"),
        pytest.param([True, False] * 12, "classification", id="booleans"),
        pytest.param(pd.Categorical([1.5, 2.5] * 12), "classification", id="categories"),
        pytest.param([0, 1] * 12, "classification", id="two integers"),
        pytest.param([3.0, 7.0] * 12, "classification", id="whole floats"),
        pytest.param([*range(20)] * 3, "classification", id="twenty integers"),
        pytest.param([*range(21)] * 3, "regression", id="more integers"),
        pytest.param([*range(8)] * 3, "classification", id="integers three times each"),
        pytest.param([*range(9), *range(9), *range(6)], "regression", id="integers that hardly repeat"),
        pytest.param([0.5, 1.5] * 12, "regression", id="two fractions"),
    ],
)
def test_target_sets_the_task(target: Any, task: str) -> None:
    """Text, truth values and few whole numbers are classes; other numbers are quantities."""
    frame, found, lines = _clean(pd.DataFrame({"a": range(len(target)), "y": target}))
    assert (found, lines) == (task, [])
    assert (frame["y"].dtype == np.float64) is (task == "regression")


def test_task_can_be_given() -> None:
    """The quality of a wine is a few whole numbers, and still a quantity."""
    quality = [5, 6] * 12
    assert task_of(canonical(_frame(y=quality))["y"]) == "classification"
    frame, task, _ = _clean(_frame(y=quality), task="regression")
    assert (task, frame["y"].tolist()) == ("regression", [float(value) for value in quality])


def test_integer_classes_are_spelt_as_integers() -> None:
    """Missing values make pandas read integers as floats; the classes keep their names."""
    frame, _, lines = _clean(_frame(y=[1.0, 2.0] * 11 + [np.nan, 1.0]))
    assert set(frame["y"]) == {"1", "2"}
    assert lines == ["dataset=t.csv: 1 rows without a value of the target y are left out"]
    assert frame.index.tolist() == list(range(ROWS - 1))


def test_target_comes_last_and_the_others_keep_their_order() -> None:
    """The features are in the order of the file."""
    assert list(_clean(_frame(z=["u", "v"] * 12), target="b")[0].columns) == ["a", "y", "z", "b"]


def test_features_that_tell_nothing_are_left_out_with_a_line() -> None:
    """Each is named with the reason; a constant with missing values is a constant."""
    many = 1100
    frame = pd.DataFrame(
        {
            "a": np.linspace(0, 1, many),
            "same": 1.0,
            "half": [1.0, np.nan] * (many // 2),
            "word": "x",
            "nothing": None,
            "name": [f"row {row}" for row in range(many)],
            "y": ["no", "yes"] * (many // 2),
        }
    )
    cleaned, _, lines = _clean(frame)
    assert list(cleaned.columns) == ["a", "y"]
    assert lines == [
        "dataset=t.csv: left out as features: same (constant), half (constant), word (constant), nothing (empty), "
        "name (1100 different texts)"
    ]


def test_what_columns_are_read_as_is_said_in_one_line() -> None:
    """Nothing is chosen in silence: numbers, decimal commas, dates, and categories with how many values they have."""
    lines: list[str] = []
    days = pd.Series(pd.date_range("2024-01-01", periods=ROWS)).astype(str)
    frame = _frame(order=range(1000, 1000 + ROWS), amount=["1.702,41", "0,5"] * 12, day=days, ward=["n", "s", "w"] * 8)
    cleaned = clean(frame, "y", what="dataset=t.csv", echo=lines.append).frame
    assert lines == [
        "dataset=t.csv: read as numbers: a, b, order; numbers with decimal commas: amount; dates (days since 1970): "
        "day; categories: ward (3)"
    ]
    assert cleaned["amount"].tolist() == [1702.41, 0.5] * 12
    assert cleaned["day"].tolist() == [19723.0 + place for place in range(ROWS)]


@pytest.mark.parametrize(
    ("values", "example"),
    [
        pytest.param(["1,001", "2,500"], "1,001", id="thousands or decimals"),
        pytest.param(["1,5", "0.5"], "1,5", id="commas and points"),
        pytest.param(["1,234.5", "2,000.1"], "1,234.5", id="points after commas"),
        pytest.param(["1,234,567", "2,500,000"], "1,234,567", id="millions"),
    ],
)
def test_numbers_with_commas_that_could_mean_two_things_are_refused(values: list[str], example: str) -> None:
    """They would become categories without a word."""
    with pytest.raises(UserError) as raised:
        _clean(_frame(c=values * (ROWS // 2)))
    assert raised.value.message == (
        f"dataset=t.csv: numbers with commas, such as {example}, found in the column c; write them with a point and "
        "without separators of thousands, such as 1234.5"
    )


def test_known_tables_keep_all_columns() -> None:
    """Some pixels of mnist_784 are 0 in every row, and belong to it."""
    frame, _, lines = _clean(_frame(same=1.0), keep_all=True)
    assert (list(frame.columns), lines) == (["a", "b", "same", "y"], [])


def test_bytes_stay_bytes_only_in_a_table_of_bytes() -> None:
    """A small table is not worth a second dtype: it is numbers throughout."""
    images = pd.DataFrame({"p1": range(ROWS), "p2": range(ROWS), "y": ["no", "yes"] * 12})
    assert _clean(images)[0].dtypes.iloc[:-1].tolist() == [np.uint8, np.uint8]
    assert _clean(images.assign(p2=0.5 + images["p2"]))[0].dtypes.iloc[:-1].tolist() == [np.float64, np.float64]
    mixed = _clean(images.assign(p2=["u", "v"] * 12))[0]
    assert [dtype.name for dtype in mixed.dtypes[:-1]] == ["float64", "category"]


def test_missing_values_of_features_are_kept() -> None:
    """They are imputed per fold, from its training rows, and nowhere earlier."""
    frame, _, lines = _clean(_frame(b=[np.nan, 1.5, 0.25] * 8, c=[None, "u", "v"] * 8))
    assert frame.isna().sum().to_dict() == {"a": 0, "b": 8, "c": 8, "y": 0}
    assert lines == []


def test_the_given_frame_is_left_alone() -> None:
    """Cleaning makes a new frame."""
    frame = _frame()
    before = frame.copy()
    _clean(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_too_many_classes_are_refused() -> None:
    """A target that names nearly every row is a mistake."""
    frame = pd.DataFrame({"a": range(1200), "y": [f"row {row}" for row in range(1200)]})
    with pytest.raises(UserError) as error:
        _clean(frame)
    assert error.value.message == (
        "target=y: 1200 classes found in dataset=t.csv, and at most 1000 are allowed; choose a column with fewer, or "
        "with numbers for a regression"
    )


def test_many_names_are_cut() -> None:
    """A sentence about 784 columns stays readable."""
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(22)]).endswith("18, 19 and 2 more")


def test_closest_name_is_found_whatever_its_case() -> None:
    """Advice spells the name as it is allowed."""
    assert closest("qualty", ["Quality", "pH"], "none") == "use Quality, the closest name"
    assert closest("zzz", ["Quality"], "none") == "none"
