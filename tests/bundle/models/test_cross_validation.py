"""One configuration on all folds, held against a plain scikit-learn loop that shares nothing with it but the rows."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cases import cases
from machines import Clock
from reference import (
    FOLDS,
    MLP_CLASSIFIER,
    MLP_REGRESSOR,
    SVR,
    Plain,
    bundled,
    configured,
    configured_whole,
    split_up,
    table_of,
)
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import get_scorer
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from entrypoints.datasets.splits import make_split
from entrypoints.datasets.tables import Table
from entrypoints.errors import UserError
from entrypoints.models import scores, trained
from entrypoints.models.cross_validation import training_of
from entrypoints.models.trained import Shown


def _trained(data, configuration):
    training = training_of(configuration, data)
    while not training.ended:
        training.advance()
    return training


BATCHES = [
    ("red_wine", "linear"),
    ("diabetes", "logistic"),
    ("diabetes", "svm"),
    ("red_wine", MLP_REGRESSOR),
    ("diabetes", MLP_CLASSIFIER),
]
WHOLE = [("diabetes", "forest"), ("red_wine", "boosting"), ("red_wine", SVR)]


@pytest.mark.parametrize(
    ("name", "configuration", "reports"),
    [
        *((name, configured(algorithm, batch_size=64, steps=12), (6, 1, 5)) for name, algorithm in BATCHES),
        *((name, configured_whole(algorithm, 12), (1, 1, 1)) for name, algorithm in WHOLE),
    ],
    ids=str,
)
def test_curves_and_figures_equal_a_plain_scikit_learn_loop(name, configuration, reports, monkeypatch):
    """Every point is the mean over folds; training loss is that of the steps since the last point.

    So nothing is learned from rows that are held out, and a trial can be repeated. Without batches a step is a fold,
    fitted to its end as scikit-learn alone does, and a point the mean of those so far; no model is kept.

    At the end: one row per fold on its own validation rows and on the test part, the means of the test figures, and
    the mean size of the pickled estimators, in units of 1000 bytes.
    """
    monkeypatch.setattr("entrypoints.models.trained._CHUNK_ROWS", 100)  # parts are scored piece by piece
    data, is_whole = bundled(name), configuration.batch_size is None
    training = training_of(configuration, data)
    score = "rmse" if name == "red_wine" else "accuracy"
    for steps in reports:  # on batches an epoch is 12 or 6
        for _ in range(steps):
            training.advance()
        # From the beginning each time, so that the loop needs no state.
        numbers = range(training.step_number if is_whole else FOLDS)
        folds = [Plain.of_fold(data, configuration, number).train(training.step_number) for number in numbers]
        report = training.report()
        expected = _expected(folds, data, score)
        assert {key: report[key] for key in expected} == pytest.approx(expected, rel=1e-9)
        losses = [fold.train_losses[-steps:] for fold in folds]
        assert report["train_loss"] == pytest.approx(np.mean(losses), rel=0.15 if is_whole else 1e-9)
        assert report.keys() == {*expected, "train_loss", "training_time_s", "step_time_ms"}
    assert training.ended
    assert any(hasattr(fold, "model") for fold in training.folds) is not is_whole
    _assert_figures_are_those_of(folds, training, data, score)


def _of_part(part, models, rows, score):
    """The losses and scores of models on their rows of a part, a row each."""
    rows_of = list(zip(models, rows, strict=True))
    losses = [model.loss(own) for model, own in rows_of]
    return pd.DataFrame({f"{part}_loss": losses, f"{part}_{score}": [model.score(own) for model, own in rows_of]})


def _validated(models, data, score):
    return _of_part("val", models, [data.split.folds[model.number][1] for model in models], score)


def _expected(models, data, score):
    """A report of these models; one has no deviation."""
    of_models = _validated(models, data, score)
    return dict(of_models.mean()) | dict(of_models.std().add_suffix("_sd").dropna())


def _assert_figures_are_those_of(models, training, data, score):
    """At the end, of each fold and of all."""
    of_test = _of_part("test", models, [data.split.test] * len(models), score)
    expected = _validated(models, data, score).join(of_test)
    expected["training_time_s"] = [fold.training_time_s for fold in training.folds]
    found = pd.DataFrame(training.fold_figures()).set_index("fold")
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9, check_like=True, check_names=False)
    final, means = training.final_figures(), dict(of_test.mean())
    assert {name: final[name] for name in means} == pytest.approx(means, rel=1e-9)
    sizes = [len(pickle.dumps(model.estimator, protocol=5)) / 1000 for model in models]
    assert final["model_size_kb"] == pytest.approx(np.mean(sizes), rel=0.01, abs=0.1)


@cases(
    "name, algorithm, metric, logged",
    [
        ("red_wine", "linear", "neg_mean_absolute_error", "mean_absolute_error"),
        ("diabetes", "logistic", "neg_log_loss", "log_loss"),
        ("diabetes", "svm", "roc_auc", "roc_auc"),
        ("three", "logistic", "roc_auc_ovr", "roc_auc_ovr"),
        ("three", "svm", "f1_macro", "f1_macro"),
    ],
)
def test_score_is_what_scikit_learns_scorer_says_of_the_estimators(name, algorithm, metric, logged):
    """In the target's own units; one whose lower values are better is logged without ``neg_`` and its sign."""
    data = _of_three_classes() if name == "three" else bundled(name)
    training = _trained(data, replace(configured(algorithm, steps=20), metric=metric))
    expected = []
    for fold, (_, rows) in zip(training.folds, data.split.folds, strict=True):
        X, estimator = fold.model.features(rows), fold.model.learner.estimator
        score = abs(get_scorer(metric)(estimator, X, fold.model.target(rows) if name == "red_wine" else data.y[rows]))
        if name == "red_wine":
            score *= fold.model.preprocessing.scaling.y_scale
        expected.append(score)
    report = training.report()
    assert report[f"val_{logged}"] == pytest.approx(np.mean(expected))
    assert report[f"val_{logged}_sd"] == pytest.approx(np.std(expected, ddof=1))
    assert f"test_{logged}" in training.final_figures()


@cases("shape", ["ovr", "ovo"])
def test_accuracy_is_that_of_what_the_models_predict(shape):
    """Of these the class with the most votes, which is not always that of the highest output."""
    data, expected = _of_three_classes(), []
    for (fit, held_out), preprocessing in zip(data.split.folds, data.preprocessings, strict=True):
        X, model = preprocessing.transform(data.X), SVC(C=100, decision_function_shape=shape)
        expected.append(model.fit(X[fit], data.y[fit]).score(X[held_out], data.y[held_out]))
    training = training_of(configured_whole("sklearn.svm.SVC", C=100, decision_function_shape=shape), data)
    while not training.ended:
        training.advance()
        report = training.report()
    assert report["val_accuracy"] == pytest.approx(np.mean(expected))
    if shape == "ovo":  # the outputs are those of pairs of classes
        assert report["val_loss"] == pytest.approx(1 - np.mean(expected))


@cases("rows", {"fold": slice(35, 42), "test part": slice(42, 60)})
def test_score_of_two_classes_is_refused_where_a_part_has_one(rows):
    """Before any trial begins."""
    labels = np.array([*"ab"] * 30)
    labels[rows] = "a"
    frame = pd.DataFrame({"x": np.arange(60.0), "t": labels})
    table = Table("two", frame, "t", "classification", None, times=np.arange(60.0))
    with pytest.raises(UserError, match="metric=roc_auc: it is not defined on each fold and the test part, such as"):
        scores.find("roc_auc", table.task).baseline(table, make_split(table, folds=3, seed=0))


@cases(
    "dataset, metric, model",
    [
        ("red_wine", "neg_root_mean_squared_error", DummyRegressor()),
        ("diabetes", "roc_auc", DummyClassifier(strategy="prior")),
    ],
)
def test_baseline_is_the_score_of_each_fold(dataset, metric, model):
    """Of a model that ignores all features, as scikit-learn has it; the test part is not among them."""
    table, split = table_of(dataset), bundled(dataset).split
    y = np.searchsorted(table.classes, table.y) if table.classes else table.y
    expected = cross_val_score(model, np.zeros((len(y), 1)), y, cv=split.folds, scoring=metric)
    score = scores.find(metric if table.classes else None, table.task)
    assert score.baseline(table, split) == pytest.approx(abs(expected))


@cases(
    "task, metrics",
    [
        ("regression", ["rmse", "r2", "neg_mean_absolute_error", "neg_mean_gamma_deviance"]),
        ("classification", ["accuracy", "f1", "f1_macro", "roc_auc", "roc_auc_ovr", "neg_log_loss", "top_k_accuracy"]),
        (None, [None, "adjusted_rand_score", "no such score"]),
    ],
)
def test_task_of_a_score_is_what_it_can_score(task, metrics):
    """One of clusterings compares any labels."""
    assert [scores.task_of(metric) for metric in metrics] == [task] * len(metrics)


def _of_three_classes():
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 4))
    labels = np.array(["a", "b", "c"])[np.digitize(X[:, 0] + random.normal(0, 0.5, 300), [-0.5, 0.5])]
    frame = pd.DataFrame(X, columns=[*"wxyz"]).assign(t=labels)
    return split_up(Table("three", frame, "t", "classification", None))


def test_balanced_classes_weigh_the_same_in_training():
    """Each by the share of the rows that its model trains on, as scikit-learn has it for a whole fit."""
    data, configuration = bundled("diabetes"), configured("logistic", steps=20)
    weighted = _trained(data, configured("logistic", steps=20, class_weight="balanced"))
    for number, fold in enumerate(weighted.folds):
        plain, rows = Plain.of_fold(data, configuration, number), data.split.folds[number][0]
        counts = np.bincount(data.y[rows])
        plain.estimator.set_params(class_weight={each: len(rows) / (2 * counts[each]) for each in (0, 1)})
        plain.train(20)
        assert fold.model.learner.estimator.coef_ == pytest.approx(plain.estimator.coef_, rel=1e-9)


def test_turns_of_several_steps_change_no_point(monkeypatch):
    """A fold that is a few steps ahead of the next one is not at a report, nor at the end of an epoch."""
    data, configuration = bundled("red_wine"), configured("linear", batch_size=64, steps=140, tol=0.01)
    curves = []
    for turn_s in (0.0, 1000.0):
        monkeypatch.setattr("entrypoints.models.cross_validation.TURN_S", turn_s)
        training, points = training_of(configuration, data), []
        while not training.ended:
            training.advance()
            if training.report_due:
                points.append(training.report() | {"step": training.step_number})
        curves.append([{name: value for name, value in point.items() if "time" not in name} for point in points])
    assert curves[0] == curves[1]
    assert [point["step"] for point in curves[0][:2]] == [7, 14]
    assert curves[0][-1]["step"] < 140  # converged


def test_mean_time_of_a_step_is_right_where_a_trial_ends_within_a_turn(monkeypatch):
    """Of three folds two have taken their turn of five steps when a limit ends the trial."""
    monkeypatch.setattr("entrypoints.models.cross_validation.TURN_S", 1000.0)  # however slow the steps are
    training, asked = training_of(configured("linear", steps=200), bundled("red_wine")), []
    training.advance()
    training.advance()

    def stop():
        asked.append(1)
        return len(asked) > 2

    assert not training.advance(stop)
    steps = [fold.steps for fold in training.folds]
    assert (training.step_number, steps) == (2, [7, 7, 2])
    total_s = sum(fold.training_time_s for fold in training.folds)
    assert training.times()["mean_step_time_ms"] == pytest.approx(total_s / sum(steps) * 1e3)


def test_inference_figures_are_of_the_models_of_all_folds():
    """Median and 99th percentile of single rows, of which one in 25 is slow; the median speed, the mean size."""
    folds = [Shown({}, {}, [3.0] * 24 + [61.0], speed, speed) for speed in (1.0, 2.0, 9.0)]
    latency = {"inference_latency_ms": 3.0, "inference_p99_ms": 61.0}
    assert trained.inference(folds) == pytest.approx(latency | {"rows_per_s": 2.0, "model_size_kb": 4.0})


def test_row_is_normalised_within_its_latency(monkeypatch):
    """Each alone, and those of a batch."""
    (fold, *_), clock = training_of(configured(), bundled("red_wine")).folds, Clock()
    monkeypatch.setattr(trained, "perf_counter", clock)
    fold.step()

    def normalised(X):
        clock.now += 0.001 * len(X)
        return X

    model = fold.model._replace(preprocessing=SimpleNamespace(transform=normalised))
    assert trained.latencies_ms(model, 7) == pytest.approx([1.0] * 7)
    assert trained.rows_per_s(model) == pytest.approx(1000)


def test_training_time_is_the_time_of_the_steps_alone(monkeypatch):
    """The sum over folds of what their steps took, per fold; computing the losses does not count."""
    clock, durations = Clock(), iter(range(1, 100))
    monkeypatch.setattr("entrypoints.models.fold.CoreWait", lambda: lambda: 0.0)
    monkeypatch.setattr("entrypoints.models.fold.perf_counter", clock)
    training = training_of(configured("linear", steps=20), bundled("red_wine"))

    def step(X, y):
        clock.now += next(durations)

    def outputs(X):
        clock.now += 1000.0
        return np.zeros(len(X))

    for fold in training.folds:
        fold.model.learner.step, fold.model.learner.outputs = step, outputs
    training.advance()
    assert training.report()["step_time_ms"] == pytest.approx(6 / FOLDS * 1000)
    for _ in range(3):
        training.advance()
    report, times = training.report(), training.times()
    assert report["training_time_s"] == times["training_time_s"] == pytest.approx(78 / FOLDS)
    assert report["step_time_ms"] == pytest.approx(72 / FOLDS / 3 * 1000)  # since the last report
    assert times["mean_step_time_ms"] == pytest.approx(78 / FOLDS / 4 * 1000)
    # Steps go round the folds: the first one had steps 1, 4, 7 and 10.
    assert [fold.training_time_s for fold in training.folds] == [22.0, 26.0, 30.0]


def test_memory_of_one_model_does_not_depend_on_the_folds():
    """It is what weights, gradients and both moments take, and the updates and new moments of a step: 8 x 8.5 MB."""
    large = configured(MLP_REGRESSOR, hidden_layer_sizes=[1024, 1024], batch_size=64)  # 1.06 million weights
    for folds in (2, 4):
        training = training_of(large, bundled("red_wine", folds))
        training.advance()
        training.advance()
        training.folds[0].memory_mb += 100.0  # as where its first step loads a library
        assert training.model_memory()["model_memory_mb"] == pytest.approx(8 * 8.5, rel=0.15)


def _set_weights(training, weights):
    """Of a linear model, on each fold."""
    for fold, of_fold in zip(training.folds, weights, strict=True):
        fold.model.learner.estimator.coef_[:] = of_fold
        fold.model.learner.estimator.intercept_[:] = 0.0


def test_trial_that_recovers_is_not_diverged():
    """Once it is better than an untrained model: a loss that jumps about may become smaller by chance."""
    training = _trained(bundled("red_wine"), configured("linear", steps=30))
    good = [fold.model.learner.estimator.coef_.copy() for fold in training.folds]
    for weight in (3.0, 2.0):  # with losses of 129 and 58
        _set_weights(training, [weight] * FOLDS)
        loss = training.report()["val_loss"]
        assert training.diverged
        training.advance()
    assert training.untrained_loss < loss < training.hopeless_loss
    _set_weights(training, good)
    training.report()
    assert not training.diverged


def test_trial_whose_last_models_have_no_score_has_not_diverged():
    """As where one predicts a negative number, which has no logarithm: an earlier score is not that of the trial."""
    data, score = bundled("red_wine"), "root_mean_squared_log_error"
    training = _trained(data, replace(configured("linear", steps=30), metric=f"neg_{score}"))
    scored = training.report()
    training.advance()
    training.folds[1].model.learner.estimator.intercept_[:] = -9.0  # standard deviations from the mean, which is 6
    report = training.report()
    assert not training.diverged
    assert set(scored) - set(report) == {f"val_{score}", f"val_{score}_sd"}


@pytest.mark.filterwarnings("error")
def test_overflow_ends_the_trial_as_diverged():
    """Weights that are not finite cannot be trained on: what is left to report are the times. No warning is shown."""
    training = training_of(configured("linear", learning_rate=1e300), bundled("red_wine"))
    while not training.ended:
        training.advance()
    assert training.step_number < training.steps
    report = training.report()
    assert training.diverged
    assert set(report) == {"step_time_ms", "training_time_s"}
    assert all(np.isfinite(value) for value in report.values())


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_loss_that_is_not_finite_is_that_of_a_diverged_trial():
    """A network whose weights have exploded, of which scikit-learn says nothing, predicts what is not a number."""
    exploding = {"hidden_layer_sizes": [8, 8], "solver": "sgd", "learning_rate_init": 3.0}
    network = configured(MLP_REGRESSOR, **exploding, batch_size=16, steps=120)
    training = _trained(bundled("red_wine"), network)
    report = training.report()
    assert training.diverged
    assert all(np.isfinite(value) for value in report.values())


@cases(
    "metric, task, bounded",
    {
        "rmse": (None, "regression", [0.0, 1.2]),
        "roc_auc": ("roc_auc", "classification", [0.0, 1.0]),
        "r2": ("r2", "regression", [-0.1, 1.0]),
    },
)
def test_score_that_is_bounded_has_no_value_beyond(metric, task, bounded):
    """The ends of an interval may lie there."""
    assert [scores.find(metric, task).bounded(value) for value in (-0.1, 1.2)] == bounded
