"""Columns that tell the target alone are named, those that predict it well are not."""

import numpy as np
import pandas as pd
from cases import cases
from reference import bundled, split_up, table_of, table_of_frame
from sklearn.datasets import load_iris

from entrypoints.models import leaks, scores

ROWS = 600


def _said(frame, metric=None):
    """Of a table whose last column is the target."""
    table = table_of_frame(frame)
    return leaks.sentence(split_up(table), table, scores.find(metric, table.task), 0)


def _table(random):
    """Columns, and a number that is known to 80 % by the first one."""
    frame = pd.DataFrame(random.normal(size=(ROWS, 6)), columns=list("abcdef"))
    frame["shop"] = random.choice(["Bonn", "Ulm", "Jena"], ROWS)
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(300, size=ROWS), "D")
    return frame, np.sqrt(0.8) * frame["a"].to_numpy() + np.sqrt(0.2) * random.normal(size=ROWS)


@cases(
    "leak",
    {
        "noisy number": lambda random, y: y + 0.1 * y.std() * random.normal(size=ROWS),
        "ranges": lambda random, y: pd.Series(np.digitize(y, np.linspace(-2, 2, 20))).map("x{}".format),
        "date": lambda random, y: pd.Timestamp("2024-01-01") + pd.to_timedelta(100 * y, "D"),
    },
)
def test_column_that_tells_a_number_alone_is_named(leak):
    """With its score, that of the best other column, and the option that leaves it out; not without the leak."""
    random = np.random.default_rng(0)
    frame, y = _table(random)
    assert _said(frame.assign(paid=y)) == ""
    sentence = _said(frame.assign(late=leak(random, y), paid=y))
    assert sentence.startswith("late predicts paid alone (rmse 0.")
    assert sentence.endswith("): is it known when you predict? -P drop=late")


def test_column_that_tells_a_rare_class_alone_is_named_in_the_study_s_score():
    """As good as the tree on it; 5 % of its rows are wrong. A strong predictor of the class is none."""
    random = np.random.default_rng(0)
    frame, y = _table(random)
    churned = np.where(y > np.quantile(y, 0.92), "yes", "no")
    assert _said(frame.assign(churned=churned), "average_precision") == ""
    late = np.where(random.random(ROWS) < 0.05, churned == "no", churned == "yes")
    sentence = _said(frame.assign(late=late, churned=churned), "average_precision")
    assert sentence.startswith("late predicts churned alone (average_precision 0.")
    more = pd.DataFrame(random.normal(size=(ROWS, 12)), columns=list("ghijklmnopqr"))
    both = _said(pd.concat([frame, more], axis=1).assign(late=late, why=churned, churned=churned))
    assert both.startswith("late, why each predict churned alone (accuracy 0.")
    assert both.endswith(": are they known when you predict? -P drop=late,why")


@cases(
    "late, others, is_named",
    {
        "a strong predictor among others": ([0.13], [0.28, 1.0], False),
        "far below the best other": ([0.13], [0.45, 1.0], True),
        "easy to tell": ([0.05], [0.2, 1.0], False),
        "too many errors": ([0.17], [1.0, 1.0], False),
        "two of twenty": ([0.0, 0.05], [1.0] * 18, True),
        "two of nineteen are too many": ([0.0, 0.05], [1.0] * 17, False),
    },
)
def test_leak_leaves_far_fewer_errors_than_each_other_column(late, others, is_named):
    """By the share of the errors of a model that ignores all columns."""
    left = dict(enumerate(late + others))
    assert leaks.far_below_the_others(left) == (list(range(len(late))) if is_named else [])


def test_table_that_is_easy_to_tell_has_no_leak():
    """The width of an iris's petals nearly determines its species, and so does their length."""
    assert _said(load_iris(as_frame=True).frame) == ""
    for name in ("red_wine", "diabetes"):
        table = table_of(name)
        assert leaks.sentence(bundled(name), table, scores.find(None, table.task), 0) == ""
