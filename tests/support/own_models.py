"""Estimators of a user in folders of theirs: one with neighbours, one in a package, and one beside a table."""

from __future__ import annotations

from pathlib import Path

MEAN = '''
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
{imports}

class Mean(RegressorMixin, BaseEstimator):
    """Moves towards the mean of the targets."""

    def __init__(self, rate=0.1):
        self.rate = rate

    def fit(self, X, y):
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        import {lazily}
        before = getattr(self, "mean_", {start})
        self.mean_ = before + self.rate * (np.mean(y) - before)
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)
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
    "user/in_folder.py": MEAN.format(imports="from beside_it import START", lazily="lazily_needed", start="START"),
    "user/beside_it.py": "START = 0.0",
    "user/lazily_needed.py": "",
    "user/own_package/small/models.py": MEAN.format(
        imports="from own_package.common import START", lazily="json", start="START"
    ),
    "user/own_package/common.py": "START = 0.0",
    "data/beside_table.py": MEAN.format(imports="", lazily="json", start="0.0"),
    "data/own.csv": "a,b,y\n" + "".join(f"{row % 7},{row % 5},{row / 11}\n" for row in range(60)),
}
ALGORITHMS = ("in_folder.Mean", "own_package.small.models.Mean", "beside_table.Mean")


def write_own_models(folder: Path) -> None:
    """Write ``user`` and ``data`` into a folder."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
