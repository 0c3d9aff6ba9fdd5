"""Columns that tell the target alone are named, those that predict it well are not."""

import numpy as np
import pandas as pd
import pytest
from cases import cases, tables
from reference import bundled, split_up, table_of, table_of_frame
from sklearn.datasets import load_iris

from entrypoints.models import leaks, scores

ROWS = 600
DAY = pd.Timestamp("2024-01-01")


def _said(frame, metric=None):
    """Of a table whose last column is the target."""
    table = table_of_frame(frame)
    return leaks.sentence(split_up(table), table, scores.find(metric, table.task), 0)


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def frame(random):
    """Columns, the last of which is a number that is known to 80 % by the first one."""
    frame = pd.DataFrame(random.normal(size=(ROWS, 6)), columns=list("abcdef"))
    frame["shop"] = random.choice(["Bonn", "Ulm", "Jena"], ROWS)
    frame["day"] = DAY + pd.to_timedelta(random.integers(300, size=ROWS), "D")
    frame["paid"] = np.sqrt(0.8) * frame["a"] + np.sqrt(0.2) * random.normal(size=ROWS)
    return frame


@cases(
    "leak",
    {
        "noisy number": lambda paid: paid + 0.1 * np.random.default_rng(1).normal(size=ROWS),
        "ranges": lambda paid: pd.Series(np.digitize(paid, np.linspace(-2, 2, 20))).map("x{}".format),
        "date": lambda paid: DAY + pd.to_timedelta(100 * paid, "D"),
    },
)
def test_column_that_tells_a_number_alone_is_named(frame, leak):
    """With its score, that of the best other column, and the option that leaves it out; not without the leak."""
    assert _said(frame) == ""
    frame.insert(0, "late", leak(frame["paid"]))
    said = _said(frame)
    assert said.startswith("late predicts paid alone (rmse 0.")
    assert said.endswith("): is it known when you predict? -P drop=late")


def test_straight_line_tells_a_number_by_few_rows(frame):
    frame.insert(0, "late", 2 * frame["paid"])
    assert _said(frame.head(60)).startswith("late predicts paid alone (rmse ")


def test_column_that_tells_a_rare_class_alone_is_named_in_the_study_s_score(frame, random):
    """As good as the tree on it; 5 % of its rows are wrong. A strong predictor of the class is none."""
    paid = frame.pop("paid")
    churned = paid > paid.quantile(0.95)
    assert _said(frame.assign(churned=churned), "average_precision") == ""
    late = churned ^ (random.random(ROWS) < 0.05)
    said = _said(frame.assign(late=late, churned=churned), "average_precision")
    assert said.startswith("late predicts churned alone (average_precision 0.")
    frame[[*"ghijklmnopqr"]] = random.normal(size=(ROWS, 12))
    said = _said(frame.assign(late=late, why=churned.map("was {}".format), churned=churned))
    assert said.startswith("late, why each predict churned alone (accuracy 0.")
    assert said.endswith(": are they known when you predict? -P drop=late,why")


@cases("left, named", tables(__file__, "cases.yaml")["errors left"])
def test_leak_leaves_far_fewer_errors_than_each_other_column(left, named):
    """By the share of the errors of a model that ignores all columns."""
    assert leaks.far_below_the_others(dict(enumerate(left))) == named


def test_table_that_is_easy_to_tell_has_no_leak():
    """The width of an iris's petals nearly determines its species, and so does their length."""
    assert _said(load_iris(as_frame=True).frame) == ""
    table = table_of("diabetes")
    assert leaks.sentence(bundled("diabetes"), table, scores.find(None, table.task), 0) == ""
