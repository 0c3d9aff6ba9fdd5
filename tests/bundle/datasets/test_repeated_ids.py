"""A column of ids that repeat is named; numbers, years and categories that repeat as often are not."""

import numpy as np
import pandas as pd
from cases import cases, tables

from entrypoints.datasets.cleaning import clean
from entrypoints.datasets.sources import Asked

ROWS = 2400
COLUMNS = tables(__file__, "repeated_ids.yaml")


def _said(columns, **options):
    """What is said beside how columns are read."""
    lines = []
    frame = pd.DataFrame(columns)
    frame["size"] = np.random.default_rng(0).normal(size=len(frame))
    frame["y"] = np.resize(["no", "yes"], len(frame))
    frame.attrs = {"name": "t"}
    clean(frame, Asked("t.csv", "y", **options), lines.append)
    return lines[1:]


def _column(values, text=None, first=0):
    """Numbers that repeat, or text with them."""
    numbers = np.arange(ROWS) % values + first
    if text is None:
        return numbers
    return [text.format(n, chr(97 + n % 26) + chr(97 + n // 26 % 26), n * 2654435761 % 2**32) for n in numbers]


@cases("name, text, values, first", COLUMNS["ids"])
def test_ids_that_repeat_are_named_with_what_to_add(name, text, values, first):
    """Whatever type they have; also where they are no feature. Not if rows are split by a column already."""
    says = (
        f"dataset=t.csv: 800 values of {name} have 3 rows each, on average: if these belong together, as those of a "
        f"customer do, add group={name}, else models are tested on ones that they know"
    )
    column = _column(values, text, first)
    columns = {name: column}
    assert _said(columns) == [says]
    assert _said({name: pd.Categorical(column)}) == [says]
    assert _said(columns, drop=name) == [says]
    assert _said(columns, group=name) == []
    assert _said(columns, time="size") == []


def test_of_several_ids_that_with_the_fewest_values_is_named():
    """An order has one customer, and a customer several orders."""
    (line,) = _said({"order_id": _column(1200), "customer_id": _column(400)})
    assert "add group=customer_id," in line


@cases("values, is_named", {"few": (29, False), "as many as customers": (30, True)})
def test_few_values_are_no_customers(values, is_named):
    assert bool(_said({"customer_id": _column(values)[:60]})) is is_named


@cases("name, text, values, first", COLUMNS["others"])
def test_other_columns_that_repeat_are_not_named(name, text, values, first):
    """A false alarm would teach people not to read the lines."""
    assert _said({name: _column(values, text, first)}) == []


def test_columns_with_holes_are_not_named():
    """They cannot part rows."""
    assert _said({"user_id": [None, *_column(800)[1:]]}) == []
