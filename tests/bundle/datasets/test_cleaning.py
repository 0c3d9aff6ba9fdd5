"""From a frame as it came to a table: what each column is read as, the task, and what is left out with a line."""

import decimal

import numpy as np
import pandas as pd
import pytest
from cases import cases, tables

from entrypoints.datasets.cleaning import clean
from entrypoints.datasets.sources import Asked

ROWS = 24
READINGS = tables(__file__, "readings.yaml")
SIZES = [*map(str, range(36, 58)), "M", "S"]


def _frame(**columns):
    """Two good columns, and those given, whose values are repeated; the target is y."""
    columns = {"a": np.linspace(0, 1, ROWS), "b": [0.5, 1.5], "y": ["no", "yes"]} | columns
    return pd.DataFrame({name: np.resize(values, ROWS) for name, values in columns.items()})


def _clean(frame, **options):
    """The table, and what is said."""
    lines = []
    frame.attrs = {"name": "t"} | frame.attrs
    return clean(frame, Asked("t.csv", "y", **options), lines.append), lines


@cases(
    "values, expected",
    {
        **READINGS["alone"],
        "objects that are numbers": (pd.Series([1, None, 2.5], dtype=object), [1, None, 2.5]),
        "decimals": ([decimal.Decimal("0.5"), None, decimal.Decimal(2)], [0.5, None, 2]),
        "categories that are numbers": (pd.Categorical([10, 9, 9.5]), ["10", "9", "9.5"]),
        "numbers and words": (SIZES, SIZES),
    },
)
def test_column_is_read_by_its_content_alone(values, expected):
    """As numbers, or as text whose categories are sorted and all occur; what is missing stays missing."""
    column = pd.concat([pd.Series(values)] * 10, ignore_index=True)
    frame = pd.DataFrame({"c": column, "y": range(len(column))})
    frame.attrs = {"target": "y", "task": "regression"}  # a known table, of which no column is left out
    table, _ = _clean(frame)
    found = table.frame["c"].iloc[: len(expected)]
    assert found.astype(object).where(found.notna(), None).tolist() == expected
    texts = {value for value in expected if isinstance(value, str)}
    assert table.categories.get("c", ()) == tuple(sorted(texts))


@cases("target, rows, scored, task, says", READINGS["targets"])
def test_target_sets_the_task_and_the_score_where_it_can_be_both(target, rows, scored, task, says):
    """Few whole numbers are classes, others quantities, unless the score tells; the line says how to have the other."""
    frame = pd.DataFrame({"a": np.linspace(0, 1, rows), "y": np.resize(target, rows)})
    table, lines = _clean(frame, scored=scored)
    assert table.task == task
    assert (table.frame["y"].dtype == np.float64) is (task == "regression")
    of_target = f"{says}; " if says else ""
    assert lines == [f"dataset=t.csv: read as {of_target}numbers: a"]


def test_rows_without_a_target_are_left_out_and_classes_are_spelt_as_they_are():
    """Missing values make pandas read integers as floats; the classes keep their names.

    Missing values of features are kept: they are imputed per fold. The given frame is left alone.
    """
    frame = _frame(z=["u", None] * 11 + ["only here", "v"], y=[1.0, 2.0] * 11 + [np.nan, 1.0])
    before = frame.copy()
    table, (first, *_) = _clean(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert table.frame.isna().sum().to_dict() == {"a": 0, "b": 0, "z": 11, "y": 0}
    assert table.class_values == {"1": 1, "2": 2}
    assert table.categories == {"z": ("u", "v")}
    assert first == "dataset=t.csv: 1 rows without a value of the target y are left out"
    assert table.frame.index.tolist() == list(range(ROWS - 1))


def test_features_that_tell_nothing_are_left_out_with_a_line():
    """Each with the reason; a constant with missing values is a constant. So is what the user drops."""
    row = pd.Series(range(2200))
    frame = pd.DataFrame({"a": row, "same": 1.0, "half": 0.0 * row.where(row % 2 > 0), "word": "x", "nothing": None})
    frame["order"] = row.map("row {}".format)
    frame["name"] = (row // 2).map("{} names".format)
    frame["b"] = row
    frame["y"] = row % 2
    table, _ = _clean(frame, drop="b")
    assert table.feature_names == ("a",)
    left_out = {name: why for name, read_as, why in table.treatment if read_as == "left out"}
    assert left_out == {
        "same": "constant",
        "half": "constant",
        "word": "constant",
        "nothing": "empty",
        "order": "identifier: its text hardly repeats",
        "name": "1100 different texts",
        "b": "drop",
    }


def test_how_columns_are_read_is_said_in_one_line():
    """Nothing is chosen in silence. The table keeps some rows as they are in the file."""
    frame = _frame(
        weight=[1.702, 350],
        row=range(10, 10 * ROWS + 1, 10),
        amount=["1.702,41", "0,5"],
        rate=["12,5 %", "3 %"],
        day=[f"{day}.01.2024" for day in range(1, ROWS + 1)],
        zip=["01067", "10115"],
        id=[*"abcdefghijklmnopqrstuvwx"],
    )
    table, lines = _clean(frame, drop="b")
    assert lines == [
        "dataset=t.csv: read as numbers: a, weight, row (whole and different in each row: drop=row if it only names "
        "the row), amount (1.702,41 is 1702.41), rate (12,5 % is 0.125); "
        "dates: day (days since 1970, weekday); categories: zip (2 codes); "
        "left out: b (drop), id (identifier: its text hardly repeats)"
    ]
    assert table.frame["day weekday"].iloc[:3].tolist() == [0, 1, 2]  # from a Monday on
    as_in_file = frame.drop(columns=["b", "id", "y"])
    pd.testing.assert_frame_equal(table.examples, as_in_file, check_dtype=False)


def test_parts_of_a_date_are_numbers():
    """To a linear model December is beside January by the sine and cosine of the month."""
    table, _ = _clean(_frame(day=[f"2024-{month:02d}-01 15:30" for month in (12, 3)]))
    parts = [f"day {part}" for part in ("month", "year sine", "year cosine", "weekday")]
    assert table.frame[parts].iloc[:2].to_numpy() == pytest.approx(np.array([[12, 0, 1, 6], [3, 1, 0, 4]]))


def test_column_that_is_left_out_is_not_looked_at():
    """As one whose numbers could mean two things, which is refused otherwise."""
    table, _ = _clean(_frame(c=["1,001", "2,500"]), drop="c")
    assert "c" not in table.feature_names


@cases("values, others, decimal, expected", READINGS["beside another column"])
def test_values_that_do_not_tell_are_read_as_in_other_columns(values, others, decimal, expected):
    """Wherever these stand; the user has the last word. Of dates one day above 12 is enough."""
    table, _ = _clean(_frame(c=values, z=others), decimal=decimal)
    assert table.frame["c"].iloc[:2].tolist() == expected


def test_bytes_stay_bytes_only_in_a_table_of_bytes():
    """A small table is not worth a second dtype: it is numbers throughout. X is an array of one's own."""
    images = _frame(a=[0, 1, 2], b=[0, 1, 3])
    table, _ = _clean(images)
    X = table.X
    assert X.dtype == np.uint8
    assert X.flags.c_contiguous
    X += 1
    assert table.X[:2].tolist() == [[0, 0], [1, 1]]
    for other in (255.5, -1, 256):
        table, _ = _clean(_frame(a=[0, 1, 2], b=[other, 1]))
        assert table.X.dtype == np.float64


def test_columns_that_split_rows_are_read_beside_the_features():
    """Neither is a feature: a test row has a later day than all rows to train on, but its weekday is known."""
    patients = [f"P{row // 2}" for row in range(ROWS)]
    days = [f"2020-01-{day:02d}" for day in range(ROWS, 0, -1)]
    table, _ = _clean(_frame(patient=patients, day=days), group="patient", time="day")
    assert table.feature_names == ("a", "b", "day weekday")
    assert [*table.groups] == [row // 2 for row in range(ROWS)]
    assert (np.diff(table.times) == -1).all()
