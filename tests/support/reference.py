"""What trials and models are held against: the bundled data, configurations, and a loop of scikit-learn alone."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.metrics import (
    accuracy_score,
    hinge_loss,
    log_loss,
    mean_squared_error,
    root_mean_squared_error,
    zero_one_loss,
)
from sklearn.preprocessing import StandardScaler

from entrypoints.datasets import known
from entrypoints.datasets.cleaning import clean
from entrypoints.datasets.prepared import Prepared, prepared
from entrypoints.datasets.splits import make_split
from entrypoints.length import Length
from entrypoints.models.configuration import Configuration
from entrypoints.models.cross_validation import training_of

FOLDS = 3
MLP_CLASSIFIER = "sklearn.neural_network.MLPClassifier"
MLP_REGRESSOR = "sklearn.neural_network.MLPRegressor"
OF_SGD = {"learning_rate": 0.01, "alpha": 0.001}
OF_MLP = {"hidden_layer_sizes": [8], "learning_rate_init": 0.01, "activation": "tanh"}
SHARED = {
    "seed": 7,
    "length": Length(steps=60),
}
FORESTS, BOOSTING, SVR = "sklearn.ensemble.RandomForest", "sklearn.ensemble.HistGradientBoosting", "sklearn.svm.SVR"
LOSSES = {"linear": "squared_error", "logistic": "log_loss", "svm": "hinge"}


@cache
def table_of(name):
    """A bundled dataset."""
    return known.load(name)


def table_of_frame(frame):
    """The table of a frame whose last column is the target."""
    frame.attrs["name"] = "made up"
    return clean(frame, str(frame.columns[-1]), what="made up", echo=lambda line: None)


def features_of(table, rows):
    """Rows of a table: float64, and text with NaN for missing where categorical."""
    types = {name: object if name in table.categories else np.float64 for name in table.feature_names}
    return table.frame.iloc[rows, :-1].astype(types)


@cache
def bundled(name, folds=FOLDS):
    """A bundled dataset, split with seed 0."""
    return split_up(table_of(name), folds)


def split_up(rows, folds=FOLDS):
    """A table, split with seed 0."""
    return prepared(rows, make_split(rows, folds=folds, seed=0))


def configured(algorithm="linear", **changes):
    """A short trial of this many ``steps``, on batches if ``batch_size`` is not None.

    Changes that are not shared by all trials of a study are hyperparameters.
    """
    if "steps" in changes:
        changes["length"] = Length(steps=changes.pop("steps"))
    shared = {name: changes.pop(name, usual) for name, usual in SHARED.items()}
    usual = OF_SGD if algorithm in LOSSES else OF_MLP if "MLP" in algorithm else {}
    size = changes.pop("batch_size", 32)
    of_batches = {} if size is None else {"batch_size": size}
    return Configuration({"algorithm": algorithm, **of_batches, **usual, **changes}, size is not None, **shared)


def configured_whole(algorithm, iterations=1, **changes):
    """A trial without batches, of this many trees or rounds."""
    length = {"forest": "n_estimators", "boosting": "max_iter"}.get(algorithm)
    changes |= {length: iterations} if length else {}
    return configured(algorithm, batch_size=None, **changes)


def trained_on(data, configuration):
    """The training of a configuration at its end, and its reports."""
    training = training_of(configuration, data)
    reports = []
    while not training.ended:
        training.advance()
        if training.report_due:
            reports.append(training.report())
    return training, reports


def loss(model, X, y, n_classes):
    """Log loss where there are probabilities, else hinge loss, else the share of wrong rows; or the squared error."""
    labels = np.arange(n_classes)
    if not n_classes:
        return float(mean_squared_error(y, model.predict(X)))
    if hasattr(model, "predict_proba"):
        return float(log_loss(y, model.predict_proba(X), labels=labels))
    if hasattr(model, "decision_function"):
        return float(hinge_loss(y, model.decision_function(X), labels=labels))
    return float(zero_one_loss(y, model.predict(X)))


@dataclass
class Plain:
    """One model that scikit-learn alone trains on ``fit``, with scalers of its own; labels are 0 and 1."""

    data: Prepared
    configuration: Configuration
    number: int
    fit: np.ndarray
    train_losses: list = field(default_factory=list)

    def __post_init__(self):
        self.regression = self.data.task == "regression"
        self.scaler = StandardScaler().fit(self.data.X[self.fit])
        self.target_scaler = StandardScaler(with_mean=self.regression, with_std=self.regression)
        self.target_scaler.fit(self.data.y[self.fit, None])
        self.estimator = self._estimator()

    @classmethod
    def of_fold(cls, data, configuration, number):
        """The model of a fold."""
        return cls(data, configuration, number, data.split.folds[number][0])

    @classmethod
    def of_whole(cls, data, configuration, rows):
        """The model of the training part, or of all rows."""
        return cls(data, configuration, len(data.split.folds), rows)

    def _estimator(self):
        name, given = self.configuration.algorithm, self.configuration.hyperparameters
        if name not in LOSSES:
            kind = "Regressor" if self.regression else "Classifier"
            path = {"forest": FORESTS + kind, "boosting": BOOSTING + kind}.get(name, name)
            seed = {} if path == SVR else {"random_state": self.configuration.seed}
            module, _, made = path.rpartition(".")
            return getattr(importlib.import_module(module), made)(**given, **seed)
        settings = {"eta0": given["learning_rate"], "alpha": given["alpha"], "loss": LOSSES[name]}
        kind = SGDRegressor if self.regression else SGDClassifier
        return kind(learning_rate="constant", shuffle=False, **settings)

    def train(self, steps):
        """Pass over the rows in a new random order each time, and note the loss of each batch after its step.

        Without batches: fit on all rows.
        """
        if self.configuration.batch_size is None:
            self.estimator.fit(self.features(self.fit), self.target(self.fit))
            self.train_losses.append(self.loss(self.fit))
            return self
        random, size = np.random.default_rng((self.configuration.seed, self.number)), self.configuration.batch_size
        more = {} if self.regression else {"classes": [0, 1]}
        order = []
        for _ in range(steps):
            order = order or random.permutation(self.fit).tolist()
            rows, order = np.array(order[:size]), order[size:]
            self.estimator.partial_fit(self.features(rows), self.target(rows), **more)
            self.train_losses.append(self.loss(rows))
        return self

    def features(self, rows):
        """Standardised."""
        return self.scaler.transform(self.data.X[rows])

    def target(self, rows):
        """Standardised, or 0 and 1."""
        y = self.target_scaler.transform(self.data.y[rows, None])[:, 0]
        return y if self.regression else y.astype(int)

    def predict(self, rows):
        """In the target's own units, or 0 and 1."""
        predicted = self.estimator.predict(self.features(rows))
        return self.target_scaler.inverse_transform(predicted[:, None])[:, 0] if self.regression else predicted

    def loss(self, rows):
        """What is compared beside the score."""
        return loss(self.estimator, self.features(rows), self.target(rows), 0 if self.regression else 2)

    def score(self, rows):
        """The RMSE or the accuracy."""
        of_task = root_mean_squared_error if self.regression else accuracy_score
        return float(of_task(self.data.y[rows], self.predict(rows)))
