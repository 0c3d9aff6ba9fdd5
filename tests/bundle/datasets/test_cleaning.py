"""From a frame as it came to a table: what each column is read as, the task, and what is left out with a line."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest
from cases import cases

from entrypoints.datasets.cleaning import clean
from entrypoints.errors import UserError

ROWS = 24
ABOUT = {"name": "t"}
KNOWN = {"target": "y", "task": "regression"}  # of which no column is left out
CODES = [*map(str, range(10001, 10030)), "1A345"]


def _frame(**columns):
    """Two good columns, and those given; the target is y."""
    good = {"a": np.linspace(0, 1, ROWS), "b": [0.5, 1.5] * (ROWS // 2), "y": ["no", "yes"] * (ROWS // 2)}
    return pd.DataFrame(good | columns)


def _clean(frame, target="y", about=ABOUT, **options):
    """The table, and what is said but for the last line, which says how each column is read."""
    lines = []
    frame.attrs = ABOUT | about
    return clean(frame, target, what="dataset=t.csv", echo=lines.append, **options), lines[:-1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(pd.Series([1, None, 2.5], dtype=object), [1, None, 2.5], id="objects that are numbers"),
        pytest.param([decimal.Decimal("0.5"), None, decimal.Decimal(2)], [0.5, None, 2], id="decimals"),
        pytest.param([None, None, None], [None] * 3, id="nothing"),
        pytest.param(pd.to_datetime(["2020-01-01", "2020-01-02", None]), [18262, 18263, None], id="times"),
        pytest.param([datetime.date(2020, 1, 1), None, None], [18262, None, None], id="dates"),
        pytest.param(["2020-01-31 02:00+02:00", None, "2020-01-31"], [18292, None, 18292], id="time with a zone"),
        pytest.param(["1.702,41", None, "-12,5", "12345"], [1702.41, None, -12.5, 12345], id="decimal commas"),
        pytest.param(["0,350", "1,250"], [0.35, 1.25], id="comma after a zero"),
        pytest.param(["1,234.5", "2,000", ".5"], [1234.5, 2000, 0.5], id="comma that a point explains"),
        pytest.param(["$1,243.56", None, "-$5", "$-3", "12 $"], [1243.56, None, -5, -3, 12], id="dollars"),
        pytest.param(["EUR 12", "EUR 1.702,50", "eur 3-"], [12, 1702.5, -3], id="codes"),
        pytest.param(["1\u00a0243,56 €", "18 000,5", "7\u202f000"], [1243.56, 18000.5, 7000], id="blanks"),
        pytest.param(["12,5 %", "3%", "-1.000 %"], [0.125, 0.03, -10], id="percent"),
        pytest.param(["(1,200.50)", "\u22123.5", "+2"], [-1200.5, -3.5, 2], id="signs"),
        pytest.param(["0.5", "-", "unknown", "n/a", "7"], [0.5, None, None, None, 7], id="words for nothing"),
        pytest.param(["-", "+", "unknown"], ["-", "+", "unknown"], id="the same words as categories"),
        pytest.param(["INV 1001", "INV 1002"], ["INV 1001", "INV 1002"], id="not a currency"),
        pytest.param(["31.1.2024 12:00", None, "01.02.2024"], [19753.5, None, 19754], id="German dates"),
        pytest.param(["12/31/2024", "01/02/2024"], [20088, 19724], id="month first"),
        pytest.param(["9999-12-31", "2024-01-01"], [2932896, 19723], id="end of time"),
        pytest.param(["x", None, "y", "?", " x"], ["x", None, "y", None, "x"], id="text"),
        pytest.param(["2020-02-31", "2020-01-31"], ["2020-02-31", "2020-01-31"], id="a date that cannot be"),
        pytest.param(["01067", "1067", "x"], ["01067", "01067", "x"], id="codes"),
        pytest.param(["TRUE", "false"], ["True", "False"], id="words for booleans"),
        pytest.param(pd.Categorical([10, 9, 9.5]), ["10", "9", "9.5"], id="categories that are numbers"),
        pytest.param(CODES, CODES, id="codes with a letter"),
        pytest.param([["x"], ["y"], None], ["['x']", "['y']", None], id="lists"),
    ],
)
def test_column_is_read_by_its_content_alone(values, expected):
    """As numbers, or as text whose categories are sorted and all occur; what is missing stays missing."""
    column = pd.concat([pd.Series(values)] * 10, ignore_index=True)
    table, _ = _clean(pd.DataFrame({"c": column, "y": [*range(len(column))]}), about=KNOWN)
    found = table.frame["c"].iloc[: len(expected)]
    assert found.astype(object).where(found.notna(), None).tolist() == expected
    texts = sorted({each for each in expected if isinstance(each, str)})
    assert table.categories.get("c", ()) == tuple(texts)


@cases(
    "target, task",
    {
        "twenty integers": ([*range(20)] * 3, "classification"),
        "more integers": ([*range(21)] * 3, "regression"),
        "integers three times each": ([*range(8)] * 3, "classification"),
        "integers that hardly repeat": ([*range(9), *range(9), *range(6)], "regression"),
        "two fractions": ([0.5, 1.5] * 12, "regression"),
    },
)
def test_target_sets_the_task(target, task):
    """Text, truth values and few whole numbers are classes; other numbers are quantities."""
    table, lines = _clean(pd.DataFrame({"a": np.linspace(0, 1, len(target)), "y": target}))
    assert (table.task, lines) == (task, [])
    assert (table.frame["y"].dtype == np.float64) is (task == "regression")


@cases(
    "target, scored, task, says",
    {
        "grades": (
            [3, 4, 5, 6] * 15,
            None,
            "classification",
            "4 classes; a score of numbers, such as metric=rmse, makes it a number",
        ),
        "grades as numbers": (
            [3, 4, 5, 6] * 15,
            "regression",
            "regression",
            "a number; a score of classes, such as metric=accuracy, makes it 4 classes",
        ),
        "more integers as classes": (
            [*range(30)] * 3,
            "classification",
            "classification",
            "30 classes; a score of numbers, such as metric=rmse, makes it a number",
        ),
        "integers that hardly repeat": ([*range(30)], "classification", "regression", ""),
        "fractions": ([0.5, 1.5] * 12, "classification", "regression", ""),
        "text": (["1", "x", "2"] * 12, "regression", "classification", ""),
        "two classes": ([0, 1] * 12, None, "classification", ""),
    },
)
def test_score_decides_how_whole_numbers_are_read(target, scored, task, says):
    """Where they can be both, which the line says with what to do for the other."""
    lines = []
    frame = pd.DataFrame({"a": np.linspace(0, 1, len(target)), "y": target})
    frame.attrs = ABOUT
    table = clean(frame, "y", what="dataset=t.csv", echo=lines.append, scored=scored)
    assert table.task == task
    of_target = f"target: y ({says}); " if says else ""
    assert lines == [f"dataset=t.csv: read as {of_target}numbers: a"]


def test_rows_without_a_target_are_left_out_and_classes_are_spelt_as_they_are():
    """Missing values make pandas read integers as floats; the classes keep their names.

    Missing values of features are kept: they are imputed per fold. The given frame is left alone.
    """
    frame = _frame(y=[1.0, 2.0] * 11 + [np.nan, 1.0], z=["u", None] * 11 + ["only here", "v"])
    before = frame.copy()
    table, lines = _clean(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert table.frame.isna().sum().to_dict() == {"a": 0, "b": 0, "z": 11, "y": 0}
    assert (table.classes, table.class_values, len(table.frame)) == (("1", "2"), {"1": 1, "2": 2}, ROWS - 1)
    assert table.categories == {"z": ("u", "v")}
    assert lines == ["dataset=t.csv: 1 rows without a value of the target y are left out"]
    assert table.frame.index.tolist() == list(range(ROWS - 1))


def test_features_that_tell_nothing_are_left_out_with_a_line():
    """Each with the reason; a constant with missing values is a constant. So is what the user drops."""
    many = 2200
    frame = pd.DataFrame(
        {
            "a": np.linspace(0, 1, many),
            "same": 1.0,
            "half": [1.0, np.nan] * (many // 2),
            "word": "x",
            "nothing": None,
            "order": [f"row {row}" for row in range(many)],
            "name": [f"{row} names" for row in range(many // 2)] * 2,
            "b": np.linspace(0, 1, many),
            "y": ["no", "yes"] * (many // 2),
        }
    )
    table, lines = _clean(frame, drop=["b"])
    assert (table.feature_names, lines) == (("a",), [])
    assert {name: why for name, read_as, why in table.treatment if read_as == "left out"} == {
        "same": "constant",
        "half": "constant",
        "word": "constant",
        "nothing": "empty",
        "order": "identifier: its text hardly repeats",
        "name": "1100 different texts",
        "b": "drop",
    }


@pytest.mark.parametrize("target", ["when month", "y"])
def test_parts_of_a_date_take_the_name_of_no_other_column(target):
    """Neither the target's nor a feature's."""
    days = pd.Series(pd.date_range("2024-01-01", periods=ROWS, freq="37D")).astype(str)
    with pytest.raises(UserError, match="the column name when month occurs more than once; give each column its own"):
        _clean(_frame(**{"when month": np.linspace(5, 6, ROWS), "when": days}), target)


def test_target_of_dates_is_refused():
    """Days since 1970 are no quantity that anybody asks for."""
    days = [f"2024-01-{day:02d}" for day in range(1, ROWS + 1)]
    with pytest.raises(
        UserError, match=r"^target=c: the column of dataset=t.csv holds dates; choose another target, or"
    ):
        _clean(_frame(c=days), "c")


def test_how_columns_are_read_is_said_in_one_line():
    """Nothing is chosen in silence. The table keeps some rows as they are in the file."""
    lines = []
    amounts, days = ["1.702,41", "0,5"] * 12, [f"{day}.01.2024" for day in range(1, ROWS + 1)]
    frame = _frame(
        weight=[1.702, 350] * 12,
        row=range(10, 10 * ROWS + 1, 10),
        amount=amounts,
        rate=["12,5 %", "3 %"] * 12,
        day=days,
        zip=["01067", "10115"] * 12,
        id=[*"abcdefghijklmnopqrstuvwx"],
    )
    frame.attrs = ABOUT
    table = clean(frame, "y", what="dataset=t.csv", echo=lines.append, drop=["b"])
    assert lines == [
        "dataset=t.csv: read as numbers: a, weight, row (whole and different in each row: drop=row if it only names "
        "the row), amount (1.702,41 is 1702.41), rate (12,5 % is 0.125); "
        "dates: day (days since 1970, weekday); categories: zip (2 codes); "
        "left out: b (drop), id (identifier: its text hardly repeats)"
    ]
    assert table.frame["day weekday"].iloc[0] == "Mon"
    assert table.categories["day weekday"] == ("Fri", "Mon", "Sat", "Sun", "Thu", "Tue", "Wed")
    pd.testing.assert_frame_equal(
        table.examples, frame[["a", "weight", "row", "amount", "rate", "day", "zip"]], check_dtype=False
    )


@pytest.mark.parametrize("name", ["orders", "y"])
def test_column_to_drop_has_to_be_a_feature(name):
    """A name that is none is answered with those that are, and the closest."""
    with pytest.raises(UserError) as raised:
        _clean(_frame(order=range(ROWS)), drop=["a", name])
    advice = "use order, the closest name" if name == "orders" else "use one of these names"
    assert raised.value.message == (
        f"drop={name}: one of the columns of dataset=t.csv is allowed: a, b, order; {advice}"
    )


TWO_WAYS = (
    "values such as {} of the column c can be read in two ways, and no other column tells; {}, or leave the column out "
    "with drop=c"
)
ODD = "row {} of the column c holds {}, and others hold numbers such as {}; correct it, leave the cell empty, or leave "
UNITS = "the column c has values in several units, such as {}; write all in one, or leave the column out with drop=c"
AMOUNTS = [f"{row}.5" for row in range(ROWS - 1)]


@cases(
    "values, says",
    {
        "thousands or decimals": (
            ["1,001", "2,500"],
            TWO_WAYS.format("1,001", "give decimal=. if this is 1001, or decimal=, if it is 1.001"),
        ),
        "day or month first": (
            ["01/02/2024", "11/12/2024"],
            TWO_WAYS.format("01/02/2024", "write dates as 2024-12-31"),
        ),
        "one word": ([*AMOUNTS, "x" * 50], ODD.format(24, "x" * 36 + " ...", "0.5")),
        "two currencies": (["$5", "€ 6", "7"], UNITS.format("$5, € 6")),
        "percent or not": (["12.5 %", "12.5", "3 %"], UNITS.format("3 %, 12.5")),
    },
)
def test_numbers_and_dates_that_could_mean_two_things_are_refused(values, says):
    """They would become categories, or wrong numbers, without a word. A column that is left out is not looked at."""
    frame = _frame(c=values * (ROWS // len(values)))
    with pytest.raises(UserError) as raised:
        _clean(frame)
    assert raised.value.message.startswith(f"dataset=t.csv: {says}")
    assert "c" not in _clean(frame, drop=["c"])[0].feature_names


@cases(
    "others, decimal, expected",
    {
        "another column has points": (["$1,243.56", "$2.00"], None, [18000, 2500]),
        "another column has commas": (["12,5", "1.243,56"], None, [18, 2.5]),
        "option": (["12,5", "1.243,56"], ".", [18000, 2500]),
    },
)
def test_numbers_that_do_not_tell_are_read_as_in_other_columns(others, decimal, expected):
    """Wherever these stand; the user has the last word."""
    frame = _frame(c=["18,000", "2,500"] * 12, z=others * 12)
    assert _clean(frame, decimal=decimal)[0].frame["c"].iloc[:2].tolist() == expected


def test_dates_that_do_not_tell_are_read_as_in_other_columns():
    """One day above 12 is enough for all columns."""
    frame = _frame(c=["01/02/2024", "03/04/2024"] * 12, z=["12/31/2024", "01/01/2024"] * 12)
    assert _clean(frame)[0].frame["c"].iloc[0] == 19724


def test_bytes_stay_bytes_only_in_a_table_of_bytes():
    """A small table is not worth a second dtype: it is numbers throughout. X is an array of one's own."""
    images = pd.DataFrame({"p1": [0, 1, 2] * 8, "p2": [0, 1, 3] * 8, "y": ["no", "yes"] * 12})
    table = _clean(images)[0]
    X = table.X
    assert (X.dtype, X.flags.c_contiguous, X[:2].tolist()) == (np.uint8, True, [[0, 0], [1, 1]])
    X += 1
    assert table.X[0].tolist() == [0, 0]
    for more in ([255.5] * 23 + [1], [-1, 1] * 12, [256, 1] * 12):
        assert _clean(images.assign(p2=more))[0].X.dtype == np.float64


def test_columns_that_split_rows_are_read_beside_the_features():
    """A group is not a feature, and may have any number of values; a time stays one."""
    dates = [f"2020-01-{day:02d}" for day in range(ROWS, 0, -1)]
    patients = [f"P{row // 2}" for row in range(ROWS)]
    table, said = _clean(_frame(patient=patients, day=dates), group="patient", time="day")
    assert (table.feature_names, said) == (("a", "b", "day", "day weekday"), [])
    assert table.groups is not None
    assert table.times is not None
    assert [*table.groups] == [row // 2 for row in range(ROWS)]
    assert [*np.diff(table.times)] == [-1] * (ROWS - 1)


@pytest.mark.parametrize(
    ("column", "options", "says"),
    [
        ([None, *range(1, ROWS)], {"group": "c"}, "group=c: 1 rows of dataset=t.csv have no value there"),
        (["x", *"y" * (ROWS - 1)], {"time": "c"}, "time=c: numbers or dates such as 2026-03-01 are allowed, and"),
        ([*range(ROWS)], {"time": "y"}, "time=y: one of the columns of dataset=t.csv is allowed: a, b, c; use"),
    ],
)
def test_column_that_cannot_split_rows_is_refused(column, options, says):
    """In one sentence that starts with what was given."""
    with pytest.raises(UserError) as error:
        _clean(_frame(c=column), **options)
    assert error.value.message.startswith(says)
