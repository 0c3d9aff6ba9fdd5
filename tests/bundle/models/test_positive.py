"""Scores of two classes are of the rarer one, or the given one, wherever they are computed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cases import cases, sentence, tables
from reference import configured, configured_whole, features_of, split_up, table_of_frame, trained_on
from sklearn.metrics import average_precision_score, f1_score, log_loss, recall_score

from entrypoints.checks import leaks
from entrypoints.checks.importance import importance
from entrypoints.errors import UserError
from entrypoints.models import best_model, scores

ROWS = 900


def _table(positive=None, **more):
    """A customer comes again, ``ja``, in a sixth of the rows, which a third column tells in part, and more columns."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(ROWS, 3)), columns=["age", "price", "days"])
    again = frame["days"] + 0.7 * random.normal(size=ROWS) > 1.2
    for name, of in more.items():
        frame[name] = of(again)
    frame["again"] = np.where(again, "ja", "nein")
    return scores.with_positive(table_of_frame(frame), positive)


@cases(
    "metric, algorithm, plain, is_of_shares",
    {
        "ranks": ("average_precision", "logistic", average_precision_score, True),
        "decisions": ("average_precision", "svm", None, False),
        "forest": ("f1", "forest", f1_score, False),
        "said": ("recall", "logistic", recall_score, False),
        "both": ("neg_log_loss", "logistic", log_loss, True),
    },
)
def test_score_is_of_the_rarer_class_on_folds_and_test_part(metric, algorithm, plain, is_of_shares):
    """As scikit-learn has it of that class; what the model predicts is the same whichever it is."""
    made = configured_whole(algorithm, 20) if algorithm == "forest" else configured(algorithm, steps=600)
    configuration = replace(made, metric=metric)
    name = metric.removeprefix("neg_")
    table = _table()
    data = split_up(table)
    test = data.split.test
    rows = features_of(table, test)
    best = best_model.refit(configuration, data)
    model = best_model.raw_rows_model(best, table)
    assert [*model.classes_] == ["ja", "nein"]
    other = _table("nein")
    of_other = best_model.raw_rows_model(best_model.refit(configuration, split_up(other)), other)
    assert [*model.predict(rows)] == [*of_other.predict(rows)]
    found = best.figures[f"test_{name}"]
    assert best.figures[f"test_{name}_low"] < found < best.figures[f"test_{name}_high"]
    _, reports = trained_on(data, configuration)
    assert reports[-1][f"val_{name}"] == pytest.approx(found, abs=0.25)
    if plain is None:  # a model of the other class has more
        assert 0.5 < found < 0.92
        return
    tested = replace(best, estimator=best.tested.learner.estimator, preprocessing=best.tested.preprocessing)
    model = best_model.raw_rows_model(tested, table)
    predicted = model.predict_proba(rows)[:, 0] if is_of_shares else model.predict(rows) == "ja"
    assert found == pytest.approx(plain(table.y[test] == "ja", predicted))


def test_baseline_columns_that_matter_and_leaks_are_of_the_positive_class():
    """A model that ignores all columns has its share as average precision."""
    table = _table()
    data = split_up(table)
    score = scores.find("average_precision", "classification", table.positive)
    baseline = score.baseline(table, data.split)
    assert np.mean(baseline) == pytest.approx(np.mean(table.y == "ja"), abs=0.01)
    configuration = replace(configured("logistic", steps=300), metric="average_precision")
    first = importance(best_model.refit(configuration, data).tested, table, 0)[0]
    assert first["column"] == "days"
    assert first["importance"] > 0.3  # by the other class no more than its share of a sixth
    table = _table(late=lambda again: again ^ (np.arange(ROWS) % 40 == 0))
    trained = best_model.refit(configuration, split_up(table)).tested
    said = leaks.sentence(trained, table, [{"column": "late", "importance": 1}, {"importance": 0}], baseline, 0)
    assert said.startswith("late predicts again alone (average_precision 0.")
    assert float(said.partition("ignoring all columns ")[2].partition(")")[0]) == pytest.approx(
        np.mean(baseline), abs=1e-4
    )


def test_positive_class_is_the_given_one_or_the_rarer():
    """Of classes that are numbers or truth values, too, however they are written."""
    assert _table().positive == 0
    assert _table("ja").positive == 0
    assert _table("nein").positive == 1
    truths = table_of_frame(pd.DataFrame({"x": np.arange(30.0), "y": [True, False, False] * 10}))
    assert [scores.with_positive(truths, given).positive for given in (None, "true", "False")] == [1, 1, 0]


@cases("target, says", tables(__file__, "refusals.yaml")["positive classes"])
def test_value_that_is_none_of_two_classes_is_refused(target, says):
    table = table_of_frame(pd.DataFrame({"x": np.arange(30.0), "y": np.resize(target, 30)}))
    with pytest.raises(UserError, match=sentence(says)):
        scores.with_positive(table, "c")
