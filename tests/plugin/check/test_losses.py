"""Whether one model's loss is larger than another's on the same rows."""

import numpy as np
import pytest

from mlflow_sysmetrics.check.losses import LOSSES, compared_loss, judge_loss
from mlflow_sysmetrics.check.verdict import BETTER, PASSES, UNDECIDED, WORSE

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.normal(size=2000)
BASELINE = TRUTH + RANDOM.normal(size=2000)
EACH = np.arange(2000)


def judged(name, truth, a, b, groups):
    of_rows = LOSSES[name].of_rows
    return judge_loss(compared_loss(name), of_rows(truth, a), of_rows(truth, b), groups, 3)


@pytest.mark.parametrize(
    ("name", "factor", "verdict", "change"),
    [
        ("rmse", 1.0, PASSES, 0.0),
        ("rmse", 1.03, WORSE, 3.0),
        ("mae", 0.97, BETTER, -3.0),
        ("rmse", 1.001, PASSES, 0.1),
    ],
)
def test_loss_that_changes_by_so_much_is_judged_in_per_cent_of_the_metric(name, factor, verdict, change):
    """Errors of all rows that grow by 3 % make rmse and mae grow by 3 %."""
    found = judged(name, TRUTH, BASELINE, TRUTH + factor * (BASELINE - TRUTH), EACH)
    assert (found.verdict, found.change) == (verdict, pytest.approx(change))
    assert found.low <= found.change <= found.high


def test_baseline_without_an_error_leaves_nothing_to_compare_with():
    found = judged("error_rate", EACH, EACH, EACH + (EACH < 3), EACH)
    assert found.verdict == UNDECIDED
    assert found.why.startswith("0 -> 0.0015")


def test_rows_of_one_group_are_one_observation():
    """So of models that are equal but for chance, one in a hundred is found worse; row by row, many would be."""
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 5)
    worse = 0
    for _ in range(5000):
        a = 1 + random.exponential(size=200)
        of_group = random.normal(scale=0.3, size=40)[groups]
        b = a + of_group + random.normal(scale=0.3, size=200)
        worse += judge_loss(compared_loss("mae"), a, b, groups, 1).verdict == WORSE
    assert worse <= 67  # so in 99 of 100 draws, and hardly ever where two in a hundred are


def test_change_is_that_of_the_metric_though_groups_differ_in_size():
    """Nine of ten rows are of groups that err 10 % more."""
    groups = np.repeat(np.arange(40), [1, 9] * 20)
    baseline = np.ones(200)
    candidate = 1 + 0.1 * (groups % 2)
    found = judge_loss(compared_loss("mae"), baseline, candidate, groups, 1)
    assert found.change == pytest.approx(9.0)


def test_metrics_that_are_judged_together_share_the_error():
    a = np.ones(100)
    b = a + 0.1 + 0.36 * (-1.0) ** np.arange(100)
    verdicts = [judge_loss(compared_loss("mae"), a, b, EACH[:100], together).verdict for together in (1, 20)]
    assert verdicts == [WORSE, UNDECIDED]
