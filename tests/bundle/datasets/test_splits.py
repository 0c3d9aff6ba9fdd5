"""The 70/30 split and the folds."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cases import cases

from entrypoints.datasets.splits import copied_percent, make_split
from entrypoints.datasets.tables import Table
from entrypoints.errors import UserError

LABELS = ["no"] * 120 + ["yes"] * 60 + ["maybe"] * 20


def _table(y):
    """A table of this target alone, sorted as many are."""
    task = "classification" if isinstance(y[0], str) else "regression"
    return Table("made up", pd.DataFrame({"y": y}), "y", task, None)


TABLES = [pytest.param(_table(LABELS), id="classes"), pytest.param(_table(np.arange(200.0)), id="numbers")]


def _rows(split):
    return [rows.tolist() for rows in (split.train, split.test, *(rows for fold in split.folds for rows in fold))]


@pytest.mark.parametrize("table", TABLES)
def test_parts_and_folds_share_the_rows_out(table):
    """70 to 30, each row in one part; each training row is validated once, and a fold fits on all others."""
    split = make_split(table, folds=9, seed=1)
    assert (len(split.train), len(split.test), len(split.folds)) == (140, 60, 9)
    assert sorted([*split.train, *split.test]) == list(range(200))
    assert sorted(row for _, validation in split.folds for row in validation) == sorted(split.train)
    for fit, validation in split.folds:
        assert sorted([*fit, *validation]) == sorted(split.train)
        assert np.ptp(validation) > 100  # not a block of the table
    assert np.ptp(split.test) > 150
    assert (split.fit_rows, split.max_batch_size) == (125, 124)


def test_parts_keep_the_class_proportions():
    """Train, test and every validation part hold the classes as 6 : 3 : 1."""
    split, labels = make_split(_table(LABELS), folds=7, seed=1), np.array(LABELS)
    assert Counter(labels[split.train].tolist()) == {"no": 84, "yes": 42, "maybe": 14}
    assert Counter(labels[split.test].tolist()) == {"no": 36, "yes": 18, "maybe": 6}
    for _, validation in split.folds:
        assert Counter(labels[validation].tolist()) == {"no": 12, "yes": 6, "maybe": 2}


@pytest.mark.parametrize("table", TABLES)
def test_same_seed_gives_the_same_split_and_another_seed_another(table):
    """The split is a function of its arguments; the folds are shuffled apart from the training part."""
    first, again, other = (make_split(table, folds=5, seed=seed) for seed in (3, 3, 4))
    assert _rows(first) == _rows(again)
    for mine, its in zip(_rows(first), _rows(other), strict=True):
        assert sorted(mine) != sorted(its)
    places = [np.isin(split.train, split.folds[0][1]).tolist() for split in (first, other)]
    assert places[0] != places[1]


GROUPS = np.random.default_rng(0).permutation(np.arange(200) // 4)  # 50 of four rows


@pytest.mark.parametrize("table", TABLES)
def test_rows_of_one_group_are_in_one_part_and_one_fold(table):
    """The test part has about 30 % of the groups; each training row is validated once."""
    split = make_split(replace(table, groups=GROUPS), folds=5, seed=1)
    assert sorted([*split.train, *split.test]) == list(range(200))
    assert len(split.test) == 60
    assert sorted(row for _, validation in split.folds for row in validation) == sorted(split.train)
    for one, other in [(split.train, split.test), *split.folds]:
        assert not set(GROUPS[one]) & set(GROUPS[other])
    assert split.groups is not None
    assert [*split.groups] == [*GROUPS]


PLACES = np.arange(200) % 50


@cases("groups", {"alone": None, "with groups": np.where(PLACES < 24, PLACES // 4, PLACES)})
def test_copies_of_a_row_are_kept_together_where_that_is_asked_for(groups):
    """Each content occurs eight times. Two are in one group, or one is in two groups. By default they are anywhere."""
    table = replace(_table(PLACES / 1.0 // 2), groups=groups)
    usual, together = (make_split(table, folds=5, seed=1, duplicates=each) for each in (None, "together"))
    assert copied_percent(table, usual) > 20
    assert copied_percent(table, together) == 0
    for fit, validation in together.folds:
        for kept in (table.contents, groups if groups is not None else table.contents):
            assert not set(kept[fit]) & set(kept[validation])
    assert sorted([*together.train, *together.test]) == list(range(200))
    assert together.groups is not None


@cases(
    "rows, starts",
    {
        "each row has its own time": (1, [70, 84, 98, 112, 126, 140]),
        "nine rows have the same": (9, [10, 11, 12, 13, 14, 15]),
    },
)
def test_each_part_is_later_than_what_is_trained_on_for_it(rows, starts):
    """The end is the test part; the folds' validation rows divide the second half of the rest."""
    times = np.random.default_rng(0).permutation(200) // rows * 1.0
    split = make_split(replace(_table(np.arange(200.0)), times=times), folds=5, seed=1)

    def between(start, end):
        return sorted(times[(times >= start) & (times < end)])

    assert sorted(times[split.test]) == between(starts[-1], np.inf)
    assert [*times[split.train]] == between(0, starts[-1])
    for (fit, validation), start, end in zip(split.folds, starts[:-1], starts[1:], strict=True):
        assert ([*times[fit]], [*times[validation]]) == (between(0, start), between(start, end))


FOLDS = "a whole number from 2 to 14, the training rows, is allowed"
SEEDS = "a whole number from 0 to 4294967295 is allowed; choose one of these"
RARE = "and every class needs one for each fold; lower folds, or merge or drop the class"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 1}, f"folds=1: {FOLDS}; raise folds"),
        ({"folds": 15}, f"folds=15: {FOLDS}; lower folds or use a table with more rows"),
        ({"y": [*"aaaaaaaabbb"], "folds": 5}, f"folds=5: class b has only 3 of the rows in the table, {RARE}"),
        (
            {"y": ["a"] * 30 + ["b"] * 10, "folds": 10},
            f"folds=10: class b has only 7 of the rows in the training part, {RARE}",
        ),
        (
            {"y": [*"abcdefghij"] * 3},
            "the target has 10 classes, and the test part of the table would have 9 rows, where at least one for "
            "each class is needed; use more rows, or merge or drop classes",
        ),
        (
            {"groups": np.arange(20) // 5, "folds": 3},
            "folds=3: the column of groups has 4 different values, of which 2 are in the training part, and 3 are "
            "needed there; lower folds, or choose a column with more",
        ),
        (
            {"times": np.arange(20) // 5, "folds": 2},
            "folds=2: the column of times has 4 different values, of which 2 are in the training part, and 3 are "
            "needed there; lower folds, or choose a column with more",
        ),
        (
            {"y": [*"aaaaaaaabaabaabbbbbb"], "times": np.arange(20.0), "folds": 2},
            "folds=2: fold 0 would be trained on no row of class b, and each class needs one in every fold; lower "
            "folds, or merge or drop the class",
        ),
        ({"groups": GROUPS[:20], "times": GROUPS[:20]}, "group and time: rows are split by one of them; leave one out"),
        (
            {"times": GROUPS[:20], "duplicates": "together"},
            "duplicates=together and time: rows are split by their time alone; leave one out",
        ),
        ({"seed": 2**32}, f"seed=4294967296: {SEEDS}"),
    ],
)
def test_impossible_split_is_explained(arguments, message):
    """The user reads what was given, what is allowed and what to do."""
    given = {"y": np.arange(20.0), "folds": 2, "seed": 1} | arguments
    split_by = {name: given.pop(name) for name in ("groups", "times") if name in given}
    table = replace(_table(given.pop("y")), **split_by)
    with pytest.raises(UserError) as error:
        make_split(table, **given)
    assert error.value.message == message


def test_as_many_folds_as_training_rows_are_allowed():
    """Leave-one-out."""
    split = make_split(_table(np.arange(20.0)), folds=14, seed=1)
    assert {len(validation) for _, validation in split.folds} == {1}


@pytest.mark.parametrize("table", TABLES)
def test_folds_of_fewer_rows_leave_the_training_and_the_test_part_whole(table):
    """The rows are spread over the target, each stays in its fold, and each class that is rare keeps its rows."""
    whole = make_split(table, folds=5, seed=1)
    fewer = whole.thinned(20, table)
    assert (len(fewer.train), len(fewer.test)) == (140, 60)
    of_folds = [set(validation) for _, validation in whole.folds]
    assert all({*validation} <= own for (_, validation), own in zip(fewer.folds, of_folds, strict=True))
    kept = np.concatenate([validation for _, validation in fewer.folds])
    if table.classes:
        labels = Counter(table.y[kept].tolist())
        assert (labels["yes"], labels["maybe"]) == (42, 14)
        assert labels["no"] < 84
    else:
        assert len(kept) == len(fewer.test_of_trials) == 20
        assert np.diff(np.sort(table.y[kept])).max() < 20
