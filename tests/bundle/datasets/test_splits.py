"""The 70/30 split and the folds."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cases import cases

from entrypoints.datasets.splits import copied_percent, make_split
from entrypoints.datasets.tables import Table

LABELS = ["no"] * 120 + ["yes"] * 60 + ["maybe"] * 20


def _table(y):
    """A table of this target alone, sorted as many are."""
    task = "classification" if isinstance(y[0], str) else "regression"
    return Table("made up", pd.DataFrame({"y": y}), "y", task, None)


of_each_task = cases("table", {"classes": _table(LABELS), "numbers": _table(np.arange(200.0))})


def _assert_shared_out(split):
    """Each row is in one part, and each training row is validated once."""
    validated = np.concatenate([validation for _, validation in split.folds])
    assert sorted([*split.train, *split.test]) == list(range(200))
    assert sorted(validated) == sorted(split.train)


@of_each_task
def test_parts_and_folds_share_the_rows_out(table):
    """70 to 30; a fold fits on all rows that it does not validate."""
    split = make_split(table, folds=9, seed=1)
    _assert_shared_out(split)
    assert len(split.train) == 140
    assert len(split.test) == 60
    assert len(split.folds) == 9
    for fit, validation in split.folds:
        assert sorted([*fit, *validation]) == sorted(split.train)
        assert np.ptp(validation) > 100  # not a block of the table
    assert np.ptp(split.test) > 150
    assert split.fit_rows == 125
    assert split.max_batch_size == 124


def test_parts_keep_the_class_proportions():
    """Train, test and every validation part hold the classes as 6 : 3 : 1."""
    split = make_split(_table(LABELS), folds=7, seed=1)
    labels = pd.Series(LABELS)
    assert labels[split.train].value_counts().tolist() == [84, 42, 14]
    assert labels[split.test].value_counts().tolist() == [36, 18, 6]
    for _, validation in split.folds:
        assert labels[validation].value_counts().tolist() == [12, 6, 2]


@of_each_task
def test_same_seed_gives_the_same_split_and_another_seed_another(table):
    """The split is a function of its arguments; the folds are shuffled apart from the training part."""
    first = make_split(table, folds=5, seed=3)
    again = make_split(table, folds=5, seed=3)
    other = make_split(table, folds=5, seed=4)
    assert first.to_json() == again.to_json()
    assert sorted(first.train) != sorted(other.train)
    assert first.folds.validated_in.tolist() != other.folds.validated_in.tolist()


GROUPS = np.random.default_rng(0).permutation(np.arange(200) // 4)  # 50 of four rows


@of_each_task
def test_rows_of_one_group_are_in_one_part_and_one_fold(table):
    """The test part has about 30 % of the groups; each training row is validated once."""
    split = make_split(replace(table, groups=GROUPS), folds=5, seed=1)
    _assert_shared_out(split)
    assert len(split.test) == 60
    for one, other in [(split.train, split.test), *split.folds]:
        assert not np.isin(GROUPS[one], GROUPS[other]).any()
    assert split.groups.tolist() == GROUPS.tolist()


def test_copies_of_a_row_are_kept_together_where_that_is_asked_for():
    """Each content occurs eight times. By default copies are anywhere."""
    table = _table(np.arange(200.0) % 25)
    usual = make_split(table, folds=5, seed=1)
    together = make_split(table, folds=5, seed=1, duplicates="together")
    assert copied_percent(table, usual) > 20
    assert copied_percent(table, together) == 0
    assert together.groups.tolist() == table.contents.tolist()
    _assert_shared_out(together)
    assert len(together.test) == 64
    for fit, validation in together.folds:
        assert not np.isin(table.contents[fit], table.contents[validation]).any()


@cases(
    "rows, cuts",
    {
        "each row has its own time": (1, [70, 84, 98, 112, 126, 140]),
        "nine rows have the same": (9, [90, 99, 108, 117, 126, 135]),
    },
)
def test_each_part_is_later_than_what_is_trained_on_for_it(rows, cuts):
    """The end is the test part; the folds' validation rows divide the second half of the rest."""
    times = np.random.default_rng(0).permutation(200) // rows * 1.0
    ordered = np.sort(times).tolist()
    split = make_split(replace(_table(np.arange(200.0)), times=times), folds=5, seed=1)
    assert sorted(times[split.test]) == ordered[cuts[-1] :]
    assert times[split.train].tolist() == ordered[: cuts[-1]]
    for number, (fit, validation) in enumerate(split.folds):
        start, end = cuts[number : number + 2]
        assert times[fit].tolist() == ordered[:start]
        assert times[validation].tolist() == ordered[start:end]


def test_as_many_folds_as_training_rows_are_allowed():
    """Leave-one-out."""
    split = make_split(_table(np.arange(20.0)), folds=14, seed=1)
    assert {len(validation) for _, validation in split.folds} == {1}


@of_each_task
def test_folds_of_fewer_rows_leave_the_training_and_the_test_part_whole(table):
    """The rows are spread over the target, each stays in its fold, and each class that is rare keeps its rows."""
    whole = make_split(table, folds=5, seed=1)
    fewer = whole.thinned(20, table)
    assert len(fewer.train) == 140
    assert len(fewer.test) == 60
    for (_, validation), (_, own) in zip(fewer.folds, whole.folds, strict=True):
        assert {*validation} <= {*own}
    kept = table.y[np.concatenate([validation for _, validation in fewer.folds])]
    if table.classes:
        labels = Counter(kept)
        assert labels["yes"] == 42
        assert labels["maybe"] == 14
        assert labels["no"] < 84
    else:
        assert len(kept) == len(fewer.test_of_trials) == 20
        assert np.diff(np.sort(kept)).max() < 20


def test_folds_of_fewer_rows_keep_the_shares_of_classes():
    """So a model that ignores all features has the same score on them as on the whole folds."""
    table = _table(["no"] * 9587 + ["yes"] * 413)
    whole = make_split(table, folds=5, seed=1)
    fewer = whole.thinned(2361, table)
    assert len(fewer.folds.train) == 2361
    shares = [np.mean(table.y[validation] == "no") for _, validation in (*whole.folds, *fewer.folds)]
    assert np.ptp(shares) < 0.003  # a row
    assert np.mean(table.y[fewer.test_of_trials] == "no") == pytest.approx(0.9587, abs=0.0005)
