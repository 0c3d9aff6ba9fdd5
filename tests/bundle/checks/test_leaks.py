"""A column that tells the target alone is named, those that predict it well are not."""

import numpy as np
import pandas as pd
import pytest
from cases import cases
from reference import configured, split_up, table_of, table_of_frame
from sklearn.datasets import load_iris

from entrypoints.checks import leaks
from entrypoints.checks.importance import importance
from entrypoints.models import best_model

ROWS = 600
DAY = pd.Timestamp("2024-01-01")


def _said(table):
    """With a model of extra-trees."""
    data = split_up(table)
    trained = best_model.refit(configured("extra_trees", batch_size=None), data).tested
    return leaks.sentence(trained, table, importance(trained, table, 0), [0.95, 0.97], 0)


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
        "date": lambda paid: DAY + pd.to_timedelta(100 * paid, "D"),
    },
)
def test_column_that_tells_a_number_alone_is_named(frame, leak):
    """With its score beside that of a model that ignores all columns, and the option that leaves it out."""
    frame.insert(0, "late", leak(frame["paid"]))
    said = _said(table_of_frame(frame))
    assert said.startswith("late predicts paid alone (rmse 0.")
    assert said.endswith(", ignoring all columns 0.96): is it known when you predict? -P drop=late")


def test_column_that_tells_a_rare_class_alone_is_named(frame, random):
    """1 % of its rows are wrong."""
    paid = frame.pop("paid")
    churned = paid > paid.quantile(0.95)
    late = churned ^ (random.random(ROWS) < 0.01)
    said = _said(table_of_frame(frame.assign(late=late, churned=churned)))
    assert said.startswith("late predicts churned alone (accuracy 0.9")


def test_strong_predictor_is_no_leak(frame):
    """The width of an iris's petals nearly determines its species, but so does their length."""
    for table in (table_of_frame(frame), table_of_frame(load_iris(as_frame=True).frame), table_of("diabetes")):
        assert _said(table) == ""
