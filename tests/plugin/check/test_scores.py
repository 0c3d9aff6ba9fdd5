"""Whether one model's score is worse than another's on the same rows, and what models answer with."""

import numpy as np
import pytest
from cases import cases
from sklearn import metrics

from mlflow_sysmetrics.check.scores import (
    CLASSES,
    NUMBERS,
    PROBABILITIES,
    SCORES,
    compared_score,
    judge_score,
    read_answers,
)
from mlflow_sysmetrics.check.verdict import BETTER, PASSES, UNDECIDED, WORSE

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.normal(size=2000)
BASELINE = TRUTH + RANDOM.normal(size=2000)
EACH = np.arange(2000)


def judged(name, truth, a, b, groups=EACH, together=3):
    return judge_score(compared_score(name), truth, a, b, groups, together)


@cases(
    "name, factor, verdict, change",
    [
        ("rmse", 1.0, PASSES, 0.0),
        ("rmse", 1.03, WORSE, 3.0),
        ("mae", 0.97, BETTER, -3.0),
        ("rmse", 1.001, PASSES, 0.1),
    ],
)
def test_loss_that_changes_by_so_much_is_judged_in_per_cent_of_the_metric(name, factor, verdict, change):
    """Errors of all rows that grow by 3 % make rmse and mae grow by 3 %."""
    found = judged(name, TRUTH, BASELINE, TRUTH + factor * (BASELINE - TRUTH))
    assert (found.verdict, found.change) == (verdict, pytest.approx(change))
    assert found.low <= found.change <= found.high


@cases("noise, verdict", [(1.6, WORSE), (0.5, BETTER), (1.0001, PASSES)])
def test_score_that_changes_is_judged_in_its_direction_and_said_in_its_own_unit(noise, verdict):
    sick = TRUTH > 1.5
    before, after = (1 / (1 + np.exp(-TRUTH - n * (BASELINE - TRUTH))) for n in (1.0, noise))
    found = judged("roc_auc", sick, before, after)
    scores = [metrics.roc_auc_score(sick, p) for p in (before, after)]
    assert (found.verdict, found.unit) == (verdict, "")
    assert found.change == pytest.approx(scores[1] - scores[0])


@cases(
    "name, known",
    [
        ("roc_auc", metrics.roc_auc_score),
        ("average_precision", metrics.average_precision_score),
        ("log_loss", metrics.log_loss),
        ("brier", metrics.brier_score_loss),
        ("rmse", metrics.root_mean_squared_error),
        ("mae", metrics.mean_absolute_error),
    ],
)
def test_score_is_that_of_scikit_learn(name, known):
    """Of probabilities that many rows share, too, and of those that are sure and wrong."""
    sick = TRUTH > 1
    p = np.clip((BASELINE + 1).round(1) / 4, 0, 1)
    assert SCORES[name].of(sick.astype(float), p) == pytest.approx(known(sick, p))


@cases("errors, verdict", [(3, UNDECIDED), (0, PASSES)])
def test_baseline_without_an_error_leaves_nothing_to_compare_with(errors, verdict):
    found = judged("error_rate", EACH, EACH, EACH + (errors > EACH))
    assert found.verdict == verdict


def test_rows_of_one_group_are_one_observation():
    """The same rows fifty times over tell no more than once."""
    of_group = np.array([1.2, 0.9, 1.1, 1.0, 1.3, 0.95, 1.15, 0.9])
    groups = np.repeat(np.arange(8), 50)
    verdicts = [
        judged("mae", np.zeros(400), np.ones(400), of_group[groups], each).verdict for each in (groups, EACH[:400])
    ]
    assert verdicts == [UNDECIDED, WORSE]


def test_change_is_that_of_the_metric_though_groups_differ_in_size():
    """Nine of ten rows are of groups that err 10 % more."""
    groups = np.repeat(np.arange(40), [1, 9] * 20)
    found = judged("mae", np.zeros(200), np.ones(200), 1 + 0.1 * (groups % 2), groups)
    assert found.change == pytest.approx(9.0)


def test_so_many_rows_would_tell_as_it_says():
    """Where the change stays what it is."""
    few = slice(0, 300)
    after = BASELINE + RANDOM.normal(scale=0.2, size=2000)
    found = judged("rmse", TRUTH[few], BASELINE[few], after[few], EACH[few])
    assert found.verdict == UNDECIDED
    times = int(found.rows / 300) + 1
    more = [np.tile(values[few], times) for values in (TRUTH, BASELINE, after)]
    assert judged("rmse", *more, np.arange(300 * times)).verdict != UNDECIDED


@cases(
    "answers, predicted, found",
    {
        "numbers": ([1.5, 2], NUMBERS, [1.5, 2]),
        "a Series": ([{"0": 1.5}, {"0": 2}], NUMBERS, [1.5, 2]),
        "classes": (["no", "no"], CLASSES, ["no", "no"]),
        "lists in the order of classes": ([[0.9, 0.1], [0.2, 0.8]], PROBABILITIES, [0.1, 0.8]),
        "records, as JSON writes truth": ([{"Yes": 0.1, "No": 0.9}] * 2, PROBABILITIES, [0.1, 0.1]),
        "those of the positive class": ([0.1, 1], PROBABILITIES, [0.1, 1]),
        "classes for probabilities": ([0, 1], PROBABILITIES, "does not predict probabilities; log it"),
        "numbers for them": ([0.5, 1.5], PROBABILITIES, "does not predict probabilities; log it"),
        "text for numbers": (["no", "yes"], NUMBERS, "does not predict numbers"),
        "other classes": ([0, 1], CLASSES, "is never right: it predicts 0 where"),
        "three": ([[1, 2, 3]] * 2, NUMBERS, "predicts 2 x 3 values for 2 rows"),
    },
)
def test_answer_of_a_server_is_one_value_a_row(answers, predicted, found):
    truth = np.array(["no", "yes"], dtype=object)
    if isinstance(found, str):
        with pytest.raises(ValueError, match=found):
            read_answers(answers, predicted, truth, "yes")
    else:
        assert read_answers(answers, predicted, truth, "yes").tolist() == found
