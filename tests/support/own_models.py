"""Tables of users as they write them, and estimators in folders of theirs."""

from types import SimpleNamespace

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
    frame["returned"] = np.where(frame["size"].abs() > 0.7, "yes", "no")
    return frame


def _german(number):
    return number.translate(str.maketrans(",.", ".,"))


# How a country writes: what separates the fields of a file, and the kinds of values that it does not write as Python.
ENGLISH = SimpleNamespace(
    separator=",",
    writes={
        "money": lambda value: f"${value:,.2f}",
        "count": lambda value: f"{value:,}",
        "percent": lambda value: f"{100 * value:.1f} %",
        "balance": lambda value: f"({-value:,.2f})" if value < 0 else f"{value:,.2f}",
        "decimal": lambda value: f"{value:.2f}",
        "date": lambda value: f"{value:%m/%d/%Y}",
    },
)
GERMAN = SimpleNamespace(
    separator=";",
    writes={
        "money": lambda value: _german(f"{value:,.2f} €"),
        "count": lambda value: _german(f"{value:,}"),
        "percent": lambda value: _german(f"{100 * value:.1f} %"),
        "balance": lambda value: _german(f"{value:,.2f}"),
        "decimal": lambda value: _german(f"{value:.2f}"),
        "date": lambda value: f"{value:%d.%m.%Y}",
    },
)
OF_FOUR = {"date": "dates", "kind": "categories"} | dict.fromkeys(
    ("money", "count", "percent", "balance", "decimal", "whole"), "numbers"
)
KINDS = {  # how a person would read each column
    "row_id": "numbers",
    "customer_id": "group",
    "customer_name": "categories",
    "order": "identifier: its text hardly repeats",
    "constant": "constant",
    "money": "numbers",
    "zip": "categories",
    "flag": "categories",
    **{f"{name}_{number}": kind for name, kind in OF_FOUR.items() for number in range(4)},
}


def business_table(style, rows):
    """The texts of a file, and its values as they are meant; the target ``churned`` depends on some of the columns."""
    random = np.random.default_rng(0)
    customers = random.integers(0, rows // 3, rows)
    columns = {
        "row_id": np.arange(1, rows + 1),
        "customer_id": customers + 5000,
        "customer_name": [f"Customer {customer}" for customer in customers],
        "order": [f"A-{number:06d}" for number in random.permutation(rows)],
        "constant": "shop",
        "money": random.lognormal(6, 1, rows).round(2),
        "zip": random.choice(["01067", "10115", "20095"], rows),
        "flag": random.random(rows) < 0.5,
    }
    for number in range(4):
        columns[f"money_{number}"] = random.lognormal(6, 1, rows).round(2)
        columns[f"count_{number}"] = random.integers(1, 90_000, rows)
        columns[f"percent_{number}"] = random.random(rows).round(3)
        columns[f"balance_{number}"] = random.normal(0, 3000, rows).round(2)
        columns[f"decimal_{number}"] = random.normal(70, 9, rows).round(2)
        columns[f"whole_{number}"] = random.integers(0, 30, rows)
        days = pd.to_timedelta(random.integers(0, 300, rows), "D")
        columns[f"date_{number}"] = pd.Timestamp("2024-01-01") + days
        columns[f"kind_{number}"] = random.choice(["north", "south", "west"], rows)
    meant = pd.DataFrame(columns)
    ranks = meant[["money_0", "count_0", "percent_0", "balance_0"]].rank(pct=True).sum(axis="columns")
    churned = ranks + (meant["kind_0"] == "west") + random.normal(0, 0.3, rows) > 2.3
    written = pd.DataFrame({name: meant[name].map(style.writes.get(name.partition("_")[0], str)) for name in meant})
    target = np.where(churned, "yes", "no")
    return written.assign(churned=target), meant.assign(churned=target)
