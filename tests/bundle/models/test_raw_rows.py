"""The best model predicts rows as they are in the user's file: categories, holes, and how people write numbers."""

import numpy as np
import pandas as pd
import pytest
from cases import cases
from mlflow.exceptions import MlflowException
from own_models import ENGLISH, GERMAN, KINDS, business_table
from reference import configured, configured_whole, features_of, split_up, table_of, table_of_frame

from entrypoints.datasets import known
from entrypoints.models.best_model import raw_rows_model, refit

PROBABILITIES = {"predict_method": "predict_proba"}


def _model(table, configuration):
    return raw_rows_model(refit(configuration, split_up(table)), table)


def test_refitted_model_takes_the_mean_for_what_is_missing_in_the_rows_to_predict_alone():
    """No number is missing in the table that it was trained on."""
    wine = table_of("red_wine")
    model = _model(wine, configured())
    frame = features_of(wine, np.arange(100))
    mean = wine.frame["alcohol"].mean()
    predicted = model.predict(frame.assign(alcohol=np.nan))
    np.testing.assert_allclose(predicted, model.predict(frame.assign(alcohol=mean)))


def test_missing_number_stays_missing_for_a_forest_and_gets_a_column_for_others():
    """The target depends on which numbers are missing; the column for others has the mean in place of these."""
    x = np.arange(200) * 0.01 % 1
    x[::4] = np.nan
    frame = pd.DataFrame({"x": x, "y": np.isnan(x) * 3.0 + np.arange(200) * 0.001})
    table = table_of_frame(frame)
    forest, linear = (_model(table, configured_whole(name)) for name in ("forest", "ridge"))
    assert np.isnan(forest.features(frame)).tolist() == np.isnan(x)[:, None].tolist()
    assert linear.features(frame)[:, 1].tolist() == np.isnan(x).tolist()
    assert np.abs(linear.predict(frame) - frame["y"]).max() < 0.3


def test_table_of_categories_alone_is_trained_on_and_a_new_one_is_none_of_them():
    """It has nothing to scale. A new category is not taken for an empty cell, which is a category of its own."""
    frame = pd.DataFrame({"kind": ["x", "z", None] * 20, "y": [1.5, 0.5, 2.5] * 20})
    model = _model(table_of_frame(frame), configured(batch_size=16, steps=300))
    assert model.predict(frame) == pytest.approx(frame["y"].to_numpy(), abs=0.3)
    others = pd.DataFrame({"kind": [None, "new"]})
    assert model.features(others).tolist() == [[0, 0, 1], [0, 0, 0]]


@cases("told, most", {"price": (1.0, 0.45), "noise": (0.0, 1.15)})
def test_category_of_many_values_takes_one_column_and_teaches_no_more_than_it_tells(told, most):
    """A shop tells the price, a person nothing, though a tree could learn each by heart."""
    random = np.random.default_rng(0)
    shop = random.integers(60, size=1200)
    person = random.integers(400, size=1200)
    frame = pd.DataFrame({"shop": shop, "person": person}).map("x{}".format)
    frame["price"] = told * random.normal(size=60)[shop] + 0.3 * random.normal(size=1200)
    table = table_of_frame(frame)
    best = refit(configured_whole("forest", 30), split_up(table))
    assert best.figures["test_rmse"] < most * table.y.std()
    assert best.preprocessing.transform(table.X[:1]).shape == (1, 2)


@pytest.fixture(params=[ENGLISH, GERMAN], ids=["English", "German"])
def business(request, tmp_path):
    """How a country writes, the file of a business table, its table, and its rows as they are written and as meant."""
    style = request.param
    file = tmp_path / "t.csv"
    written, meant = business_table(style, 300)
    written.to_csv(file, sep=style.separator, index=False)
    table = known.load(str(file), target="churned", group="customer_id")
    return style, file, table, written, meant


def test_business_table_is_read_as_a_person_would(business):
    """40 columns: money, thousands, percent signs, brackets, dates, codes, categories, and some that name a row."""
    _, _, table, _, meant = business
    found = {}
    for name, read_as, why in table.treatment:
        found[name] = why if read_as == "left out" else read_as
    assert found == KINDS | {"churned": "target"}
    numbers = [name for name in KINDS if KINDS[name] == "numbers"]
    assert table.frame[numbers].to_dict("list") == meant[numbers].to_dict("list")


def test_raw_rows_of_a_business_table_are_predicted_like_clean_ones(business):
    """However pandas has read them; German ones that it has read as English ones are refused."""
    style, file, table, written, meant = business
    model = _model(table, configured("logistic"))
    expected = model.predict_proba(meant)
    options = [{}]
    if style is GERMAN:
        dates = [name for name in KINDS if KINDS[name] == "dates"]
        options = [{"dtype": str}, {"decimal": ",", "thousands": ".", "parse_dates": dates, "dayfirst": True}]
        with pytest.raises(MlflowException, match="column 'count_0': thousands were read as decimals; read the file"):
            model.predict(pd.read_csv(file, sep=";"))
    as_read = [pd.read_csv(file, sep=style.separator, **option) for option in options]
    for rows in (written, *as_read):
        assert np.array_equal(model.predict_proba(rows), expected)
        np.testing.assert_allclose(model.predict_proba(rows[3:5]), expected[3:5])


@cases("dataset, algorithm", [("red_wine", "linear"), ("diabetes", "logistic")])
def test_no_rows_have_no_predictions(dataset, algorithm):
    """As where a filter has left none. They are numbers, classes, or probabilities of each class."""
    table = table_of(dataset)
    model = _model(table, configured(algorithm))
    none = features_of(table, [])
    assert len(model.predict(none)) == 0
    if table.classes:
        assert model.score(none, PROBABILITIES).shape == (0, 2)


def test_classifier_without_probabilities_says_so_in_one_sentence():
    """It predicts classes."""
    people = table_of("diabetes")
    model = _model(people, configured("svm"))
    with pytest.raises(MlflowException) as raised:
        model.score(features_of(people, [0]), PROBABILITIES)
    assert raised.value.message.startswith("predict_method=predict_proba: the algorithm of this model gives no")
    assert raised.value.get_http_status_code() == 400
