"""A table of a user, and estimators in folders of theirs: one with neighbours, one in a package, one beside the table.

A row of the table is returned where its size is far from 0, which no model sees that is linear in the size.
"""

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
