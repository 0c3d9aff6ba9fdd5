"""The refitted best model: equal to scikit-learn's own pipeline, and served by MLflow from raw columns."""

from __future__ import annotations

import importlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path
from statistics import median
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from commands import Command, clean_environment, store_uri, wait_until
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info
from mlflow.pyfunc import scoring_server
from reference import MLP_CLASSIFIER, MLP_REGRESSOR, STUDIES, Plain, bundled, configured

from entrypoints import own_modules
from entrypoints.datasets import known
from entrypoints.datasets.prepared import Prepared, prepared
from entrypoints.datasets.splits import make_split
from entrypoints.errors import UserError
from entrypoints.models import best_model
from entrypoints.runs import RecordedRun

LABELS = np.array(["tested_negative", "tested_positive"])

# An estimator of the user's own. {keeps} is what it keeps of its training.
OWN = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class Memory:
    def __init__(self):
        self.seen = {keeps}


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
# Loads 40 MB and 0.2 s of CPU late, once in a process; then it takes 20 MB, and lets them go at its last steps.
COSTLY = """
import time
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

late = []

def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

class Costly(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        if not late:
            late.append(np.ones(40 * 125_000))
            spin(0.2)
        self.steps_ = getattr(self, "steps_", 0) + 1
        self.held_ = np.ones(20 * 125_000) if self.steps_ == 1 else self.held_ if self.steps_ < 8 else None
        spin(0.01)
        return self

    def predict(self, X):
        return np.zeros(len(X))
"""
# A classifier that takes whole numbers alone, and a regressor that clips what it predicts of a standardised target.
PARTICULAR = """
import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor

class WholeNumbers(SGDClassifier):
    def partial_fit(self, X, y, classes=None):
        np.bincount(y)
        return super().partial_fit(X, y, classes)

class Clipped(SGDRegressor):
    def predict(self, X):
        return np.clip(super().predict(X), -1.0, 1.0)
"""
SERVE = """
import json, sys
import mlflow, pandas as pd
rows, *models = sys.argv[1:]
for model in models:
    print(json.dumps(mlflow.pyfunc.load_model(model).predict(pd.read_json(rows, dtype=False)).tolist()))
"""


@pytest.mark.parametrize(("name", "algorithm"), STUDIES)
def test_refitted_pipeline_and_its_figures_are_those_of_plain_scikit_learn(name: str, algorithm: str) -> None:
    """From a frame of raw columns to the target's own units or the places of the labels, for every row of the table.

    Score and loss are those on the test part; what the training took is beside them.
    """
    data, configuration = bundled(name), configured(algorithm, max_steps=40)
    best, plain = best_model.refit(configuration, data), Plain.of_whole(data, configuration).train(40)
    predicted = best.pipeline.predict(known.load(name).frame.drop(columns=data.target))
    expected = plain.predict(np.arange(len(data.X)))
    if data.task == "regression":
        np.testing.assert_allclose(predicted, expected, rtol=1e-9)
        assert 5 < predicted.mean() < 6.5
    else:
        assert predicted.tolist() == expected.tolist()
        model = best_model.raw_rows_model(best, data)
        assert model.predict(data.frame(np.arange(len(data.X)))).tolist() == LABELS[expected].tolist()
        assert list(model.classes_) == LABELS.tolist()
    score = "test_rmse" if name == "red_wine" else "test_accuracy"
    figures = {score: plain.score(data.split.test), "test_loss": plain.loss(data.split.test)}
    costs = {name: value for name, value in best.figures.items() if name not in figures}
    assert {name: best.figures[name] for name in figures} == pytest.approx(figures, rel=1e-9)
    assert costs.keys() >= {"refit_training_time_s", "refit_cpu_seconds"}
    assert all(value > 0 for name, value in costs.items() if name != "refit_memory_growth_mb")


@pytest.mark.parametrize(("name", "made"), [("diabetes", "WholeNumbers"), ("red_wine", "Clipped")])
def test_users_own_estimator_gets_and_gives_in_the_logged_model_what_it_does_in_a_trial(
    name: str, made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classes by number, and standardised values of the target; from the whole model come the user's own."""
    (tmp_path / "particular.py").write_text(PARTICULAR)
    monkeypatch.syspath_prepend(tmp_path)
    data = bundled(name)
    best = best_model.refit(configured(f"particular.{made}", max_steps=40), data)
    test = data.split.test
    predicted = best_model.raw_rows_model(best, data).predict(data.frame(test))
    if name == "diabetes":
        assert np.mean(predicted == LABELS[data.y[test]]) == best.figures["test_accuracy"] > 0.6
    else:
        assert np.sqrt(np.mean((predicted - data.y[test]) ** 2)) == pytest.approx(best.figures["test_rmse"])


@pytest.mark.skipif(sys.platform != "linux", reason="its high-water mark is the kernel's")
def test_refit_costs_what_the_model_takes_and_nothing_that_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 MB, freed at the end, and 10 ms of CPU a step: not what its module loads late, nor memory freed before."""
    (tmp_path / "costly_model.py").write_text(COSTLY)
    monkeypatch.syspath_prepend(tmp_path)
    np.ones(50 * 125_000)
    costs = best_model.refit(configured("costly_model.Costly", max_steps=12), bundled("red_wine")).figures
    assert costs["refit_memory_growth_mb"] == pytest.approx(20, abs=1)
    assert costs["refit_cpu_seconds"] == pytest.approx(12 * 0.01, rel=0.25)
    assert costs["refit_training_time_s"] >= 12 * 0.01


def test_refit_that_diverges_names_what_was_chosen() -> None:
    """A model can overflow on the whole training part though it did on no fold; the user learns which values did."""
    with pytest.raises(UserError, match=r"algorithm=linear, batch_size=32, learning_rate=1e\+300, alpha=0\.001: "):
        best_model.refit(configured(learning_rate=1e300), bundled("red_wine"))


@pytest.mark.parametrize("algorithm", ["linear", MLP_REGRESSOR])
def test_refitted_pipeline_takes_the_mean_for_what_is_missing_in_the_rows_to_predict_alone(algorithm: str) -> None:
    """No number is missing in the table that it was trained on."""
    data = bundled("red_wine")
    pipeline = best_model.refit(configured(algorithm), data).pipeline
    frame = data.frame(data.split.test)
    mean = float(data.X[data.split.train, data.feature_names.index("alcohol")].mean())
    predicted = pipeline.predict(frame.assign(alcohol=np.nan))
    np.testing.assert_allclose(predicted, pipeline.predict(frame.assign(alcohol=mean)), rtol=1e-9)


def test_table_of_categories_alone_is_trained_on_and_predicted_from(tmp_path: Path) -> None:
    """It has nothing to scale."""
    frame = pd.DataFrame({"kind": ["x", "y", "z"] * 20, "size": ["s", "l"] * 30, "y": [1.5, 0.5, 2.5] * 20})
    frame.to_csv(tmp_path / "kinds.csv", index=False)
    table = known.load(str(tmp_path / "kinds.csv"), target="y")
    data = prepared(table, make_split(table, folds=3, seed=0))
    model = best_model.raw_rows_model(best_model.refit(configured(max_steps=300), data), data)
    assert model.predict(frame) == pytest.approx(frame["y"].to_numpy(), abs=0.3)


@pytest.mark.parametrize(
    ("row_s", "rows"),
    [
        pytest.param(0.001, 50, id="few columns"),
        pytest.param(0.125, 8, id="many"),
        pytest.param(9.0, 5, id="very many"),
    ],
)
def test_latency_is_measured_within_about_a_second(row_s: float, rows: int) -> None:
    """Of five rows at least, however long they take."""
    now_s, seen = [0.0], []

    class Slow:
        def predict(self, frame: pd.DataFrame) -> None:
            seen.append(len(frame))
            now_s[0] += row_s

    model: Any = Slow()
    assert best_model.latency_ms(model, bundled("red_wine"), lambda: now_s[0]) == pytest.approx(1e3 * row_s)
    assert seen == [1] * rows


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    """What is installed is listed once: it takes half a second, and no test installs anything."""
    found = packages_distributions()
    with pytest.MonkeyPatch.context() as patch:
        for module in (best_model, own_modules):
            patch.setattr(module, "packages_distributions", lambda: found)
        yield


@pytest.fixture(scope="module")
def store(module_store: Path) -> tuple[str, str]:
    """A store of this module's own: its address and an experiment there."""
    uri = store_uri(module_store)
    return uri, MlflowClient(uri).create_experiment("best model", (module_store / "artifacts").as_uri())


@contextmanager
def opened_run(store: tuple[str, str]) -> Iterator[RecordedRun]:
    """An open run in that store, which is the one in use."""
    uri, experiment_id = store
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        try:
            with mlflow.start_run(experiment_id=experiment_id) as active:
                yield RecordedRun.of(MlflowClient(), active)
        finally:
            mlflow.set_tracking_uri(before)


def _logged_as(run: RecordedRun, best: best_model.BestModel, data: Prepared) -> str:
    """The address of a model whose trial has measured its score alone."""
    return best_model.log(run, best, data, {"val_rmse": 0.5, "val_accuracy": 0.5}).uri


@pytest.fixture
def run(store: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedRun]:
    """A run that is open for a test, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    with opened_run(store) as run:
        yield run


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        pytest.param("red_wine", "linear", id="linear"),
        pytest.param("diabetes", MLP_CLASSIFIER, id="MLPClassifier"),
    ],
)
def test_logged_model_is_served_by_mlflow_from_raw_columns(run: RecordedRun, name: str, algorithm: str) -> None:
    """Loaded by its address it predicts what the pipeline does, and it carries signature and input example."""
    data = bundled(name)
    best = best_model.refit(configured(algorithm), data)
    uri = _logged_as(run, best, data)
    model = mlflow.pyfunc.load_model(uri)
    frame = data.frame(data.split.test)
    assert np.array_equal(model.predict(frame), best_model.raw_rows_model(best, data).predict(frame))
    signature = model.metadata.signature
    assert signature.inputs.input_names() == list(data.feature_names)
    assert [np.dtype(output.type).kind for output in signature.outputs] == ["f" if name == "red_wine" else "U"]
    example = model.metadata.load_input_example(get_model_info(uri).artifact_path)
    assert example[list(data.feature_names)].to_numpy() == pytest.approx(data.X[data.split.train[:5]])
    with pytest.raises(MlflowException) as raised:
        model.predict(frame.drop(columns=data.feature_names[0]))
    assert raised.value.message == (
        f"the rows lack the column '{data.feature_names[0]}'; give each column that the model was trained on"
    )


def test_models_of_several_studies_are_compared_by_params_score_and_costs(run: RecordedRun) -> None:
    """The model has its own hyperparameters, not what the study was asked for, and no figure of an earlier command."""
    mlflow.log_params({"algorithm": "auto", "batch_sizes": "2,4,8"})
    mlflow.log_metrics({"search_time_s": 9.0}, step=0)
    data = bundled("red_wine")
    best = best_model.refit(configured(batch_size=32, learning_rate=0.01, alpha=0.1), data)
    of_trial = {"val_rmse": 0.66, "inference_latency_ms": 0.1, "model_memory_mb": 2.0, "peak_memory_mb": 180.0}
    logged = best_model.log(run, best, data, of_trial, {"dataset": "red_wine"})
    own_ms = logged.figures["refit_latency_ms"]
    assert logged.figures == best.figures | {"best_val_rmse": 0.66, "refit_latency_ms": own_ms}
    (model,) = run.client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'")
    assert (model.model_id, model.name, model.status) == (logged.model_id, best_model.MODEL_NAME, "READY")
    assert model.params == {
        "algorithm": "linear",
        "batch_size": "32",
        "learning_rate": "0.01",
        "alpha": "0.1",
        "dataset": "red_wine",
    }
    assert {metric.key: metric.value for metric in model.metrics or []} == logged.figures
    of_trial = {"inference_latency_ms": 0.1, "model_memory_mb": 2.0}  # not the model's own
    assert run.client.get_run(run.run_id).data.metrics == logged.figures | of_trial | {"search_time_s": 9.0}
    loaded, frame, times_s = mlflow.sklearn.load_model(logged.uri), data.frame(data.split.test[:1]), []
    for _ in range(50):
        began = time.perf_counter()
        loaded.predict(frame)
        times_s.append(time.perf_counter() - began)
    assert 1 / 3 < own_ms / (1e3 * median(times_s)) < 3


OWN_FILES = {
    "package": "own_package/__init__.py",
    "module-in-a-folder": "own_folder/nearest.py",
    "what-skops-cannot-hold": "own_pickled.py",
}


@pytest.fixture(scope="module")
def own_served(
    store: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[list[str], list[str]]]:
    """What a fresh process that finds no module of the user's predicts with each model, and what it should."""
    folder, data, uris, expected = tmp_path_factory.mktemp("own"), bundled("diabetes"), [], []
    frame = data.frame(data.split.test)
    frame.to_json(folder / "rows.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "modules")
        for path in OWN_FILES.values():
            file = folder / "modules" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            keeps = '{(1, 2): "a key that no JSON has"}' if "pickled" in path else "[1, 2]"
            file.write_text(OWN.replace("{keeps}", keeps))
            importlib.invalidate_caches()
            module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            best = best_model.refit(configured(f"{module}.Nearest", slowness=0.9), data)
            with opened_run(store) as run:
                model_id = _logged_as(run, best, data).rpartition("/")[2]
                uris.append(run.client.get_logged_model(model_id).artifact_location)
            expected.append(best_model.raw_rows_model(best, data).predict(frame).tolist())
    (folder / "modules").rename(folder / "elsewhere")
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(folder / "rows.json"), *uris],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    predicted = [json.loads(line) for line in done.stdout.splitlines()[-len(uris) :]]
    return dict(zip(OWN_FILES, zip(predicted, expected, strict=True), strict=True))


@pytest.mark.parametrize("kind", OWN_FILES)
def test_model_of_the_users_own_class_is_served_where_its_module_is_not(
    own_served: dict[str, tuple[list[str], list[str]]], kind: str
) -> None:
    """The code goes along with the model: a fresh process that finds the module nowhere else loads and predicts."""
    predicted, expected = own_served[kind]
    assert predicted == expected
    assert set(predicted) == set(LABELS)


ROWS = 200


def _visits() -> pd.DataFrame:
    """A table with a column of each kind that a CSV file has; all of them decide the cost."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "insured": random.random(ROWS) < 0.5,
            "children": random.integers(0, 9, ROWS),
            "ward": random.choice(["north", "south", "west"], ROWS),
            "day": random.choice(["2024-01-31", "2024-02-29"], ROWS),
            "at": random.choice(["2024-01-31 08:30:00", "2024-01-31 00:00:00", "2024-02-29 08:30:00.5"], ROWS),
            "bed": random.choice(["7", "12", "none"], ROWS),
            "weight": random.normal(70, 9, ROWS).round(1),
            "pulse": np.where(random.random(ROWS) < 0.1, "?", random.integers(50, 90, ROWS).astype(str)),
        }
    )
    parts = [100 * frame["insured"], 30 * frame["children"], 200 * (frame["ward"] == "west"), frame["weight"]]
    parts += [150 * (frame["day"] > "2024-02"), 90 * (frame["at"].str.len() > 19), 70 * (frame["bed"] == "none")]
    return frame.assign(cost=sum(parts) + random.normal(0, 1, ROWS))


@pytest.fixture(scope="module")
def visits(store: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, pd.DataFrame, Any]:
    """A model of that table as a CSV file, loaded; its rows as pandas reads them; and what was trained predicts."""
    path = tmp_path_factory.mktemp("visits") / "visits.csv"
    _visits().to_csv(path, index=False)
    best, data = _refitted(path, "cost", "linear")
    model = _loaded(store, best, data, path.parent)
    return model, pd.read_csv(path), best.pipeline.predict(data.frame(np.arange(ROWS)))


def _refitted(path: Path, target: str, algorithm: str) -> tuple[best_model.BestModel, Prepared]:
    """The best model of a file, and what it was made of."""
    table = known.load(str(path), target=target)
    data = prepared(table, make_split(table, folds=3, seed=0))
    return best_model.refit(configured(algorithm, batch_size=16, max_steps=300), data), data


def _loaded(store: tuple[str, str], best: best_model.BestModel, data: Prepared, folder: Path) -> Any:
    """The model, logged and loaded again."""
    with pytest.MonkeyPatch.context() as patch, opened_run(store) as run:
        patch.chdir(folder)
        return mlflow.pyfunc.load_model(_logged_as(run, best, data))


def _as_json(rows: pd.DataFrame, orient: str, model: Any) -> Any:
    """Rows as a client sends them to a served model, and as MLflow's server reads them."""
    request = {f"dataframe_{orient}": json.loads(rows.to_json(orient=orient, date_format="iso"))}
    for_split = request.get("dataframe_split", {})
    for_split.pop("index", None)
    return scoring_server.infer_and_parse_data(request, model.metadata.get_input_schema())


def _times(rows: pd.DataFrame, dtype: str) -> pd.DataFrame:
    return rows.assign(**{name: pd.to_datetime(rows[name], format="ISO8601").astype(dtype) for name in ("day", "at")})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda rows: rows, id="as-read"),
        pytest.param(lambda rows: rows.assign(more=1)[["more", *rows.columns[::-1]]], id="more-columns"),
        pytest.param(lambda rows: rows.convert_dtypes(), id="nullable"),
        pytest.param(lambda rows: rows.convert_dtypes(dtype_backend="pyarrow"), id="pyarrow"),
        pytest.param(lambda rows: rows.astype(object), id="object"),
        pytest.param(lambda rows: rows.astype("category"), id="category"),
        pytest.param(
            lambda rows: rows.assign(weight=rows["weight"].map("{:.1f}".format).str.replace(".", ",")),
            id="decimal-commas",
        ),
        pytest.param(lambda rows: rows.astype("string"), id="string"),
        pytest.param(lambda rows: rows.astype({"children": float, "insured": object}), id="float"),
        pytest.param(lambda rows: rows.astype({"children": "uint8", "weight": "float64"}), id="small-integers"),
        pytest.param(lambda rows: rows.assign(insured=rows["insured"].map(str).str.upper()), id="words-for-booleans"),
        pytest.param(lambda rows: _times(rows, "datetime64[ns]"), id="nanoseconds"),
        pytest.param(lambda rows: _times(rows, "datetime64[us]"), id="microseconds"),
        pytest.param(lambda rows: _times(rows, "datetime64[us]").astype({"at": "timestamp[us][pyarrow]"}), id="arrow"),
        pytest.param(
            lambda rows: rows.assign(day=pd.to_datetime(rows["day"]).dt.date.astype(object)), id="dates-of-python"
        ),
    ],
)
def test_same_rows_are_predicted_the_same_whatever_dtypes_they_have(
    visits: tuple[Any, pd.DataFrame, Any], change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    """A column's dtype depends on the file's format and on the other rows that pandas reads, a value does not."""
    model, rows, expected = visits
    np.testing.assert_allclose(model.predict(change(rows)), expected, rtol=1e-9)


@pytest.mark.parametrize("orient", ["split", "records"])
@pytest.mark.parametrize("dtype", ["str", "datetime64[ns]"], ids=["as-read", "times"])
def test_same_rows_are_predicted_the_same_as_json(
    visits: tuple[Any, pd.DataFrame, Any], orient: str, dtype: str
) -> None:
    """Where a time is text in another spelling, and nothing tells an integer from a float."""
    model, rows, expected = visits
    sent = rows if dtype == "str" else _times(rows, dtype)
    np.testing.assert_allclose(model.predict(_as_json(sent, orient, model)), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("insured", None),
        ("children", None),
        ("ward", None),
        ("day", None),
        ("weight", None),
        ("ward", "intensive care"),
    ],
)
def test_row_that_lacks_a_value_or_has_a_new_one_is_predicted(
    visits: tuple[Any, pd.DataFrame, Any], column: str, value: object
) -> None:
    """Though none was like it in the table: the other rows are predicted as before, whatever their dtype becomes."""
    model, rows, expected = visits
    without = rows.copy()
    without[column] = without[column].where(without.index != 3, value)
    predicted = model.predict(without)
    assert np.isfinite(predicted).all()
    others = rows.index != 3
    np.testing.assert_allclose(predicted[others], expected[others], rtol=1e-9)
    assert predicted[3] != expected[3]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(
            lambda rows: rows.drop(columns=["ward"]),
            "the rows lack the column 'ward'; give each column that the model was trained on",
            id="column",
        ),
        pytest.param(
            lambda rows: rows.drop(columns=["weight", "day"]),
            "the rows lack the columns 'day', 'weight'; give each column that the model was trained on",
            id="columns",
        ),
        pytest.param(
            lambda rows: rows.assign(weight="heavy"),
            "column 'weight': 'heavy' is not a number; give numbers, such as 0.5, or nothing",
            id="text-for-a-number",
        ),
        pytest.param(
            lambda rows: rows.assign(weight="1,702"),
            "column 'weight': '1,702' can be read in two ways; give numbers, such as 0.5, or nothing",
            id="commas",
        ),
        pytest.param(
            lambda rows: rows.assign(weight=np.inf),
            "infinite values in the column 'weight'; leave these cells empty, or give other numbers",
            id="infinite",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused_in_one_sentence(
    visits: tuple[Any, pd.DataFrame, Any], change: Callable[[pd.DataFrame], pd.DataFrame], sentence: str
) -> None:
    """It names the column; a served model answers with it, too."""
    model, rows, _ = visits
    with pytest.raises(MlflowException) as raised:
        model.predict(change(rows))
    assert (raised.value.message, raised.value.error_code) == (sentence, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("target", "kind", "logged"),
    [
        pytest.param(lambda large: large.astype(int) + 4, "i", False, id="integers"),
        pytest.param(lambda large: large.astype(float).mask(large.index % 20 == 3), "i", True, id="integers-and-holes"),
        pytest.param(lambda large: large, "b", True, id="booleans"),
        pytest.param(lambda large: large.map({True: "yes", False: "no"}), "U", False, id="text"),
        pytest.param(lambda large: large.map({True: "true", False: "false"}), "U", False, id="words-for-booleans"),
    ],
)
def test_classes_are_predicted_in_the_targets_own_type(
    store: tuple[str, str], tmp_path: Path, target: Callable[[Any], Any], kind: str, logged: bool
) -> None:
    """They can be compared with the column that the user has, also after MLflow has had the model."""
    sizes = pd.Series(np.random.default_rng(0).normal(size=ROWS))
    frame = pd.DataFrame({"size": sizes, "noise": sizes[::-1].to_numpy(), "y": target(sizes > 0)})
    frame.to_parquet(tmp_path / "t.parquet")
    best, data = _refitted(tmp_path / "t.parquet", "y", "logistic")
    model: Any = _loaded(store, best, data, tmp_path) if logged else best_model.raw_rows_model(best, data)
    predicted = model.predict(frame)
    assert predicted.dtype.kind == kind
    known = frame["y"].notna().to_numpy()
    assert np.mean(predicted[known] == frame["y"].to_numpy()[known]) > 0.95


@pytest.mark.slow
def test_served_model_predicts_rows_as_json(
    visits: tuple[Any, pd.DataFrame, Any], store: tuple[str, str], tmp_path: Path
) -> None:
    """`mlflow models serve` from the model's own files: truth values, whole numbers and times among them."""
    model, rows, expected = visits
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{model.metadata.model_id}"]
    line += ["--port", str(port), "--env-manager", "local"]
    env = clean_environment(MLFLOW_TRACKING_URI=store[0])
    served = Command(line, cwd=tmp_path, output=tmp_path / "output", env=env)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(f"{address}/ping"), 120, "the server answers")
        for orient in ("split", "records"):
            sent = _times(rows, "datetime64[us]").to_json(orient=orient, date_format="iso")
            request = {f"dataframe_{orient}": json.loads(sent)}
            answer = requests.post(f"{address}/invocations", json=request, timeout=30)
            np.testing.assert_allclose(answer.json()["predictions"], expected, rtol=1e-9)
        request = {"dataframe_records": [{"ward": "west"}]}
        refused = requests.post(f"{address}/invocations", json=request, timeout=30)
        assert refused.status_code == 400
        assert "the rows lack the columns 'insured', 'children', 'day'" in refused.json()["message"]
    finally:
        served.kill()


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.ConnectionError:
        return False
