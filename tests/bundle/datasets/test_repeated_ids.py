"""A column of ids that repeat is named; numbers, years and categories that repeat as often are not."""

import numpy as np
import pandas as pd
import pytest

from entrypoints.datasets.cleaning import clean

ROWS = 2400
RANDOM = np.random.default_rng(0)


def _said(options=None, **columns):
    """What is said beside how columns are read."""
    lines = []
    frame = pd.DataFrame({"size": RANDOM.normal(size=ROWS), **columns, "y": ["no", "yes"] * (ROWS // 2)})
    frame.attrs = {"name": "t"}
    clean(frame, "y", what="dataset=t.csv", echo=lines.append, **(options or {}))
    return lines[1:]


def _drawn(values):
    return np.arange(ROWS) % values


@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param("kunde", _drawn(800) + 1000, id="whole numbers"),
        pytest.param("patientId", [f"{number:05d}" for number in _drawn(800)], id="codes"),
        pytest.param("customer", [f"Ms {chr(65 + number % 26)}{number}" for number in _drawn(800)], id="names"),
        pytest.param("who", [f"C{number:04d}" for number in _drawn(800)], id="numbers behind a letter"),
        pytest.param("who", [f"{number * 2654435761 % 2**32:08x}" for number in _drawn(800)], id="hexadecimal"),
        pytest.param("member_no", pd.Categorical([f"m{number}" for number in _drawn(800)]), id="category"),
        pytest.param("user_id", [f"name {number}" for number in _drawn(800)], id="other text"),
    ],
)
def test_ids_that_repeat_are_named_with_what_to_add(name, values):
    """Whatever type they have; also where they are no feature. Not if rows are split by a column already."""
    says = (
        f"dataset=t.csv: 800 values of {name} have 3 rows each, on average: if these belong together, as those of a "
        f"customer do, add group={name}, else models are tested on ones that they know"
    )
    columns = {name: values}
    assert _said(**columns) == [says]
    assert _said({"drop": [name]}, **columns) == [says]
    assert _said({"group": name}, **columns) == []
    assert _said({"time": "size"}, **columns) == []


def test_of_several_ids_that_with_the_fewest_values_is_named():
    """An order has one customer, and a customer several orders."""
    (line,) = _said(order_id=_drawn(1200), customer_id=_drawn(400))
    assert "add group=customer_id," in line


@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param("age", RANDOM.integers(18, 90, ROWS), id="ages"),
        pytest.param("year", RANDOM.integers(1950, 2025, ROWS), id="years"),
        pytest.param("price", RANDOM.integers(100, 900, ROWS) * 10, id="prices"),
        pytest.param("users", RANDOM.integers(0, 400, ROWS), id="counts"),
        pytest.param("paid", RANDOM.integers(0, 400, ROWS), id="a word that ends in id"),
        pytest.param("zip", [f"{number:05d}" for number in 10067 + _drawn(400)], id="post codes"),
        pytest.param("city", [f"{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in _drawn(60)], id="names"),
        pytest.param("model", [f"{'ABCD'[number % 4]}{number}" for number in _drawn(100)], id="several prefixes"),
        pytest.param("day", pd.date_range("2020-01-01", periods=ROWS // 4).repeat(4).astype(str), id="dates"),
        pytest.param("shop_id", _drawn(12), id="few values"),
        pytest.param("plant_id", _drawn(40), id="more than 50 rows each"),
        pytest.param("order_id", _drawn(2000), id="hardly repeats"),
        pytest.param("user_id", np.where(np.arange(ROWS) % 9, _drawn(800), np.nan), id="missing values"),
        pytest.param("user_id", _drawn(800) + 0.5, id="fractions"),
        pytest.param("where", [[number % 700, 1] for number in range(ROWS)], id="lists"),
    ],
)
def test_other_columns_that_repeat_are_not_named(name, values):
    """A false alarm would teach people not to read the lines."""
    assert _said(**{name: values}) == []
