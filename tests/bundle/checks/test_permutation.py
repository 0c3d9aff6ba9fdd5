"""Which columns a model needs: as scikit-learn's permutation importance has it, of the columns of the user's file."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from reference import bundled, configured, configured_whole, split_up, table_of, table_of_frame
from scipy import stats
from sklearn.inspection import permutation_importance

from entrypoints.checks import importance as measured
from entrypoints.checks.importance import importance
from entrypoints.datasets import known
from entrypoints.models import best_model

ROWS = 900


def test_importance_of_numbers_is_that_of_scikit_learn():
    """On the test part; what is random differs by the seed alone."""
    data = bundled("red_wine")
    table = table_of("red_wine")
    model = best_model.refit(configured(steps=200), data).tested
    found = pd.DataFrame(importance(model, table, 0)).set_index("column")
    test = data.split.test
    plain = permutation_importance(
        model.learner.estimator,
        model.features(test),
        model.target(test),
        scoring="neg_root_mean_squared_error",
        n_repeats=20,
    )
    expected = pd.Series(plain.importances_mean * model.preprocessing.scaling.y_scale, table.feature_names)
    strongest = expected.sort_values(ascending=False)
    assert list(found.index[:2]) == list(strongest.index[:2]) == ["alcohol", "volatile_acidity"]
    assert found["importance"].to_numpy() == pytest.approx(expected[found.index].to_numpy(), abs=0.02)
    assert len(found) == 10
    first = found.iloc[0]
    assert first["score"] == "rmse"
    assert first["rows"] == 480
    assert first["matters"]


def test_date_and_category_are_one_column_and_what_tells_nothing_does_not_matter():
    """A date is several features and a category one for each value, or of many values one for all.

    Two columns that rise together are named.
    """
    random = np.random.default_rng(0)
    day = random.integers(360, size=ROWS)
    town = random.integers(40, size=ROWS)
    size = random.normal(size=ROWS)
    frame = pd.DataFrame({"size": size, "weight": -size + 0.1 * random.normal(size=ROWS)})
    frame["shop"] = random.choice(["Bonn", "Ulm", "Jena"], ROWS)
    frame["town"] = pd.Series(town).map("town {}".format)
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(day, "D")
    frame[[*"abcdefghi"]] = random.normal(size=(ROWS, 9))
    worth = 2 * (day // 60 == 3) + 2 * (frame["shop"] == "Ulm") + 1.5 * (town < 12) + size
    frame["sold"] = worth + 0.1 * random.normal(size=ROWS) > 1
    table = table_of_frame(frame)
    configuration = replace(configured_whole("boosting", 60, learning_rate=0.2), metric="roc_auc")
    model = best_model.refit(configuration, split_up(table)).tested
    found = pd.DataFrame(importance(model, table, 0)).set_index("column")
    assert len(found) == 10
    assert found.index[0] == "shop"
    matters = set(found.index[found["matters"]])
    assert matters - {"weight"} == {"shop", "size", "day", "town"}
    of_size = found.loc["size"]
    assert of_size["like"] == "weight"
    assert of_size["correlation"] < -0.95


def test_column_of_times_by_which_rows_are_split_counts_by_its_parts(tmp_path):
    """It is no feature itself: later rows have later times."""
    day = np.arange(ROWS) % 300
    frame = pd.DataFrame({"day": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, "D"), "size": np.arange(ROWS) % 7})
    frame["sold"] = np.sin(day) + frame["size"]
    frame.to_csv(tmp_path / "sold.csv", index=False)
    table = known.load(str(tmp_path / "sold.csv"), target="sold", time="day", echo=lambda line: None)
    model = best_model.refit(configured_whole("forest", 20), split_up(table)).tested
    assert {row["column"] for row in importance(model, table, 0)} == {"day", "size"}


def test_no_column_of_a_wide_table_of_noise_matters(monkeypatch):
    """The luckiest of forty that tell nothing is beyond what shuffling makes of a single one, not of as many."""
    monkeypatch.setattr(measured, "SECONDS", math.inf)  # a slow machine counts as many rows
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(300, 40))).rename(columns="c{}".format)
    frame["y"] = random.normal(size=300)
    table = table_of_frame(frame)
    model = best_model.refit(configured(steps=100), split_up(table)).tested
    found = pd.DataFrame(importance(model, table, 0))
    one_alone = stats.t.isf(measured.BY_CHANCE, measured.REPEATS - 1) * found["spread"]
    assert (found["importance"] > 1.2 * one_alone).any()
    assert not found["matters"].any()
