"""A column of ids that repeat is named; numbers, years and categories that repeat as often are not."""

import numpy as np
import pandas as pd
from cases import cases

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


@cases(
    "name, values",
    {
        "whole numbers": ("kunde", _drawn(800) + 1000),
        "codes": ("patientId", [f"{number:05d}" for number in _drawn(800)]),
        "names": ("customer", [f"Ms {chr(65 + number % 26)}{number}" for number in _drawn(800)]),
        "numbers behind a letter": ("who", [f"C{number:04d}" for number in _drawn(800)]),
        "hexadecimal": ("who", [f"{number * 2654435761 % 2**32:08x}" for number in _drawn(800)]),
        "category": ("member_no", pd.Categorical([f"m{number}" for number in _drawn(800)])),
        "other text": ("user_id", [f"name {number}" for number in _drawn(800)]),
    },
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


@cases(
    "name, values",
    {
        "ages": ("age", RANDOM.integers(18, 90, ROWS)),
        "years": ("year", RANDOM.integers(1950, 2025, ROWS)),
        "prices": ("price", RANDOM.integers(100, 900, ROWS) * 10),
        "counts": ("users", RANDOM.integers(0, 400, ROWS)),
        "a word that ends in id": ("paid", RANDOM.integers(0, 400, ROWS)),
        "post codes": ("zip", [f"{number:05d}" for number in 10067 + _drawn(400)]),
        "names": ("city", [f"{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in _drawn(60)]),
        "several prefixes": ("model", [f"{'ABCD'[number % 4]}{number}" for number in _drawn(100)]),
        "dates": ("day", pd.date_range("2020-01-01", periods=ROWS // 4).repeat(4).astype(str)),
        "few values": ("shop_id", _drawn(12)),
        "more than 50 rows each": ("plant_id", _drawn(40)),
        "hardly repeats": ("order_id", _drawn(2000)),
        "missing values": ("user_id", np.where(np.arange(ROWS) % 9, _drawn(800), np.nan)),
        "fractions": ("user_id", _drawn(800) + 0.5),
        "lists": ("where", [[number % 700, 1] for number in range(ROWS)]),
    },
)
def test_other_columns_that_repeat_are_not_named(name, values):
    """A false alarm would teach people not to read the lines."""
    assert _said(**{name: values}) == []
