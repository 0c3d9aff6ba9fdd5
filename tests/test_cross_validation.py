"""One configuration on all folds, held against a plain scikit-learn loop that shares nothing with it but the rows."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.metrics import accuracy_score, hinge_loss, log_loss, mean_squared_error, root_mean_squared_error
from sklearn.preprocessing import StandardScaler

from entrypoints import datasets
from entrypoints.cross_validation import Configuration, CrossValidation, batches
from entrypoints.learners import Learner
from entrypoints.prepared import Prepared, prepared
from entrypoints.splits import make_split

FOLDS = 3
LOSSES: dict[str, Literal["squared_error", "log_loss", "hinge"]] = {
    "linear": "squared_error",
    "logistic": "log_loss",
    "svm": "hinge",
}
STUDIES = [
    pytest.param("red_wine", "linear", id="red_wine-linear"),
    pytest.param("diabetes", "logistic", id="diabetes-logistic"),
    pytest.param("diabetes", "svm", id="diabetes-svm"),
]


@cache
def _data(name: str) -> Prepared:
    table = datasets.load(name)
    return prepared(table, make_split(table.y, stratify=table.task == "classification", folds=FOLDS, seed=0))


def _configuration(algorithm: str, **values: Any) -> Configuration:
    defaults: dict[str, Any] = {"batch_size": 32, "learning_rate": 0.01, "alpha": 0.001, "seed": 7}
    return Configuration(**{"algorithm": algorithm, "max_steps": 60, "max_epochs": 0, **defaults, **values})


def _trained(data: Prepared, configuration: Configuration) -> CrossValidation:
    training = CrossValidation(configuration, data)
    while not training.ended:
        training.step()
    return training


@dataclass
class Plain:
    """One fold trained with scikit-learn alone, on a scaler of its own."""

    data: Prepared
    configuration: Configuration
    number: int
    train_losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        data, configuration = self.data, self.configuration
        fit, _ = data.split.folds[self.number]
        self.regression = data.task == "regression"
        self.scaler = StandardScaler().fit(data.X[fit])
        self.target_scaler = StandardScaler(with_mean=self.regression, with_std=self.regression)
        self.target_scaler.fit(data.y[fit, None])
        self.estimator = (SGDRegressor if self.regression else SGDClassifier)(
            loss=LOSSES[configuration.algorithm],
            learning_rate="constant",
            eta0=configuration.learning_rate,
            alpha=configuration.alpha,
            shuffle=False,
        )

    def train(self, steps: int) -> None:
        """Pass over the fold's rows in a new random order each time, and note the loss of each batch after its step."""
        fit, _ = self.data.split.folds[self.number]
        random, size = np.random.default_rng((self.configuration.seed, self.number)), self.configuration.batch_size
        more = {} if self.regression else {"classes": [0, 1]}
        order: list[int] = []
        for _ in range(steps):
            order = order or random.permutation(fit).tolist()
            rows, order = np.array(order[:size]), order[size:]
            X, y = self.scaler.transform(self.data.X[rows]), self.target(rows)
            self.estimator.partial_fit(X, y, **more)
            self.train_losses.append(self.loss(rows))

    def target(self, rows: Any) -> Any:
        y = self.target_scaler.transform(self.data.y[rows, None])[:, 0]
        return y if self.regression else y.astype(int)

    def loss(self, rows: Any) -> float:
        X, y = self.scaler.transform(self.data.X[rows]), self.target(rows)
        if self.regression:
            return float(mean_squared_error(y, self.estimator.predict(X)))
        if self.configuration.algorithm == "logistic":
            return float(log_loss(y, self.estimator.predict_proba(X), labels=[0, 1]))
        return float(hinge_loss(y, self.estimator.decision_function(X), labels=[0, 1]))

    def score(self, rows: Any) -> float:
        predicted = self.estimator.predict(self.scaler.transform(self.data.X[rows]))
        if not self.regression:
            return float(accuracy_score(self.data.y[rows], predicted))
        in_units = self.target_scaler.inverse_transform(predicted[:, None])[:, 0]
        return float(root_mean_squared_error(self.data.y[rows], in_units))


# --- batches -----------------------------------------------------------------------------------------------


def test_batches_of_an_epoch_are_a_permutation_of_the_rows() -> None:
    """Each row comes once per epoch, and each epoch has an order of its own."""
    rows = np.arange(100, 120)
    endless = batches(rows, 6, (0, 0))
    epochs = [np.concatenate(list(islice(endless, 4))) for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == rows.tolist()
    assert len({tuple(epoch) for epoch in [rows, *epochs]}) == 4


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [
        pytest.param(6, [6, 6, 6, 2] * 3, id="last-is-smaller"),
        pytest.param(5, [5] * 12, id="divides-the-rows"),
        pytest.param(20, [20] * 3, id="all-rows"),
        pytest.param(50, [20] * 3, id="more-than-all-rows"),
    ],
)
def test_batches_have_the_batch_size_and_never_end(batch_size: int, sizes: list[int]) -> None:
    """Only an epoch's last batch may be smaller, and another epoch follows."""
    endless = batches(np.arange(20), batch_size, (0, 0))
    assert [len(batch) for batch in islice(endless, len(sizes))] == sizes


def test_batches_are_fixed_by_the_seed() -> None:
    """The same pair gives the same order; another seed or another fold gives another."""
    orders = {
        name: np.concatenate(list(islice(batches(np.arange(50), 8, seed), 20))).tolist()
        for name, seed in {"first": (1, 2), "again": (1, 2), "seed": (3, 2), "fold": (1, 3)}.items()
    }
    assert orders["first"] == orders["again"]
    assert orders["first"] != orders["seed"]
    assert orders["first"] != orders["fold"]


# --- configuration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("max_steps", "max_epochs", "steps"),
    [
        pytest.param(500, 0, 500, id="steps-only"),
        pytest.param(0, 3, 12, id="epochs-only-count-the-smaller-last-batch"),
        pytest.param(10, 3, 10, id="steps-come-first"),
        pytest.param(500, 3, 12, id="epochs-come-first"),
    ],
)
def test_configuration_steps_follow_the_limit_that_is_reached_first(
    max_steps: int, max_epochs: int, steps: int
) -> None:
    """100 rows in batches of 32 are four steps an epoch."""
    configuration = _configuration("linear", max_steps=max_steps, max_epochs=max_epochs)
    assert configuration.steps(100) == steps


def test_configuration_is_picked_out_of_a_larger_dictionary() -> None:
    """Ray Tune's config holds more than what is trained."""
    configuration = _configuration("linear")
    assert Configuration.from_dict({**vars(configuration), "dataset": "red_wine", "folds": 3}) == configuration


# --- the trial ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "algorithm"), STUDIES)
def test_curves_equal_a_plain_scikit_learn_loop(name: str, algorithm: str) -> None:
    """Every point is the mean over folds; training loss is that of the steps since the last point."""
    data, configuration = _data(name), _configuration(algorithm)
    training = CrossValidation(configuration, data)
    folds = [Plain(data, configuration, number) for number in range(FOLDS)]
    for steps in (20, 1, 39):
        for _ in range(steps):
            training.step()
        for fold in folds:
            # From the beginning each time, so that the loop needs no state.
            fold.__post_init__()
            fold.train(training.step_number)
        validations = [data.split.folds[fold.number][1] for fold in folds]
        report = training.report()
        score = "val_rmse" if name == "red_wine" else "val_accuracy"
        assert {key: report[key] for key in ("train_loss", "val_loss", score)} == pytest.approx(
            {
                "train_loss": np.mean([fold.train_losses[-steps:] for fold in folds]),
                "val_loss": np.mean([fold.loss(rows) for fold, rows in zip(folds, validations, strict=True)]),
                score: np.mean([fold.score(rows) for fold, rows in zip(folds, validations, strict=True)]),
            },
            rel=1e-9,
        )
    assert training.ended


@pytest.mark.parametrize(("name", "algorithm"), STUDIES)
def test_fold_and_final_figures_equal_a_plain_scikit_learn_loop(name: str, algorithm: str) -> None:
    """One row per fold on its own validation rows and on the test part, and the means of the test figures."""
    data, configuration = _data(name), _configuration(algorithm)
    training = _trained(data, configuration)
    score = "rmse" if name == "red_wine" else "accuracy"
    rows = training.fold_figures()
    expected = []
    for number, (_, validation) in enumerate(data.split.folds):
        fold = Plain(data, configuration, number)
        fold.train(configuration.max_steps)
        expected.append(
            {
                "fold": number,
                "val_loss": fold.loss(validation),
                f"val_{score}": fold.score(validation),
                "test_loss": fold.loss(data.split.test),
                f"test_{score}": fold.score(data.split.test),
                "training_time_s": training.folds[number].training_time_s,
            }
        )
    assert len(rows) == FOLDS
    for row, figures in zip(rows, expected, strict=True):
        assert row == pytest.approx(figures, rel=1e-9)
    final = training.final_figures(rows)
    assert final["test_loss"] == pytest.approx(np.mean([row["test_loss"] for row in expected]), rel=1e-9)
    assert final[f"test_{score}"] == pytest.approx(np.mean([row[f"test_{score}"] for row in expected]), rel=1e-9)
    assert set(final) == {"test_loss", f"test_{score}", "inference_latency_ms", "model_size_kb"}


def test_figures_of_a_large_part_equal_a_plain_scikit_learn_loop() -> None:
    """A part of more rows than are scored at once is scored piece by piece, and no row is left out."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(30_000, 2)), columns=["a", "b"])
    frame["y"] = frame["a"] ** 3 - frame["b"]
    table = datasets.Table("large", frame, "y", "regression", "made here", None, "none")
    data = prepared(table, make_split(table.y, stratify=False, folds=2, seed=0))
    configuration = _configuration("linear", max_steps=10)
    row, fold = _trained(data, configuration).fold_figures()[0], Plain(data, configuration, 0)
    fold.train(10)
    for part, rows in (("val", data.split.folds[0][1]), ("test", data.split.test)):
        assert len(rows) > 8192
        assert row[f"{part}_loss"] == pytest.approx(fold.loss(rows), rel=1e-9)
        assert row[f"{part}_rmse"] == pytest.approx(fold.score(rows), rel=1e-9)


class Clock:
    """Seconds that only move when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_training_time_is_the_time_of_the_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum over folds of what their steps took, per fold; computing the losses does not count."""
    clock, durations = Clock(), iter(range(1, 100))
    step, loss = Learner.step, Learner.loss

    def slow_step(self: Learner, *args: Any) -> None:
        clock.now += next(durations)
        step(self, *args)

    def slow_loss(self: Learner, *args: Any) -> float:
        clock.now += 1000.0
        return loss(self, *args)

    monkeypatch.setattr("entrypoints.cross_validation.perf_counter", clock)
    monkeypatch.setattr(Learner, "step", slow_step)
    monkeypatch.setattr(Learner, "loss", slow_loss)
    training = CrossValidation(_configuration("linear"), _data("red_wine"))
    for steps, total in ((1, 1 + 2 + 3), (3, 78)):
        for _ in range(steps):
            training.step()
        report = training.report()
        assert report["training_time_s"] == pytest.approx(total / FOLDS)
        assert report["mean_step_time_ms"] == pytest.approx(total / FOLDS / training.step_number * 1000)
    # Steps go round the folds: the first one had steps 1, 4, 7 and 10.
    assert [row["training_time_s"] for row in training.fold_figures()] == [22.0, 26.0, 30.0]


def test_inference_latency_is_the_median_of_single_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single rows are timed, each by itself, and one slow call does not move the figure."""
    training = _trained(_data("red_wine"), _configuration("linear", max_steps=1))
    fold, clock, sizes = training.folds[0], Clock(), []
    predict = fold.learner.estimator.predict

    def timed(X: Any) -> Any:
        clock.now += 60.0 if not sizes else 0.002
        sizes.append(X.shape)
        return predict(X)

    monkeypatch.setattr("entrypoints.cross_validation.perf_counter", clock)
    monkeypatch.setattr(fold.learner.estimator, "predict", timed)
    assert fold.inference_latency_ms() == pytest.approx(2.0)
    assert len(sizes) > 10
    assert set(sizes) == {(1, 11)}


@pytest.mark.parametrize(("name", "algorithm"), STUDIES)
def test_model_size_is_that_of_the_pickled_estimator(name: str, algorithm: str) -> None:
    """In units of 1000 bytes, mean over folds."""
    training = _trained(_data(name), _configuration(algorithm, max_steps=2))
    sizes = [len(pickle.dumps(fold.learner.estimator)) / 1000 for fold in training.folds]
    assert training.final_figures(training.fold_figures())["model_size_kb"] == pytest.approx(np.mean(sizes))


# --- divergence --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("learning_rate", "diverged"),
    [pytest.param(0.01, False, id="converges"), pytest.param(50.0, True, id="explodes")],
)
def test_trial_is_diverged_by_its_validation_loss(learning_rate: float, diverged: bool) -> None:
    """A loss far above the untrained model's marks the trial; a usual one does not."""
    training = _trained(_data("red_wine"), _configuration("linear", learning_rate=learning_rate))
    report = training.report()
    assert training.diverged is diverged
    assert np.isfinite(report["val_loss"])
    assert (report["val_loss"] > 100) is diverged


def test_trial_that_recovers_is_not_diverged() -> None:
    """Each report decides anew, so only the state at the end counts."""
    training = _trained(_data("red_wine"), _configuration("linear", max_steps=20))
    good = [fold.learner.estimator.coef_.copy() for fold in training.folds]
    for fold in training.folds:
        fold.learner.estimator.coef_[:] = 1e6
    training.report()
    assert training.diverged
    training.step()
    for fold, weights in zip(training.folds, good, strict=True):
        fold.learner.estimator.coef_[:] = weights
        fold.learner.estimator.intercept_[:] = 0.0
    training.report()
    assert not training.diverged


@pytest.mark.filterwarnings("error")
def test_overflow_ends_the_trial_as_diverged() -> None:
    """Weights that are not finite cannot be trained on: what is left to report are the times. No warning is shown."""
    training = CrossValidation(_configuration("linear", learning_rate=1e300), _data("red_wine"))
    while not training.ended:
        training.step()
    assert training.step_number < training.steps
    report = training.report()
    assert training.diverged
    assert set(report) == {"mean_step_time_ms", "training_time_s"}
    assert all(np.isfinite(value) for value in report.values())


@pytest.mark.filterwarnings("error")
def test_step_of_a_diverging_model_shows_no_warning() -> None:
    """Its losses overflow before its weights do, and a warning per step would bury what matters."""
    training = CrossValidation(_configuration("linear", learning_rate=1e160), _data("red_wine"))
    training.step()
    assert not training.ended
    assert training.folds[0].train_losses == [np.inf]


def test_trial_ends_after_its_steps() -> None:
    """Not before the last step, and by epochs of the largest training part where there is no limit of steps."""
    data = _data("red_wine")
    training = _trained(data, _configuration("linear", max_steps=0, max_epochs=2, batch_size=100))
    rows = max(len(fit) for fit, _ in data.split.folds)
    assert rows == 746
    assert training.step_number == 16


# --- what training sees ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "algorithm"), STUDIES)
def test_training_never_reads_rows_that_are_held_out(name: str, algorithm: str) -> None:
    """With other values in a fold's validation rows and in the test part, its weights are the same in every bit."""
    table, data = datasets.load(name), _data(name)
    frame = table.frame.copy()
    held_out = np.concatenate([data.split.folds[0][1], data.split.test])
    frame.iloc[held_out, :-1] = frame.iloc[held_out, :-1] * -1e6 + 12345.0
    labels = frame[table.target].to_numpy().copy()
    labels[held_out] = 1e9 if name == "red_wine" else "tested_positive"
    frame[table.target] = labels
    changed = prepared(replace(table, frame=frame), data.split)
    before, after = (_trained(each, _configuration(algorithm)).folds[0] for each in (data, changed))
    np.testing.assert_array_equal(before.learner.estimator.coef_, after.learner.estimator.coef_)
    np.testing.assert_array_equal(before.learner.estimator.intercept_, after.learner.estimator.intercept_)
    assert before.validate() != after.validate()
    assert before.test() != after.test()


def test_trials_of_one_seed_train_on_the_same_batches() -> None:
    """Configurations are compared on equal terms, and a trial can be repeated."""
    data = _data("red_wine")
    first, again, other = (
        _trained(data, _configuration("linear", seed=seed)).folds[0].learner.estimator.coef_ for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
