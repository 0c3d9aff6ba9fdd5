"""The best model as MLflow holds it: what is logged with it, and what it predicts where it is loaded or served."""

import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from cases import cases, sentence, tables
from commands import ROOT, Command, clean_environment, wait_until
from machines import in_fork
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info
from mlflow.pyfunc import scoring_server
from own_models import NEAREST
from reference import LOSSES, bundled, configured, features_of, split_up, table_of
from servers import answers, free_port

from entrypoints.compute import own_modules
from entrypoints.datasets import known, sysmetrics_rows
from entrypoints.models import best_model
from entrypoints.runs.recorded import RecordedRun

ROWS = 200
CASES = tables(__file__, "cases.yaml")
PROBABILITIES = {"predict_method": "predict_proba"}


@pytest.fixture(scope="module", autouse=True)
def installed():
    """What is installed is listed once: it takes half a second, and no test installs anything."""
    found = packages_distributions()
    with pytest.MonkeyPatch.context() as patch:
        for module in (best_model, own_modules):
            patch.setattr(module, "packages_distributions", lambda: found)
        yield


def test_models_of_several_studies_are_compared_by_params_score_and_costs(store_in_use):
    """The model has its own hyperparameters, not what the study was asked for, and no figure of an earlier command.

    MLflow knows its columns, what it predicts, and five rows as an example.
    """
    wine = table_of("red_wine")
    best = best_model.refit(configured(), bundled("red_wine"))
    of_trial = {"inference_latency_ms": 0.1, "model_memory_mb": 2.0}  # not the model's own
    with mlflow.start_run() as active:
        mlflow.log_param("algorithm", "auto")
        mlflow.log_metric("search_time_s", 9.0, step=0)
        run = RecordedRun.of(store_in_use, active)
        figures = of_trial | {"val_rmse": 0.66, "peak_memory_mb": 180.0}
        logged = best_model.log(run, best, wine, figures, {"dataset": "red_wine"})
    own = logged.figures
    assert own == best.figures | {"best_val_rmse": 0.66, "refit_latency_ms": own["refit_latency_ms"]}
    of_run = store_in_use.get_run(run.run_id).data.metrics
    assert of_run == own | of_trial | {"search_time_s": 9.0}
    model = store_in_use.get_logged_model(logged.model_id)
    assert model.status == "READY"
    assert {metric.key: metric.value for metric in model.metrics} == own
    searched = {"algorithm": "linear", "batch_size": "32", "learning_rate": "0.01", "alpha": "0.001"}
    assert model.params == searched | {"dataset": "red_wine"}
    about = mlflow.pyfunc.load_model(logged.uri).metadata
    names = list(wine.feature_names)
    assert about.signature.inputs.input_names() == names
    (output,) = about.signature.outputs
    assert np.dtype(output.type).kind == "f"
    example = about.load_input_example(get_model_info(logged.uri).artifact_path)
    assert example[names].to_numpy() == pytest.approx(wine.X[:5])


@cases(
    "module, file, text",
    {
        "package": ("own_package", "own_package/__init__.py", NEAREST),
        "module in a folder": ("own_folder.nearest", "own_folder/nearest.py", NEAREST),
        "what skops cannot hold": ("own_pickled", "own_pickled.py", NEAREST.replace("[1, 2]", "{(1, 2): 'no JSON'}")),
    },
)
def test_model_of_the_users_own_class_is_served_where_its_module_is_not(
    tmp_path, monkeypatch, capsys, module, file, text
):
    """The code goes along with the model: a process that finds neither it nor the project elsewhere predicts."""
    data = bundled("diabetes")
    people = table_of("diabetes")
    modules = tmp_path / "modules"
    source = modules / file
    source.parent.mkdir(parents=True)
    source.write_text(text)
    monkeypatch.syspath_prepend(modules)
    stored = str(tmp_path / "model")
    best = best_model.refit(configured(f"{module}.Nearest", slowness=0.9), data)
    best_model.save(best, people, stored)
    is_pickled = "stored with cloudpickle: skops, whose files run no code, cannot hold it"
    assert (is_pickled in capsys.readouterr().out) is (text != NEAREST)
    rows = features_of(people, data.split.test)
    expected = best_model.raw_rows_model(best, people).predict(rows).tolist()
    modules.rename(tmp_path / "elsewhere")

    def predicts():
        for name in [*sys.modules]:
            if name.startswith(("entrypoints", "own_", sysmetrics_rows.NAME)):
                del sys.modules[name]
        sys.path[:] = [path for path in sys.path if Path(path).resolve() not in (ROOT, Path.cwd())]
        return mlflow.pyfunc.load_model(stored).predict(rows).tolist() == expected

    assert in_fork(predicts) == 1


def _stored(folder, frame, target, algorithm):
    """The best model of a table that has been a file, its table, and where MLflow finds it."""
    path = folder / f"{target}.parquet"
    stored = folder / f"model of {target}"
    frame.to_parquet(path)
    table = known.load(str(path), target=target)
    batch_size = 16 if algorithm in LOSSES else None
    best = best_model.refit(configured(algorithm, batch_size=batch_size, steps=300), split_up(table))
    best_model.save(best, table, str(stored))
    return best, table, str(stored)


def _visits():
    """A table with a column of each kind that a CSV file has; most of them decide the cost."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"insured": random.random(ROWS) < 0.5})
    frame["children"] = random.integers(0, 9, ROWS)
    frame["ward"] = random.choice(["north", "south", "west"], ROWS)
    frame["doctor"] = pd.Series(random.integers(0, 40, ROWS)).map("Dr {}".format)
    frame["day"] = random.choice(["2024-01-31", "2024-02-29"], ROWS)
    frame["at"] = random.choice(["2024-01-31 08:30:00", "2024-01-31 00:00:00", "2024-02-29 08:30:00.5"], ROWS)
    frame["bed"] = random.choice(["7.0", "12.50", "none"], ROWS)
    frame["weight"] = random.normal(70, 9, ROWS).round(1)
    frame["pulse"] = random.choice(["?", "52", "61", "88"], ROWS)
    frame["cost"] = random.normal(0, 1, ROWS) + frame["weight"] + 30 * frame["children"] + 100 * frame["insured"]
    frame["cost"] += 200 * (frame["ward"] == "west") + 150 * (frame["day"] > "2024-02")
    return frame


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """A model of that table, loaded; its rows as pandas reads them in a CSV file; and what was trained predicts."""
    folder = tmp_path_factory.mktemp("visits")
    frame = _visits()
    best, table, stored = _stored(folder, frame, "cost", "ridge")
    path = folder / "visits.csv"
    frame.to_csv(path, index=False)
    scaling = best.preprocessing.scaling
    trained = best.estimator.predict(best.preprocessing.transform(table.X)) * scaling.y_scale + scaling.y_mean
    return mlflow.pyfunc.load_model(stored), pd.read_csv(path), trained


def _times(rows, dtype):
    times = {}
    for name in ("day", "at"):
        times[name] = pd.to_datetime(rows[name], format="ISO8601").astype("datetime64[us]").astype(dtype)
    return rows.assign(**times)


@cases(
    "change",
    {
        "more columns": lambda rows: rows.assign(more=1)[["more", *rows.columns[::-1]]],
        "nullable": lambda rows: rows.convert_dtypes(),
        "pyarrow": lambda rows: rows.convert_dtypes(dtype_backend="pyarrow"),
        "category": lambda rows: rows.astype("category"),
        "words for booleans": lambda rows: rows.assign(insured=rows["insured"].map(str).str.upper()),
        "numbers for booleans": lambda rows: rows.assign(insured=rows["insured"].astype(float)),
        "numbers among text": lambda rows: rows.assign(
            bed=rows["bed"].map(lambda bed: bed if bed == "none" else float(bed))
        ),
        "times": lambda rows: _times(rows, "datetime64[us]"),
        "times of arrow": lambda rows: _times(rows, "timestamp[us][pyarrow]"),
        "dates of Python": lambda rows: rows.assign(day=pd.to_datetime(rows["day"]).dt.date),
    },
)
def test_same_rows_are_predicted_the_same_whatever_dtypes_they_have(visits, change):
    """A column's dtype depends on the file's format and on the other rows that pandas reads, a value does not."""
    model, rows, expected = visits
    np.testing.assert_allclose(model.predict(change(rows)), expected)


def test_served_model_predicts_the_same_of_rows_as_json(visits):
    """Where a time is text in another spelling, and nothing tells an integer from a float."""
    model, rows, expected = visits
    sent = _times(rows, "datetime64[ns]").to_json(orient="records", date_format="iso")
    request = json.dumps({"dataframe_records": json.loads(sent)})
    answer = scoring_server.invocations(request, "application/json", model, model.metadata.get_input_schema())
    np.testing.assert_allclose(json.loads(answer.response)["predictions"], expected)


@cases("column, value", CASES["odd cells"])
def test_row_that_lacks_a_value_or_has_a_new_one_is_predicted(visits, column, value):
    """Though none was like it in the table: the other rows are predicted as before, whatever their dtype becomes."""
    model, rows, expected = visits
    others = rows.index != 3
    predicted = model.predict(rows.assign(**{column: rows[column].where(others, value)}))
    assert np.isfinite(predicted).all()
    np.testing.assert_allclose(predicted[others], expected[others])
    assert predicted[3] != expected[3]


@cases("without, given, says", tables(__file__, "refusals.yaml")["rows to predict"])
def test_rows_that_do_not_fit_are_refused_in_one_sentence(visits, without, given, says):
    """It names the column; a served model answers with it, too."""
    model, rows, _ = visits
    with pytest.raises(MlflowException, match=sentence(says)) as raised:
        model.predict(rows.drop(columns=without).assign(**given))
    assert raised.value.get_http_status_code() == 400


@cases("algorithm, above, below, has_holes, kind", CASES["classes"])
def test_classes_are_predicted_in_the_targets_own_type(tmp_path, algorithm, above, below, has_holes, kind):
    """They can be compared with the column that the user has, also after MLflow has had the model.

    Loading it runs no code that its files hold.
    """
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(ROWS, 2)), columns=["size", "noise"])
    frame["y"] = np.where(frame["size"] > 0, above, below)
    if has_holes:
        frame["y"] = frame["y"].mask(frame.index % 20 == 3)
    _, _, stored = _stored(tmp_path, frame, "y", algorithm)
    model = mlflow.pyfunc.load_model(stored)
    assert model.metadata.flavors["sklearn"]["serialization_format"] == "skops"
    predicted = model.predict(frame)
    assert predicted.dtype.kind == kind
    assert {*model.predict(frame, params=PROBABILITIES).columns} == {*predicted}
    is_known = frame["y"].notna()
    assert (predicted == frame["y"])[is_known].mean() > 0.95


@pytest.fixture(scope="module")
def returned(tmp_path_factory):
    """A model of the orders that the documents tell of, its table, and where it is stored."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"price": random.gamma(2, 20, ROWS), "region": random.choice(["north", "south"], ROWS)})
    frame["returned"] = np.where(frame["price"] + random.normal(0, 9, ROWS) > 40, "yes", "no")
    return _stored(tmp_path_factory.mktemp("orders"), frame, "returned", "logistic")


def test_classifier_gives_probabilities_where_they_are_asked_for(returned):
    """With the rows' own index, the classes as columns; from a server, too. Another method is refused."""
    best, table, stored = returned
    model = mlflow.pyfunc.load_model(stored)
    rows = features_of(table, np.arange(20)).set_axis(range(100, 120))
    found = model.predict(rows, params=PROBABILITIES)
    shares = best.estimator.predict_proba(best.preprocessing.transform(table.X[:20]))
    pd.testing.assert_frame_equal(found, pd.DataFrame(shares, rows.index, ["no", "yes"]))
    np.testing.assert_array_equal(mlflow.sklearn.load_model(stored).predict_proba(rows), shares)
    assert model.predict(rows).tolist() == found.idxmax(axis=1).tolist()
    with pytest.raises(MlflowException, match=r"^predict_method=proba: unknown; use predict or predict_proba$"):
        model.predict(rows, params={"predict_method": "proba"})


@pytest.mark.slow
def test_served_model_answers_what_the_page_sends_with_probabilities(returned, tmp_path):
    """Typed as it stands there, but for the model and the port."""
    best, table, stored = returned
    port = free_port()
    page = (ROOT / "docs/table.md").read_text()
    typed = re.findall(r"^mlflow models serve .*$|^curl .*/invocations .*$", page, re.MULTILINE)
    here = shlex.quote(stored)
    serve, ask = (line.replace("models:/<model id>", here).replace("5001", str(port)) for line in typed)
    server = Command(shlex.split(serve), cwd=tmp_path, output=tmp_path, env=clean_environment())
    try:
        wait_until(lambda: answers(port), 120.0, "the server answers")
        answer = subprocess.run(["bash", "-c", ask], capture_output=True, check=True, timeout=60).stdout
    finally:
        server.kill()
    sent = json.loads(shlex.split(ask)[-1])
    assert sent["params"] == PROBABILITIES
    rows = pd.DataFrame(sent["dataframe_records"])
    answered = pd.DataFrame(json.loads(answer)["predictions"])
    assert answered.columns.tolist() == ["no", "yes"]
    np.testing.assert_allclose(answered, best_model.raw_rows_model(best, table).predict_proba(rows))
