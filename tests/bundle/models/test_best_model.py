"""The refitted best model: equal to scikit-learn's own pipeline, and served by MLflow from raw columns."""

import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import packages_distributions
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from business_tables import ENGLISH, GERMAN, KINDS, business_table
from cases import cases
from clock import Clock
from commands import ROOT, clean_environment, in_use, store_uri, wait_until
from forks import in_fork
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info
from mlflow.pyfunc import scoring_server
from own_models import NEAREST
from reference import (
    SVR,
    Plain,
    bundled,
    configured,
    configured_whole,
    features_of,
    split_up,
    table_of,
)
from sklearn.compose import TransformedTargetRegressor
from sklearn.metrics import root_mean_squared_error
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tracking_server import answers, free_port

from entrypoints import own_modules
from entrypoints.datasets import known, sysmetrics_rows
from entrypoints.errors import UserError
from entrypoints.models import best_model
from entrypoints.models.jackknife import IN_TIME
from entrypoints.runs import RecordedRun

LABELS = np.array(["tested_negative", "tested_positive"])


# Its module takes 40 MB late, once in a process; each model takes 20 MB.
LATE = """
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

late = []

class Late(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        if not late:
            late.append(np.ones(40 * 125_000))
        if not hasattr(self, "held_"):
            self.held_ = np.ones(20 * 125_000)
        return self

    def predict(self, X):
        return np.zeros(len(X))
"""

# A regressor that does not train without a width.
NEEDS = """
from sklearn.linear_model import LinearRegression

class Needs(LinearRegression):
    def __init__(self, width=None):
        super().__init__()
        self.width = width

    def fit(self, X, y):
        return super().fit(X * self.width, y)
"""


@cases(
    "name, configuration",
    {
        "linear": ("red_wine", configured(steps=40)),
        "logistic": ("diabetes", configured("logistic", steps=40)),
        "forest": ("diabetes", configured_whole("forest", 8)),
        "SVR": ("red_wine", configured_whole(SVR)),
    },
)
def test_refitted_model_and_its_figures_are_those_of_plain_scikit_learn(name, configuration):
    """From a frame of raw columns to the target's own units or labels, for every row of the table.

    Score and loss are those on the test part; what the training took is beside them.
    """
    data = bundled(name)
    best, plain = best_model.refit(configuration, data), Plain.of_whole(data, configuration)
    plain.train(configuration.steps(len(data.split.train)))
    rows = np.arange(len(data.X))
    predicted = best_model.raw_rows_model(best, table_of(name)).predict(features_of(table_of(name), rows))
    expected = plain.predict(rows)
    if data.task == "regression":
        np.testing.assert_allclose(predicted, expected, rtol=1e-9)
    else:
        assert predicted.tolist() == LABELS[expected].tolist()
    score = "test_rmse" if name == "red_wine" else "test_accuracy"
    figures = {score: plain.score(data.split.test), "test_loss": plain.loss(data.split.test)}
    assert {name: best.figures[name] for name in figures} == pytest.approx(figures, rel=1e-9)
    assert best.figures[f"{score}_low"] < best.figures[score] == best.test.value < best.figures[f"{score}_high"]
    assert best.figures["refit_training_time_s"] > 0
    assert best.figures["refit_cpu_seconds"] > 0


def test_rows_that_belong_together_say_less_of_other_rows_and_rows_in_time_nothing():
    """Of the score on the test part."""
    alone = bundled("red_wine")
    test, split = alone.split.test, alone.split
    groups = np.zeros(len(alone.X), dtype=int)
    groups[test] = np.arange(len(test)) // 48  # 10
    together = replace(alone, split=replace(split, groups=groups))
    in_time = replace(alone, split=replace(split, folds=replace(split.folds, in_time=True)))
    of_rows, of_groups, of_times = (best_model.refit(configured(), data).test for data in (alone, together, in_time))
    assert of_rows.value == of_groups.value == of_times.value
    assert (of_rows.degrees, of_groups.degrees) == (19, 9)
    assert of_times.why_unknown == IN_TIME


def test_gain_of_tuning_is_over_what_the_library_makes_by_default():
    """On the same rows of the test part. A poor model has lost; of one whose training loop is ours nothing is said."""
    data = bundled("red_wine")
    train, test = data.split.train, data.split.test
    figures = best_model.refit(configured("mlp", steps=2), data).figures
    pipeline = make_pipeline(StandardScaler(), MLPRegressor(random_state=7))
    untuned = TransformedTargetRegressor(pipeline, transformer=StandardScaler()).fit(data.X[train], data.y[train])
    error = root_mean_squared_error(data.y[test], untuned.predict(data.X[test]))
    assert figures["gain_rmse"] == pytest.approx(error - figures["test_rmse"])
    assert figures["gain_rmse_low"] < figures["gain_rmse"] < figures["gain_rmse_high"] < 0
    assert "gain_rmse" not in best_model.refit(configured(), data).figures


def test_defaults_that_cannot_be_trained_cost_no_study_its_result(tmp_path, monkeypatch):
    """An estimator of the user's can do anything."""
    (tmp_path / "needs.py").write_text(NEEDS)
    monkeypatch.syspath_prepend(tmp_path)
    best = best_model.refit(configured_whole("needs.Needs", width=1.0), bundled("red_wine"))
    assert "test_rmse" in best.figures
    assert "gain_rmse" not in best.figures


@pytest.mark.skipif(sys.platform != "linux", reason="its high-water mark is the kernel's")
def test_what_a_module_loads_late_is_no_memory_of_the_refit(tmp_path, monkeypatch):
    (tmp_path / "late_model.py").write_text(LATE)
    monkeypatch.syspath_prepend(tmp_path)
    best = best_model.refit(configured("late_model.Late", steps=3), bundled("red_wine"))
    assert best.figures["refit_memory_growth_mb"] == pytest.approx(20, abs=5)


def test_refit_that_diverges_names_what_was_chosen():
    """A model can overflow on the whole training part though it did on no fold; the user learns which values did."""
    with pytest.raises(UserError, match=r"algorithm=linear, batch_size=32, learning_rate=1e\+300, alpha=0\.001: "):
        best_model.refit(configured(learning_rate=1e300), bundled("red_wine"))


def test_refitted_model_takes_the_mean_for_what_is_missing_in_the_rows_to_predict_alone():
    """No number is missing in the table that it was trained on."""
    data, wine = bundled("red_wine"), table_of("red_wine")
    model = best_model.raw_rows_model(best_model.refit(configured(), data), wine)
    frame = features_of(wine, data.split.test)
    mean = float(wine.frame["alcohol"].iloc[data.split.train].mean())
    predicted = model.predict(frame.assign(alcohol=np.nan))
    np.testing.assert_allclose(predicted, model.predict(frame.assign(alcohol=mean)), rtol=1e-9)


def test_table_of_categories_alone_is_trained_on_and_predicted_from(tmp_path):
    """It has nothing to scale."""
    frame = pd.DataFrame({"kind": ["x", "y", "z"] * 20, "size": ["s", "l"] * 30, "y": [1.5, 0.5, 2.5] * 20})
    frame.to_csv(tmp_path / "kinds.csv", index=False)
    model = best_model.raw_rows_model(*_refitted(tmp_path / "kinds.csv", "y", "linear"))
    assert model.predict(frame) == pytest.approx(frame["y"].to_numpy(), abs=0.3)


def test_category_that_was_not_trained_on_is_none_of_those_that_were(tmp_path):
    """It is not taken for an empty cell, which is a category of its own."""
    frame = pd.DataFrame({"kind": ["x", "z", None] * 20, "y": [1.5, 0.5, 2.5] * 20})
    frame.to_csv(tmp_path / "kinds.csv", index=False)
    model = best_model.raw_rows_model(*_refitted(tmp_path / "kinds.csv", "y", "linear"))
    rows = pd.DataFrame({"kind": [None, "new"]})
    assert model.features(rows).tolist() == [[0, 0, 1], [0, 0, 0]]


def test_category_of_many_values_takes_one_column_and_teaches_no_more_than_it_tells(module_store, tmp_path):
    """A shop tells the price, a person nothing, though a tree could learn each by heart.

    The model as logged predicts a new shop and a missing one, too.
    """
    random = np.random.default_rng(0)
    shops = random.normal(size=60)
    frame = pd.DataFrame({"shop": random.integers(60, size=1200), "person": random.integers(400, size=1200)})
    price = shops[frame["shop"]] + 0.3 * random.normal(size=1200)
    frame = frame.map("x{}".format).assign(price=price, noise=random.normal(size=1200))
    found = {}
    for target in ("price", "noise"):
        frame[["shop", "person", target]].to_csv(tmp_path / f"{target}.csv", index=False)
        read = known.load(str(tmp_path / f"{target}.csv"), target=target)
        best = best_model.refit(configured_whole("forest", 30), split_up(read))
        found[target] = best.figures["test_rmse"] / read.y.std()
        assert best.preprocessing.transform(read.X[:1]).shape == (1, 2)
        if target == "price":
            model = _loaded(module_store, best, read)
            rows = frame.head(5).assign(shop=["x1", "new", None, "x2", "newer"], person="x3")
            predicted = model.predict(rows)
            assert np.isfinite(predicted).all()
            assert predicted[1] == predicted[4]
            np.testing.assert_allclose(model.predict(frame), _trained(best, read), rtol=1e-9)
    assert found["price"] < 0.45
    assert found["noise"] < 1.15


@cases("row_s, rows", {"few columns": (0.001, 50), "very many": (9.0, 5)})
def test_latency_is_measured_within_about_a_second(row_s, rows):
    """Of five rows at least, however long they take."""
    clock, sizes = Clock(), []

    class Slow:
        def predict(self, frame):
            sizes.append(len(frame))
            clock.now += row_s

    assert best_model.latency_ms(Slow(), table_of("red_wine"), clock) == pytest.approx(1e3 * row_s)
    assert sizes == [1] * rows


@pytest.fixture(scope="module", autouse=True)
def installed():
    """What is installed is listed once: it takes half a second, and no test installs anything."""
    found = packages_distributions()
    with pytest.MonkeyPatch.context() as patch:
        for module in (best_model, own_modules):
            patch.setattr(module, "packages_distributions", lambda: found)
        yield


@contextmanager
def opened_run(folder):
    """An open run in the store of a folder, which is the one in use."""
    with in_use(folder) as client, mlflow.start_run() as active:
        yield RecordedRun.of(client, active)


def _logged_as(run, best, of):
    """The address of a model whose trial has measured its score alone."""
    return best_model.log(run, best, of, {"val_rmse": 0.5, "val_accuracy": 0.5}).uri


def test_models_of_several_studies_are_compared_by_params_score_and_costs(module_store):
    """The model has its own hyperparameters, not what the study was asked for, and no figure of an earlier command.

    MLflow knows its columns, what it predicts, and five rows as an example.
    """
    wine = table_of("red_wine")
    best = best_model.refit(configured(batch_size=32, learning_rate=0.01, alpha=0.1), bundled("red_wine"))
    of_trial = {"inference_latency_ms": 0.1, "model_memory_mb": 2.0}  # not the model's own
    figures = of_trial | {"val_rmse": 0.66, "peak_memory_mb": 180.0}
    with opened_run(module_store) as run:
        mlflow.log_params({"algorithm": "auto", "batch_sizes": "2,4,8"})
        mlflow.log_metrics({"search_time_s": 9.0}, step=0)
        logged = best_model.log(run, best, wine, figures, {"dataset": "red_wine"})
        model = run.client.get_logged_model(logged.model_id)
        of_run = run.client.get_run(run.run_id).data.metrics
        about, path = mlflow.pyfunc.load_model(logged.uri).metadata, get_model_info(logged.uri).artifact_path
    latency_ms = logged.figures["refit_latency_ms"]
    assert logged.figures == best.figures | {"best_val_rmse": 0.66, "refit_latency_ms": latency_ms}
    searched = {"algorithm": "linear", "batch_size": "32", "learning_rate": "0.01", "alpha": "0.1"}
    assert (model.status, model.params) == ("READY", searched | {"dataset": "red_wine"})
    assert {metric.key: metric.value for metric in model.metrics} == logged.figures
    assert of_run == logged.figures | of_trial | {"search_time_s": 9.0}
    assert about.signature.inputs.input_names() == list(wine.feature_names)
    assert [np.dtype(output.type).kind for output in about.signature.outputs] == ["f"]
    example = about.load_input_example(path)
    assert example[list(wine.feature_names)].to_numpy() == pytest.approx(wine.X[:5])


def test_model_of_the_users_own_class_is_served_where_its_module_is_not(module_store, tmp_path, capsys):
    """The code goes along with the model: a process that finds neither it nor the project elsewhere predicts.

    Of a package, of a module in a folder, and of one that keeps what skops cannot hold, which is named.
    """
    data, people, uris, expected = bundled("diabetes"), table_of("diabetes"), [], []
    frame = features_of(people, data.split.test)
    pickled = NEAREST.replace("[1, 2]", '{(1, 2): "a key that no JSON has"}')
    modules = {"own_package": NEAREST, "own_folder.nearest": NEAREST, "own_pickled": pickled}
    files = ("own_package/__init__.py", "own_folder/nearest.py", "own_pickled.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path / "modules")
        for (module, text), path in zip(modules.items(), files, strict=True):
            file = tmp_path / "modules" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            importlib.invalidate_caches()
            best = best_model.refit(configured(f"{module}.Nearest", slowness=0.9), data)
            with opened_run(module_store) as run:
                model_id = _logged_as(run, best, people).rpartition("/")[2]
                uris.append(run.client.get_logged_model(model_id).artifact_location)
            expected.append(best_model.raw_rows_model(best, people).predict(frame).tolist())
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "stored with cloudpickle" in line]
    assert said.endswith("cannot hold Memory.seen, a dict")
    (tmp_path / "modules").rename(tmp_path / "elsewhere")

    def predicts():
        own = {"entrypoints", "own_package", "own_folder", "own_pickled", sysmetrics_rows.NAME}
        for module in [name for name in sys.modules if name.partition(".")[0] in own]:
            del sys.modules[module]
        sys.path[:] = [path for path in sys.path if Path(path).resolve() not in (ROOT, Path.cwd())]
        return [mlflow.pyfunc.load_model(uri).predict(frame).tolist() for uri in uris] == expected

    assert in_fork(predicts) == 1


ROWS = 200


def _visits():
    """A table with a column of each kind that a CSV file has; all of them decide the cost."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "insured": random.random(ROWS) < 0.5,
            "children": random.integers(0, 9, ROWS),
            "ward": random.choice(["north", "south", "west"], ROWS),
            "day": random.choice(["2024-01-31", "2024-02-29"], ROWS),
            "at": random.choice(["2024-01-31 08:30:00", "2024-01-31 00:00:00", "2024-02-29 08:30:00.5"], ROWS),
            "bed": random.choice(["7.0", "12.50", "none"], ROWS),
            "weight": random.normal(70, 9, ROWS).round(1),
            "pulse": np.where(random.random(ROWS) < 0.1, "?", random.integers(50, 90, ROWS).astype(str)),
        }
    )
    parts = [100 * frame["insured"], 30 * frame["children"], 200 * (frame["ward"] == "west"), frame["weight"]]
    parts += [150 * (frame["day"] > "2024-02"), 90 * (frame["at"].str.len() > 19), 70 * (frame["bed"] == "none")]
    return frame.assign(cost=sum(parts) + random.normal(0, 1, ROWS))


@pytest.fixture(scope="module")
def visits(module_store):
    """A model of that table as a CSV file, loaded; its rows as pandas reads them; and what was trained predicts."""
    path = module_store / "visits.csv"
    _visits().to_csv(path, index=False)
    best, read = _refitted(path, "cost", "linear")
    return _loaded(module_store, best, read), pd.read_csv(path), _trained(best, read)


def _refitted(path, target, algorithm):
    """The best model of a file, and its table."""
    rows = known.load(str(path), target=target)
    return best_model.refit(configured(algorithm, batch_size=16, steps=300), split_up(rows)), rows


def _trained(best, of):
    """What the trained estimator predicts of the table, without reading a row again."""
    scaling = best.preprocessing.scaling
    return best.estimator.predict(best.preprocessing.transform(of.X)) * scaling.y_scale + scaling.y_mean


def _loaded(module_store, best, of):
    """The model, logged and loaded again."""
    with opened_run(module_store) as run:
        return mlflow.pyfunc.load_model(_logged_as(run, best, of))


def _times(rows, dtype):
    times = {name: pd.to_datetime(rows[name], format="ISO8601").astype("datetime64[us]") for name in ("day", "at")}
    return rows.assign(**times).astype(dict.fromkeys(times, dtype))


def _number(text):
    return text if text == "none" else float(text)


@cases(
    "change",
    {
        "as read": lambda rows: rows,
        "more columns": lambda rows: rows.assign(more=1)[["more", *rows.columns[::-1]]],
        "nullable": lambda rows: rows.convert_dtypes(),
        "pyarrow": lambda rows: rows.convert_dtypes(dtype_backend="pyarrow"),
        "category": lambda rows: rows.astype("category"),
        "words for booleans": lambda rows: rows.assign(insured=rows["insured"].map(str).str.upper()),
        "numbers for booleans": lambda rows: rows.assign(insured=rows["insured"].astype(float)),
        "numbers among text": lambda rows: rows.assign(bed=[_number(bed) for bed in rows["bed"]]),
        "times": lambda rows: _times(rows, "datetime64[us]"),
        "times of arrow": lambda rows: _times(rows, "timestamp[us][pyarrow]"),
        "dates of Python": lambda rows: rows.assign(day=pd.to_datetime(rows["day"]).dt.date),
    },
)
def test_same_rows_are_predicted_the_same_whatever_dtypes_they_have(visits, change):
    """A column's dtype depends on the file's format and on the other rows that pandas reads, a value does not."""
    model, rows, expected = visits
    np.testing.assert_allclose(model.predict(change(rows)), expected, rtol=1e-9)


@pytest.fixture(params=[ENGLISH, GERMAN], ids=["English", "German"])
def business(request, tmp_path):
    """The file of a business table, its table, its rows as they are written and as they are meant, and its model."""
    style, file = request.param, tmp_path / "t.csv"
    written, meant = business_table(style, 300)
    written.to_csv(file, sep=style.separator, index=False)
    table = known.load(str(file), target="churned", group="customer_id")
    model = best_model.raw_rows_model(best_model.refit(configured("logistic"), split_up(table)), table)
    return style, file, table, written, meant, model


def test_business_table_is_read_as_a_person_would(business):
    """40 columns: money, thousands, percent signs, brackets, dates, codes, categories, and some that name a row."""
    _, _, table, _, meant, _ = business
    found = {name: why if read_as == "left out" else read_as for name, read_as, why in table.treatment}
    assert found == KINDS | {"churned": "target"}
    for column in table.columns:
        if column.read_as == "numbers":
            assert table.frame[column.name].tolist() == meant[column.name].tolist()


def test_raw_rows_of_a_business_table_are_predicted_like_clean_ones(business):
    """However pandas has read them; German ones that it has read as English ones are refused."""
    style, file, _, written, meant, model = business
    expected = model.predict_proba(meant)
    assert np.array_equal(model.predict_proba(written), expected)
    dates = [name for name, kind in KINDS.items() if kind == "dates"]
    options = [{}]
    if style is GERMAN:
        options = [{"dtype": str}, {"decimal": ",", "thousands": ".", "parse_dates": dates, "dayfirst": True}]
        with pytest.raises(MlflowException, match="column 'count_0': thousands were read as decimals; read the file"):
            model.predict(pd.read_csv(file, sep=";"))
    for option in options:
        rows = pd.read_csv(file, sep=style.separator, **option)
        assert np.array_equal(model.predict_proba(rows), expected)
        np.testing.assert_allclose(model.predict_proba(rows[3:5]), expected[3:5], rtol=1e-9)


def test_no_rows_have_no_predictions(visits, returned):
    """As where a filter has left none. They are numbers, classes, or probabilities of each class."""
    model, rows, _ = visits
    assert len(model.predict(rows.head(0))) == 0
    _, best, read = returned
    classifier = best_model.raw_rows_model(best, read)
    none = features_of(read, np.arange(0))
    assert len(classifier.predict(none)) == 0
    assert pd.DataFrame(classifier.score(none, PROBABILITIES)).shape == (0, 2)


def test_served_model_predicts_the_same_of_rows_as_json(visits):
    """Where a time is text in another spelling, and nothing tells an integer from a float."""
    model, rows, expected = visits
    sent = _times(rows, "datetime64[ns]").to_json(orient="records", date_format="iso")
    request = json.dumps({"dataframe_records": json.loads(sent)})
    answer = scoring_server.invocations(request, "application/json", model, model.metadata.get_input_schema())
    np.testing.assert_allclose(json.loads(answer.response)["predictions"], expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("column", "value"),
    [*((name, None) for name in ("insured", "children", "ward", "day", "weight")), ("ward", "intensive care")],
)
def test_row_that_lacks_a_value_or_has_a_new_one_is_predicted(visits, column, value):
    """Though none was like it in the table: the other rows are predicted as before, whatever their dtype becomes."""
    model, rows, expected = visits
    others = rows.index != 3
    predicted = model.predict(rows.assign(**{column: rows[column].where(others, value)}))
    assert np.isfinite(predicted).all()
    np.testing.assert_allclose(predicted[others], expected[others], rtol=1e-9)
    assert predicted[3] != expected[3]


@cases(
    "given, sentence",
    {
        "columns": (
            ["weight", "day"],
            "the rows lack the columns 'day', 'weight'; give each column that the model was trained",
        ),
        "text-for-a-number": (
            {"weight": "heavy"},
            "column 'weight': 'heavy' is not a number; give numbers, such as 0.5, or nothing",
        ),
        "number-for-a-date": (
            {"day": 3022024},
            "column 'day': '3022024' is not a date; give dates as in the file, or nothing",
        ),
        "infinite": (
            {"weight": np.inf},
            "infinite values in the column 'weight'; leave these cells empty, or give other",
        ),
    },
)
def test_rows_that_do_not_fit_are_refused_in_one_sentence(visits, given, sentence):
    """Without these columns, or with such a value. It names the column; a served model answers with it, too."""
    model, rows, _ = visits
    with pytest.raises(MlflowException, match=f"^{sentence}") as raised:
        model.predict(rows.drop(columns=given) if isinstance(given, list) else rows.assign(**given))
    assert raised.value.get_http_status_code() == 400


@cases(
    "target, kind",
    {
        "integers": (lambda large: large.astype(int) + 4, "i"),
        "integers and holes": (lambda large: large.astype(float).mask(large.index % 20 == 3), "i"),
        "booleans": (lambda large: large, "b"),
        "words for booleans": (lambda large: large.map({True: "true", False: "false"}), "U"),
        "numbers among text": (lambda large: large.map({True: "1.0", False: "n.b."}), "U"),
    },
)
def test_classes_are_predicted_in_the_targets_own_type(module_store, tmp_path, target, kind):
    """They can be compared with the column that the user has, also after MLflow has had the model."""
    sizes = pd.Series(np.random.default_rng(0).normal(size=ROWS))
    frame = pd.DataFrame({"size": sizes, "noise": sizes[::-1].to_numpy(), "y": target(sizes > 0)})
    frame.to_parquet(tmp_path / "t.parquet")
    model = _loaded(module_store, *_refitted(tmp_path / "t.parquet", "y", "logistic"))
    predicted = model.predict(frame)
    assert predicted.dtype.kind == kind
    assert {*model.predict(frame, params=PROBABILITIES).columns} == {*predicted}
    is_right = predicted == frame["y"].to_numpy()
    assert is_right[frame["y"].notna()].mean() > 0.95


PROBABILITIES = {"predict_method": "predict_proba"}


@pytest.fixture(scope="module")
def returned(module_store):
    """The address of a model of the orders that the documents tell of, what was trained, and the table."""
    random = np.random.default_rng(0)
    orders = pd.DataFrame({"price": random.gamma(2, 20, ROWS), "region": random.choice(["north", "south"], ROWS)})
    is_back = orders["price"] + random.normal(0, 9, ROWS) > 40
    orders.assign(returned=np.where(is_back, "yes", "no")).to_csv(module_store / "returned.csv", index=False)
    best, read = _refitted(module_store / "returned.csv", "returned", "logistic")
    with opened_run(module_store) as run:
        return _logged_as(run, best, read), best, read


def test_classifier_gives_probabilities_where_they_are_asked_for(returned, module_store):
    """With the rows' own index, the classes as columns; from a server, too. Another method is refused."""
    uri, best, read = returned
    with in_use(module_store):
        model = mlflow.pyfunc.load_model(uri)
        plain = mlflow.sklearn.load_model(uri)
    rows = features_of(read, np.arange(20)).set_axis(range(100, 120))
    found = model.predict(rows, params=PROBABILITIES)
    expected = pd.DataFrame(
        best.estimator.predict_proba(best.preprocessing.transform(read.X[:20])), rows.index, ["no", "yes"]
    )
    pd.testing.assert_frame_equal(found, expected)
    np.testing.assert_array_equal(plain.predict_proba(rows), expected)
    assert model.predict(rows).tolist() == found.idxmax(axis=1).tolist()
    assert set(model.predict(rows)) == {"no", "yes"}
    with pytest.raises(MlflowException, match=r"^predict_method=proba: unknown; use predict or predict_proba$"):
        model.predict(rows, params={"predict_method": "proba"})


def test_classifier_without_probabilities_says_so_in_one_sentence():
    """It predicts classes."""
    people = table_of("diabetes")
    best = best_model.refit(configured("svm"), bundled("diabetes"))
    model, rows = best_model.raw_rows_model(best, people), features_of(people, np.arange(5))
    with pytest.raises(MlflowException) as raised:
        model.score(rows, PROBABILITIES)
    assert raised.value.message.startswith("predict_method=predict_proba: the algorithm of this model gives no")
    assert raised.value.get_http_status_code() == 400


@pytest.mark.slow
def test_served_model_answers_what_the_page_sends_with_probabilities(returned, module_store):
    """Typed as it stands there, but for the model and the port."""
    uri, best, read = returned
    port = free_port()
    typed = re.findall(
        r"^mlflow models serve .*$|^curl .*/invocations .*$", (ROOT / "docs/table.md").read_text(), re.MULTILINE
    )
    serve, ask = (line.replace("models:/<model id>", uri).replace("5001", str(port)) for line in typed)
    environment = clean_environment(MLFLOW_TRACKING_URI=store_uri(module_store))
    server = subprocess.Popen(shlex.split(serve), env=environment, start_new_session=True)
    try:
        wait_until(lambda: answers(port), 120.0, "the server answers")
        answer = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, timeout=60).stdout
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    sent = json.loads(shlex.split(ask)[-1])
    assert sent["params"] == PROBABILITIES
    rows = pd.DataFrame(sent["dataframe_records"])
    expected = best_model.raw_rows_model(best, read).predict_proba(rows)
    answered = pd.DataFrame(json.loads(answer)["predictions"])
    assert answered.columns.tolist() == ["no", "yes"]
    np.testing.assert_allclose(answered, expected, rtol=1e-9)
