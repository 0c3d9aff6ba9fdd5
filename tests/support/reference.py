"""What trials and models are held against: the bundled data, configurations, and a loop of scikit-learn alone."""

from functools import cache
from pydoc import locate

import numpy as np
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
from entrypoints.datasets.prepared import prepared
from entrypoints.datasets.sources import Asked
from entrypoints.datasets.splits import make_split
from entrypoints.models.configuration import Configuration
from entrypoints.models.cross_validation import training_of
from entrypoints.options.length import Length
from entrypoints.runs.tags import FOLD, TRAINING_STEP

FOLDS = 3
MLP_CLASSIFIER = "sklearn.neural_network.MLPClassifier"
MLP_REGRESSOR = "sklearn.neural_network.MLPRegressor"
OF_SGD = {"learning_rate": 0.01, "alpha": 0.001}
OF_MLP = {"hidden_layer_sizes": [8], "learning_rate_init": 0.01, "activation": "tanh"}
SVR = "sklearn.svm.SVR"
LOSSES = {"linear": "squared_error", "logistic": "log_loss", "svm": "hinge"}
PATHS = dict.fromkeys(LOSSES, "sklearn.linear_model.SGD") | {
    "forest": "sklearn.ensemble.RandomForest",
    "boosting": "sklearn.ensemble.HistGradientBoosting",
}


@cache
def table_of(name):
    """A bundled dataset."""
    return known.load(name)


def table_of_frame(frame):
    """The table of a frame whose last column is the target."""
    frame.attrs["name"] = "made up"
    return clean(frame, Asked("made up", str(frame.columns[-1])), lambda line: None)


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


def configured(algorithm="linear", *, batch_size=32, steps=60, length=None, seed=7, **changes):
    """A short trial of this many ``steps``, or of a ``length``, on batches if ``batch_size`` is not None.

    Other changes are hyperparameters.
    """
    searched = {"algorithm": algorithm}
    if batch_size is not None:
        searched["batch_size"] = batch_size
    if algorithm in LOSSES:
        searched |= OF_SGD
    if "MLP" in algorithm:
        searched |= OF_MLP
    axis = FOLD if batch_size is None else TRAINING_STEP
    return Configuration(searched | changes, axis, seed, length or Length(steps=steps))


def configured_whole(algorithm, iterations=1, **changes):
    """A trial without batches, of this many trees or rounds."""
    length = {"forest": "n_estimators", "boosting": "max_iter"}.get(algorithm)
    if length:
        changes[length] = iterations
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
    if not n_classes:
        return mean_squared_error(y, model.predict(X))
    labels = np.arange(n_classes)
    if hasattr(model, "predict_proba"):
        return log_loss(y, model.predict_proba(X), labels=labels)
    if hasattr(model, "decision_function"):
        return hinge_loss(y, model.decision_function(X), labels=labels)
    return zero_one_loss(y, model.predict(X))


class Plain:
    """One model that scikit-learn alone trains, with scalers of its own; labels are 0 and 1.

    It is that of a fold, or one of these rows, whose number comes after those of folds.
    """

    def __init__(self, data, configuration, number, rows=None):
        if rows is None:
            rows, _ = data.split.folds[number]
        self.data, self.configuration = data, configuration
        self.number, self.fit = number, rows
        self.train_losses = []
        self.regression = data.task == "regression"
        self.scaler = StandardScaler().fit(data.X[rows])
        self.target_scaler = StandardScaler(with_mean=self.regression, with_std=self.regression)
        self.target_scaler.fit(data.y[rows, None])
        self.estimator = self._estimator()

    def _estimator(self):
        name = self.configuration.algorithm
        given = dict(self.configuration.hyperparameters)
        if name in LOSSES:
            rate = given.pop("learning_rate")
            given |= {"eta0": rate, "learning_rate": "constant", "loss": LOSSES[name], "shuffle": False}
        elif name != SVR:
            given["random_state"] = self.configuration.seed
        if name in PATHS:
            name = PATHS[name] + ("Regressor" if self.regression else "Classifier")
        return locate(name)(**given)

    def train(self, steps):
        """Pass over the rows in a new random order each time, and note the loss of each batch after its step.

        Without batches: fit on all rows.
        """
        if self.configuration.axis == FOLD:
            self.estimator.fit(self.features(self.fit), self.target(self.fit))
            self.train_losses.append(self.loss(self.fit))
            return self
        size = self.configuration.batch_size
        random = np.random.default_rng((self.configuration.seed, self.number))
        more = {} if self.regression else {"classes": [0, 1]}
        order = []
        for _ in range(steps):
            order = order or random.permutation(self.fit).tolist()
            rows, order = order[:size], order[size:]
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
        return of_task(self.data.y[rows], self.predict(rows))
