"""The refitted best model: equal to scikit-learn's own pipeline, and served by MLflow from raw columns."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.models import get_model_info
from sklearn.base import clone
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.metrics import accuracy_score, hinge_loss, log_loss, mean_squared_error, root_mean_squared_error
from sklearn.preprocessing import StandardScaler

from entrypoints import best_model, datasets
from entrypoints.cross_validation import batches
from entrypoints.prepared import Prepared, Request, prepared, split_for
from entrypoints.runs import RecordedRun
from entrypoints.splits import make_split

FOLDS = 3
STEPS = 40
CONFIG = {"batch_size": 32, "learning_rate": 0.01, "alpha": 0.001, "seed": 5, "max_steps": STEPS, "max_epochs": 0}
STUDIES = [
    pytest.param("red_wine", "linear", id="red_wine-linear"),
    pytest.param("diabetes", "logistic", id="diabetes-logistic"),
    pytest.param("diabetes", "svm", id="diabetes-svm"),
]


@cache
def _data(name: str) -> Prepared:
    table = datasets.load(name)
    return prepared(table, make_split(table.y, stratify=table.task == "classification", folds=FOLDS, seed=0))


def _plain(data: Prepared, algorithm: str, steps: int = STEPS) -> tuple[StandardScaler, StandardScaler, Any]:
    """scikit-learn alone, trained on the whole training part: the features' scaler, the target's, the estimator."""
    train, regression = data.split.train, data.task == "regression"
    scaler = StandardScaler().fit(data.X[train])
    target_scaler = StandardScaler().fit(data.y[train, None])
    settings: dict[str, Any] = {"learning_rate": "constant", "eta0": 0.01, "alpha": 0.001, "shuffle": False}
    if regression:
        estimator: Any = SGDRegressor(loss="squared_error", **settings)
    else:
        estimator = SGDClassifier(loss="log_loss" if algorithm == "logistic" else "hinge", **settings)
    more = {} if regression else {"classes": [0, 1]}
    for rows in islice(batches(train, 32, (5, FOLDS)), steps):
        y = target_scaler.transform(data.y[rows, None])[:, 0] if regression else data.y[rows]
        estimator.partial_fit(scaler.transform(data.X[rows]), y, **more)
    return scaler, target_scaler, estimator


@pytest.mark.parametrize(("name", "algorithm"), STUDIES)
def test_refitted_pipeline_predicts_raw_rows_like_plain_scikit_learn(name: str, algorithm: str) -> None:
    """From a frame of raw columns to the target's own units or the original labels, for every row of the table."""
    data = _data(name)
    predicted = best_model.refit({**CONFIG, "algorithm": algorithm}, data).pipeline.predict(
        datasets.load(name).frame.drop(columns=data.target)
    )
    scaler, target_scaler, estimator = _plain(data, algorithm)
    expected = estimator.predict(scaler.transform(data.X))
    if data.task == "regression":
        np.testing.assert_allclose(predicted, target_scaler.inverse_transform(expected[:, None])[:, 0], rtol=1e-9)
        assert 5 < predicted.mean() < 6.5
    else:
        labels = np.array(["tested_negative", "tested_positive"])[expected]
        assert predicted.tolist() == labels.tolist()
        assert set(predicted) == {"tested_negative", "tested_positive"}


@pytest.mark.parametrize(("name", "algorithm"), STUDIES)
def test_refit_figures_are_those_of_its_predictions_on_the_test_part(name: str, algorithm: str) -> None:
    """The score is recomputed from what the pipeline predicts; the loss from plain scikit-learn."""
    data = _data(name)
    best = best_model.refit({**CONFIG, "algorithm": algorithm}, data)
    test, truth = data.split.test, datasets.load(name).y[data.split.test]
    predicted = best.pipeline.predict(data.frame(test))
    scaler, target_scaler, estimator = _plain(data, algorithm)
    X, y = scaler.transform(data.X[test]), data.y[test]
    if data.task == "regression":
        score = {"test_rmse": root_mean_squared_error(truth, predicted)}
        loss = mean_squared_error(target_scaler.transform(y[:, None])[:, 0], estimator.predict(X))
    else:
        score = {"test_accuracy": accuracy_score(truth, predicted)}
        of_algorithm = {"logistic": lambda: log_loss(y, estimator.predict_proba(X))}
        loss = of_algorithm.get(algorithm, lambda: hinge_loss(y, estimator.decision_function(X)))()
    assert best.figures == pytest.approx({**score, "test_loss": loss}, rel=1e-9)


def test_refit_trains_for_as_long_as_a_trial() -> None:
    """An epoch here is one of the whole training part: 1119 rows in batches of 32 are 35 steps."""
    data = _data("red_wine")
    config = {**CONFIG, "algorithm": "linear", "max_steps": 0, "max_epochs": 1}
    predicted = best_model.refit(config, data).pipeline.predict(data.frame(data.split.test))
    scaler, target_scaler, estimator = _plain(data, "linear", steps=35)
    expected = estimator.predict(scaler.transform(data.X[data.split.test]))
    np.testing.assert_allclose(predicted, target_scaler.inverse_transform(expected[:, None])[:, 0], rtol=1e-9)


def test_refitted_pipeline_refuses_columns_that_it_was_not_trained_on() -> None:
    """It knows its columns by name, as any pipeline of scikit-learn that was fitted on a frame."""
    data = _data("red_wine")
    pipeline = best_model.refit({**CONFIG, "algorithm": "linear"}, data).pipeline
    frame = data.frame(data.split.test)
    assert list(pipeline.feature_names_in_) == list(data.feature_names)
    with pytest.raises(ValueError, match="feature names"):
        pipeline.predict(frame.rename(columns={"alcohol": "proof"}))


def test_refitted_pipeline_can_be_cloned() -> None:
    """It is made of scikit-learn's own parts, so tools that clone or inspect it work."""
    data = _data("red_wine")
    pipeline = best_model.refit({**CONFIG, "algorithm": "linear"}, data).pipeline
    assert clone(pipeline).get_params()["sgdregressor__eta0"] == 0.01


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A store of this module's own: its address and an experiment there."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(uri)
    return uri, client.create_experiment("best model", artifact_location=(folder / "artifacts").as_uri())


@pytest.fixture
def run(store: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedRun]:
    """An open run in that store, which is the one in use."""
    uri, experiment_id = store
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run(experiment_id=experiment_id) as active:
            yield RecordedRun.of(MlflowClient(), active)
    finally:
        mlflow.set_tracking_uri(before)


@pytest.mark.parametrize(("name", "algorithm"), STUDIES[:2])
def test_logged_model_is_served_by_mlflow_from_raw_columns(run: RecordedRun, name: str, algorithm: str) -> None:
    """Loaded by the run's id it predicts what the pipeline does, and it carries signature and input example."""
    data = _data(name)
    best = best_model.refit({**CONFIG, "algorithm": algorithm}, data)
    best_model.log(run, best, data)
    uri = f"runs:/{run.run_id}/{best_model.MODEL_NAME}"
    model = mlflow.pyfunc.load_model(uri)
    frame = data.frame(data.split.test)
    assert np.array_equal(model.predict(frame), best.pipeline.predict(frame))
    signature = model.metadata.signature
    assert signature.inputs.input_names() == list(data.feature_names)
    assert [np.dtype(output.type).kind for output in signature.outputs] == ["f" if name == "red_wine" else "U"]
    example = model.metadata.load_input_example(get_model_info(uri).artifact_path)
    assert example[list(data.feature_names)].to_numpy() == pytest.approx(data.X[data.split.train[:5]])
    with pytest.raises(mlflow.exceptions.MlflowException, match="schema"):
        model.predict(frame.drop(columns=data.feature_names[0]))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A file of the user's own: numbers and a category, both with holes, and text labels."""
    random = np.random.default_rng(0)
    rows = 300
    size, colour = random.normal(size=rows), random.choice(["red", "green", "blue"], rows)
    frame = pd.DataFrame({"size": size, "colour": colour, "weight": random.normal(100, 10, rows)})
    frame["label"] = np.where(size + 2 * (colour == "red") > 1, "yes", "no")
    frame.loc[::17, "size"] = np.nan
    frame.loc[::7, "colour"] = None
    path = tmp_path_factory.mktemp("mixed") / "mixed.csv"
    frame.to_csv(path, index=False)
    table = datasets.load(str(path), target="label")
    return prepared(table, split_for(table, Request("mixed", 3, 0)))


def test_model_of_a_mixed_table_predicts_from_raw_columns(mixed: Prepared) -> None:
    """It imputes and encodes by itself, agrees with the score that the study states, and takes a new value."""
    config = {"algorithm": "logistic", "batch_size": 16, "learning_rate": 0.05, "alpha": 1e-4, "seed": 0}
    best = best_model.refit(config | {"max_steps": 300, "max_epochs": 0}, mixed)
    test = mixed.split.test
    raw, truth = mixed.frame(test), np.array(mixed.classes)[mixed.y[test]]
    assert raw.isna().any()[["size", "colour"]].all()
    assert np.mean(best.pipeline.predict(raw) == truth) == best.figures["test_accuracy"] > 0.85
    unseen = raw.head(1).assign(colour="ultraviolet", size=np.nan)
    assert best.pipeline.predict(unseen)[0] in {"yes", "no"}


def test_model_of_a_mixed_table_is_served_by_mlflow(
    mixed: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is loaded through pyfunc predicts as the pipeline does."""
    config = {"algorithm": "svm", "batch_size": 16, "learning_rate": 0.01, "alpha": 1e-4, "seed": 0}
    best = best_model.refit(config | {"max_steps": 50, "max_epochs": 0}, mixed)
    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        with mlflow.start_run() as active:
            best_model.log(RecordedRun.of(MlflowClient(), active), best, mixed)
        served = mlflow.pyfunc.load_model(f"runs:/{active.info.run_id}/model")
        raw = mixed.frame(mixed.split.test)
        assert served.predict(raw).tolist() == best.pipeline.predict(raw).tolist()
    finally:
        mlflow.set_tracking_uri(before)
