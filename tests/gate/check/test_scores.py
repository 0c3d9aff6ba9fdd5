"""Whether one model's score is worse than another's on the same rows, and what models answer with."""

import json

import numpy as np
import pandas as pd
import pytest
from cases import cases, rows, tables
from sklearn import metrics

from mlflow_gate.check.scores import SCORES, HeldOut, compared_score, judge_score, read_answers
from mlflow_gate.check.verdict import BETTER, PASSES, UNDECIDED, WORSE

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.normal(size=2000)
BASELINE = TRUTH + RANDOM.normal(size=2000)


def judged(name, truth, a, b, groups=None):
    each = np.arange(len(truth))
    return judge_score(compared_score(name), HeldOut(truth, each if groups is None else groups, "True"), a, b)


@cases("name, factor, verdict, change", tables(__file__, "cases.yaml")["losses"])
def test_loss_that_changes_by_so_much_is_judged_in_per_cent_of_the_metric(name, factor, verdict, change):
    """Errors of all rows that grow by 3 % make rmse and mae grow by 3 %."""
    found = judged(name, TRUTH, BASELINE, TRUTH + factor * (BASELINE - TRUTH))
    assert found.verdict == verdict
    assert found.change == pytest.approx(change)
    assert found.low <= found.change <= found.high


@cases("noise, verdict", [(1.6, WORSE), (1.01, WORSE), (0.5, BETTER), (1.0001, PASSES)])
def test_score_that_changes_is_judged_in_its_direction_and_said_in_its_own_unit(noise, verdict):
    sick = TRUTH > 1.5
    after = TRUTH + noise * (BASELINE - TRUTH)
    found = judged("roc_auc", sick, BASELINE, after)
    assert found.verdict == verdict
    assert found.unit == ""
    more = metrics.roc_auc_score(sick, after) - metrics.roc_auc_score(sick, BASELINE)
    assert found.change == pytest.approx(more)


KNOWN = {
    "roc_auc": metrics.roc_auc_score,
    "average_precision": metrics.average_precision_score,
    "log_loss": metrics.log_loss,
    "brier": metrics.brier_score_loss,
    "rmse": metrics.root_mean_squared_error,
    "mae": metrics.mean_absolute_error,
}


@cases("name", list(KNOWN))
def test_score_is_that_of_scikit_learn(name):
    """Of probabilities that many rows share, too, and of those that are sure and wrong."""
    sick = TRUTH > 1
    p = np.clip((BASELINE + 1).round(1) / 4, 0, 1)
    assert SCORES[name].of(sick.astype(float), p) == pytest.approx(KNOWN[name](sick, p))


@cases("errors, verdict", [(3, UNDECIDED), (0, PASSES)])
def test_baseline_without_an_error_leaves_nothing_to_compare_with(errors, verdict):
    rows = np.arange(100)
    assert judged("error_rate", rows, rows, rows + (errors > rows)).verdict == verdict


def test_rows_of_one_group_are_one_observation():
    """The same rows fifty times over tell no more than once."""
    of_group = np.array([1.2, 0.9, 1.1, 1.0, 1.3, 0.95, 1.15, 0.9])
    rows = (np.zeros(400), np.ones(400), np.repeat(of_group, 50))
    assert judged("mae", *rows, np.repeat(np.arange(8), 50)).verdict == UNDECIDED
    assert judged("mae", *rows).verdict == WORSE


def test_change_is_that_of_the_metric_though_groups_differ_in_size():
    """Nine of ten rows are of groups that err 10 % more."""
    groups = np.repeat(np.arange(40), [1, 9] * 20)
    found = judged("mae", np.zeros(200), np.ones(200), 1 + 0.1 * (groups % 2), groups)
    assert found.change == pytest.approx(9.0)


def test_so_many_rows_would_tell_as_it_says():
    """Where the change stays what it is."""
    after = BASELINE + RANDOM.normal(scale=0.2, size=2000)
    rows = np.array([TRUTH, BASELINE, after])[:, :300]
    found = judged("rmse", *rows)
    assert found.verdict == UNDECIDED
    more = np.tile(rows, int(found.rows / 300) + 1)
    assert judged("rmse", *more).verdict != UNDECIDED


@cases("answers, predicted, found", rows(__file__, "answers.txt"))
def test_answer_of_a_server_is_one_value_a_row(answers, predicted, found):
    held_out = HeldOut(np.array(["no", "yes"], dtype=object), np.arange(2), "yes", "1")
    try:
        said = json.dumps(read_answers(pd.DataFrame(json.loads(answers)), predicted, held_out).tolist())
    except ValueError as error:
        said = str(error)
    assert said.startswith(found)
