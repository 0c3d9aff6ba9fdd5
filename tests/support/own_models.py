"""Tables of users as they write them, and estimators in folders of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

MODEL = '''
import numpy as np
from sklearn.linear_model import SGDClassifier
{imports}

class Far(SGDClassifier):
    """Linear in the distances of the features from their means."""

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        import {lazily}
        return super().partial_fit(np.abs(X) + {start}, y, classes)

    def decision_function(self, X):
        return super().decision_function(np.abs(X) + {start})
'''
# A classifier by the nearest class, which has nothing to predict with but predict.
NEAREST = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class Memory:
    def __init__(self):
        self.seen = [1, 2]


class Nearest(ClassifierMixin, BaseEstimator):
    def __init__(self, slowness=0.5):
        self.slowness = slowness

    def fit(self, X, y):
        return self.partial_fit(X, y, np.unique(y))

    def partial_fit(self, X, y, classes=None):
        if classes is not None:
            self.classes_, self.memory_ = np.asarray(classes), Memory()
            self.centres_ = np.zeros((len(classes), X.shape[1]))
        for place, label in enumerate(self.classes_):
            if (y == label).any():
                mean = X[y == label].mean(axis=0)
                self.centres_[place] = self.slowness * self.centres_[place] + (1 - self.slowness) * mean
        return self

    def predict(self, X):
        distances = np.linalg.norm(X[:, None] - self.centres_, axis=2)
        return self.classes_[distances.argmin(axis=1)]
"""
# What is in the folder of the user, beside the table, and in a package.
FILES = {
    "user/in_folder.py": MODEL.format(imports="from beside_it import START", lazily="lazily_needed", start="START"),
    "user/beside_it.py": "START = 0.0",
    "user/lazily_needed.py": "",
    "user/own_package/small/models.py": MODEL.format(
        imports="from own_package.common import START", lazily="json", start="START"
    ),
    "user/own_package/common.py": "START = 0.0",
    "data/beside_table.py": MODEL.format(imports="", lazily="json", start="0.0"),
}
ALGORITHMS = ("in_folder.Far", "own_package.small.models.Far", "beside_table.Far")
OF_TABLE = {"dataset": "../data/own.parquet", "target": "returned"}  # options, as they are typed in ``user``


def write_own_models(folder):
    """Write ``user`` and ``data`` into a folder."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    _orders().to_parquet(folder / "data" / "own.parquet", index=False)


def _orders():
    """A table with missing numbers, missing and text categories, and a text target."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"size": random.normal(size=400), "colour": random.choice(["red", "green", "blue"], 400)})
    frame.loc[::7, "size"] = np.nan
    frame.loc[::11, "colour"] = None
    frame["price"] = random.gamma(2.0, 10.0, 400)
    frame["returned"] = np.where(frame["size"].abs() > 0.7, "yes", "no")
    return frame


Write = Callable[[Any], str]


@dataclass(frozen=True)
class Style:
    """How a country writes: what separates the fields of a file, and each kind of value."""

    separator: str
    money: Write
    count: Write
    percent: Write
    balance: Write
    decimal: Write
    date: str


def _german(number):
    return number.translate(str.maketrans(",.", ".,"))


ENGLISH = Style(
    ",",
    money=lambda value: f"${value:,.2f}",
    count=lambda value: f"{value:,}",
    percent=lambda value: f"{100 * value:.1f} %",
    balance=lambda value: f"({-value:,.2f})" if value < 0 else f"{value:,.2f}",
    decimal=lambda value: f"{value:.2f}",
    date="%m/%d/%Y",
)
GERMAN = Style(
    ";",
    money=lambda value: _german(f"{value:,.2f} €"),
    count=lambda value: _german(f"{value:,}"),
    percent=lambda value: _german(f"{100 * value:.1f} %"),
    balance=lambda value: _german(f"{value:,.2f}"),
    decimal=lambda value: _german(f"{value:.2f}"),
    date="%d.%m.%Y",
)
KINDS = {  # how a person would read each column
    "row_id": "numbers",
    "customer_id": "group",
    "customer_name": "categories",
    "order": "identifier: its text hardly repeats",
    "constant": "constant",
    **{f"money_{number}": "numbers" for number in range(5)},
    **{f"count_{number}": "numbers" for number in range(4)},
    **{f"percent_{number}": "numbers" for number in range(4)},
    **{f"balance_{number}": "numbers" for number in range(4)},
    **{f"decimal_{number}": "numbers" for number in range(4)},
    **{f"whole_{number}": "numbers" for number in range(4)},
    **{f"date_{number}": "dates" for number in range(4)},
    **{f"kind_{number}": "categories" for number in range(4)},
    "zip": "categories",
    "flag": "categories",
}


def business_table(style, rows, seed=0):
    """The texts of a file, and its values as they are meant; the target ``churned`` depends on some of the columns."""
    random = np.random.default_rng(seed)
    written = {}
    meant = {}
    customers = random.integers(0, rows // 3, rows)

    def add(name, values, write=str):
        meant[name] = values
        written[name] = [write(value) for value in values]

    for name in KINDS:
        match name.partition("_")[0]:
            case "row":
                add(name, np.arange(1, rows + 1))
            case "customer":
                add(name, customers + 5000 if name == "customer_id" else [f"Customer {each}" for each in customers])
            case "order":
                add(name, [f"A-{number:06d}" for number in random.permutation(rows)])
            case "constant":
                add(name, ["shop"] * rows)
            case "money":
                add(name, random.lognormal(6, 1, rows).round(2), style.money)
            case "count":
                add(name, random.integers(1, 90_000, rows), style.count)
            case "percent":
                add(name, np.round(random.random(rows), 3), style.percent)
            case "balance":
                add(name, random.normal(0, 3000, rows).round(2), style.balance)
            case "decimal":
                add(name, random.normal(70, 9, rows).round(2), style.decimal)
            case "whole":
                add(name, random.integers(0, 30, rows))
            case "date":
                days = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 300, rows), "D")
                meant[name] = days
                written[name] = days.strftime(style.date)
            case "kind":
                add(name, random.choice(["north", "south", "west"], rows))
            case "zip":
                add(name, random.choice(["01067", "10115", "20095"], rows))
            case "flag":
                add(name, random.random(rows) < 0.5)
    ranks = [pd.Series(meant[name]).rank(pct=True) for name in ("money_0", "count_0", "percent_0", "balance_0")]
    churned = sum(ranks) + (meant["kind_0"] == "west") + random.normal(0, 0.3, rows) > 2.3
    target = {"churned": np.where(churned, "yes", "no")}
    return pd.DataFrame(written | target), pd.DataFrame(meant | target)
