"""One configuration on all folds, held against a plain scikit-learn loop that shares nothing with it but the rows."""

import math
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cases import cases, tables
from machines import Clock
from reference import (
    FOLDS,
    MLP_REGRESSOR,
    Plain,
    bundled,
    configured,
    configured_whole,
    split_up,
    table_of,
    table_of_frame,
    trained_on,
)
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import get_scorer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from entrypoints.datasets.splits import make_split
from entrypoints.errors import UserError
from entrypoints.models import scores, trained
from entrypoints.models.cross_validation import training_of
from entrypoints.models.trained import Shown

CASES = tables(__file__, "cases.yaml")


@cases("name, algorithm, is_whole", CASES["loops"])
def test_curves_and_figures_equal_a_plain_scikit_learn_loop(name, algorithm, is_whole, monkeypatch):
    """Every point is the mean over folds; training loss is that of the steps since the last point.

    So nothing is learned from rows that are held out, and a trial can be repeated. Without batches a step is a fold,
    fitted to its end as scikit-learn alone does: each says what its own model shows, the last one also the means over
    all; no model is kept.

    At the end: one row per fold on its own validation rows and on the test part, the means of the test figures, and
    the mean size of the pickled estimators, in units of 1000 bytes.
    """
    monkeypatch.setattr("entrypoints.models.trained._CHUNK_ROWS", 100)  # parts are scored piece by piece
    data = bundled(name)
    configuration = configured_whole(algorithm, 12) if is_whole else configured(algorithm, batch_size=64, steps=12)
    training = training_of(configuration, data)
    for steps in [1] * FOLDS if is_whole else [6, 1, 5]:  # on batches an epoch is 12 or 6
        for _ in range(steps):
            training.advance()
        # From the beginning each time, so that the loop needs no state.
        models = [Plain(data, configuration, number).train(training.step_number) for number in range(FOLDS)]
        figures = _figures(models, data, training.score.name)
        validated = figures.filter(like="val_")
        report = training.report()
        losses = [model.train_losses[-steps:] for model in models]
        if is_whole:
            number = training.step_number - 1
            of_fold = training.last_fold()
            assert of_fold.pop("fold/train_loss") == pytest.approx(np.mean(losses[number]), rel=0.15)
            assert of_fold.pop("fold/training_time_s") == training.folds[number].training_time_s
            assert of_fold == pytest.approx(dict(validated.loc[number].add_prefix("fold/")))
            if not training.ended:
                assert report == {}
                continue
        else:
            assert report.pop("training_time_s") > 0
            assert report.pop("step_time_ms") > 0
        assert report.pop("train_loss") == pytest.approx(np.mean(losses), rel=0.15 if is_whole else 1e-6)
        assert report == pytest.approx(dict(validated.mean()) | dict(validated.std().add_suffix("_sd")))
    assert training.ended
    assert any(hasattr(fold, "model") for fold in training.folds) is not is_whole
    found = pd.DataFrame(training.fold_figures())
    assert found.pop("fold").tolist() == [*range(FOLDS)]
    assert found.pop("training_time_s").tolist() == [fold.training_time_s for fold in training.folds]
    pd.testing.assert_frame_equal(found, figures)
    final = training.final_figures()
    for figure in figures.filter(like="test_"):
        assert final[figure] == pytest.approx(figures[figure].mean())
    sizes = [len(pickle.dumps(model.estimator, protocol=5)) / 1000 for model in models]
    assert final["model_size_kb"] == pytest.approx(np.mean(sizes), rel=0.01, abs=0.1)


def _figures(models, data, score):
    """A row for each model: its loss and score on what its fold validates, and on the test part."""
    rows = []
    for model in models:
        _, held_out = data.split.folds[model.number]
        row = {}
        for part, places in (("val", held_out), ("test", data.split.test)):
            row[f"{part}_loss"] = model.loss(places)
            row[f"{part}_{score}"] = model.score(places)
        rows.append(row)
    return pd.DataFrame(rows)


@cases("name, algorithm, metric", CASES["scores of models"])
def test_score_is_what_scikit_learns_scorer_says_of_the_estimators(name, algorithm, metric):
    """In the target's own units; one whose lower values are better is logged without ``neg_`` and its sign."""
    data = _of_three_classes() if name == "three classes" else bundled(name)
    training, reports = trained_on(data, replace(configured(algorithm, steps=20), metric=metric))
    scorer = get_scorer(metric)
    expected = []
    for fold in training.folds:
        model = fold.model
        score = scorer(model.learner.estimator, model.features(fold.held_out), model.target(fold.held_out))
        expected.append(abs(score) * model.preprocessing.scaling.y_scale)
    report = reports[-1]
    logged = metric.removeprefix("neg_")
    assert report[f"val_{logged}"] == pytest.approx(np.mean(expected))
    assert report[f"val_{logged}_sd"] == pytest.approx(np.std(expected, ddof=1))
    assert f"test_{logged}" in training.final_figures()


@cases("shape", ["ovr", "ovo"])
def test_accuracy_is_that_of_what_the_models_predict(shape):
    """Of these the class with the most votes, which is not always that of the highest output."""
    data = _of_three_classes()
    settings = {"C": 100, "decision_function_shape": shape}
    model = make_pipeline(StandardScaler(), SVC(**settings))
    expected = cross_val_score(model, data.X, data.y, cv=data.split.folds)
    _, reports = trained_on(data, configured_whole("sklearn.svm.SVC", **settings))
    report = reports[-1]
    assert report["val_accuracy"] == pytest.approx(expected.mean())
    if shape == "ovo":  # the outputs are those of pairs of classes
        assert report["val_loss"] == pytest.approx(1 - expected.mean())


@cases("rows", {"fold": slice(35, 42), "test part": slice(42, 60)})
def test_score_of_two_classes_is_refused_where_a_part_has_one(rows):
    """Before any trial begins."""
    labels = np.array([*"ab"] * 30)
    labels[rows] = "a"
    frame = pd.DataFrame({"x": np.arange(60.0), "t": labels})
    table = replace(table_of_frame(frame), times=np.arange(60.0))
    split = make_split(table, folds=3, seed=0)
    score = scores.find("roc_auc", table.task)
    with pytest.raises(UserError, match="metric=roc_auc: it is not defined on each fold and the test part, such as"):
        score.baseline(table, split)


@cases(
    "dataset, metric, model",
    [
        ("red_wine", "neg_root_mean_squared_error", DummyRegressor()),
        ("diabetes", "roc_auc", DummyClassifier(strategy="prior")),
    ],
)
def test_baseline_is_the_score_of_each_fold(dataset, metric, model):
    """Of a model that ignores all features, as scikit-learn has it; the test part is not among them."""
    data = bundled(dataset)
    X = np.zeros((len(data.y), 1))
    expected = cross_val_score(model, X, data.y, cv=data.split.folds, scoring=metric)
    score = scores.find(metric, data.task)
    assert score.baseline(table_of(dataset), data.split) == pytest.approx(abs(expected))


@cases("metric, task", CASES["tasks of scores"])
def test_task_of_a_score_is_what_it_can_score(metric, task):
    """One of clusterings compares any labels."""
    assert scores.task_of(metric) == task


def _of_three_classes():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(300, 4)), columns=[*"wxyz"])
    noisy = frame["w"] + random.normal(0, 0.5, 300)
    frame["t"] = pd.cut(noisy, [-np.inf, -0.5, 0.5, np.inf], labels=[*"abc"]).astype(str)
    return split_up(table_of_frame(frame))


def test_balanced_classes_weigh_the_same_in_training():
    """Each by the share of the rows that its model trains on, as scikit-learn has it for a whole fit."""
    data = bundled("diabetes")
    configuration = configured("logistic", steps=20)
    weighted, _ = trained_on(data, configured("logistic", steps=20, class_weight="balanced"))
    for fold in weighted.folds:
        plain = Plain(data, configuration, fold.number)
        counts = np.bincount(data.y[plain.fit])
        weights = len(plain.fit) / (2 * counts)
        plain.estimator.set_params(class_weight=dict(enumerate(weights)))
        plain.train(20)
        assert fold.model.learner.estimator.coef_ == pytest.approx(plain.estimator.coef_)


def test_turns_of_several_steps_change_no_point(monkeypatch):
    """A fold that is a few steps ahead of the next one is not at a report."""
    curves = []
    for turn_s in (0.0, 1000.0):
        monkeypatch.setattr("entrypoints.models.cross_validation.TURN_S", turn_s)
        training, reports = trained_on(bundled("red_wine"), configured(batch_size=64, steps=140))
        assert len(reports) == math.ceil(training.steps / 7)
        curves.append([(report["train_loss"], report["val_loss"], report["val_rmse"]) for report in reports])
    assert curves[0] == curves[1]


def test_mean_time_of_a_step_is_right_where_a_trial_ends_within_a_turn(monkeypatch):
    """Of three folds two have taken their turn of five steps when a limit ends the trial."""
    monkeypatch.setattr("entrypoints.models.cross_validation.TURN_S", 1000.0)  # however slow the steps are
    training = training_of(configured(steps=200), bundled("red_wine"))
    training.advance()
    training.advance()
    stops = iter([False, False, True])
    assert not training.advance(lambda: next(stops))
    assert training.step_number == 2
    steps = [fold.steps for fold in training.folds]
    assert steps == [7, 7, 2]
    total_s = sum(fold.training_time_s for fold in training.folds)
    assert training.times()["mean_step_time_ms"] == pytest.approx(total_s / sum(steps) * 1e3)


def test_inference_figures_are_of_the_models_of_all_folds():
    """Median and 99th percentile of single rows, of which one in 25 is slow; the median speed, the mean size."""
    folds = [Shown({}, {}, [3.0] * 24 + [61.0], speed, speed) for speed in (1.0, 2.0, 9.0)]
    latency = {"inference_latency_ms": 3.0, "inference_p99_ms": 61.0}
    assert trained.inference(folds) == pytest.approx(latency | {"rows_per_s": 2.0, "model_size_kb": 4.0})


def test_row_is_normalised_within_its_latency(monkeypatch):
    """Each alone, and those of a batch."""
    fold = training_of(configured(), bundled("red_wine")).folds[0]
    clock = Clock()
    monkeypatch.setattr(trained, "perf_counter", clock)
    fold.step()

    def normalised(X):
        clock.now += 0.001 * len(X)
        return X

    model = fold.model._replace(preprocessing=SimpleNamespace(transform=normalised))
    assert trained.latencies_ms(model, 2) == pytest.approx([1.0, 1.0])
    assert trained.rows_per_s(model) == pytest.approx(1000)


def test_training_time_is_the_time_of_the_steps_alone(monkeypatch):
    """The sum over folds of what their steps took, per fold; computing the losses does not count."""
    clock = Clock()
    durations = iter(range(1, 100))
    monkeypatch.setattr("entrypoints.models.fold.CoreWait", lambda: lambda: 0.0)
    monkeypatch.setattr("entrypoints.models.fold.perf_counter", clock)
    training = training_of(configured("linear", steps=20), bundled("red_wine"))

    def step(X, y):
        clock.now += next(durations)

    def outputs(X):
        clock.now += 1000.0
        return np.zeros(len(X))

    for fold in training.folds:
        fold.model.learner.step = step
        fold.model.learner.outputs = outputs
    training.advance()
    assert training.report()["step_time_ms"] == pytest.approx(6 / FOLDS * 1000)
    for _ in range(3):
        training.advance()
    report = training.report()
    times = training.times()
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


def _report_of_weights(training, weights):
    """Of linear models that have these weights after a step more, on each fold."""
    training.advance()
    for fold, of_fold in zip(training.folds, weights, strict=True):
        estimator = fold.model.learner.estimator
        estimator.coef_[:] = of_fold
        estimator.intercept_[:] = 0.0
    return training.report()


def test_trial_that_recovers_is_not_diverged():
    """Once it is better than an untrained model: a loss that jumps about may become smaller by chance."""
    training, _ = trained_on(bundled("red_wine"), configured(steps=30))
    good = [fold.model.learner.estimator.coef_.copy() for fold in training.folds]
    for weight in (3.0, 2.0):  # with losses of 129 and 58
        report = _report_of_weights(training, [weight] * FOLDS)
        assert training.diverged
    assert training.untrained_loss < report["val_loss"] < training.hopeless_loss
    _report_of_weights(training, good)
    assert not training.diverged


def test_trial_whose_last_models_have_no_score_has_not_diverged():
    """As where one predicts a negative number, which has no logarithm: an earlier score is not that of the trial."""
    score = "root_mean_squared_log_error"
    training, reports = trained_on(bundled("red_wine"), replace(configured(steps=30), metric=f"neg_{score}"))
    training.advance()
    training.folds[1].model.learner.estimator.intercept_[:] = -9.0  # standard deviations from the mean, which is 6
    report = training.report()
    assert not training.diverged
    assert reports[-1].keys() - report.keys() == {f"val_{score}", f"val_{score}_sd"}


@pytest.mark.filterwarnings("error")
def test_overflow_ends_the_trial_as_diverged():
    """Weights that are not finite cannot be trained on: what is left to report are the times. No warning is shown."""
    training, reports = trained_on(bundled("red_wine"), configured(learning_rate=1e300))
    assert training.step_number < training.steps
    assert training.diverged
    assert reports[-1].keys() == {"step_time_ms", "training_time_s"}
    assert np.isfinite([*reports[-1].values()]).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_loss_that_is_not_finite_is_that_of_a_diverged_trial():
    """A network whose weights have exploded, of which scikit-learn says nothing, predicts what is not a number."""
    exploding = {"hidden_layer_sizes": [8, 8], "solver": "sgd", "learning_rate_init": 3.0}
    network = configured(MLP_REGRESSOR, **exploding, batch_size=16, steps=120)
    training, reports = trained_on(bundled("red_wine"), network)
    assert training.diverged
    assert np.isfinite([*reports[-1].values()]).all()


@cases("metric, task, lowest, highest", CASES["bounded scores"])
def test_score_that_is_bounded_has_no_value_beyond(metric, task, lowest, highest):
    """The ends of an interval may lie there."""
    score = scores.find(metric, task)
    assert score.bounded(-0.1) == lowest
    assert score.bounded(1.2) == highest
